"""Write tests/data/goldens/gptq.json: the codes that AutoGPTQ's algorithm chooses, run in float64.

usage: gptq.py [OUT] [--sources FOLDER]
needs: tools/oracle/setup --quantizers      FOLDER: where that has put AutoGPTQ's sources

Weights and inputs are made of a formula (see `numbers`), the same as in tests/quant/gptq_test.cpp, so that only what was chosen
is stored. AutoGPTQ computes in float32 what .float() gives; here .float() gives float64.
"""
import argparse
import importlib
import json
import pathlib
import sys
import types

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]


def numbers(seed, rows, columns):
    """Uniform in [-1, 1) with 24 bits, by splitmix64."""
    z = (np.uint64(seed) + np.arange(1, rows * columns + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return ((z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)).reshape(rows, columns)


def inputs(seed, rows, columns, dead):
    """Neighbours are correlated, every fifth column is eight times as large, column `dead` is zero."""
    x = numbers(seed, rows, columns)
    for c in range(1, columns):
        x[:, c] += x[:, c - 1] * np.float32(0.5)
    x[:, ::5] *= np.float32(8)
    if dead >= 0:
        x[:, dead] = 0
    return x


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=ROOT / "tests/data/goldens/gptq.json")
    parser.add_argument("--sources", type=pathlib.Path, default=pathlib.Path(sys.prefix) / "src")
    arguments = parser.parse_args()
    for name in ("auto_gptq", "auto_gptq.quantization"):
        module = types.ModuleType(name)
        module.__path__ = [str(arguments.sources / name.replace(".", "/"))]
        sys.modules[name] = module
    library = importlib.import_module("auto_gptq.quantization.gptq")
    torch.Tensor.float = torch.Tensor.double
    torch.cuda.synchronize = lambda: None

    cases = []
    for out, columns, bits, group, symmetric, act_order, static_groups, dead in [
        (16, 256, 4, 64, False, False, False, -1),
        (16, 256, 4, 64, True, False, False, -1),
        (16, 256, 4, 64, False, True, False, 7),
        (16, 256, 4, 64, True, True, True, -1),
        (16, 256, 4, 32, False, False, True, -1),
        (16, 384, 3, 128, False, False, False, -1),
        (16, 320, 2, 64, False, True, False, -1),
        (12, 200, 8, -1, True, False, False, -1),
        (12, 200, 4, -1, False, True, False, 199),
        (12, 64, 3, -1, True, True, False, -1),
    ]:
        case = dict(out=out, columns=columns, bits=bits, group=group, symmetric=symmetric, act_order=act_order,
                    static_groups=static_groups, dead=dead, damping=0.01)
        layer = torch.nn.Linear(columns, out, bias=False, dtype=torch.float64)
        layer.weight.data = torch.from_numpy(numbers(len(cases) + 1, out, columns)).double()
        gptq = library.GPTQ(layer)
        gptq.H = gptq.H.double()
        gptq.quantizer.configure(bits, perchannel=True, sym=symmetric, mse=False)
        gptq.add_batch(torch.from_numpy(inputs(100 + len(cases), 300, columns, dead)).double(), None)
        scale, zero, g_idx = gptq.fasterquant(percdamp=0.01, group_size=group, actorder=act_order, static_groups=static_groups)
        g = g_idx.long()
        codes = torch.round(layer.weight.data / scale[:, g] + zero[:, g]).to(torch.uint8)
        case |= dict(codes=bytes(codes.numpy()).hex(), scales=scale.flatten().tolist(), zeros=zero.flatten().int().tolist(),
                     group_index=g_idx.tolist())
        cases.append(case)
    lines = ",\n  ".join(json.dumps(case) for case in cases)
    arguments.out.write_text(f'{{"made_by": "tools/oracle/gptq.py: AutoGPTQ 0.7.1 in float64, torch {torch.__version__}",\n "cases": [\n  {lines}\n ]}}\n')


if __name__ == "__main__":
    main()
