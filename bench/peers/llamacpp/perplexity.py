#!/usr/bin/env python3
"""Holds narae's perplexity and KL divergence against llama.cpp's, and reprints the tables of docs/evaluation.md.

  perplexity.py PEER NARAE TEXT [--chunks N] [--work FOLDER] [--json FILE]

PEER: build/peer, as build.sh makes it, with llama-perplexity (`ninja -C build/peer/build llama-perplexity`); NARAE: the program;
TEXT: WikiText-2's wiki.test.raw. About 6 minutes on two cores with --chunks 20, and 1.2 GB in FOLDER (default: PEER/perplexity).

Both programs compute the F32 files exactly, so those numbers must agree to rounding; with quantized files both round
activations to 8 bits, each its own way.
"""

import argparse
import json
import pathlib
import re
import subprocess

NUMBER = r"(-?\d+\.\d+|-?nan|-?inf)"


def run(command):
    print("$ " + " ".join(map(str, command)), flush=True)
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"exit code {done.returncode}:\n{done.stderr[-2000:]}")
    return done


def llama_perplexity(program, model, text, chunks, base=None):
    command = [program, "-m", model, "-f", text, "--chunks", chunks, "-t", 2]
    if base:
        command += ["--kl-divergence-base", base]
    done = run(command)
    value, error = re.search(rf"PPL = {NUMBER} \+/- {NUMBER}", done.stdout + done.stderr).groups()
    return float(value), float(error)


LLAMA_LINES = {
    "ppl": r"Mean PPL\(Q\)\s+:",
    "base_ppl": r"Mean PPL\(base\)\s+:",
    "correlation": r"Cor\(ln\(PPL\(Q\)\), ln\(PPL\(base\)\)\):",
    "ln_ratio": r"Mean ln\(PPL\(Q\)/PPL\(base\)\)\s+:",
    "ratio": r"Mean PPL\(Q\)/PPL\(base\)\s+:",
    "kld": r"Mean    KLD:",
    "kld max": r"Maximum KLD:",
    "kld p99.9": r"99\.9%   KLD:",
    "kld p99": r"99\.0%   KLD:",
    "kld p90": r"90\.0%   KLD:",
    "kld median": r"Median  KLD:",
    "kld p10": r"10\.0%   KLD:",
    "kld min": r"Minimum KLD:",
    "delta_p": r"Mean    Δp:",
    "delta_p max": r"Maximum Δp:",
    "delta_p min": r"Minimum Δp:",
    "delta_p_rms": r"RMS Δp    :",
    "same_top": r"Same top p:",
}
PER_CENT = {"correlation", "delta_p", "delta_p max", "delta_p min", "delta_p_rms", "same_top"}


def llama_divergence(program, model, base):
    done = run([program, "-m", model, "--kl-divergence-base", base, "--kl-divergence", "-t", 2])
    found = {}
    for name, pattern in LLAMA_LINES.items():
        match = re.search(rf"{pattern}\s*{NUMBER}(?:\s*%?\s*±\s*{NUMBER})?", done.stdout + done.stderr)
        if not match:
            raise SystemExit(f"llama-perplexity did not print {name}")
        found[name] = float(match.group(1))
    return found


def narae_perplexity(program, model, text, chunks, activations, *more):
    result = json.loads(run([program, "eval", "ppl", model, "--text", text, "--chunks", chunks, "--activations", activations,
                             "--json", *more]).stdout)["results"][0]
    return result["ppl"], result["ppl_error"], result["timings"]["tokens_per_second"]


def narae_divergence(program, model, activations, *base):
    s = json.loads(run([program, "eval", "kld", model, "--activations", activations, "--json", *base]).stdout)["statistics"]
    found = {"correlation": 100 * s["correlation"]}
    for name in LLAMA_LINES:
        if name == "correlation":
            continue
        key, _, percentile = name.partition(" ")
        value = s[f"{key}_percentiles"][percentile] if percentile else s[key]["value"]
        found[name] = 100 * value if name in PER_CENT else value
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=pathlib.Path)
    parser.add_argument("narae", type=pathlib.Path)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    work = options.work or options.peer / "perplexity"
    work.mkdir(parents=True, exist_ok=True)
    llama = options.peer / "build/bin/llama-perplexity"
    stem = "SmolLM2-135M-Instruct"
    q4_1, q4_0 = (options.peer / f"models/{stem}.{kind}.gguf" for kind in ("Q4_1", "Q4_0"))
    q4_1_f32, q4_0_f32 = work / f"{stem}.Q4_1.F32.gguf", work / f"{stem}.Q4_0.F32.gguf"
    for source, target in ((q4_1, q4_1_f32), (q4_0, q4_0_f32)):
        if not target.exists():
            run([options.narae, "convert", source, target, "--dtype", "f32"])

    perplexities = []
    llama_base, narae_base = work / "llama.base", work / "narae.base"
    for name, theirs, ours, activations, bases in (
        ("F32 copy of Q4_1, exact", q4_1_f32, q4_1_f32, "f32", (llama_base, narae_base)),
        ("Q4_1, 8-bit activations", q4_1, q4_1, "int8", None),
        ("Q4_0, 8-bit activations", q4_0, q4_0, "int8", None),
    ):
        value, error = llama_perplexity(llama, theirs, options.text, options.chunks, bases and bases[0])
        more = ("--save-base", bases[1]) if bases else ()
        our_value, our_error, speed = narae_perplexity(options.narae, ours, options.text, options.chunks, activations, *more)
        perplexities.append({"file": name, "llama.cpp": value, "llama.cpp_error": error, "narae": our_value,
                             "narae_error": our_error, "tokens_per_second": speed})

    # Q is the F32 copy of the Q4_0 file: both programs compute it exactly, so that nothing but the statistics differs.
    columns = {
        "llama.cpp, its base": llama_divergence(llama, q4_0_f32, llama_base),
        "narae, its base": narae_divergence(options.narae, q4_0_f32, "f32", "--kld-base", llama_base),
        "llama.cpp, narae's base": llama_divergence(llama, q4_0_f32, narae_base),
        "narae, narae's base": narae_divergence(options.narae, q4_0_f32, "f32", "--kld-base", narae_base),
        "narae, both models": narae_divergence(options.narae, q4_0_f32, "f32", "--base", q4_1_f32, "--text", options.text,
                                              "--chunks", options.chunks),
    }

    print(f"\n{options.chunks} windows of 512 of {options.text.name}\n")
    print("| file | llama.cpp | narae | difference | narae tokens/s |\n| --- | ---: | ---: | ---: | ---: |")
    for row in perplexities:
        difference = row["narae"] / row["llama.cpp"] - 1
        print(f"| {row['file']} | {row['llama.cpp']:.4f} ± {row['llama.cpp_error']:.5f} | {row['narae']:.4f} ± "
              f"{row['narae_error']:.5f} | {100 * difference:+.4f} % | {row['tokens_per_second']:.0f} |")
    print("\n| statistic | " + " | ".join(columns) + " |\n| --- |" + " ---: |" * len(columns))
    for name in LLAMA_LINES:
        unit = " %" if name in PER_CENT else ""
        print(f"| {name} | " + " | ".join(f"{column[name]:.6f}{unit}" for column in columns.values()) + " |")
    if options.json:
        options.json.write_text(json.dumps({"chunks": options.chunks, "perplexity": perplexities, "divergence": columns}, indent=2))


if __name__ == "__main__":
    main()
