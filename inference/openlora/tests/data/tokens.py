"""Makes tokens.json: small vocabularies of the kinds that models bring, with tokens and conversations by independent
libraries.

Run: pip install tokenizers sentencepiece protobuf jinja2 && python tokens.py > tokens.json
With real vocabularies instead, for the ignored test in tests/tokens.rs (AGORA_TOKENS names its file):
python tokens.py llama-bpe=TOKENIZER.json qwen2=TOKENIZER.json gemma=MODEL.gguf llama=TOKENIZER.json > /tmp/tokens.json

qwen2.jinja and qwen3.jinja are the chat templates of Qwen2.5-7B-Instruct and Qwen3-0.6B (Apache-2.0). Those of Llama 3 and
Gemma 3 below are written anew to the same effect, with the same means.
"""
import io
import json
import os
import re
import sys

import jinja2.sandbox
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
EXPRESSIONS = {'llama-bpe': SHORT + r'\p{N}{1,3}' + REST, 'qwen2': SHORT + r'\p{N}' + REST}
LLAMA = '''{{- bos_token }}
{%- if not date is defined %}
    {%- if strftime_now is defined %}
        {%- set date = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today Date: " + date + "\\n\\n" }}
{{- system }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
'''
GEMMA = '''{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set before = messages[0]['content'] + '

' -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set before = "" -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for message in turns -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("user and assistant take turns") }}
    {%- endif -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '
' + (before if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {{ '<start_of_image>' if item['type'] == 'image' else item['text'] | trim }}
        {%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
'''
TURNS = '''{% for message in messages %}{% if message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}\
{% else %}{{ bos_token + '[INST] ' + message['content'] + ' [/INST]' }}{% endif %}{% endfor %}'''

TEXTS = [
    '', ' ', '  ', '\n', '\n\n', ' \n', '\n ', '  \n\n  x', 'Hello world', ' Hello  world ', 'a\n\n\nb', 'a \n b', 'x\r\n\r\ny', '\t\tx\n\t',
    'tabs\t\tand   spaces', 'trailing   ', '   leading', ' ' * 9 + 'nine', ' ' * 40 + 'forty', '\n' * 5, '1234567890', 'x1y22z333', '12 345  6789',
    '3.14159, 1e-9 and 0x7F', 'year 2024  and 2025', '½ ² ₃ Ⅷ ٣٤ 一二', "don't, I'll, they've, we'RE, 'TIS, 'tis", "IT'S I'LL 'Sample' 'D",
    "it''s 'sample' 'd", "'ſ 'ſa a'ſ", 'naïve café Ünïcödé', 'Привет, мир!', '你好，世界。', 'こんにちは世界', 'مرحبا بالعالم', 'हिन्दी में', '한국어 각',
    '🦀🚀👩‍👩‍👧‍👦 🇩🇪', 'e\u0301 combining', 'a\u0323\u0307 A\u030a \u212b \ufb01 \u1100\u1161\u11a8 \u2126', '\u00a0no-break\u2003em\u3000wide\u200bzero', '\ufeffBOM',
    'fn main() {\n    println!("{}", x[0] as u8);\n}\n', 'def f(a, b=None):\n\treturn a**2  # comment\r\n', '!!!\n\n???  ...\r\n;;;', '\u2581a\u2581\u2581b',
    '<|im_end|>', '<start_of_turn>user', '<|eot_id|> <|begin_of_text|>', '<bos><eos><pad><unk></s>', '<0x41> <b>bold</b> <c> <<b>', 'https://example.org/a?b=c&d=%20#e',
    '{"k": [1, 2.5, null, true], "s": "\\u00e9\\n"}', '\\(\\alpha^{2}\\) $x_{i}$', 'ALLCAPS camelCase snake_case kebab-case', '----====____', '\x00\x01\x7f\x1c\x85 x',
    'a' * 70, 'ab ' * 30, '\u2028line\u2029para\x85nel', 'Z̷a̸l̴g̵o̶', '𝕸𝖆𝖙𝖍 𝟙𝟚', '™ © ®', '\U0010FFFF\ue000', ' zebra zebra', 'the theatre there then',
]
CONVERSATIONS = [
    [('user', 'Hi')],
    [('system', 'Be brief.'), ('user', 'What is 2+2?')],
    [('user', 'Hi'), ('assistant', 'Hello! How can I help?'), ('user', '  Spaces around \n')],
    [('user', "\n\nit's"), ('assistant', 'über 🦀 1234'), ('user', 'e\u0301')],
]
THOUGHTS = [
    [('user', 'Hi'), ('assistant', '<think>\nA greeting.\n</think>\n\nHello!'), ('user', 'And now?')],
    [('user', 'Hi'), ('assistant', ' <think> twice <think>\n\nx </think> y </think>\n z'), ('user', 'So?')],
]


def render(template, messages, begin, end):
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    def refuse(what):
        raise jinja2.TemplateError(what)
    environment.globals['raise_exception'] = refuse
    messages = [{'role': role, 'content': text} for role, text in messages]
    return environment.from_string(template).render(
        messages=messages, add_generation_prompt=True, bos_token=begin, eos_token=end)


def entry(name, model, pre, tokens, kinds, template, begin, end, plain, chat, conversations, **more):
    """`plain` makes tokens of text in which nothing is special, `chat` of a rendered conversation."""
    lead = lambda ids: ids if begin is None or ids[:1] == [begin] else [begin] + ids
    named = lambda token: '' if token is None else tokens[token]
    return {
        'name': name, 'model': model, 'pre': pre, 'tokens': tokens, 'kinds': kinds, 'template': template, 'begin': begin, 'end': end, **more,
        'texts': [{'text': text, 'ids': plain(text)} for text in TEXTS],
        'conversations': [
            {'messages': messages, 'ids': lead(chat(render(template, messages, named(begin), named(end))))}
            for messages in conversations],
    }


def bytes_entry(name, raw, special, user, template, begin, end, conversations):
    plain = Tokenizer.from_str(raw.to_str())
    raw.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    raw.add_tokens([AddedToken(token, normalized=False, special=False) for token in user])
    tokens = [raw.id_to_token(at) for at in range(raw.get_vocab_size())]
    kinds = [3 if token in special else 4 if token in user else 1 for token in tokens]
    merges = [merge if isinstance(merge, str) else ' '.join(merge) for merge in json.loads(plain.to_str())['model']['merges']]
    ids = lambda tokenizer: lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    number = lambda token: None if token is None else tokens.index(token)
    return entry(name, 'gpt2', name, tokens, kinds, template, number(begin), number(end), ids(plain), ids(raw), conversations, merges=merges)


LLAMA_SPECIAL = ['<|begin_of_text|>', '<|end_of_text|>', '<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>', '<|eom_id|>']
QWEN_SPECIAL = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
QWEN_USER = ['<tool_call>', '</tool_call>', '<think>', '</think>']
read = lambda name: open(os.path.join(HERE, name)).read()


def make(name):
    """A vocabulary as HF trains it, with the expression of the model."""
    raw = Tokenizer(models.BPE(ignore_merges=name == 'llama-bpe'))
    if name == 'qwen2':
        raw.normalizer = normalizers.NFC()
    raw.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(EXPRESSIONS[name]), 'isolated'), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    raw.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(
        vocab_size=640, min_frequency=2, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    # A word that no merges reach, and that is a token.
    data = json.loads(raw.to_str())
    data['model']['merges'] = [merge for merge in data['model']['merges'] if ''.join(merge) != 'Ġzebra']
    data['model']['vocab'].setdefault('Ġzebra', len(data['model']['vocab']))
    return Tokenizer.from_str(json.dumps(data))


def llama_bpe(raw):
    return bytes_entry('llama-bpe', raw, LLAMA_SPECIAL, [], LLAMA, '<|begin_of_text|>', '<|eot_id|>', CONVERSATIONS)


def qwen2(raw, template):
    # Only Qwen 3 thinks. What looks like thoughts to a template that knows of none stays text here.
    conversations = CONVERSATIONS + (THOUGHTS if 'think' in read(template) else [])
    return bytes_entry('qwen2', raw, QWEN_SPECIAL, QWEN_USER, read(template), None, '<|im_end|>', conversations)


def sentences(name, proto, template, space, begin, end):
    """By SentencePiece itself. A GGUF writes the spaces of user-defined pieces as spaces."""
    pieces = proto.pieces
    tokens = [piece.piece.replace('\u2581', ' ') if piece.type == 4 else piece.piece for piece in pieces]
    plain = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    control = re.compile('(' + '|'.join(re.escape(piece.piece) for piece in pieces if piece.type == 3) + ')')

    def chat(text):
        parts = control.split(text)  # Text and control tokens take turns.
        return [id for at, part in enumerate(parts) for id in ([plain.piece_to_id(part)] if at % 2 else plain.encode(part))]
    return entry(name, 'llama', 'default', tokens, [piece.type for piece in pieces], template, plain.piece_to_id(begin),
                 plain.piece_to_id(end), plain.encode, chat, CONVERSATIONS, scores=[piece.score for piece in pieces], space=space)


def train(space):
    out = io.BytesIO()
    user = [] if space else ['\n', '\n\n', '\n\n\n', '\t', '\u2581\u2581', '\u2581\u2581\u2581', '\u2581\u2581\u2581\u2581', '<b>', '</b>']
    control = [] if space else ['<start_of_turn>', '<end_of_turn>']
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for text in TEXTS * 3 if text.strip()]), model_writer=out, model_type='bpe', vocab_size=720,
        byte_fallback=True, normalization_rule_name='identity', remove_extra_whitespaces=False, add_dummy_prefix=space,
        user_defined_symbols=user, control_symbols=control, character_coverage=0.98, minloglevel=2, hard_vocab_limit=False,
        **({} if space else {'unk_piece': '<unk>', 'bos_piece': '<bos>', 'eos_piece': '<eos>'}))
    return sentencepiece_model_pb2.ModelProto.FromString(out.getvalue())


def proto(tokens, kinds, scores, space):
    made = sentencepiece_model_pb2.ModelProto()
    made.trainer_spec.model_type, made.trainer_spec.byte_fallback = 2, True
    made.normalizer_spec.name, made.normalizer_spec.add_dummy_prefix = 'identity', space
    made.normalizer_spec.remove_extra_whitespaces = False
    for token, kind, score in zip(tokens, kinds, scores):
        made.pieces.add(piece=token.replace(' ', '\u2581') if kind == 4 else token, type=kind, score=score)
    return made


def gemma(path):
    import gguf
    fields = gguf.GGUFReader(path).fields
    return proto(*(fields['tokenizer.ggml.' + name].contents() for name in ['tokens', 'token_type', 'scores']), False)


def real(argument):
    name, path = argument.split('=')
    if name == 'gemma':
        return sentences('gemma', gemma(path), GEMMA, False, '<bos>', '<eos>')
    data = json.load(open(path))
    data['added_tokens'], data['post_processor'] = [], None
    raw = Tokenizer.from_str(json.dumps(data))
    return llama_bpe(raw) if name == 'llama-bpe' else qwen2(raw, 'qwen3.jinja')


if __name__ == '__main__':
    entries = list(map(real, sys.argv[1:])) or [
        llama_bpe(make('llama-bpe')), qwen2(make('qwen2'), 'qwen2.jinja'), qwen2(make('qwen2'), 'qwen3.jinja'),
        sentences('gemma', train(False), GEMMA, False, '<bos>', '<eos>'), sentences('llama', train(True), TURNS, True, '<s>', '</s>')]
    print('[' + ',\n'.join(json.dumps(item, separators=(',', ':')) for item in entries) + ']')
