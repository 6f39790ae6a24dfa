#!/usr/bin/env python3
"""Print the tables of what bench/gpu.sh measured.

usage: gpu_table.py RESULTS.jsonl [--run NAME] [--markdown OUT.md]

A table for each run, since a claim about one program against another holds only for both in the same run on the same GPU. A
figure is the median over all samples of the run with the smallest and the largest; behind a decode figure stands the share of
the copy bandwidth, measured in the same run, at which weights and keys and values were read. The ratio is narae over the
better of vLLM's kernels, above 1 where narae is better.
"""
import argparse
import json
import pathlib
import statistics
import sys

NAMES = {"vllm": "vLLM", "fp8": "FP8", "awq": "AWQ", "gptq": "GPTQ"}
ORDER = ["decode", "first token", "process start to first token", "weights in memory", "GPU memory"]  # of the rows
LOWER_IS_BETTER = {"s", "ms", "MiB"}


def name_of(line):
    """The program and its format; of vLLM also the kernels that really ran."""
    quantization, _, kernel = line["variant"].partition(":")
    kernels = [name.removesuffix("LinearKernel") for name in line["document"].get("kernels", [])] if line["engine"] == "vllm" else []
    name = line["format"] if quantization == "none" else NAMES.get(quantization, quantization)
    return " ".join([NAMES.get(line["engine"], line["engine"]), ", ".join([name, *(kernels or [kernel] * bool(kernel))])])


class Run:
    """The samples of one run: (test, unit, digits) → program → list."""

    def __init__(self, line):
        self.about = {key: line[key] for key in ("run", "format", "shape", "gpu")}
        self.programs, self.samples, self.speeds, self.copies = [], {}, {}, []

    def add(self, line):
        document = line["document"]
        if line["kind"] == "copy":
            self.copies += document["samples"]
            return
        program = name_of(line)
        if program not in self.programs:
            self.programs.append(program)

        def put(test, unit, digits, values):
            self.samples.setdefault((test, unit, digits), {}).setdefault(program, []).extend(values)

        if line["kind"] == "start":
            # The first start of a run may find the driver asleep and files outside the page cache.
            first = document[:1] if line["round"] == 1 else []
            put("process start to first token, first", "s", 2, first)
            put("process start to first token, later", "s", 2, document[len(first):])
            return
        for row in document["rows"]:
            if row["n_gen"] > 0:
                test = f"decode, batch {row['n_sequences']}"
                put(test, "tok/s", 1, row["samples_ts"])
                self.speeds.setdefault((test, program), []).append(row["gb_per_second"])
            else:
                put(f"first token of {row['n_prompt']:,}", "ms", 1, [seconds * 1e3 for seconds in row["samples_s"]])
        if start := document.get("start"):
            put("process start to first token, " + ("first" if start["first"] else "later"), "s", 2, [start["first_token_s"]])
        weights = document["weights_bytes"] if "weights_bytes" in document else document["rows"][0]["weights_bytes"]
        put("weights in memory", "MiB", 0, [weights / 2**20])
        memory = [line["gpu_mib"]] if line["gpu_mib"] is not None else []
        # narae's decode and prompt are runs of their own, vLLM's one.
        if batches := [row["n_sequences"] for row in document["rows"] if row["n_gen"] > 0]:
            put(f"GPU memory, decode up to batch {max(batches)}", "MiB", 0, memory)
        if prompts := [row["n_prompt"] for row in document["rows"] if row["n_gen"] == 0]:
            put(f"GPU memory, prompt of {max(prompts):,}", "MiB", 0, memory)

    def cell(self, key, program):
        test, _, digits = key
        values = self.samples[key].get(program)
        if not values:
            return "–"
        text = f"{statistics.median(values):,.{digits}f}"
        if min(values) != max(values):
            text += f" [{min(values):,.{digits}f} … {max(values):,.{digits}f}]"
        if self.copies and (test, program) in self.speeds:
            text += f", {statistics.median(self.speeds[test, program]) / statistics.median(self.copies):.0%}"
        return text

    def ratio(self, key):
        medians = {program: statistics.median(values) for program, values in self.samples[key].items() if values}
        ours = [median for program, median in medians.items() if program.startswith("narae ")]
        others = [median for program, median in medians.items() if not program.startswith("narae ")]
        if not ours or not others or not ours[0]:
            return "–"
        lower = key[1] in LOWER_IS_BETTER
        return f"{min(others) / ours[0] if lower else ours[0] / max(others):.2f}"

    def table(self):
        about = self.about
        text = f"### {about['format']}, {about['shape']}: {about['gpu']}, {about['run']}\n\n"
        if self.copies:
            text += f"Copy bandwidth {statistics.median(self.copies):,.0f} GB/s [{min(self.copies):,.0f} … {max(self.copies):,.0f}], bytes read and written.\n\n"
        lines = ["| work | " + " | ".join(self.programs) + " | ratio |", "| --- " * (len(self.programs) + 2) + "|"]
        for key in sorted(self.samples, key=lambda key: ORDER.index(key[0].split(",")[0].split(" of ")[0])):
            lines.append(f"| {key[0]}, {key[1]} | " + " | ".join(self.cell(key, program) for program in self.programs) + f" | {self.ratio(key)} |")
        return text + "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--run", help="only this one")
    parser.add_argument("--markdown", type=pathlib.Path)
    arguments = parser.parse_args()
    runs = {}
    for line in map(json.loads, arguments.results.read_text(encoding="utf-8").splitlines()):
        if arguments.run in (None, line["run"]):
            runs.setdefault(line["run"], Run(line)).add(line)
    if not runs:
        sys.exit(f"{arguments.results}: no run" + (f" {arguments.run}" if arguments.run else ""))
    text = "\n".join(run.table() for run in runs.values())
    print(text, end="")
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
