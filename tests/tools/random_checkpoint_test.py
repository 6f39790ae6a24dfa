"""tools/random_checkpoint writes what narae accepts, in every layout and type, and leaves nothing of what it could not finish."""

import importlib.machinery
import importlib.util
import json
import os
import pathlib
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "random_checkpoint"
PROGRAM = os.environ.get("NARAE_PROGRAM", ROOT / "build" / "release" / "narae")
TINY = ["--shape", "tiny"]
TINY_VOCABULARY, TINY_PARAMETERS = 320, 2 * 320 * 64 + 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 192 * 64) + 5 * 64


def random_checkpoint(*arguments, **options):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False, **options)


def script_as_module():
    loader = importlib.machinery.SourceFileLoader("random_checkpoint", str(SCRIPT))
    spec = importlib.util.spec_from_loader("random_checkpoint", loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["random_checkpoint"] = module
    dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = dont_write
    return module


class RandomCheckpointTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def narae(self, *arguments):
        result = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, f"narae {' '.join(map(str, arguments))}\n{result.stderr}")
        return result.stdout

    def assert_narae_runs(self, model):
        about = json.loads(self.narae("info", model, "--device", "cpu", "--json"))
        self.assertEqual(about["parameters"], TINY_PARAMETERS)
        path = self.folder / "logits.npy"
        self.narae("logits", model, "--device", "cpu", "--ids", "1,2,3", "--out", path)  # fails unless all are finite
        data = path.read_bytes()
        values = struct.unpack(f"<{3 * TINY_VOCABULARY}f", data[-12 * TINY_VOCABULARY :])
        deviation = (sum(value * value for value in values) / len(values)) ** 0.5
        self.assertTrue(0.05 < deviation < 0.5, deviation)  # 0.02 times the root of 64 inputs

    def assert_refused(self, *arguments):
        result = random_checkpoint(*arguments, self.folder / "out")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(os.listdir(self.folder), [])
        return result.stderr

    def test_narae_runs_every_layout_and_type(self):
        for layout, dtypes in (("hf", ("f16", "bf16")), ("gguf", ("f16", "bf16", "q8_0", "q4_0"))):
            for dtype in dtypes:
                with self.subTest(layout=layout, dtype=dtype):
                    model = self.folder / (f"{dtype}.gguf" if layout == "gguf" else dtype)
                    result = random_checkpoint(*TINY, "--layout", layout, "--dtype", dtype, model)
                    self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
                    self.assert_narae_runs(model)

    def test_the_head_may_have_another_type(self):
        model = self.folder / "model.gguf"
        random_checkpoint(*TINY, "--layout", "gguf", "--dtype", "q4_0", "--head", "f16", model)
        self.assert_narae_runs(model)
        tensors = {tensor["name"]: tensor["format"] for tensor in json.loads(self.narae("info", model, "--tensors", "--device", "cpu", "--json"))["tensors"]}
        self.assertEqual((tensors["output.weight"], tensors["token_embd.weight"]), ("f16", "q4_0"))

    def test_narae_runs_shards(self):
        module = script_as_module()
        module.SHARD_BYTES = 100_000
        model = self.folder / "sharded"
        module.write_hugging_face(module.SHAPES["tiny"], "bf16", True, model)
        self.assertGreater(len(list(model.glob("model-*-of-*.safetensors"))), 1)
        self.assert_narae_runs(model)

    def test_the_same_arguments_give_the_same_bytes(self):
        for name in ("one", "two"):
            random_checkpoint(*TINY, "--layout", "gguf", "--dtype", "q8_0", self.folder / name)
        self.assertEqual((self.folder / "one").read_bytes(), (self.folder / "two").read_bytes())

    def test_without_weights_only_the_config_is_written(self):
        random_checkpoint(*TINY, "--layout", "hf", "--dtype", "bf16", "--no-weights", self.folder / "out")
        self.assertEqual(sorted(os.listdir(self.folder / "out")), ["config.json", "generation_config.json"])

    def test_the_factors_of_llama_3_scale_low_frequencies_only(self):
        module = script_as_module()
        factors = struct.unpack("<32f", module.rope_factors(module.SHAPES["llama-3.2-1b"]))
        self.assertEqual(sorted(factors), list(factors))
        self.assertEqual((factors[0], factors[-1]), (1.0, 32.0))

    def test_what_cannot_be_is_refused(self):
        self.assertIn("take --layout gguf", self.assert_refused(*TINY, "--layout", "hf", "--dtype", "q4_0"))
        self.assertIn("multiple of 256", self.assert_refused(*TINY, "--layout", "gguf", "--dtype", "q4_0", "--head", "q6_k"))
        self.assertIn("needs --layout hf", self.assert_refused(*TINY, "--layout", "gguf", "--dtype", "q4_0", "--no-weights"))
        self.assert_refused("--shape", "huge", "--layout", "hf", "--dtype", "f16")

    def test_what_is_there_is_kept(self):
        out = self.folder / "out"
        out.write_text("mine")
        for layout in ("hf", "gguf"):
            result = random_checkpoint(*TINY, "--layout", layout, "--dtype", "f16", out)
            self.assertEqual((result.returncode, out.read_text()), (2, "mine"))

    def test_a_full_disk_leaves_nothing(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        for layout in ("hf", "gguf"):
            result = random_checkpoint(*TINY, "--layout", layout, "--dtype", "f16", self.folder / "out", preexec_fn=limit)
            self.assertEqual((result.returncode, os.listdir(self.folder)), (74, []), result.stderr)

    def test_an_interrupted_run_leaves_nothing(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            command = [sys.executable, SCRIPT, "--shape", "smollm2-135m", "--layout", "hf", "--dtype", "bf16", self.folder / "out"]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            while not os.listdir(self.folder):
                time.sleep(0.01)
            process.send_signal(number)
            self.assertEqual((process.wait(timeout=60), os.listdir(self.folder)), (128 + number, []))


if __name__ == "__main__":
    unittest.main()
