"""bench/gpu.sh and bench/gpu_table.py, with stand-ins for nvidia-smi, narae and vLLM: no GPU is needed."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def decode_row(sequences, rate):
    return {"n_prompt": 0, "n_gen": 256, "n_depth": 160, "n_sequences": sequences, "samples_ts": [rate - 1, rate, rate + 1], "samples_s": [1.0],
            "gb_per_second": 1500.0, "weights_bytes": 5 << 20}


def prompt_row(seconds):
    return {"n_prompt": 2048, "n_gen": 0, "n_sequences": 1, "samples_ts": [1.0], "samples_s": [seconds], "weights_bytes": 5 << 20}


NARAE = {"decode": {"rows": [decode_row(1, 300), decode_row(8, 2000)]}, "prompt": {"rows": [prompt_row(0.025)]}}
VLLM = {"machete": 200, "marlin": 250}


def vllm_document(kernel):
    return {"start": {"first": True, "first_token_s": 80.0}, "weights_bytes": 6 << 20, "rows": [decode_row(1, VLLM[kernel]), prompt_row(0.050)]}


class GpuBenchTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        self.results = self.folder / "results.jsonl"
        for name, document in (NARAE | {kernel: vllm_document(kernel) for kernel in VLLM}).items():
            (self.folder / name).write_text(json.dumps(document), encoding="utf-8")
        self.stand_in("bin/nvidia-smi", 'case "$*" in *name*) echo "Some GPU" ;; *-lms*) printf "700\\n5700\\n"; exec sleep 60 ;; *) echo 600 ;; esac')
        self.stand_in("narae", f'case "$*" in generate*) ;; *"-p 0"*) cat "{self.folder}/decode" ;; *) cat "{self.folder}/prompt" ;; esac')
        self.stand_in("vllm/bin/python3", f'case "$*" in *marlin*) cat "{self.folder}/marlin" ;; *) cat "{self.folder}/machete" ;; esac')

    def stand_in(self, name, script):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def run_script(self, *arguments, **variables):
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "NARAE": str(self.folder / "narae"), "SHAPE": "tiny",
                       "SCRATCH": str(self.folder / "scratch"), "RESULTS": str(self.results), "ROUNDS": "1", "VLLM_DIR": "", **variables}
        return subprocess.run([ROOT / "bench" / "gpu.sh", *arguments], env=environment, capture_output=True, text=True, check=False)

    def test_both_are_measured_in_turns_and_compared(self):
        result = self.run_script("q4", VLLM_DIR=str(self.folder / "vllm"))
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = [json.loads(line) for line in self.results.read_text(encoding="utf-8").splitlines()]
        order = [(line["engine"], line["variant"]) for line in lines if line["kind"] == "bench"]
        narae = [("narae", "Q4_0")] * 2
        self.assertEqual(order, narae + [("vllm", "awq:machete"), ("vllm", "awq:marlin")] + narae)
        self.assertEqual({line["gpu_mib"] for line in lines if line["kind"] == "bench"}, {5100})
        rows = [line for line in result.stdout.splitlines() if line.startswith("| decode, batch 1,")]
        self.assertEqual(len(rows), 1, result.stdout)
        self.assertIn("300.0 [299.0 … 301.0]", rows[0])
        self.assertTrue(rows[0].endswith("| 1.20 |"), rows[0])  # over Marlin, the better one
        self.assertIn("| 2.00 |", next(line for line in result.stdout.splitlines() if line.startswith("| first token of 2,048")))
        self.assertIn("| – |", next(line for line in result.stdout.splitlines() if line.startswith("| decode, batch 8,")))

    def test_the_share_of_the_copy_bandwidth_stands_behind_a_decode_figure(self):
        self.run_script("q4")
        line = json.loads(self.results.read_text(encoding="utf-8").splitlines()[0])
        with self.results.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line | {"kind": "copy", "engine": "copy", "document": {"samples": [2999.0, 3000.0, 3001.0]}}) + "\n")
        text = subprocess.run([ROOT / "bench" / "gpu_table.py", self.results], capture_output=True, text=True, check=True).stdout
        self.assertIn("Copy bandwidth 3,000 GB/s", text)
        self.assertIn("300.0 [299.0 … 301.0], 50%", text)

    def test_without_vllm_narae_is_measured_alone(self):
        result = self.run_script("bf16")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("narae is measured alone", result.stderr)
        self.assertNotIn("vllm", self.results.read_text(encoding="utf-8"))
        self.assertIn("| work | narae bf16 | ratio |", result.stdout)

    def test_when_time_is_up_no_more_is_started(self):
        result = self.run_script("q4", VLLM_DIR=str(self.folder / "vllm"), LIMIT="10")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("no time left for round 1 of vLLM awq:machete", result.stderr)

    def test_a_program_that_fails_is_named_with_its_words(self):
        self.stand_in("narae", "echo 'no such device' >&2; exit 3")
        result = self.run_script("q8")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no such device", result.stderr)
        self.assertIn("failed: ", result.stderr)

    def test_wrong_arguments_and_folders_are_refused(self):
        self.assertEqual(self.run_script("int4").returncode, 2)
        self.assertEqual(self.run_script("q4", VLLM_DIR=str(self.folder)).returncode, 2)
        self.assertEqual(self.run_script("q4", NARAE="/nowhere").returncode, 3)


if __name__ == "__main__":
    unittest.main()
