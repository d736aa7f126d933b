"""Reloads an adapter that was trained here in peft, and compares what comes of every token.

`cargo xtask demo-attribution --peft` runs it on the demo's own adapter. By hand, in a virtual environment outside of the repository:

    cargo run --release --package agora-factory --example reload -- MODEL.gguf ../reload
    python3 -m venv ../venv && ../venv/bin/pip install torch transformers peft gguf
    ../venv/bin/python inference/factory/tests/data/reload.py MODEL.gguf ../reload

The base is dequantised to f32 by transformers. The adapter is read by `PeftModel.from_pretrained`, and nothing but the two files of
PEFT's form is given to it. The trainer computes in f32 as torch does, so that its surprises must be the same but for rounding. The
serving engine keeps activations and adapters more coarsely, and must stay within the bounds of openlora's `tests/logits.rs`. Ends with
1 where something is further apart.
"""
import json
import os
import sys
import tempfile

import numpy
import peft
import torch
import transformers
from transformers import AutoModelForCausalLM

# Mean divergence in nats per token of the serving engine, the least part of equal top tokens, and nats that a token may be apart.
DIVERGENCE, SAME, APART = {'base': 1e-6, 'tuned': 1e-5}, 0.99, 1e-3
path, folder = sys.argv[1:]
tokens = json.load(open(os.path.join(folder, 'tokens.json')))
count = sum(map(len, tokens))
ours = {name: torch.from_numpy(numpy.fromfile(os.path.join(folder, name + '.f32'), '<f4').reshape(count, -1)) for name in ('base', 'tuned')}
parent, file = os.path.split(os.path.abspath(path))
model = AutoModelForCausalLM.from_pretrained(parent, gguf_file=file, dtype=torch.float32, attn_implementation='eager').eval()


def say(text):
    print(text, file=sys.stderr)


def logits(model):
    with torch.no_grad():
        return torch.cat([model(torch.tensor([sequence])).logits[0] for sequence in tokens])


theirs = {'base': logits(model)}
with tempfile.TemporaryDirectory() as home:
    for name in ('adapter_config.json', 'adapter_model.safetensors'):
        os.symlink(os.path.join(os.path.abspath(folder), 'adapter', name), os.path.join(home, name))
    tuned = peft.PeftModel.from_pretrained(model, home).eval()
    names = [name for name, _ in tuned.named_parameters() if 'lora_' in name]
    read = peft.utils.load_peft_weights(home)
    assert len(names) == len(read), f'{len(names)} matrices in the model, {len(read)} in the file'
    theirs['tuned'] = logits(tuned)
say(f'torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}; {count} tokens, {len(names)} matrices')
good = True
for name in ('base', 'tuned'):
    apart = (ours[name] - theirs[name]).abs()
    same = (ours[name].argmax(1) == theirs[name].argmax(1)).float().mean().item()
    right, left = theirs[name].log_softmax(1), ours[name].log_softmax(1)
    divergence = (right.exp() * (right - left)).sum(1)
    say(f'{name}: logits furthest {apart.max():.2e}, mean {apart.mean():.2e}; KL mean {divergence.mean():.1e}, top-1 {same:.4f}')
    good = good and divergence.mean() < DIVERGENCE[name] and same >= SAME
rows, right = iter(theirs['tuned'].double().log_softmax(1)), []
for sequence in tokens:
    own = [next(rows) for _ in sequence]
    right.extend(-own[at][token].item() for at, token in enumerate(sequence[1:]))
left = [one for sequence in json.load(open(os.path.join(folder, 'surprises.json'))) for one in sequence]
apart = max(abs(a - b) for a, b in zip(left, right, strict=True))
say(f'trainer: surprises of {len(left)} tokens, mean {sum(left) / len(left):.4f} nats, furthest {apart:.2e}')
good = good and apart < APART
moved = (theirs['tuned'] - theirs['base']).abs()
say(f'what the adapter changes: furthest {moved.max():.2f}, mean {moved.mean():.2f}')
print(json.dumps({'peft': peft.__version__, 'tokens': count, 'matrices': len(names), 'top_1': same, 'divergence': divergence.mean().item(), 'trainer_apart': apart}))
sys.exit(0 if good and moved.max() > 1 else 1)
