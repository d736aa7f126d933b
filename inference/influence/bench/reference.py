"""Scores of reference implementations for the same adapter: what `cargo xtask bench attribution` compares ours with.

Run: pip install -r requirements.txt && python reference.py TASK.json WORK_FOLDER [THREADS] [CG_STEPS]
TASK.json is written by the example `faithfulness`: the base model's GGUF, the adapter, examples and queries in tokens. All work on the
adapter's own matrices in f32, with labels that the model samples, damped by 0.1 of a matrix's mean eigenvalue as bergson does by
default. bergson 2 computes EK-FAC, eigenvalue-corrected Shampoo and, if CG_STEPS is given, EK-FAC refined by conjugate gradients. What
these refine towards is computed here too, without iterating: the damped Fisher matrix of all matrices together, of which a few hundred
sampled gradients leave a small linear system. What is there already is not computed again.
"""
import importlib.metadata
import json
import os
import pathlib
import shutil
import sys
import time

os.environ.setdefault('HF_HUB_OFFLINE', '1')
os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')

import peft
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from bergson.config.config import AstraConfig, DataConfig, HessianConfig, HessianPipelineConfig, IndexConfig, InversionConfig, PreprocessConfig, QuerySetConfig, ScoreConfig
from bergson.data import load_scores
from bergson.hessians.astra import Astra
from bergson.hessians.pipeline import hessian_pipeline

# Without a GPU bergson 2.5.1 writes into a file that it has mapped for reading, and ends; a copy may be written into.
read_row = Astra._read_row
Astra._read_row = lambda *given: {name: tensor.clone() for name, tensor in read_row(*given).items()}

DAMPING = 0.1

with open(sys.argv[1]) as file:
    task = json.load(file)
work = os.path.abspath(sys.argv[2])
torch.set_num_threads(int(sys.argv[3]) if len(sys.argv) > 3 else 2)
cg_steps = int(sys.argv[4]) if len(sys.argv) > 4 else 0
os.makedirs(work, exist_ok=True)

# The same weights in f32. The tokens are given, so that any tokenizer will do.
base = os.path.join(work, 'base')
if not os.path.isfile(os.path.join(base, 'done')):
    shutil.rmtree(base, ignore_errors=True)
    folder, file = os.path.split(os.path.abspath(task['model']))
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    # A model that came from a GGUF says that it is quantised, and may not be saved.
    del loaded.config.quantization_config
    fresh = AutoModelForCausalLM.from_config(loaded.config, dtype=torch.float32)
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(base)
    del loaded, fresh
    from tokenizers import Tokenizer, models
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({'<unk>': 0}, unk_token='<unk>')), unk_token='<unk>').save_pretrained(base)
    open(os.path.join(base, 'done'), 'w').close()

# The adapter, with the base model where it lies here.
adapter = os.path.join(work, 'adapter')
shutil.rmtree(adapter, ignore_errors=True)
shutil.copytree(task['adapter'], adapter)
path = os.path.join(adapter, 'adapter_config.json')
with open(path) as file:
    config = json.load(file)
config['base_model_name_or_path'] = base
with open(path, 'w') as file:
    json.dump(config, file)

# The same losses, or it is another model.
model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
worst = 0.0
with torch.no_grad():
    for query, loss in zip(task['queries'], task['losses']):
        tokens = torch.tensor([query['prompt'] + query['response']])
        logits = model(tokens).logits[0, len(query['prompt']) - 1:-1]
        own = torch.nn.functional.cross_entropy(logits, tokens[0, len(query['prompt']):]).item()
        worst = max(worst, abs(own - loss))
print(f'losses of the queries differ by at most {worst:.5f}', file=sys.stderr)
if worst > 0.05:
    sys.exit('the peer computes with another model')

def rows(which, name):
    """A dataset on disk."""
    path = os.path.join(work, name)
    shutil.rmtree(path, ignore_errors=True)
    tokens = [one['prompt'] + one['response'] for one in task[which]]
    labels = [[-100] * len(one['prompt']) + one['response'] for one in task[which]]
    Dataset.from_dict({'input_ids': tokens, 'labels': labels, 'length': [len(one) for one in tokens]}).save_to_disk(path)
    return path

examples, queries = rows('examples', 'examples.hf'), rows('queries', 'queries.hf')
seconds = {}

def keep(name, table, begun):
    """Scores of a method: a row for each query."""
    to = path_of(name)
    with open(to + '.part', 'w') as file:
        json.dump({'method': name, 'variant': False, 'rows': table.tolist()}, file)
    os.replace(to + '.part', to)
    seconds[name] = round(time.perf_counter() - begun, 1)
    print(f'{name}: {seconds[name]} s', file=sys.stderr)

def path_of(name):
    return os.path.join(task['scores'], ''.join(letter if letter.isalnum() else '-' for letter in name) + '.json')

def run(name, method, damping=DAMPING, steps=0):
    """A method of bergson, from gradients to scores."""
    if os.path.isfile(path_of(name)):
        return
    begun = time.perf_counter()
    path = os.path.join(work, 'runs', f'{method}-{damping}-{steps}')
    shutil.rmtree(path, ignore_errors=True)
    hessian_pipeline(
        IndexConfig(run_path=path, model=adapter, tokenizer=base, precision='fp32', data=DataConfig(dataset=examples, split='train'),
                    token_batch_size=512, overwrite=True),
        HessianConfig(method=method, ev_correction=True),
        ScoreConfig(),
        PreprocessConfig(),
        HessianPipelineConfig(query=QuerySetConfig(dataset=queries, split='train', aggregation='none'), inversion_cfg=InversionConfig(damping_factor=damping),
                              astra=AstraConfig(num_steps=steps, solver='cg', batch_size=len(task['examples']), micro_batch_size=len(task['examples']))))
    scores = torch.tensor(load_scores(pathlib.Path(path) / 'scores')[:])
    keep(name, scores.reshape(len(task['examples']), len(task['queries'])).T, begun)
    shutil.rmtree(path, ignore_errors=True)

def exact(names, samples=4):
    """(F + D)^-1 by Woodbury's identity: F from sampled gradients R in rows, D the damping of each matrix."""
    if all(os.path.isfile(path_of(name)) for name in names):
        return
    begun = time.perf_counter()
    torch.manual_seed(0)
    trained = [tensor for key, tensor in model.named_parameters() if 'lora_' in key]
    for tensor in trained:
        tensor.requires_grad_(True)
    flat = lambda loss, more: torch.cat([part.flatten() for part in torch.autograd.grad(loss, trained, retain_graph=more)])

    def judged(one):
        tokens = torch.tensor([one['prompt'] + one['response']])
        count = len(one['response'])
        return model(tokens[:, :-1], logits_to_keep=count).logits[0], tokens[0, -count:]

    own, drawn, asked = [], [], []
    for one in task['examples']:
        logits, labels = judged(one)
        for _ in range(samples):
            sampled = torch.multinomial(torch.softmax(logits.detach(), -1), 1)[:, 0]
            drawn.append(flat(torch.nn.functional.cross_entropy(logits, sampled, reduction='sum'), True))
        own.append(flat(torch.nn.functional.cross_entropy(logits, labels, reduction='sum'), False))
    for one in task['queries']:
        logits, labels = judged(one)
        asked.append(flat(torch.nn.functional.cross_entropy(logits, labels, reduction='sum'), False))
    own, drawn, asked = torch.stack(own), torch.stack(drawn), torch.stack(asked)
    start = 0
    for tensor in trained:
        columns = slice(start, start + tensor.numel())
        scale = drawn[:, columns].square().mean().clamp_min(1e-30).rsqrt()
        for table in (own, drawn, asked):
            table[:, columns] *= scale
        start += tensor.numel()
    gram, both, query = (drawn @ drawn.T).double(), (drawn @ own.T).double(), (drawn @ asked.T).double()
    plain = (asked @ own.T).double()
    for name, damping in names.items():
        solved = torch.linalg.solve(gram / damping + len(drawn) * torch.eye(len(drawn), dtype=torch.float64), both / damping)
        keep(name, plain / damping - query.T @ solved / damping, begun)

# A few hundred gradients leave most directions unseen: their own damping may not be the best, so that others are tried too.
run('reference: EK-FAC of bergson', 'kfac')
run('reference: EK-FAC of bergson, damping 10', 'kfac', 10.0)
run('reference: EV-Shampoo of bergson', 'shampoo')
exact({'reference: damped Fisher, exact': DAMPING, 'reference: damped Fisher, exact, damping 10': 10.0,
       'reference: damped Fisher, exact, damping 100': 100.0})
if cg_steps > 0:
    run('reference: EK-FAC+CG of bergson', 'kfac', steps=cg_steps)
print(json.dumps({'who': f'bergson {importlib.metadata.version("bergson")}, torch {torch.__version__}', 'seconds': seconds, 'losses_differ': worst}))
