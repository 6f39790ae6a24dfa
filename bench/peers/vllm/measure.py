#!/usr/bin/env python3
"""Measure vLLM on one GPU: decode speed, time to first token, start, memory. Prints one JSON document like `narae bench --json`.

usage: measure.py MODEL [--quantization awq|gptq|fp8] [--kernel machete|marlin] [--batches 1,8,32] [--cache FOLDER]

MODEL is a folder with config.json. Its weights are read if they are there, else vLLM makes up random ones of the shape and,
with --quantization awq or gptq, of 4 bits in groups of 128. fp8 is quantized by vLLM itself while it loads. Prompts are random
ids that never repeat, so no prefix is found in a cache; answers go on past the end token.

A decode sample is a long answer's time less a short one's, so the prompts' part cancels. On Hopper vLLM takes Machete for 4
bits; --kernel marlin keeps it from that. --cache holds what vLLM compiles: an empty folder makes a first start, the folder of
an earlier run with the same options a later one.
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

# The groups and bits of the files that AutoAWQ and GPTQModel write by default.
QUANTIZATION = {
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"},
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False, "lm_head": False,
             # Otherwise vLLM reads from the weight files, which are not there, which layers are quantized.
             "checkpoint_format": "gptq",
             "modules_in_block_to_quantize": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]},
}
SHORT = 32  # tokens of the short answer


def process_seconds():
    """Since this process was started, Python's own start included."""
    fields = open("/proc/self/stat", encoding="ascii").read().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def gpu_used_mib():
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])


def host_mib():
    """Memory of this process and those that vLLM started, each page counted once."""
    total, waiting = 0, [os.getpid()]
    while waiting:
        process = pathlib.Path("/proc", str(waiting.pop()))
        try:
            waiting += [int(child) for tasks in process.glob("task/*/children") for child in tasks.read_text().split()]
            total += next(int(line.split()[1]) for line in (process / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
        except OSError:
            continue  # ended meanwhile
    return total >> 10


# ---- run inside vLLM's worker ---------------------------------------------------------------------------------------

def weight_bytes(model):
    """All weights, and those of them that a step reads: not an embedding of which single rows are taken."""
    sizes = {name: parameter.numel() * parameter.element_size() for name, parameter in model.named_parameters()}
    names = " ".join(sizes)
    tied = "lm_head" not in names
    return {"all": sum(sizes.values()), "read": sum(size for name, size in sizes.items() if tied or "embed_tokens" not in name)}


def kernels_of(model):
    """The classes of the kernels that multiply packed weights."""
    methods = [getattr(module, "quant_method", None) for module in model.modules()]
    return sorted({type(method.kernel).__name__ for method in methods if hasattr(method, "kernel")})


def fill_packed(model):
    """Random bits into the packed integers, which vLLM's made-up weights leave as they were allocated."""
    import torch
    for parameter in model.parameters():
        if parameter.dtype == torch.int32 and parameter.dim() == 2 and parameter.is_cuda:
            parameter.data.random_(-2**31, 2**31)


# ---- measuring ------------------------------------------------------------------------------------------------------

def prepare(arguments, cache):
    """The folder that vLLM loads, and whether its weights are files."""
    files = sorted(arguments.model.glob("*.safetensors"))
    config = json.loads((arguments.model / "config.json").read_text(encoding="utf-8"))
    if files and arguments.quantization not in QUANTIZATION:
        return arguments.model, config, True
    if arguments.quantization in QUANTIZATION:
        config["quantization_config"] = QUANTIZATION[arguments.quantization]
    folder = cache / "model"  # the same path each time: what was compiled is found by it
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder, config, False


def kv_bytes_per_token(config):
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return 2 * config["num_hidden_layers"] * config.get("num_key_value_heads", config["num_attention_heads"]) * head * 2


def load(arguments, folder, config, from_files):
    import vllm
    imported = process_seconds()
    longest = arguments.prompt + SHORT + arguments.new
    # Room for what is measured. vLLM's default, nine tenths of the card, would say nothing about the memory that it needs.
    tokens = max(arguments.batches) * (longest + 32) + 2 * arguments.context
    options = {"kv_cache_memory_bytes": tokens * kv_bytes_per_token(config)} if not arguments.whole_card else {}
    if arguments.quantization == "fp8":
        options["quantization"] = "fp8"
    model = vllm.LLM(model=str(folder), load_format="auto" if from_files else "dummy", skip_tokenizer_init=True, max_model_len=arguments.context,
                     seed=0, **options)
    return model, vllm.__version__, imported


def measure(arguments, cache):
    first_start = not any(cache.iterdir())
    folder, config, from_files = prepare(arguments, cache)
    before = gpu_used_mib()
    model, version, imported = load(arguments, folder, config, from_files)
    from vllm import SamplingParams
    ready = process_seconds()
    numbers = random.Random(time.time_ns())

    def generate(sequences, prompt, new):
        # The last ids of a vocabulary are often special.
        prompts = [{"prompt_token_ids": numbers.choices(range(config["vocab_size"] * 9 // 10), k=prompt)} for _ in range(sequences)]
        sampling = SamplingParams(temperature=0.0, max_tokens=new, ignore_eos=True, detokenize=False)
        start = time.perf_counter()
        answers = model.generate(prompts, sampling, use_tqdm=False)
        seconds = time.perf_counter() - start
        produced = sum(len(answer.outputs[0].token_ids) for answer in answers)
        if produced != sequences * new:
            sys.exit(f"vLLM answered with {produced} tokens, asked for {sequences * new}")
        return seconds

    generate(1, 16, 1)
    start = {"first": first_start, "import_s": imported, "ready_s": ready, "first_token_s": process_seconds(), "weights": "files" if from_files else "made up"}
    loaded = gpu_used_mib() - before
    if arguments.quantization in QUANTIZATION:
        model.apply_model(fill_packed)
    weights = model.apply_model(weight_bytes)[0]
    kernels = model.apply_model(kernels_of)[0]

    rows = []
    for sequences in arguments.batches:
        generate(sequences, arguments.prompt, SHORT)
        seconds = []
        for _ in range(arguments.rounds):
            short = generate(sequences, arguments.prompt, SHORT)
            seconds.append(generate(sequences, arguments.prompt, SHORT + arguments.new) - short)
        depth = arguments.prompt + SHORT
        rates = [sequences * arguments.new / each for each in seconds]
        step_bytes = weights["read"] + kv_bytes_per_token(config) * sequences * (depth + (arguments.new + 1) / 2)
        rows.append({"test": f"tg{arguments.new}" + (f" x {sequences}" if sequences > 1 else "") + f" @ d{depth}", "n_prompt": 0, "n_gen": arguments.new,
                     "n_depth": depth, "n_sequences": sequences, "samples_ts": rates, "samples_s": seconds, "median_ts": statistics.median(rates),
                     "min_ts": min(rates), "max_ts": max(rates), "gb_per_second": step_bytes * arguments.new / statistics.median(seconds) / 1e9})
    if arguments.first_token > 0:
        generate(1, arguments.first_token, 1)
        seconds = [generate(1, arguments.first_token, 1) for _ in range(2 * arguments.rounds)]
        rates = [arguments.first_token / each for each in seconds]
        rows.append({"test": f"pp{arguments.first_token}", "n_prompt": arguments.first_token, "n_gen": 0, "n_depth": 0, "n_sequences": 1, "samples_ts": rates,
                     "samples_s": seconds, "median_ts": statistics.median(rates), "min_ts": min(rates), "max_ts": max(rates),
                     "first_token_ms": statistics.median(seconds) * 1e3})
    return {"engine": "vllm", "version": version, "model": str(arguments.model), "quantization": arguments.quantization, "kernels": kernels, "start": start,
            "gpu_loaded_mib": loaded, "gpu_mib": gpu_used_mib() - before, "weights_bytes": weights["all"], "host_mib": host_mib(), "rows": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--quantization", choices=["none", "fp8", *QUANTIZATION], default="none")
    parser.add_argument("--kernel", choices=["machete", "marlin"])
    parser.add_argument("--batches", default="1,8,32", type=lambda text: [int(each) for each in text.split(",")])
    parser.add_argument("--prompt", type=int, default=128, help="tokens before a decoded answer")
    parser.add_argument("--new", type=int, default=256, help="tokens of an answer that are timed")
    parser.add_argument("--first-token", type=int, default=2048, help="tokens of the prompt whose first token is awaited; 0: none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--whole-card", action="store_true", help="leave the size of the KV cache to vLLM")
    parser.add_argument("--cache", type=pathlib.Path)
    arguments = parser.parse_args()

    # vLLM and the processes that it starts write to standard output, which is for the document.
    document_out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    cache = arguments.cache or pathlib.Path(tempfile.mkdtemp())
    cache.mkdir(parents=True, exist_ok=True)
    cache = cache.resolve()
    for name, folder in (("VLLM_CACHE_ROOT", "vllm"), ("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TRITON_CACHE_DIR", "triton"), ("CUDA_CACHE_PATH", "cuda"),
                         ("FLASHINFER_WORKSPACE_BASE", "flashinfer")):
        os.environ[name] = str(cache / folder)
    # apply_model sends functions to the worker, which vLLM takes for insecure: they are the ones above.
    os.environ.update(HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_ALLOW_INSECURE_SERIALIZATION="1")
    # Greedy answers do not use FlashInfer's sampling kernels, which vLLM would compile with nvcc while it starts.
    os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
    if arguments.kernel == "marlin":
        os.environ["VLLM_DISABLED_KERNELS"] = "MacheteLinearKernel"
    json.dump(measure(arguments, cache), document_out, indent=1)
    document_out.write("\n")
    document_out.flush()


if __name__ == "__main__":
    main()
