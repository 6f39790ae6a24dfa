"""Write tests/data/goldens/awq.json: what AutoAWQ's search of scales and of clipping finds for linears with made-up inputs.

usage: awq.py [OUT] [--sources FOLDER]
needs: tools/oracle/setup --quantizers      FOLDER: where that has put AutoAWQ's sources

Weights and inputs are made of the formula of gptq.py, rounded to float16. On a CPU AutoAWQ's saved originals alias the weights that it
scales in place (.cpu() copies nothing); here state_dict() gives copies.
"""
import argparse
import importlib
import json
import pathlib
import sys
import types

import torch

from gptq import ROOT, inputs, numbers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=ROOT / "tests/data/goldens/awq.json")
    parser.add_argument("--sources", type=pathlib.Path, default=pathlib.Path(sys.prefix) / "src")
    arguments = parser.parse_args()
    folder = next(arguments.sources.glob("autoawq-*"))

    class Anything(types.ModuleType):
        __path__ = []

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    def put_in_place(name):
        sys.modules[name] = Anything(name)

    for name in ("awq", "awq.utils", "awq.quantize"):
        module = types.ModuleType(name)
        module.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = module
    for name in ("awq.utils.calib_data", "awq.quantize.scale", "awq.modules", "awq.modules.linear", "awq.modules.act"):
        put_in_place(name)
    library = importlib.import_module("awq.quantize.quantizer")
    library.get_best_device = lambda: "cpu"
    library.get_op_name = lambda module, op: "op"
    original_state = torch.nn.Module.state_dict
    torch.nn.Module.state_dict = lambda self, *a, **k: {n: v.clone() for n, v in original_state(self, *a, **k).items()}

    cases = []
    for out, columns, group, bits in [(64, 128, 32, 4), (64, 128, 128, 4), (128, 256, 64, 3)]:
        quantizer = object.__new__(library.AwqQuantizer)
        quantizer.group_size, quantizer.w_bit, quantizer.zero_point = group, bits, True
        quantizer.duo_scaling, quantizer.max_chunk_memory, quantizer.n_parallel_calib_samples = True, 1 << 30, None
        linear = torch.nn.Linear(columns, out, bias=False, dtype=torch.float16)
        linear.weight.data = torch.from_numpy(numbers(len(cases) + 1, out, columns)).half()
        linear.weight.requires_grad_(False)
        x = torch.from_numpy(inputs(100 + len(cases), 400, columns, -1)).half()
        losses = []
        compute_loss = library.AwqQuantizer._compute_loss
        quantizer._compute_loss = lambda *a: losses.append(compute_loss(quantizer, *a)) or losses[-1]
        _, _, scales = quantizer._search_best_scale(linear, linear, [linear], x)
        clip = quantizer._compute_best_clip(linear.weight.data, x)
        cases.append(dict(out=out, columns=columns, group=group, bits=bits, losses=losses, best=losses.index(min(losses)),
                          scales=scales.float().flatten().tolist(), clip=clip.float().flatten().tolist()))
    lines = ",\n  ".join(json.dumps(case) for case in cases)
    arguments.out.write_text(f'{{"made_by": "tools/oracle/awq.py: AutoAWQ 0.2.9, torch {torch.__version__}",\n "cases": [\n  {lines}\n ]}}\n')


if __name__ == "__main__":
    main()
