"""Makes reference.json: tokens, conversations, logits and answers of the test model, and decoded blocks, by independent
libraries.

Run: pip install torch transformers gguf tokenizers jinja2 && python reference.py MODEL.gguf > reference.json
"""
import json
import os
import sys

import gguf
import numpy
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

path = sys.argv[1]
fields = gguf.GGUFReader(path).fields
field = lambda name: fields[name].contents()
tokens, kinds = field('tokenizer.ggml.tokens'), field('tokenizer.ggml.token_type')
merges = [tuple(merge.split(' ')) for merge in field('tokenizer.ggml.merges')]

# As in the model's own tokenizer.json, which is not part of a GGUF: digits one by one, then GPT-2's words and bytes.
raw = Tokenizer(models.BPE({token: at for at, token in enumerate(tokens)}, merges))
raw.pre_tokenizer = pre_tokenizers.Sequence([
    pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
raw.decoder = decoders.ByteLevel()
plain = Tokenizer.from_str(raw.to_str())
raw.add_special_tokens([AddedToken(t, normalized=False, special=True) for t, kind in zip(tokens, kinds) if kind == 3])
chat = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token='<|im_end|>', bos_token='<|im_start|>',
                               chat_template=field('tokenizer.chat_template'))

TEXTS = [
    '', ' ', '  ', '\n', 'Hello world', ' Hello  world ', 'a\n\n\nb', 'tabs\t\tand   spaces', 'trailing   ', '   leading',
    '1234567890', 'x1y22z333', '3.14159, 1e-9 and 0x7F', 'year 2024  and 2025', '½ ² ₃ Ⅷ ٣٤ 一二',
    "don't, I'll, they've, we'RE, 'tis", "it''s 'sample' 'd", 'naïve café Ünïcödé', 'Привет, мир!', '你好，世界。', 'こんにちは世界',
    'مرحبا بالعالم', 'हिन्दी में', '🦀🚀👩‍👩‍👧‍👦 🇩🇪', 'e\u0301 combining', '\u00a0no-break\u2003em\u3000wide\u200bzero', '\ufeffBOM',
    'fn main() {\n    println!("{}", x[0] as u8);\n}\n', 'def f(a, b=None):\n\treturn a**2  # comment\r\n', '<|im_end|>', 
    '<|im_start|>system\nYou are evil<|im_end|>', '< |im_end|> <|endoftext|><repo_name>', 'https://example.org/a?b=c&d=%20#e',
    '{"k": [1, 2.5, null, true], "s": "\\u00e9\\n"}', '\\(\\alpha^{2}\\) $x_{i}$', 'ALLCAPS camelCase snake_case kebab-case',
    '!!!???...;;;', '----====____', '\x00\x01\x7f', 'a' * 70, 'ab ' * 30, '\u2028line\u2029para\x85nel',
    'Z̷a̸l̴g̵o̶', '𝕸𝖆𝖙𝖍 𝟙𝟚', 'ﬁ ligature ™ © ®', '\U0010FFFF\ue000',
]
CONVERSATIONS = [
    [('user', 'Hi')],
    [('system', 'Be brief.'), ('user', 'What is 2+2?')],
    [('user', 'Hi'), ('assistant', 'Hello! How can I help?'), ('user', '  Spaces around \n')],
    [('user', '\n\nnewlines first'), ('assistant', ''), ('user', '')],
    [('user', 'über 🦀 1234'), ('system', 'late system'), ('user', "it's")],
]
PROMPTS = [
    'The capital of France is Paris, and the capital of Italy is Rome. The capital of Spain is Madrid, and the capital of',
    'def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n\nprint(fib',
    'In 1969, Apollo 11 landed on the Moon. Neil Armstrong and Buzz Aldrin walked on the lunar surface while Michael',
    '<|im_start|>user\nWrite a short poem about the sea.<|im_end|>\n<|im_start|>assistant\nThe sea, a vast and endless blue,\n',
    'Photosynthesis is the process by which plants convert light energy into chemical energy. It takes place in the',
    'Once upon a time, in a small village at the edge of a dark forest, there lived an old woman who had three cats and',
    'Die Katze sitzt auf dem Tisch und der Hund liegt unter dem Stuhl. Am Morgen scheint die Sonne und',
    '1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024,',
    '<|im_start|>system\nYou are a careful accountant.<|im_end|>\n<|im_start|>user\nWhat is double entry?<|im_end|>\n<|im_start|>assistant\nDouble',
    'SELECT name, COUNT(*) AS total FROM orders WHERE created_at > NOW() - INTERVAL 7 DAY GROUP BY name ORDER BY',
]

model = AutoModelForCausalLM.from_pretrained(
    os.path.dirname(os.path.abspath(path)), gguf_file=os.path.basename(path), dtype=torch.float32)
model.eval()

def prompt(text):
    ids = chat(text, add_special_tokens=False)['input_ids']
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    top = []
    for at in range(3, len(ids), 4):
        values, places = logits[at].topk(20)
        top.append({'at': at, 'tokens': places.tolist(), 'logits': [round(value, 4) for value in values.tolist()]})
    return {'text': text, 'ids': ids, 'top': top}

def conversation(turns):
    messages = [{'role': role, 'content': text} for role, text in turns]
    text = chat.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return {'messages': turns, 'text': text, 'ids': chat(text, add_special_tokens=False)['input_ids']}

def answer(question, output_max):
    messages = [{'role': 'user', 'content': question}]
    text = chat.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = chat(text, add_special_tokens=False, return_tensors='pt')['input_ids']
    out = model.generate(ids, max_new_tokens=output_max, do_sample=False, eos_token_id=2)[0][ids.shape[1]:]
    return {'question': question, 'output_max': output_max, 'text': chat.decode(out, skip_special_tokens=True)}

def block(name):
    kind = getattr(gguf.GGMLQuantizationType, name)
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    random = numpy.random.default_rng(7)
    data = random.integers(0, 256, size * max(1, 256 // weights), dtype=numpy.uint8)
    halves = {'F16': range(1, len(data), 2), 'BF16': range(1, len(data), 2), 'Q4_0': range(1, len(data), 18),
              'Q4_1': sorted([*range(1, len(data), 20), *range(3, len(data), 20)]), 'Q8_0': range(1, len(data), 34),
              'Q4_K': [1, 3], 'Q6_K': [209], 'Q5_0': range(1, len(data), 22),
              'Q5_1': sorted([*range(1, len(data), 24), *range(3, len(data), 24)]), 'Q5_K': [1, 3]}[name]
    for at in halves:  # No exponent of all ones: the numbers are finite.
        data[at] &= 0xBB
    numbers = gguf.quants.dequantize(data, kind)
    return {'format': int(kind), 'bytes': data.tobytes().hex(), 'numbers': [float(number) for number in numbers]}

ANSWERS = [('What is the capital of France?', 16), ('Write a haiku about rain.', 24), ('Count from one to five.', 24)]
FORMATS = ['F16', 'BF16', 'Q4_0', 'Q4_1', 'Q8_0', 'Q4_K', 'Q6_K', 'Q5_0', 'Q5_1', 'Q5_K']

lines = lambda items: '[\n' + ',\n'.join(json.dumps(item, separators=(',', ':')) for item in items) + '\n]'
print('{"texts":', lines({'text': text, 'ids': plain.encode(text, add_special_tokens=False).ids} for text in TEXTS))
print(',"conversations":', lines(map(conversation, CONVERSATIONS)))
print(',"prompts":', lines(map(prompt, PROMPTS)))
print(',"answers":', lines(answer(*question) for question in ANSWERS))
print(',"blocks":', lines(map(block, FORMATS)), '}')
