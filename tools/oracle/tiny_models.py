"""Write the tiny random models of the tests with their goldens: Hugging Face folders, float32 logits and greedy ids.

usage: tiny_models.py [OUT_DIR]                 OUT_DIR: tests/data/models

Weights come from a seed made of the folder's name. A golden is computed from the folder as it is on disk, loaded by
transformers in float32 with eager attention: the same arithmetic whatever type the weights are stored in. Models that
differ in their RoPE alone share one weight file by symbolic link. Keys of config.json are written as transformers 5
writes them or, where the table says v4, as version 4 did.
"""
import json
import pathlib
import shutil
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

import goldens
import tiny_tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = "tiny_models.py"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}

LLAMA = {"vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "bos_token_id": 0,
         "eos_token_id": 2}
GPT2 = {"vocab_size": 320, "n_embd": 36, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}


def rope(kind, theta=10000.0, **keys):
    return {"rope_type": kind, "rope_theta": theta} | keys


LLAMA_MODELS = {
    # every head its own keys; widths that are no multiple of 32
    "llama-plain": {"hidden_size": 40, "intermediate_size": 56, "num_key_value_heads": 4, "tie_word_embeddings": False, "dtype": "f32"},
    "llama-gqa-tied": {"dtype": "bf16", "tokenizer": True},
    "llama-bias": {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "dtype": "f16"},
    "llama-head-dim": {"head_dim": 24, "hidden_size": 48, "tie_word_embeddings": False, "vocab_size": 301, "rope_parameters": rope("default", 500000.0), "dtype": "bf16"},
    "llama-sharded": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "tie_word_embeddings": False, "dtype": "bf16", "shards": 3, "v4": True},
    "llama-rope-linear": {"rope_parameters": rope("linear", factor=4.0), "dtype": "bf16", "v4": True},
}
# RoPE types over the weights of llama-rope-linear.
YARN = {"factor": 4.0, "original_max_position_embeddings": 32}
LONG = {"short_factor": [1.0, 1.02, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5], "long_factor": [1.0, 1.1, 1.4, 2.0, 3.5, 6.0, 9.0, 12.0]}
ROPE_MODELS = {
    # the prompt is longer than the 16 positions: one prefill uses the base of its whole length
    "llama-rope-dynamic": {"max_position_embeddings": 16, "rope_parameters": rope("dynamic", factor=2.0), "v4": True, "greedy": False},
    "llama-rope-llama3": {"rope_parameters": rope("llama3", 100.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                  original_max_position_embeddings=64)},
    "llama-rope-llama3-v4": {"rope_parameters": rope("llama3", 500000.0, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                     original_max_position_embeddings=64), "v4": True},
    "llama-rope-yarn": {"rope_parameters": rope("yarn", **YARN)},
    "llama-rope-yarn-mscale": {"rope_parameters": rope("yarn", 1000.0, mscale=0.707, mscale_all_dim=1.0, beta_fast=16.0, beta_slow=2.0, **YARN)},
    "llama-rope-yarn-attention-factor": {"rope_parameters": rope("yarn", attention_factor=0.8, **YARN), "v4": True},
    "llama-rope-yarn-no-truncate": {"rope_parameters": rope("yarn", 150000.0, truncate=False, **YARN)},
    # 24 + 32 tokens stay below 64: the short list
    "llama-rope-longrope-short": {"rope_parameters": rope("longrope", **LONG), "original_max_position_embeddings": 64},
    # the prompt is already longer than 16: the long list
    "llama-rope-longrope-long": {"rope_parameters": rope("longrope", **LONG), "original_max_position_embeddings": 16, "v4": True},
}
GPT2_MODELS = {
    # as on the hub: no "transformer." before the names, the causal masks stored beside the weights
    "gpt2-plain": {"dtype": "f32", "prefix": "", "masks": True},
    "gpt2-inner": {"activation_function": "gelu", "n_inner": 60, "scale_attn_by_inverse_layer_idx": True, "n_layer": 3, "dtype": "bf16",
                   "prefix": "transformer."},
    "gpt2-untied": {"scale_attn_weights": False, "reorder_and_upcast_attn": True, "tie_word_embeddings": False, "vocab_size": 301,
                    "activation_function": "gelu_pytorch_tanh", "layer_norm_epsilon": 1e-6, "dtype": "f16", "prefix": "transformer."},
}


def fill(model, name):
    """Random weights that keep activations near one, so that every part of the model moves the logits."""
    generator = torch.Generator().manual_seed(sum(name.encode()) * 7919)
    with torch.no_grad():
        for key, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in key or ".ln_" in key:
                parameter.copy_((0.0 if key.endswith("bias") else 1.0) + 0.2 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(0.2 * noise)
            elif "embed_tokens" in key or ".wte" in key or ".wpe" in key:
                parameter.copy_(0.3 * noise)
            else:
                inputs = parameter.shape[0] if ".c_" in key else parameter.shape[1]
                parameter.copy_(1.4 / inputs**0.5 * noise)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_config(folder, config, dtype, v4, architecture):
    values = {"architectures": [architecture], "model_type": config.model_type, "dtype": str(dtype).removeprefix("torch.")}
    values |= {key: value for key, value in config.to_diff_dict().items() if key not in ("architectures", "dtype", "transformers_version")}
    if "original_max_position_embeddings" in values:  # transformers has copied a default beside it
        values["rope_parameters"].pop("original_max_position_embeddings", None)
    if v4:
        values["torch_dtype"] = values.pop("dtype")
        parameters = dict(values.pop("rope_parameters", None) or {"rope_type": "default"})
        values["rope_theta"] = parameters.pop("rope_theta", 10000.0)
        if parameters["rope_type"] == "linear":  # the oldest form says "type"
            parameters = {"type": parameters.pop("rope_type")} | parameters
        values["rope_scaling"] = None if parameters.get("rope_type") == "default" else parameters
    values["transformers_version"] = "4.57.6" if v4 else transformers.__version__
    write_json(folder / "config.json", values)
    write_json(folder / "generation_config.json", {"bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_id, "do_sample": False})


def save_weights(folder, tensors, shards):
    metadata = {"format": "pt"}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata=metadata)
        return
    names = sorted(tensors)
    weight_map = {}
    for shard in range(shards):
        part = names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata=metadata)
        weight_map |= {name: file for name in part}
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def fresh(out, name):
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def make(out, name, config, options, architecture):
    folder = fresh(out, name)
    dtype = DTYPES[options["dtype"]]
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fill(model, name)
    tied = config.tie_word_embeddings
    tensors = {key: value.to(dtype).contiguous() for key, value in model.state_dict().items() if not (tied and key == "lm_head.weight")}
    if "prefix" in options:
        tensors = {key.replace("transformer.", options["prefix"]): value for key, value in tensors.items()}
    if options.get("masks"):
        for layer in range(config.n_layer):
            tensors[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(1, 1, config.n_positions, config.n_positions, dtype=torch.uint8))
            tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    save_weights(folder, tensors, options.get("shards", 1))
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)
    write_config(folder, config, dtype, options.get("v4", False), architecture)
    extra = {"text": tiny_tokenizer.save(folder)} if options.get("tokenizer") else None
    goldens.write(folder, load(folder), SCRIPT, extra=extra)


def split(options, base):
    """The keys of the configuration, and the script's own options."""
    own = {"dtype", "shards", "v4", "prefix", "masks", "tokenizer", "greedy"}
    return base | {key: value for key, value in options.items() if key not in own}, {key: value for key, value in options.items() if key in own}


def main():
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/data/models"
    for name, table in LLAMA_MODELS.items():
        keys, options = split(table, LLAMA)
        make(out, name, LlamaConfig(**keys), options, "LlamaForCausalLM")
    for name, table in ROPE_MODELS.items():
        keys, options = split(table, LLAMA)
        folder = fresh(out, name)
        (folder / "model.safetensors").symlink_to("../llama-rope-linear/model.safetensors")
        write_config(folder, LlamaConfig(**keys), torch.bfloat16, options.get("v4", False), "LlamaForCausalLM")
        goldens.write(folder, load(folder), SCRIPT, with_greedy=options.get("greedy", True))
    for name, table in GPT2_MODELS.items():
        keys, options = split(table, GPT2)
        make(out, name, GPT2Config(**keys), options, "GPT2LMHeadModel")


if __name__ == "__main__":
    main()
