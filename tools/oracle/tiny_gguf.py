"""Write the tiny GGUF models of the tests with their goldens: the weights dequantized, run by transformers in float32.

usage: tiny_gguf.py [OUT_DIR]                   OUT_DIR: tests/data/models

  gguf-mixed/model.gguf             every block type narae reads and F16, BF16, F32; five layers, tied head
  gguf-v2/model.gguf                version 2 of the layout; biases (q and k permuted as their weights are), linear RoPE scaling, own head
  gguf-split/model-0000N-of-00003.gguf   three files; llama3 RoPE scaling as the factors of rope_freqs.weight

Tensors are named, permuted and typed as llama.cpp's converter does it. Blocks that gguf-py can write are quantized from
random weights; K-quants, which it can only read, are random blocks with fitting scales.
"""
import pathlib
import shutil
import struct
import sys

import gguf
import numpy as np
import torch
import transformers
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from transformers import LlamaConfig, LlamaForCausalLM

import goldens
import tiny_tokenizer
from gguf_llama import hf_name, permute, unpermute

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = "tiny_gguf.py"
# Of each K-quant: where its half-precision scales lie, and the mean code that the minimum has to take back.
K_QUANTS = {Type.Q2_K: (80, 82, 1.5), Type.Q3_K: (108, None, 0), Type.Q4_K: (0, 2, 7.5), Type.Q5_K: (0, 2, 15.5), Type.Q6_K: (208, None, 0)}


def half_bytes(value):
    return np.frombuffer(np.float16(value).tobytes(), np.uint8)


def random_k_blocks(kind, shape, random):
    """Random blocks of a K-quant, of deviation about 1.4 / sqrt(inputs) and mean about zero."""
    elements, size = GGML_QUANT_SIZES[kind]
    scale_at, minimum_at, mean_code = K_QUANTS[kind]
    blocks = random.integers(0, 256, (shape[0] * shape[1] // elements, size), dtype=np.uint8)

    def set_scale(scale):
        blocks[:, scale_at : scale_at + 2] = half_bytes(scale)
        if minimum_at is not None:
            blocks[:, minimum_at : minimum_at + 2] = half_bytes(scale * mean_code)

    set_scale(1.0)
    set_scale(1.4 / shape[1] ** 0.5 / gguf.quants.dequantize(blocks, kind).std())
    return blocks.reshape(shape[0], -1)


class Model:
    """A GGUF model in the making: what goes into the file and, beside it, what transformers has to load."""

    def __init__(self, name, **keys):
        self.config = LlamaConfig(**({"vocab_size": tiny_tokenizer.VOCABULARY, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "bos_token_id": 0,
                                      "eos_token_id": 2} | keys))
        self.random = np.random.default_rng(sum(name.encode()))
        self.tensors = []  # name, stored array, type
        self.state = {}

    def heads(self, part):
        return {"attn_q": self.config.num_attention_heads, "attn_k": self.config.num_key_value_heads}.get(part)

    def add(self, name, shape, kind, deviation=None):
        part = name.split(".")[-2]
        heads = self.heads(part)
        if kind in K_QUANTS:
            stored = random_k_blocks(kind, shape, self.random)
            values = gguf.quants.dequantize(stored, kind)
        else:
            weights = self.random.normal(0, deviation or 1.4 / shape[-1] ** 0.5, shape).astype(np.float32)
            if part.endswith("norm"):
                weights = (1 + 0.2 * self.random.normal(0, 1, shape)).astype(np.float32)
            if heads:
                weights = permute(weights, heads)
            stored = weights.astype(np.float16) if kind == Type.F16 else weights if kind == Type.F32 else gguf.quants.quantize(weights, kind)
            values = stored.astype(np.float32) if kind in (Type.F32, Type.F16) else gguf.quants.dequantize(stored, kind)
        self.tensors.append((name, stored, kind))
        self.state[hf_name(name)] = torch.from_numpy(unpermute(values, heads) if heads else values.copy())

    def add_layer(self, layer, kinds, biases=False):
        """kinds: the types of q, k, v, output, gate, up, down."""
        c, prefix = self.config, f"blk.{layer}."
        width, ffn, queries, keys = c.hidden_size, c.intermediate_size, c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        shapes = [("attn_q", queries, width), ("attn_k", keys, width), ("attn_v", keys, width), ("attn_output", width, queries),
                  ("ffn_gate", ffn, width), ("ffn_up", ffn, width), ("ffn_down", width, ffn)]
        self.add(prefix + "attn_norm.weight", (width,), Type.F32)
        self.add(prefix + "ffn_norm.weight", (width,), Type.F32)
        for (part, out, inputs), kind in zip(shapes, kinds, strict=True):
            self.add(f"{prefix}{part}.weight", (out, inputs), kind)
            if biases and part.startswith("attn_"):
                self.add(f"{prefix}{part}.bias", (out,), Type.F32, deviation=0.2)

    def write(self, path, extra_keys=(), extra_tensors=(), split=0):
        c = self.config
        writer = gguf.GGUFWriter(path, "llama", split_max_tensors=split)
        writer.add_name(path.parent.name)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
        writer.add_quantization_version(2)
        writer.add_vocab_size(c.vocab_size)
        writer.add_context_length(c.max_position_embeddings)
        writer.add_embedding_length(c.hidden_size)
        writer.add_block_count(c.num_hidden_layers)
        writer.add_feed_forward_length(c.intermediate_size)
        writer.add_head_count(c.num_attention_heads)
        writer.add_head_count_kv(c.num_key_value_heads)
        writer.add_key_length(c.head_dim)
        writer.add_value_length(c.head_dim)
        writer.add_rope_dimension_count(c.head_dim)
        writer.add_rope_freq_base(c.rope_parameters["rope_theta"])
        writer.add_layer_norm_rms_eps(c.rms_norm_eps)
        for add, *values in extra_keys:
            getattr(writer, add)(*values)
        tokens, types, merges = tiny_tokenizer.gguf_lists(tiny_tokenizer.build())
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        writer.add_token_merges(merges)
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(2)
        writer.add_pad_token_id(2)
        writer.add_add_bos_token(False)
        writer.add_chat_template(tiny_tokenizer.CHAT_TEMPLATE)
        for name, stored, kind in list(extra_tensors) + self.tensors:
            writer.add_tensor(name, stored, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def oracle(self):
        self.config._attn_implementation = "eager"
        model = LlamaForCausalLM(self.config).float().eval()
        missing, unexpected = model.load_state_dict(self.state, strict=False)
        assert not unexpected and set(missing) <= ({"lm_head.weight"} if self.config.tie_word_embeddings else set()), (missing, unexpected)
        model.tie_weights()
        return model


def llama3_factors(config):
    """What the converter writes as rope_freqs.weight: the divisors of the plain frequencies."""
    p = config.rope_parameters
    frequencies = p["rope_theta"] ** (-np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim)
    wavelengths = 2 * np.pi / frequencies
    low, high = p["original_max_position_embeddings"] / p["low_freq_factor"], p["original_max_position_embeddings"] / p["high_freq_factor"]
    smooth = (p["original_max_position_embeddings"] / wavelengths - p["low_freq_factor"]) / (p["high_freq_factor"] - p["low_freq_factor"])
    between = 1 / ((1 - smooth) / p["factor"] + smooth)
    return np.where(wavelengths < high, 1, np.where(wavelengths > low, p["factor"], between)).astype(np.float32)


def fresh(out, name):
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def mixed(out):
    folder = fresh(out, "gguf-mixed")
    model = Model(folder.name, hidden_size=64, intermediate_size=256, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=2,
                  tie_word_embeddings=True)
    model.add("token_embd.weight", (320, 64), Type.Q8_0, deviation=0.3)
    kinds = [
        [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.Q4_0, Type.Q6_K],
        [Type.Q4_1, Type.Q4_0, Type.F16, Type.Q4_1, Type.Q4_0, Type.Q4_1, Type.Q4_K],
        [Type.Q5_0, Type.Q5_1, Type.BF16, Type.Q8_0, Type.Q4_1, Type.Q5_0, Type.Q5_K],
        [Type.Q8_0, Type.Q8_0, Type.Q8_0, Type.Q4_0, Type.Q5_1, Type.Q4_0, Type.Q3_K],
        [Type.F16, Type.BF16, Type.F32, Type.F16, Type.Q4_0, Type.Q4_0, Type.Q2_K],
    ]
    for layer, layer_kinds in enumerate(kinds):
        model.add_layer(layer, layer_kinds)
    model.add("output_norm.weight", (64,), Type.F32)
    model.write(folder / "model.gguf")
    goldens.write(folder, model.oracle(), SCRIPT)


def version_2(out):
    folder = fresh(out, "gguf-v2")
    rope = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
    model = Model(folder.name, hidden_size=32, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
                  attention_bias=True, tie_word_embeddings=False, rope_parameters=rope)
    model.add("token_embd.weight", (320, 32), Type.F16, deviation=0.3)
    for layer in range(2):
        model.add_layer(layer, [Type.F16] * 7, biases=True)
    model.add("output_norm.weight", (32,), Type.F32)
    model.add("output.weight", (320, 32), Type.Q8_0)
    path = folder / "model.gguf"
    model.write(path, extra_keys=[("add_rope_scaling_type", gguf.RopeScalingType.LINEAR), ("add_rope_scaling_factor", 2.0)])
    content = bytearray(path.read_bytes())
    assert struct.unpack_from("<I", content, 4)[0] == 3
    struct.pack_into("<I", content, 4, 2)  # versions 2 and 3 lie alike on a little-endian machine
    path.write_bytes(content)
    goldens.write(folder, model.oracle(), SCRIPT)


def split(out):
    folder = fresh(out, "gguf-split")
    rope = {"rope_type": "llama3", "rope_theta": 1000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}
    model = Model(folder.name, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1,
                  tie_word_embeddings=True, rope_parameters=rope)
    model.add("token_embd.weight", (320, 64), Type.Q8_0, deviation=0.3)
    for layer in range(2):
        model.add_layer(layer, [Type.Q8_0] * 7)
    model.add("output_norm.weight", (64,), Type.F32)
    model.write(folder / "model.gguf", extra_tensors=[("rope_freqs.weight", llama3_factors(model.config), Type.F32)], split=8)
    goldens.write(folder, model.oracle(), SCRIPT)


def main():
    transformers.utils.logging.set_verbosity_error()
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/data/models"
    mixed(out)
    version_2(out)
    split(out)


if __name__ == "__main__":
    main()
