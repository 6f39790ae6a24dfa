"""Write a GGUF model of Llama-3-8B's shape with random weights, for timing only.

usage: make_llama8b.py OUT.gguf

Types are what `llama-quantize Q4_0` chooses: everything Q4_0, output.weight Q6_K. Block scales are small, so that activations
stay finite; the 128,256 tokens of the vocabulary are made up. Written tensor by tensor; needs numpy and gguf.
"""
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type, GGUFWriter, LlamaFileType, TokenType

LAYERS, WIDTH, HEADS, KV_HEADS, FFN, VOCABULARY = 32, 4096, 32, 8, 14336, 128256
KV_WIDTH = WIDTH * KV_HEADS // HEADS


def tensors():
    """Name, shape, type in the order of the file."""
    yield "token_embd.weight", (VOCABULARY, WIDTH), Type.Q4_0
    yield "output_norm.weight", (WIDTH,), Type.F32
    yield "output.weight", (VOCABULARY, WIDTH), Type.Q6_K
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        yield prefix + "attn_norm.weight", (WIDTH,), Type.F32
        yield prefix + "ffn_norm.weight", (WIDTH,), Type.F32
        for part, rows, columns in [("attn_q", WIDTH, WIDTH), ("attn_k", KV_WIDTH, WIDTH), ("attn_v", KV_WIDTH, WIDTH), ("attn_output", WIDTH, WIDTH),
                                    ("ffn_gate", FFN, WIDTH), ("ffn_up", FFN, WIDTH), ("ffn_down", WIDTH, FFN)]:
            yield f"{prefix}{part}.weight", (rows, columns), Type.Q4_0


def row_bytes(shape, kind):
    elements, size = GGML_QUANT_SIZES[kind]
    return shape[1] // elements * size


def random_blocks(random, shape, kind):
    """Random codes under scales that give weights a deviation of about 0.02."""
    elements, size = GGML_QUANT_SIZES[kind]
    count = shape[0] * shape[1] // elements
    raw = random.integers(0, 1 << 64, (count * size + 7) // 8, dtype=np.uint64).view(np.uint8)[: count * size].reshape(count, size)
    low, high, offset = (0.0035, 0.0050, 0) if kind == Type.Q4_0 else (1.2e-5, 1.8e-5, 208)
    raw[:, offset : offset + 2] = random.uniform(low, high, count).astype(np.float16).view(np.uint8).reshape(count, 2)
    return raw.reshape(shape[0], -1)


def main():
    random = np.random.default_rng(7)
    writer = GGUFWriter(sys.argv[1], "llama")
    writer.add_name("llama-8b-shape random Q4_0")
    writer.add_file_type(LlamaFileType.MOSTLY_Q4_0)
    writer.add_quantization_version(2)
    writer.add_vocab_size(VOCABULARY)
    writer.add_context_length(8192)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL] + [TokenType.BYTE] * 256
    tokens += [f"\u2581t{index}" for index in range(len(tokens), VOCABULARY)]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [float(-index) for index in range(VOCABULARY - 259)])
    writer.add_token_types(types + [TokenType.NORMAL] * (VOCABULARY - len(types)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    for name, shape, kind in tensors():
        if kind == Type.F32:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), shape[0] * 4)
        else:
            size = row_bytes(shape, kind)
            writer.add_tensor_info(name, (shape[0], size), np.dtype(np.uint8), shape[0] * size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, shape, kind in tensors():
        writer.write_tensor_data(np.ones(shape, np.float32) if kind == Type.F32 else random_blocks(random, shape, kind))
    writer.close()


if __name__ == "__main__":
    main()
