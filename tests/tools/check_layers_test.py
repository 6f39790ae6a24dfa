"""tools/check_layers accepts this tree, and finds every kind of violation in a small broken one."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

BROKEN = {
    "CMakeLists.txt": "narae_room(base USES)\nnarae_room(kernels USES base)\nnarae_room(text USES base)\nnarae_room(model USES kernels)\n",
    "src/base/error.h": "#include <string>\n",
    "src/base/upwards.h": '#include "kernels/op.h"\n',
    "src/kernels/op.h": '#include "base/error.h"\n#if defined(__clang__)\n#endif\n',
    "src/kernels/cuda/op.cu": "#include <cuda_runtime.h>\n",
    "src/kernels/cpu/op.cpp": "#include <cublasLt.h>\n",
    "src/model/decoder.cpp": '#include "base/error.h"\n#include "text/tokenizer.h"\n  #  include "kernels/gone.h"\n#include "decoder.h"\n',
    "src/model/switch.cpp": "#ifdef NARAE_CUDA\n#endif\n#include <base/error.h>\n#include <nlohmann/json.hpp>\n",
    "src/text/tokenizer.h": "",
    "src/attic/old.cpp": "",
}
EXPECTED = {
    ("src/base/upwards.h", 1, 'base may not include "kernels/op.h"'),
    ("src/kernels/cpu/op.cpp", 1, "CUDA header <cublasLt.h> outside of kernels/cuda/"),
    ("src/model/decoder.cpp", 2, 'model may not include "text/tokenizer.h"'),
    ("src/model/decoder.cpp", 3, '"kernels/gone.h" does not exist'),
    ("src/model/decoder.cpp", 4, '"decoder.h" does not begin with the name of a room'),
    ("src/model/switch.cpp", 1, "conditional compilation"),
    ("src/model/switch.cpp", 3, "our own header <base/error.h> wants quotes"),
    ("src/model/switch.cpp", 4, "<nlohmann/json.hpp> is wrapped in base/json.h"),
    ("src/attic/old.cpp", 1, "src/attic is not a room"),
}


def check_layers(folder):
    return subprocess.run([sys.executable, ROOT / "tools" / "check_layers", folder], capture_output=True, text=True, check=False)


class CheckLayersTest(unittest.TestCase):
    def test_this_tree_keeps_the_law(self):
        result = check_layers(ROOT)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertRegex(result.stdout, r"^layers: \d+ rooms, \d+ files OK\n$")

    def test_every_violation_is_found_with_its_place(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in BROKEN.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            result = check_layers(folder)
        self.assertEqual(result.returncode, 1, result.stdout)
        lines = result.stdout.splitlines()
        for path, number, reason in EXPECTED:
            self.assertTrue(any(line.startswith(f"{path}:{number}: {reason}") for line in lines), f"{path}:{number}: {reason}\n{result.stdout}")
        self.assertEqual(lines[-1], f"layers: {len(EXPECTED)} violations")

    def test_rooms_are_named_before_they_are_used(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "CMakeLists.txt").write_text("narae_room(a USES b)\nnarae_room(b USES)\n", encoding="utf-8")
            pathlib.Path(folder, "src").mkdir()
            self.assertNotEqual(check_layers(folder).returncode, 0)


if __name__ == "__main__":
    unittest.main()
