"""Makes the tokens that Hugging Face's library finds with real tokenizer.json files, for the ignored test in tests/tokens.rs
(AGORA_TOKENIZERS names its file). A tokenizer_config.json lies beside each.

Run: pip install tokenizers sentencepiece protobuf jinja2 && python folders.py TOKENIZER.json ... > /tmp/tokenizers.json
"""
import json
import sys

from tokenizers import Tokenizer

from tokens import TEXTS

MORE = ['<mask><unused3> a', 'x' + '\n' * 40 + 'y' + ' ' * 40 + 'z', '<table>\n\t<tr>\u2581\u2581\u2581  \u2581']


def plain(path):
    """The tokenizer to which nothing in a text is special; Gemma's other added tokens are text."""
    data = json.load(open(path))
    data['post_processor'] = None
    sentences = data['model'].get('byte_fallback')
    data['added_tokens'] = [token for token in data['added_tokens'] if sentences and not token['special']]
    return Tokenizer.from_str(json.dumps(data))


if __name__ == '__main__':
    out = []
    for path in sys.argv[1:]:
        tokenizer = plain(path)
        texts = [{'text': text, 'ids': tokenizer.encode(text, add_special_tokens=False).ids} for text in TEXTS + MORE]
        out.append({'path': path, 'texts': texts})
    print(json.dumps(out))
