"""Makes reference.json: ten AdamW steps of a LoRA on the tiny llama, as torch and peft compute them in f32.

Run: pip install torch transformers peft && python reference.py
All examples stand in one batch; the loss is the mean over the tokens of all responses.
"""
import json
import os

import peft
import torch
from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, '../../../openlora/tests/data/families/llama')
STEPS = 10
SETTINGS = {'rank': 2, 'alpha': 8.0, 'targets': ['q_proj', 'v_proj', 'down_proj'], 'learning_rate': 0.02, 'schedule': 'cosine',
            'warmup_share': 0.2, 'beta1': 0.9, 'beta2': 0.99, 'epsilon': 1e-8, 'weight_decay': 0.1, 'clip': 2.0}

torch.manual_seed(20261201)
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation='eager')
config = peft.LoraConfig(r=SETTINGS['rank'], lora_alpha=SETTINGS['alpha'], target_modules=SETTINGS['targets'], lora_dropout=0.0,
                         bias='none', task_type='CAUSAL_LM')
model = peft.get_peft_model(model, config)
model.train()
trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
name = lambda text: text.replace('.default.', '.')
numbers = lambda: {name(key): {'shape': list(tensor.shape), 'numbers': [float(f'{number:.9g}') for number in tensor.detach().flatten().tolist()]}
                   for key, tensor in trained.items()}

draw = lambda count: torch.randint(0, 296, (count,)).tolist()
examples = [{'prompt': draw(prompt), 'response': draw(response)} for prompt, response in [(5, 9), (12, 3), (1, 20), (7, 7)]]
before = numbers()
optimiser = torch.optim.AdamW(trained.values(), lr=SETTINGS['learning_rate'], betas=(SETTINGS['beta1'], SETTINGS['beta2']),
                              eps=SETTINGS['epsilon'], weight_decay=SETTINGS['weight_decay'])
schedule = get_cosine_schedule_with_warmup(optimiser, round(SETTINGS['warmup_share'] * STEPS), STEPS)
judged = sum(len(example['response']) for example in examples)
losses, rates, lengths = [], [], []
for _ in range(STEPS):
    optimiser.zero_grad()
    loss = 0.0
    for example in examples:
        tokens = torch.tensor([example['prompt'] + example['response']])
        logits = model(tokens).logits[0, len(example['prompt']) - 1:-1]
        loss = loss + torch.nn.functional.cross_entropy(logits, tokens[0, len(example['prompt']):], reduction='sum') / judged
    loss.backward()
    lengths.append(torch.nn.utils.clip_grad_norm_(trained.values(), SETTINGS['clip']).item())
    rates.append(schedule.get_last_lr()[0])
    losses.append(loss.item())
    optimiser.step()
    schedule.step()
print(losses, lengths, rates, sep='\n')
with open(os.path.join(HERE, 'reference.json'), 'w') as file:
    json.dump({'torch': torch.__version__, 'peft': peft.__version__, 'settings': SETTINGS, 'examples': examples, 'losses': losses,
               'lengths': lengths, 'rates': rates, 'before': before, 'after': numbers()}, file)
    file.write('\n')
