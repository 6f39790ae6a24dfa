"""A Llama GGUF file as a float32 transformers model and a Hugging Face tokenizer: dequantized by gguf-py, rows un-permuted."""
import gguf
import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

HF_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head", "attn_norm": "input_layernorm",
            "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
            "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def hf_name(name):
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("blk."):
        _, layer, part = stem.split(".")
        return f"model.layers.{layer}.{HF_NAMES[part]}.{kind}"
    return f"{HF_NAMES[stem]}.{kind}"


def permute(rows, heads):
    """From the half-split rows of Hugging Face to adjacent pairs."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def unpermute(rows, heads):
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def value(reader, key, default=None):
    field = reader.get_field(key)
    return default if field is None else field.contents()


def config(reader):
    get = lambda key, default=None: value(reader, "llama." + key, default)
    names = {tensor.name for tensor in reader.tensors}
    return LlamaConfig(
        vocab_size=len(value(reader, "tokenizer.ggml.tokens")), hidden_size=get("embedding_length"), num_hidden_layers=get("block_count"),
        intermediate_size=get("feed_forward_length"), num_attention_heads=get("attention.head_count"),
        num_key_value_heads=get("attention.head_count_kv", get("attention.head_count")), head_dim=get("attention.key_length"),
        max_position_embeddings=get("context_length"), rms_norm_eps=float(np.float32(get("attention.layer_norm_rms_epsilon"))),
        rope_parameters={"rope_type": "default", "rope_theta": get("rope.freq_base", 10000.0)}, tie_word_embeddings="output.weight" not in names,
        bos_token_id=value(reader, "tokenizer.ggml.bos_token_id"), eos_token_id=value(reader, "tokenizer.ggml.eos_token_id"))


def load_model(path):
    """The model in float32 with eager attention; plain RoPE only."""
    reader = gguf.GGUFReader(path)
    settings = config(reader)
    heads = {"attn_q": settings.num_attention_heads, "attn_k": settings.num_key_value_heads}
    state = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        part = tensor.name.split(".")[-2]
        state[hf_name(tensor.name)] = torch.from_numpy(unpermute(values, heads[part]) if part in heads else values)
    settings._attn_implementation = "eager"
    model = LlamaForCausalLM(settings).float().eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= ({"lm_head.weight"} if settings.tie_word_embeddings else set()), (missing, unexpected)
    model.tie_weights()
    return model


def load_tokenizer(path):
    """SmolLM2's tokenizer as its tokenizer.json describes it: digits one by one, then GPT-2's byte-level pieces."""
    reader = gguf.GGUFReader(path)
    assert value(reader, "tokenizer.ggml.pre") == "smollm", "only SmolLM2's pre-tokenizer is built here"
    tokens, types = value(reader, "tokenizer.ggml.tokens"), value(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in value(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token, kind in zip(tokens, types) if kind == 3])
    return tokenizer
