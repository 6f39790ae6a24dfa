"""Write the goldens of rotary position embeddings: frequencies and attention scaling of transformers for all its types.

usage: rope.py [OUT.json]                       OUT.json: tests/data/goldens/rope.json

Each case holds keys of a Llama config.json ("config"), the length in tokens where it matters ("tokens", else null), and what
transformers makes of them: "inv_freq" in float32 (nine digits tell them apart) and "attention_scaling".
"""
import json
import pathlib
import sys

import transformers
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

import goldens

ROOT = pathlib.Path(__file__).resolve().parents[2]


def heads(head_dim, **keys):
    return {"hidden_size": 32 * head_dim, "num_attention_heads": 32, "head_dim": head_dim} | keys


def new(kind, theta, **keys):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta} | keys}


def old(kind, theta, key="rope_type", **keys):
    return {"rope_theta": theta, "rope_scaling": {key: kind} | keys}


LLAMA31 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
LLAMA32 = LLAMA31 | {"factor": 32.0}
PHI3_SHORT = [1.0, 1.02, 1.03, 1.04, 1.05, 1.05, 1.05, 1.06, 1.08, 1.09, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 1.9, 2.0, 2.0, 2.1, 2.2, 2.4]
PHI3_LONG = [round(1.03 * 1.19**index, 3) for index in range(24)]

CASES = {
    "llama-2": (heads(128, max_position_embeddings=4096, rope_theta=10000.0), None),
    "llama-3": (heads(128, max_position_embeddings=8192, rope_theta=500000.0), None),
    "theta as an integer": (heads(64, max_position_embeddings=8192, rope_theta=100000), None),
    "default, new keys": (heads(64, max_position_embeddings=8192) | new("default", 100000.0), None),
    "no keys at all": (heads(80, max_position_embeddings=2048), None),
    "linear, old key": (heads(128, max_position_embeddings=16384) | old("linear", 100000.0, "type", factor=4.0), None),
    "linear": (heads(64, max_position_embeddings=8192) | new("linear", 10000.0, factor=8.0), None),
    "linear, partial rotary": (heads(80, max_position_embeddings=8192) | new("linear", 10000.0, factor=2.0, partial_rotary_factor=0.4), None),
    "dynamic, at start": (heads(128, max_position_embeddings=4096) | old("dynamic", 10000.0, "type", factor=2.0), None),
    "dynamic, short": (heads(128, max_position_embeddings=4096) | old("dynamic", 10000.0, factor=2.0), 100),
    "dynamic, twice as long": (heads(128, max_position_embeddings=4096) | old("dynamic", 10000.0, factor=2.0), 8192),
    "dynamic, d 64": (heads(64, max_position_embeddings=2048) | new("dynamic", 10000.0, factor=4.0), 4096),
    "dynamic, one token over": (heads(64, max_position_embeddings=2048) | new("dynamic", 10000.0, factor=4.0), 2049),
    "llama-3.1": (heads(128, max_position_embeddings=131072) | old("llama3", 500000.0, **LLAMA31), None),
    "llama-3.2-1b": (heads(64, max_position_embeddings=131072) | old("llama3", 500000.0, **LLAMA32), None),
    "llama3, new keys": (heads(128, max_position_embeddings=131072) | new("llama3", 500000.0, **LLAMA31), None),
    "yarn, qwen2.5": (heads(128, max_position_embeddings=32768) | old("yarn", 1000000.0, "type", factor=4.0, original_max_position_embeddings=32768), None),
    "yarn, gpt-oss": (heads(64, max_position_embeddings=131072) | new("yarn", 150000.0, factor=32.0, beta_fast=32.0, beta_slow=1.0,
                                                                      original_max_position_embeddings=4096, truncate=False), None),
    "yarn, no original length": (heads(128, max_position_embeddings=8192) | new("yarn", 10000.0, factor=8.0), None),
    "yarn, factor null": (heads(128, max_position_embeddings=16384) | new("yarn", 10000.0, factor=None, original_max_position_embeddings=4096), None),
    "yarn, mscale both": (heads(64, max_position_embeddings=163840) | new("yarn", 10000.0, factor=40.0, mscale=0.707, mscale_all_dim=1.0,
                                                                           original_max_position_embeddings=4096), None),
    "yarn, mscale equal": (heads(64, max_position_embeddings=163840) | new("yarn", 10000.0, factor=40.0, mscale=1.0, mscale_all_dim=1.0,
                                                                            original_max_position_embeddings=4096), None),
    "yarn, mscale alone": (heads(64, max_position_embeddings=163840) | new("yarn", 10000.0, factor=40.0, mscale=0.5,
                                                                            original_max_position_embeddings=4096), None),
    "yarn, mscale_all_dim zero": (heads(64, max_position_embeddings=163840) | new("yarn", 10000.0, factor=40.0, mscale=0.5, mscale_all_dim=0.0,
                                                                                   original_max_position_embeddings=4096), None),
    "yarn, attention_factor": (heads(128, max_position_embeddings=32768) | new("yarn", 1000000.0, factor=4.0, attention_factor=1.25, mscale=0.5,
                                                                               mscale_all_dim=0.9, original_max_position_embeddings=8192), None),
    "yarn, betas": (heads(128, max_position_embeddings=32768) | new("yarn", 1000000.0, factor=4.0, beta_fast=8, beta_slow=4,
                                                                    original_max_position_embeddings=8192), None),
    "yarn, betas null": (heads(128, max_position_embeddings=32768) | new("yarn", 1000000.0, factor=4.0, beta_fast=None, beta_slow=0,
                                                                         original_max_position_embeddings=8192), None),
    "yarn, equal bounds": (heads(16, max_position_embeddings=64) | new("yarn", 1e10, factor=4.0, beta_fast=32.0, beta_slow=32.0,
                                                                       original_max_position_embeddings=16, truncate=False), None),
    "yarn, partial rotary": (heads(128, max_position_embeddings=32768) | new("yarn", 10000.0, factor=4.0, partial_rotary_factor=0.5,
                                                                             original_max_position_embeddings=8192), None),
    "longrope, short": (heads(48, max_position_embeddings=131072, original_max_position_embeddings=4096)
                        | old("longrope", 10000.0, "type", short_factor=PHI3_SHORT, long_factor=PHI3_LONG), 4096),
    "longrope, long": (heads(48, max_position_embeddings=131072, original_max_position_embeddings=4096)
                       | old("longrope", 10000.0, "type", short_factor=PHI3_SHORT, long_factor=PHI3_LONG), 4097),
    "longrope, nested original length": (heads(48, max_position_embeddings=131072)
                                         | new("longrope", 10000.0, short_factor=PHI3_SHORT, long_factor=PHI3_LONG,
                                               original_max_position_embeddings=8192), 5000),
    "longrope, attention_factor": (heads(48, max_position_embeddings=131072, original_max_position_embeddings=4096)
                                   | new("longrope", 10000.0, short_factor=PHI3_SHORT, long_factor=PHI3_LONG, attention_factor=1.5), 8192),
    "longrope, not longer": (heads(48, max_position_embeddings=4096, original_max_position_embeddings=4096)
                             | new("longrope", 10000.0, short_factor=PHI3_SHORT, long_factor=PHI3_LONG), 100),
    "longrope, factor given": (heads(48, max_position_embeddings=131072, original_max_position_embeddings=4096)
                               | new("longrope", 10000.0, factor=4.0, short_factor=PHI3_SHORT, long_factor=PHI3_LONG), 5000),
}


def main():
    transformers.utils.logging.set_verbosity_error()
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/data/goldens/rope.json"
    lines = []
    for name, (keys, tokens) in CASES.items():
        config = LlamaConfig(**json.loads(json.dumps(keys)))
        kind = config.rope_parameters["rope_type"]
        if kind == "default":
            inv_freq, scaling = LlamaRotaryEmbedding.compute_default_rope_parameters(config)
        else:
            inv_freq, scaling = ROPE_INIT_FUNCTIONS[kind](config, seq_len=tokens)
        values = ", ".join(f"{value:.9g}" for value in inv_freq.tolist())
        head = json.dumps({"name": name, "config": {"model_type": "llama"} | keys, "tokens": tokens, "attention_scaling": float(scaling)})
        lines.append(f'{head[:-1]}, "inv_freq": [{values}]}}')
        print(f"{name:36s} {kind:9s} {scaling:.9f} {inv_freq[1].item():.7g} {inv_freq[-1].item():.7g}")
    made_by = json.dumps(goldens.made_by("rope.py"))
    out.write_text(f'{{"made_by": {made_by}, "cases": [\n' + ",\n".join(lines) + "\n]}\n")


if __name__ == "__main__":
    main()
