"""Makes families/: tiny random models of every family, as GGUF and as a Hugging Face folder, and families.json: what
transformers computes with them in f32, and with the real Gemma 3 270M.

Run: pip install torch transformers accelerate gguf tokenizers sentencepiece protobuf jinja2 && python families.py GEMMA.gguf
Names, permutations and metadata are those that llama.cpp's converter writes. Weights have few digits, so that
the folder holds the same numbers in half precision.
"""
import json
import math
import os
import sys

import gguf
import numpy
import sentencepiece
import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

import tokens as vocabularies

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, 'families')
VOCABULARY = 300
CONTEXT = 128
TEMPLATE = "{% for message in messages %}{{ '<turn>' + message['role'] + '\\n' + message['content'] + '<end>' }}{% endfor %}{{ '<turn>assistant\\n' }}"
SAMPLE = ['the theatre there then, the other and the hand and that in an on or it is at in the ring; some words here were more than enough'] * 3
WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}", r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

LLAMA3 = {'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0, 'original_max_position_embeddings': 64}
COMMON = {'vocab_size': VOCABULARY, 'max_position_embeddings': CONTEXT, 'torch_dtype': 'float16', 'hidden_size': 64, 'intermediate_size': 64,
          'num_hidden_layers': 2, 'num_attention_heads': 4, 'num_key_value_heads': 2, 'rms_norm_eps': 1e-5, 'hidden_act': 'silu', 'attention_dropout': 0.0}
# As the folders of real models say it.
CONFIGS = {
    'llama': COMMON | {'architectures': ['LlamaForCausalLM'], 'model_type': 'llama', 'head_dim': 16, 'rope_theta': 10000.0, 'rope_scaling': LLAMA3,
                       'tie_word_embeddings': False, 'attention_bias': False, 'mlp_bias': False, 'bos_token_id': 298, 'eos_token_id': 299},
    'qwen2': COMMON | {'architectures': ['Qwen2ForCausalLM'], 'model_type': 'qwen2', 'rope_theta': 1000000.0, 'tie_word_embeddings': True,
                       'use_sliding_window': False, 'rms_norm_eps': 1e-6, 'bos_token_id': 298, 'eos_token_id': 299},
    'qwen3': COMMON | {'architectures': ['Qwen3ForCausalLM'], 'model_type': 'qwen3', 'head_dim': 32, 'num_key_value_heads': 1, 'rope_theta': 1000000.0,
                       'tie_word_embeddings': True, 'attention_bias': False, 'use_sliding_window': False, 'rms_norm_eps': 1e-6, 'bos_token_id': 298, 'eos_token_id': 299},
    'gemma3': COMMON | {'architectures': ['Gemma3ForCausalLM'], 'model_type': 'gemma3_text', 'hidden_size': 32, 'head_dim': 16, 'num_hidden_layers': 7,
                        'num_key_value_heads': 1, 'hidden_activation': 'gelu_pytorch_tanh', 'query_pre_attn_scalar': 16, 'rms_norm_eps': 1e-6,
                        'sliding_window': 16, 'sliding_window_pattern': 6, 'rope_theta': 1000000.0, 'rope_local_base_freq': 10000.0, 'rope_scaling': None,
                        'tie_word_embeddings': True, 'attn_logit_softcapping': None, 'final_logit_softcapping': None, 'bos_token_id': 2, 'eos_token_id': 1},
}
del CONFIGS['gemma3']['hidden_act']
PARTS = {
    'input_layernorm': 'attn_norm', 'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v',
    'self_attn.o_proj': 'attn_output', 'self_attn.q_norm': 'attn_q_norm', 'self_attn.k_norm': 'attn_k_norm',
    'post_attention_layernorm': 'ffn_norm', 'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down',
}
GEMMA_PARTS = PARTS | {'post_attention_layernorm': 'post_attention_norm', 'pre_feedforward_layernorm': 'ffn_norm', 'post_feedforward_layernorm': 'post_ffw_norm'}


def tokenizer(family):
    """A tiny tokenizer, its file for the folder, and the GGUF's lists."""
    if family == 'gemma3':
        words = ['th', '▁th', 'he', '▁the', 'in', 'an', 'er', 'or', 'at', 'nd', 'on', 'and']
        tokens = ['<pad>', '<eos>', '<bos>', '<unk>', '<turn>', '<end>', *(f'<0x{byte:02X}>' for byte in range(256)), *words[:11]]
        tokens += ['▁', *'abcdefghijklmnopqrstuvwxyz'][:VOCABULARY - len(tokens)]
        kinds = [3] * 3 + [2, 3, 3] + [6] * 256 + [1] * (VOCABULARY - 262)
        scores = [-1000.0] * 6 + [0.0] * 256 + [-float(at) for at in range(VOCABULARY - 262)]
        pairs = [('t', 'h'), ('▁', 'th'), ('h', 'e'), ('▁th', 'e'), ('i', 'n'), ('a', 'n'), ('e', 'r'), ('o', 'r'), ('a', 't'), ('n', 'd'), ('o', 'n')]
        raw = Tokenizer(models.BPE({token: at for at, token in enumerate(tokens)}, pairs, unk_token='<unk>', fuse_unk=True, byte_fallback=True))
        raw.normalizer = normalizers.Replace(' ', '▁')
        raw.decoder = decoders.Sequence([decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse()])
        lists = {'scores': scores}
    else:
        raw = Tokenizer(models.BPE(ignore_merges=family == 'llama'))
        digits = '{1,3}' if family == 'llama' else ''
        raw.normalizer = None if family == 'llama' else normalizers.NFC()
        raw.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(WORDS[0] + digits + WORDS[1]), 'isolated'), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        raw.decoder = decoders.ByteLevel()
        raw.train_from_iterator(SAMPLE, trainers.BpeTrainer(
            vocab_size=VOCABULARY - 4, min_frequency=2, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
        merges = [' '.join(merge) for merge in json.loads(raw.to_str())['model']['merges']]
        lists = {'merges': merges}
        special = ['<turn>', '<end>', '<begin>', '<stop>']
        tokens = [raw.id_to_token(at) for at in range(VOCABULARY - 4)] + special
        kinds = [1] * (VOCABULARY - 4) + [3] * 4
        assert raw.add_special_tokens(special) == 4
    if family == 'gemma3':
        raw.add_special_tokens(['<pad>', '<eos>', '<bos>', '<unk>', '<turn>', '<end>'])
    assert len(tokens) == len(kinds) == VOCABULARY == raw.get_vocab_size(), (len(tokens), raw.get_vocab_size())
    return raw, tokens, kinds, lists


def weights(model, family):
    """Random, of a size at which every part matters. Matrices are whole numbers times a power of two with a 127 in every 32,
    so that an engine that keeps eight bits of a weight loses none."""
    random = torch.Generator().manual_seed(11)
    draw = lambda tensor, size: torch.randn(tensor.shape, generator=random) * size

    def whole(tensor, size):
        numbers = draw(tensor, 40).round().clamp(-126, 126).reshape(-1, 32)
        at = torch.randint(0, 32, (len(numbers), 1), generator=random)
        sign = numbers.gather(1, at).sign()
        numbers.scatter_(1, at, 127 * (sign + (sign == 0)))
        return numbers.reshape(tensor.shape) * 2.0 ** round(math.log2(size / 45))
    for name, tensor in model.state_dict().items():
        if name.endswith('norm.weight') or name.endswith('layernorm.weight'):
            value = draw(tensor, 0.3) + (0.0 if family == 'gemma3' else 1.0)
        elif name.endswith('bias'):
            value = draw(tensor, 0.5)
        elif 'embed' in name:
            value = whole(tensor, 0.5)
        else:
            value = whole(tensor, 1.5 / math.sqrt(tensor.shape[1]))
        tensor.copy_(value.half().float())


def permute(tensor, heads):
    """Halves of a head to pairs, as the converter does for llama."""
    return tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def factors(config):
    scaling, size = config['rope_scaling'], config['head_dim']
    base, old = config['rope_theta'], scaling['original_max_position_embeddings']
    low, high, factor = scaling['low_freq_factor'], scaling['high_freq_factor'], scaling['factor']
    out = []
    for at in range(0, size, 2):
        length = 2 * math.pi * base ** (at / size)
        smooth = (old / length - low) / (high - low)
        out.append(1.0 if length < old / high else factor if length > old / low else 1 / ((1 - smooth) / factor + smooth))
    return numpy.array(out, dtype=numpy.float32)


def write(family, config, state, tokens, kinds, lists):
    writer = gguf.GGUFWriter(os.path.join(FOLDER, family + '.gguf'), family)
    size = config.get('head_dim', config['hidden_size'] // config['num_attention_heads'])
    writer.add_name('tiny ' + family)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config['hidden_size'])
    writer.add_block_count(config['num_hidden_layers'])
    writer.add_feed_forward_length(config['intermediate_size'])
    writer.add_head_count(config['num_attention_heads'])
    writer.add_head_count_kv(config['num_key_value_heads'])
    writer.add_layer_norm_rms_eps(config['rms_norm_eps'])
    writer.add_rope_freq_base(config['rope_theta'])
    if 'head_dim' in config:
        writer.add_key_length(size)
        writer.add_value_length(size)
    if family == 'llama':
        writer.add_vocab_size(VOCABULARY)
        writer.add_rope_dimension_count(size)
        writer.add_tensor('rope_freqs.weight', factors(config))
    if family == 'gemma3':
        writer.add_sliding_window(config['sliding_window'])
    half = family == 'qwen2'
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model('llama' if family == 'gemma3' else 'gpt2')
    writer.add_tokenizer_pre({'llama': 'llama-bpe', 'gemma3': 'default'}.get(family, 'qwen2'))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    if 'scores' in lists:
        writer.add_token_scores(lists['scores'])
        writer.add_add_space_prefix(False)
        writer.add_unk_token_id(3)
    else:
        writer.add_token_merges(lists['merges'])
    writer.add_bos_token_id(config['bos_token_id'])
    writer.add_eos_token_id(config['eos_token_id'])
    writer.add_add_bos_token(family in ('llama', 'gemma3'))
    writer.add_chat_template(TEMPLATE)
    for name, tensor in state.items():
        tensor = tensor.float().numpy()
        stem, kind = name.removeprefix('model.').rsplit('.', 1)
        if family == 'gemma3' and stem.endswith('norm'):
            tensor = tensor + 1
        if stem.startswith('layers.'):
            _, layer, part = stem.split('.', 2)
            if family == 'llama' and part in ('self_attn.q_proj', 'self_attn.k_proj'):
                tensor = permute(tensor, config['num_attention_heads' if 'q_proj' in part else 'num_key_value_heads'])
            stem = f'blk.{layer}.{(GEMMA_PARTS if family == "gemma3" else PARTS)[part]}'
        else:
            stem = {'embed_tokens': 'token_embd', 'norm': 'output_norm', 'lm_head': 'output'}[stem]
        numbers = tensor.astype(numpy.float16 if half and tensor.ndim == 2 else numpy.float32)
        writer.add_tensor(f'{stem}.{kind}', numpy.ascontiguousarray(numbers))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def tiny(family):
    config, folder = CONFIGS[family], os.path.join(FOLDER, family)
    os.makedirs(folder, exist_ok=True)
    json.dump(config, open(os.path.join(folder, 'config.json'), 'w'), indent=1)
    raw, tokens, kinds, lists = tokenizer(family)
    raw.save(os.path.join(folder, 'tokenizer.json'), pretty=False)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    weights(model, family)
    state = {name: tensor for name, tensor in model.state_dict().items() if name != 'lm_head.weight' or not config['tie_word_embeddings']}
    save_file({name: tensor.half().contiguous() for name, tensor in state.items()}, os.path.join(folder, 'model.safetensors'), {'format': 'pt'})
    write(family, config, state, tokens, kinds, lists)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation='eager').eval()
    ids = numpy.random.default_rng(5).integers(6, VOCABULARY - 4, 72).tolist()
    rows = logits(model, ids)
    # An independent reader finds the same weights in the GGUF; it overlooks some metadata, so it is told the configuration.
    other = AutoModelForCausalLM.from_pretrained(
        FOLDER, gguf_file=family + '.gguf', config=model.config, dtype=torch.float32, attn_implementation='eager').eval()
    print(family, 'off by', float((logits(other, ids) - rows).abs().max()), 'of', float(rows.abs().max()), file=sys.stderr)
    at = [0, *range(7, 72, 8)]
    return {'name': family, 'ids': ids, 'logits': [{'at': at, 'row': [round(value, 5) for value in rows[at].tolist()]} for at in at]}


GEMMA_PROMPTS = [
    'The capital of France is Paris, and the capital of Italy is Rome. The capital of Spain is Madrid, and the capital of',
    'def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n\nprint(fib',
    'Die Katze sitzt auf dem Tisch und der Hund liegt unter dem Stuhl. Am Morgen scheint die Sonne und',
]


def gemma(path):
    """The real model's 20 likeliest tokens, as in reference.py."""
    text = sentencepiece.SentencePieceProcessor(model_proto=vocabularies.gemma(path).SerializeToString())
    model = AutoModelForCausalLM.from_pretrained(
        os.path.dirname(os.path.abspath(path)), gguf_file=os.path.basename(path), dtype=torch.float32, attn_implementation='eager').eval()
    print(model.config, file=sys.stderr)
    out = []
    for prompt in GEMMA_PROMPTS:
        ids = [2] + text.encode(prompt)
        rows, top = logits(model, ids), []
        for at in range(3, len(ids), 4):
            values, places = rows[at].topk(20)
            top.append({'at': at, 'tokens': places.tolist(), 'logits': [round(value, 4) for value in values.tolist()]})
        print(repr(text.decode(ids + [int(rows[-1].argmax())])), file=sys.stderr)
        out.append({'text': prompt, 'ids': ids, 'top': top})
    return out


if __name__ == '__main__':
    os.makedirs(FOLDER, exist_ok=True)
    families = [tiny(family) for family in CONFIGS]
    lines = lambda items: '[\n' + ',\n'.join(json.dumps(item, separators=(',', ':')) for item in items) + '\n]'
    with open(os.path.join(HERE, 'families.json'), 'w') as out:
        print('{"families":', lines(families), file=out)
        print(',"gemma":', lines(gemma(sys.argv[1])), '}', file=out)
