"""Seconds of a training step with torch and peft, as JSON: what the example `steps` prints for ours.

Run: pip install torch transformers peft gguf && python peer.py [MODEL.gguf] [THREADS]
The same work: SmolLM2-135M in f32 (its weights from the GGUF, or random ones of its shape), four sequences of 128 tokens, LoRA of rank 8
on queries and values, AdamW, gradients clipped; the loss is that of the last 128 or 64 of each. Whatever is faster in torch is chosen:
one batch without padding, fused attention, and the head computes only the places that are judged.
"""
import json
import os
import statistics
import sys
import time

import peft
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

STEPS, SEQUENCES, TOKENS = 9, 4, 128
path = sys.argv[1] if len(sys.argv) > 1 else None
threads = int(sys.argv[2]) if len(sys.argv) > 2 else 2
torch.set_num_threads(threads)
torch.manual_seed(0)
if path:
    folder, file = os.path.split(os.path.abspath(path))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32, attn_implementation='sdpa')
else:
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        max_position_embeddings=8192, rope_theta=100000.0, rms_norm_eps=1e-5, tie_word_embeddings=True, attn_implementation='sdpa')).float()
model = peft.get_peft_model(model, peft.LoraConfig(r=8, lora_alpha=32, target_modules=['q_proj', 'v_proj'], lora_dropout=0.0, task_type='CAUSAL_LM'))
model.train()
tokens = torch.tensor([[(at * 1000 + place) * 7919 % 40000 for place in range(TOKENS + 1)] for at in range(SEQUENCES)])
for judged in (TOKENS, TOKENS // 2):
    for name, tensor in model.named_parameters():
        if 'lora_B' in name:
            torch.nn.init.zeros_(tensor)
    trained = [tensor for tensor in model.parameters() if tensor.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=3e-4, weight_decay=0.0)
    seconds, losses = [], []
    for _ in range(STEPS):
        begun = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        logits = model(input_ids=tokens[:, :-1], use_cache=False, logits_to_keep=judged).logits
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, -judged:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begun)
    print(json.dumps({'who': f'torch {torch.__version__} + peft {peft.__version__}', 'threads': threads, 'sequences': SEQUENCES, 'tokens': TOKENS,
                      'judged': judged, 'step_s': round(statistics.median(seconds), 3), 'least_s': round(min(seconds), 3), 'first_loss': round(losses[0], 3), 'last_loss': round(losses[-1], 3)}))
