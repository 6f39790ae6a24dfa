#!/usr/bin/env python3
"""Time llama.cpp and narae in turns on this machine, and print the table.

usage: compare.py PEER_DIR NARAE [--groups small,batch,start,big,big-start] [--rounds 5] [--json OUT.json] [--markdown OUT.md]

PEER_DIR is what build.sh made, NARAE the program. In every round each program runs once in turn, beside a measurement of the
machine's read bandwidth; a figure is the median over all rounds with its smallest and largest sample. A run during which
other programs took more than 3 % of the machine is repeated, at most twice; the largest share that stayed is printed.
Starts are measured with warm pages: three in a row after one that does not count.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

DISTURBED = 0.03
STARTS = 3
STEM = "SmolLM2-135M-Instruct"
BIG = "llama-8b-shape.Q4_0.gguf"
BATCH_PROMPT, BATCH_NEW = 64, 32


# ---- the programs: a command each, and how its samples are read -----------------------------------------------------

def llama_bench(peer, model, prompt, new, threads):
    return [str(peer / "build/bin/llama-bench"), "-m", str(model), "-p", str(prompt), "-n", str(new), "-t", str(threads), "-r", "2", "-o", "json"]


def narae_bench(narae, model, prompt, new, threads, sequences=1, depth=0):
    return [str(narae), "bench", str(model), "-p", str(prompt), "-n", str(new), "-t", str(threads), "-b", str(sequences), "-d", str(depth), "-r", "2",
            "--json"]


def bench_samples(text):
    """{"pp512": [tokens/s, ...], "tg128": [...]} of either program's rows; tests of several sequences get a suffix."""
    document = json.loads(text)
    samples = {}
    for row in document if isinstance(document, list) else document["rows"]:
        name = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
        sequences = row.get("n_sequences", 1)
        samples.setdefault(name if sequences == 1 else f"{name}x{sequences}", []).extend(row["samples_ts"])
    return samples


# One measurement is a prompt of BATCH_PROMPT tokens for each sequence, then BATCH_NEW tokens for all together; only these are counted.
def llama_batched(peer, model, sequences, threads):
    return [str(peer / "build/bin/llama-batched-bench"), "-m", str(model), "-npp", str(BATCH_PROMPT), "-ntg", str(BATCH_NEW), "-npl", str(sequences),
            "-c", "2048", "-t", str(threads), "-tb", str(threads), "--output-format", "jsonl"]


def llama_batched_samples(text):
    rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {f"tg{BATCH_NEW}x{row['pl']}": [row["speed_tg"]] for row in rows}


def llama_start(peer, model, threads):
    return [str(peer / "build/bin/llama-completion"), "-m", str(model), "-no-cnv", "--temp", "0", "-t", str(threads), "--no-display-prompt", "--no-warmup",
            "-c", "2048", "-p", "Hello", "-n", "1"]


def narae_start(narae, model, threads, by_ids):
    prompt = ["--ids", "1,2,3"] if by_ids else ["-p", "Hello"]
    return [str(narae), "generate", str(model), *prompt, "-n", "1", "--temp", "0", "-c", "2048", "-t", str(threads)]


# ---- what is compared -----------------------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Program:
    """One command, and the figures that it gives."""
    tool: str      # llama.cpp or narae
    model: str
    threads: int
    command: tuple
    read: object   # text → {test: [samples]}; None: measure the process itself ("start", "memory")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: narae on `model` over llama.cpp on `against`, wanted `goal` times as good."""
    work: str
    model: str
    against: str
    test: str
    threads: int
    goal: str
    unit: str = "tok/s"
    lower_is_better: bool = False


def smol(kind):
    return f"{STEM}.{kind}.gguf"


def plan(groups, peer, narae):
    """The programs to run and the rows to print."""
    programs, rows = [], []
    models = peer / "models"

    def add(tool, model, threads, command, read):
        programs.append(Program(tool, model, threads, tuple(command), read))

    if "small" in groups:
        for threads in (1, 2):
            for kind in ("Q4_1", "Q4_0", "Q8_0", "F16"):
                add("llama.cpp", smol(kind), threads, llama_bench(peer, models / smol(kind), 512, 128, threads), bench_samples)
                add("narae", smol(kind), threads, narae_bench(narae, models / smol(kind), 512, 128, threads), bench_samples)
        for test, work in (("tg128", "decode"), ("pp512", "prefill")):
            for kind, against, goal in (("Q4_1", "Q4_0", "1.0"), ("Q4_0", "Q4_0", "1.0"), ("Q8_0", "Q8_0", "1.5"), ("F16", "F16", "1.0")):
                for threads in (1, 2):
                    wanted = goal if test == "pp512" or kind.startswith("Q4") else "-"
                    rows.append(Row(f"SmolLM2 {kind} {work}", smol(kind), smol(against), test, threads, wanted))
    if "batch" in groups:
        for kind, goal in (("Q4_1", "2.0"), ("Q4_0", "1.0")):
            add("llama.cpp", smol(kind), 2, llama_batched(peer, models / smol(kind), 8, 2), llama_batched_samples)
            add("narae", smol(kind), 2, narae_bench(narae, models / smol(kind), 0, BATCH_NEW, 2, sequences=8, depth=BATCH_PROMPT), bench_samples)
            rows.append(Row(f"SmolLM2 {kind}, 8 sequences", smol(kind), smol(kind), f"tg{BATCH_NEW}x8", 2, goal))
    if "big" in groups:
        add("llama.cpp", BIG, 2, llama_bench(peer, models / BIG, 64, 32, 2), bench_samples)
        add("narae", BIG, 2, narae_bench(narae, models / BIG, 64, 32, 2), bench_samples)
        rows.append(Row("8B shape Q4_0 decode", BIG, BIG, "tg32", 2, "1.1"))
        rows.append(Row("8B shape Q4_0 prefill", BIG, BIG, "pp64", 2, "1.2"))
    for group, model, by_ids, work, goals in (("start", smol("Q4_1"), False, "SmolLM2 Q4_1", ("≤ 0.15 s", "≤ 140 MiB")),
                                              ("big-start", BIG, True, "8B shape Q4_0", ("≤ 2 s", "≤ file + KV + 10 %"))):
        if group in groups:
            add("llama.cpp", model, 2, llama_start(peer, models / model, 2), None)
            add("narae", model, 2, narae_start(narae, models / model, 2, by_ids), None)
            rows.append(Row(f"{work} process start to first token", model, model, "start", 2, goals[0], "s", True))
            rows.append(Row(f"{work} peak memory", model, model, "memory", 2, goals[1], "MiB", True))
    return programs, rows


# ---- running --------------------------------------------------------------------------------------------------------

def processor_times():
    values = list(map(int, open("/proc/stat", encoding="ascii").readline().split()[1:9]))
    return sum(values), values[3] + values[4]


def wait_until_quiet(seconds):
    """Until the processors were idle for a second, at most so long."""
    for _ in range(seconds):
        before = processor_times()
        time.sleep(1)
        after = processor_times()
        if (after[1] - before[1]) / max(1, after[0] - before[0]) > 1 - DISTURBED:
            return


def run_once(command):
    """Standard output, wall seconds, peak MiB, and the share of the machine that others took."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        before, start = processor_times(), time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds, after = time.perf_counter() - start, processor_times()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            sys.exit(f"failed with {process.returncode}: {' '.join(command)}\n{errors.read().decode(errors='replace')[-2000:]}")
        own = (usage.ru_utime + usage.ru_stime) * os.sysconf("SC_CLK_TCK")
        busy = (after[0] - before[0]) - (after[1] - before[1])
        others = max(0.0, (busy - own) / max(1, after[0] - before[0]))
        return out.read().decode(errors="replace"), seconds, usage.ru_maxrss / 1024, others


def run(command, patience):
    """The least disturbed of at most three runs; the first one if nobody waits."""
    best = None
    for _ in range(3):
        wait_until_quiet(patience)
        result = run_once(command)
        if best is None or result[3] < best[3]:
            best = result
        if best[3] < DISTURBED or patience == 0:
            break
    return best


def measure(programs, peer, rounds, patience):
    samples, others, bandwidth = {}, {}, {}
    for number in range(rounds):
        for threads in sorted({program.threads for program in programs}):
            text = run([str(peer / "membw"), str(threads), "3"], patience)[0]
            bandwidth.setdefault(threads, []).append(json.loads(text)["median"])
            for program in programs:
                if program.threads != threads:
                    continue
                if program.read:
                    text, _, _, share = run(program.command, patience)
                    found = program.read(text)
                else:
                    run_once(program.command)
                    starts = [run(program.command, patience) for _ in range(STARTS)]
                    share = max(start[3] for start in starts)
                    found = {"start": [start[1] for start in starts], "memory": [start[2] for start in starts]}
                for test, values in found.items():
                    key = (program.tool, program.model, test, threads)
                    samples.setdefault(key, []).extend(values)
                    others[key] = max(others.get(key, 0.0), share)
                print(f"round {number + 1} of {rounds}, {program.tool} {program.model} t={threads}: "
                      + ", ".join(f"{test} {statistics.median(values):.4g}" for test, values in found.items()), f"(others {share:.1%})", file=sys.stderr, flush=True)
    return samples, others, bandwidth


# ---- the table ------------------------------------------------------------------------------------------------------

def spread(values, digits):
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f} … {max(values):,.{digits}f}]"


def table(rows, samples, others, bandwidth):
    lines = ["| work | threads | llama.cpp, same file | llama.cpp, measured against | narae | ratio | wanted | read bandwidth GB/s | others at most |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    results = []
    for row in rows:
        keys = [("llama.cpp", row.model), ("llama.cpp", row.against), ("narae", row.model)]
        same, against, ours = [samples[(tool, model, row.test, row.threads)] for tool, model in keys]
        share = max(others[(tool, model, row.test, row.threads)] for tool, model in keys)
        ratio = statistics.median(ours) / statistics.median(against)
        if row.lower_is_better:
            ratio = 1 / ratio
        digits = 3 if row.unit == "s" else 1
        wanted = f"≥ {row.goal}×" if row.goal[0].isdigit() else row.goal
        lines.append(f"| {row.work}, {row.unit} | {row.threads} | {spread(same, digits)} | {spread(against, digits)} | {spread(ours, digits)} | {ratio:.2f} | {wanted} "
                     f"| {statistics.median(bandwidth[row.threads]):.1f} | {share:.0%} |")
        results.append(dataclasses.asdict(row) | {"llama_cpp_same_file": same, "llama_cpp_against": against, "narae": ours, "ratio": ratio,
                                                  "bandwidth_gbs": bandwidth[row.threads], "others": share})
    return "\n".join(lines) + "\n", results


def machine():
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name")]
    return {"cpu": names[0] if names else "unknown", "processors": os.cpu_count(), "kernel": os.uname().release,
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=pathlib.Path)
    parser.add_argument("narae", type=pathlib.Path)
    parser.add_argument("--groups", default="small,batch,start", help="of small, batch, start, big, big-start")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--patience", type=int, default=60, help="seconds to wait for an idle machine before a run; 0: run at once, and take what comes")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--markdown", type=pathlib.Path)
    arguments = parser.parse_args()
    groups = arguments.groups.split(",")
    if unknown := set(groups) - {"small", "batch", "start", "big", "big-start"}:
        parser.error(f"unknown groups: {', '.join(sorted(unknown))}")
    programs, rows = plan(groups, arguments.peer.resolve(), arguments.narae.resolve())
    samples, others, bandwidth = measure(programs, arguments.peer.resolve(), arguments.rounds, arguments.patience)
    text, results = table(rows, samples, others, bandwidth)
    about = machine()
    print(f"{about['cpu']}, {about['processors']} processors; {arguments.rounds} rounds\n\n{text}", end="")
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")
    if arguments.json:
        commands = [" ".join(program.command) for program in programs]
        arguments.json.write_text(json.dumps({"machine": about, "rounds": arguments.rounds, "commands": commands, "rows": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
