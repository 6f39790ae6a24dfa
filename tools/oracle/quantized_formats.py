"""Write the goldens of the number formats that are not GGUF's: what the original quantization libraries choose and unpack.

usage: quantized_formats.py [OUT_DIR] [--sources FOLDER]     OUT_DIR: tests/data/goldens/quantized
needs: tools/oracle/setup --quantizers                       FOLDER: where that has put AutoAWQ's and AutoGPTQ's sources

Each subject is SUBJECT.json (the cases, and where their arrays lie) and SUBJECT.bin (the arrays, little-endian, C order):
  int_groups   compressed-tensors (observer, quantize, dequantize), AutoAWQ's pseudo_quantize_tensor, AutoGPTQ's and GPTQModel's
               Quantizer, AutoGPTQ's QuantLinear with a group index (what a layer of it multiplies with)
  bitsandbytes nf4 and fp4 with and without double quantization, rows of LLM.int8(): bitsandbytes' definitions in torch
  floats       compressed-tensors' fp8 (tensor, channel, block, group, MXFP8), MXFP4 and NVFP4; transformers' fine-grained fp8
Arrays of bfloat16 and float8 are stored by their bits (u2, u1).
"""
import argparse
import ast
import importlib
import importlib.util
import json
import pathlib
import sys
import textwrap
import types
from importlib.metadata import version

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def bits_of(tensor):
    """A numpy array of the numbers, or of the bits where numpy has no such type."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy()
    if tensor.dtype in (torch.float8_e4m3fn, torch.float8_e8m0fnu):
        return tensor.view(torch.uint8).numpy()
    return tensor.numpy()


class Subject:
    def __init__(self, name, libraries):
        self.name, self.bytes, self.cases, self.seen = name, bytearray(), [], {}
        self.made_by = f"tools/oracle/quantized_formats.py: {libraries}"

    def store(self, array):
        array = bits_of(array) if isinstance(array, torch.Tensor) else np.asarray(array)
        data = np.ascontiguousarray(array).tobytes()
        key = (array.dtype.str, array.shape, data)
        if key not in self.seen:
            self.seen[key] = {"at": len(self.bytes), "type": array.dtype.str.lstrip("<|"), "shape": list(array.shape)}
            self.bytes += data
        return self.seen[key]

    def add(self, case, **arrays):
        self.cases.append(case | {"arrays": {name: self.store(array) for name, array in arrays.items()}})

    def write(self, folder):
        lines = ",\n  ".join(json.dumps(case) for case in self.cases)
        text = f'{{"made_by": {json.dumps(self.made_by)},\n "cases": [\n  {lines}\n ]}}\n'
        (folder / f"{self.name}.json").write_text(text)
        (folder / f"{self.name}.bin").write_bytes(bytes(self.bytes))
        print(f"{self.name}: {len(self.cases)} cases, {len(self.bytes)} bytes")


def method_of(path, class_name, name, **names):
    """One method of a class whose package does not import without a card."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and member.name == name:
                    space = {"torch": torch} | names
                    exec(compile(textwrap.dedent(ast.get_source_segment(path.read_text(), member)), str(path), "exec"), space)
                    return space[name]
    raise LookupError(f"{path}: no {class_name}.{name}")


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem + "_alone", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- weights ----------------------------------------------------------------------------------------------------------


def weights(random, rows=6, columns=128):
    """Rows as models have them, with ones that show where rules differ."""
    w = random.normal(0, 0.05, (rows, columns))
    w[1] = np.abs(w[1])                      # no negative values: ranges that are, or are not, extended to 0
    w[1, :32] += 1.0                         # far from 0
    w[2] *= 1e-5                             # scales that are denormal halves
    w[2, 32:64] = 0.0                        # a group of zeros
    w[2, 64:96] = -0.73                      # a group of one value
    w[3] = np.round(w[3] * 160) / 8          # ties
    w[4] = random.standard_t(2, columns) * 30
    return torch.tensor(w, dtype=torch.float32)


# ---- int_groups -------------------------------------------------------------------------------------------------------


def compressed_tensors_parameters(weight, args):
    """Scale, zero point and global scale as llm-compressor's observer of weights computes them."""
    from llmcompressor.observers import Observer

    module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    module.weight.data = weight.clone()
    observer = Observer.load_from_registry("memoryless_minmax", base_name="weight", args=args, module=module)
    observer(module.weight)
    found = observer.get_qparams()
    return found["scale"], found["zero_point"], found["global_scale"]


def compressed_tensors_ints(subject, weight):
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize

    for bits, strategy, group in [(4, "group", 32), (4, "channel", None), (8, "group", 64), (8, "channel", None), (8, "tensor", None),
                                  (2, "group", 32), (3, "group", 32)]:
        for symmetric in (True, False):
            for name, dtype in DTYPES.items():
                if bits < 4 and name == "F32":
                    continue
                args = QuantizationArgs(num_bits=bits, type="int", symmetric=symmetric, strategy=strategy, group_size=group)
                w = weight.to(dtype)
                scale, zero, _ = compressed_tensors_parameters(w, args)
                codes = quantize(w, scale, zero, args, dtype=torch.int8)
                values = dequantize(codes, scale, zero, args)
                assert values.dtype == dtype and scale.dtype == dtype and zero.dtype == torch.int8
                middle = 2 ** (bits - 1)
                arrays = {"input": weight, "codes": (codes.int() + middle).to(torch.uint8), "scales": scale, "values": values}
                if not symmetric:
                    arrays["zeros"] = (zero.int() + middle).to(torch.uint8)
                subject.add({"rule": "compressed_tensors", "bits": bits, "symmetric": symmetric, "dtype": name,
                             "block": {"group": [1, group], "channel": [1, 0], "tensor": [0, 0]}[strategy]}, **arrays)


def awq_ints(subject, weight, sources):
    quantize = method_of(sources / "autoawq-0.2.9/awq/quantize/quantizer.py", "AwqQuantizer", "pseudo_quantize_tensor",
                         Optional=None, nn=torch.nn)
    for bits in (4, 3, 8):
        for group in (32, -1):
            for zero_point in (True, False):
                w = weight.to(torch.float16)
                settings = types.SimpleNamespace(group_size=group, zero_point=zero_point, w_bit=bits)
                values, scales, zeros = quantize(settings, w.clone())
                # As WQLinear's from_linear recovers the codes from the values.
                size = group if group > 0 else w.shape[1]
                per_column = lambda t: t.repeat_interleave(size, dim=1)
                shift = per_column(scales * zeros) if zero_point else 0
                codes = torch.round((values + shift) / per_column(scales)).int() + (0 if zero_point else 2 ** (bits - 1))
                assert 0 <= codes.min() and codes.max() < 2**bits
                # These values were never codes: + 0 makes the -0 of a rounded small negative one the 0 of its code.
                arrays = {"input": weight, "codes": codes.to(torch.uint8), "scales": scales, "values": values + 0.0}
                if zero_point:
                    arrays["zeros"] = zeros.to(torch.uint8)
                subject.add({"rule": "awq", "bits": bits, "symmetric": not zero_point, "dtype": "F16",
                             "block": [1, max(group, 0)]}, **arrays)


def gptq_groups(quantizer_class, weight, bits, symmetric, groups):
    """Codes [out, in], scales and zeros [out, groups]; `groups` lists the columns of each."""
    codes = torch.zeros(weight.shape, dtype=torch.uint8)
    scales, zeros = [], []
    for columns in groups:
        quantizer = quantizer_class()
        quantizer.configure(bits, perchannel=True, sym=symmetric, mse=False)
        quantizer.find_params(weight[:, columns], weight=True)
        chosen = torch.clamp(torch.round(weight[:, columns] / quantizer.scale) + quantizer.zero, 0, quantizer.maxq)
        # The library's own function gives these values:
        assert torch.equal(quantizer.quantize(weight[:, columns]), quantizer.scale * (chosen - quantizer.zero))
        codes[:, columns] = chosen.to(torch.uint8)
        scales.append(quantizer.scale.reshape(-1))
        zeros.append(quantizer.zero.reshape(-1).to(torch.uint8))
    return codes, torch.stack(scales, 1), torch.stack(zeros, 1)


def gptq_ints(subject, weight, sources, random):
    quantizer = module_of(sources / "auto_gptq/quantization/quantizer.py").Quantizer
    newer = method_of(sources / "gptqmodel-7.7.0/gptqmodel/quantization/quantizer.py", "Quantizer", "find_params")
    linear = module_of(sources / "auto_gptq/nn_modules/qlinear/qlinear_cuda.py").QuantLinear
    for bits in (2, 3, 4, 8):
        for symmetric in (True, False):
            for size in (32, weight.shape[1]):
                groups = [list(range(begin, begin + size)) for begin in range(0, weight.shape[1], size)]
                codes, scales, zeros = gptq_groups(quantizer, weight, bits, symmetric, groups)
                for g, columns in enumerate(groups):  # GPTQModel chooses the same
                    theirs = types.SimpleNamespace(
                        maxq=torch.tensor(2**bits - 1), _maxq_value=2**bits - 1, perchannel=True, maxshrink=0.8, grid=100,
                        qcfg=types.SimpleNamespace(sym=symmetric, mse=0.0), requires_groupwise_processing=lambda: False)
                    newer(theirs, weight[:, columns], weight=True)
                    assert torch.equal(theirs.scale.reshape(-1), scales[:, g])
                    assert torch.equal(theirs.zero.reshape(-1).to(torch.uint8), zeros[:, g])
                subject.add({"rule": "gptq", "bits": bits, "symmetric": symmetric, "dtype": "F32", "block": [1, size]},
                            input=weight, codes=codes, scales=scales, zeros=zeros)
    # A whole layer: act-order's group index, scales in float16, and the weight that its product uses.
    w = torch.tensor(random.normal(0, 0.05, (32, 64)), dtype=torch.float16).float()
    for bits in (2, 3, 4, 8):
        order = torch.tensor(random.permutation(64))
        groups = [sorted(order[begin : begin + 32].tolist()) for begin in (0, 32)]
        index = torch.zeros(64, dtype=torch.int32)
        for g, columns in enumerate(groups):
            index[columns] = g
        codes, scales, zeros = gptq_groups(quantizer, w, bits, False, groups)
        assert zeros.min() >= 1  # the layout stores zero - 1
        layer = linear(bits, 32, 64, 32, bias=False)
        plain = torch.nn.Linear(64, 32, bias=False, dtype=torch.float16)
        gathered = lambda t: t[:, index.long()]
        plain.weight.data = (gathered(scales) * (codes.float() - gathered(zeros).float())).half()
        layer.pack(plain, scales, zeros.float(), index)
        values = layer(torch.eye(64, dtype=torch.float16)).t()
        assert values.dtype == torch.float16
        subject.add({"rule": "gptq_layer", "bits": bits, "symmetric": False, "dtype": "F16", "block": [1, 32]},
                    input=w, codes=codes, scales=layer.scales.t(), zeros=zeros, group_index=index, values=values)


def int_groups(sources):
    libraries = [f"{name} {version(name)}" for name in ("compressed-tensors", "llmcompressor")]
    subject = Subject("int_groups", ", ".join(libraries + ["AutoAWQ 0.2.9", "AutoGPTQ 0.7.1", "GPTQModel 7.7.0"]))
    random = np.random.default_rng(1)
    weight = weights(random)
    compressed_tensors_ints(subject, weight)
    awq_ints(subject, weight, sources)
    gptq_ints(subject, weight, sources, random)
    return subject


# ---- bitsandbytes -----------------------------------------------------------------------------------------------------


def default_kernels():
    """bitsandbytes' own definitions of its operations, in torch. Its library for the CPU, which stands before them, is not exact:
    it finds codes of quantize_blockwise by a table of 16 bits, and its AVX512 code begins a block of dequantize_4bit with each row.
    """
    import bitsandbytes._ops as operations
    import bitsandbytes.backends.default.ops as default

    found, original = {}, operations.register_kernel
    operations.register_kernel = lambda name, device: lambda function: found.setdefault(name.removeprefix("bitsandbytes::"), function)
    importlib.reload(default)
    operations.register_kernel = original
    return found


def bitsandbytes_4bit(subject, random):
    from bitsandbytes import functional

    kernels = default_kernels()
    dynamic = functional.create_dynamic_map()
    subject.add({"format": "dynamic"}, numbers=dynamic)
    differing = {"dequantize_4bit": 0, "quantize_blockwise": 0}
    shapes = [((16, 96), 64), ((5, 33), 32), ((7, 65), 128), ((1, 1), 64), ((40, 64), 4096), ((3, 64), 64)]
    for kind in ("nf4", "fp4"):
        book = functional.get_4bit_type(kind, device="cpu")
        subject.add({"format": kind + "_book"}, numbers=book)
        for shape, block in shapes + [((550, 32), 32)]:
            w = torch.tensor(random.normal(0, 0.05, shape), dtype=torch.float32).to(torch.bfloat16).float()
            if shape == (3, 64):
                w = torch.stack([w[0] * 1e-30, torch.zeros(64), torch.linspace(-1, 1, 64)])
            packed, absmax = kernels["quantize_4bit"](w, block, kind, torch.uint8)
            case = {"format": kind, "shape": list(shape), "columns": block}
            if shape != (550, 32):
                values = kernels["dequantize_4bit"](packed, absmax, block, kind, shape, torch.float32)
                subject.add(case, input=w, codes=packed, scales=absmax, values=values)
                theirs = functional.dequantize_4bit(packed, functional.QuantState(
                    absmax=absmax, shape=w.shape, dtype=torch.float32, blocksize=block, code=book, quant_type=kind))
                differing["dequantize_4bit"] += int((theirs != values).sum())
            if shape in ((16, 96), (550, 32)):  # 24 scales, and 550: three nested blocks, the last one cut off
                offset = absmax.mean()
                codes, nested = kernels["quantize_blockwise"](absmax - offset, dynamic, 256)
                scales = kernels["dequantize_blockwise"](codes, nested, dynamic, 256, torch.float32) + offset
                differing["quantize_blockwise"] += int((functional.quantize_blockwise(absmax - offset, blocksize=256)[0] != codes).sum())
                arrays = {"nested_scales": nested, "nested_offset": offset.reshape(1), "scales": codes, "numbers": scales, "absmax": absmax}
                if shape == (16, 96):
                    values = kernels["dequantize_4bit"](packed, scales, block, kind, shape, torch.float32)
                    arrays |= {"input": w, "codes": packed, "values": values}
                elif kind == "fp4":
                    continue
                subject.add(case | {"nested": 256}, **arrays)
    print("values and codes that the library for the CPU gives otherwise:", differing)


def bitsandbytes_int8(subject, random):
    w = torch.tensor(random.normal(0, 0.05, (6, 40)), dtype=torch.float32)
    w[1] = 0.0
    w[2] *= 1e-6
    w[3] *= 1e5
    w[4, :8] = torch.tensor([127.0, 0.5, 1.5, -0.5, -2.5, 126.5, -126.5, -127.0])  # ties
    w[4, 8:] = 3.0
    # Rows whose codes tell 1 / scale * 127 from 127 / scale.
    rows = torch.tensor(random.normal(0, 0.05, (50000, 8)), dtype=torch.float16).float()
    largest = rows.abs().amax(1, keepdim=True)
    chosen = (torch.round(rows * (largest.reciprocal() * 127)) != torch.round(rows * (127 * torch.ones_like(largest) / largest))).any(1)
    assert chosen.sum() >= 8
    for source in (w.to(torch.bfloat16), rows[chosen][:8]):
        codes, scales, _ = torch.ops.bitsandbytes.int8_vectorwise_quant(source.to(torch.float16))
        values = torch.ops.bitsandbytes.int8_vectorwise_dequant(codes, scales)
        subject.add({"format": "llm_int8", "shape": list(source.shape)}, input=source.float(), codes=codes, scales=scales, values=values)


def bitsandbytes_formats(sources):
    subject = Subject("bitsandbytes", f"bitsandbytes {version('bitsandbytes')}")
    random = np.random.default_rng(2)
    bitsandbytes_4bit(subject, random)
    bitsandbytes_int8(subject, random)
    return subject


# ---- floats -----------------------------------------------------------------------------------------------------------


def float_weights(random, shape):
    w = random.normal(0, 0.05, shape)
    w[1] = np.abs(w[1]) * 40
    w[2] *= 1e-6
    w[3, :32] = 0.0
    w[4] = np.tile([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 6.0, -0.25, -0.75, -1.25, -1.75, -2.5, -3.5, -5.0, -6.0], shape[1] // 16)
    w[5, 16:] = -0.0                         # also after the largest values of the group
    w[6] = random.standard_t(2, shape[1]) * 3
    return torch.tensor(w, dtype=torch.float32)


def compressed_tensors_fp8(subject, weight):
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize

    for strategy, block in [("tensor", [0, 0]), ("channel", [1, 0]), ("block", [16, 32]), ("group", [1, 32])]:
        for name, dtype in DTYPES.items():
            sizes = {"block": {"block_structure": block}, "group": {"group_size": 32}}.get(strategy, {})
            args = QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy=strategy, **sizes)
            source = weight[:, :32] if strategy == "group" else weight  # the library takes whole groups only
            w = source.to(dtype)
            scale, zero, _ = compressed_tensors_parameters(w, args)
            codes = quantize(w, scale, zero, args, dtype=torch.float8_e4m3fn)
            values = dequantize(codes, scale, None, args)
            assert scale.dtype == values.dtype == dtype
            subject.add({"format": "fp8_e4m3", "rule": "compressed_tensors", "model": name, "scales": name, "block": block},
                        input=source, codes=codes, scales=scale, values=values)
    for name, dtype in DTYPES.items():       # MXFP8
        args = QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy="group", group_size=32, scale_dtype=torch.uint8,
                                zp_dtype=torch.uint8)
        from compressed_tensors.compressors.mx_utils import compress_mx_scale
        w = weight[:, :32].to(dtype)
        scale, zero, _ = compressed_tensors_parameters(w, args)
        codes = quantize(w, scale, zero, args, dtype=torch.float8_e4m3fn)
        values = dequantize(codes, scale.float(), None, args)
        subject.add({"format": "fp8_e4m3", "rule": "compressed_tensors", "model": name, "scales": "F8_E8M0", "block": [1, 32]},
                    input=weight[:, :32], codes=codes, scales=compress_mx_scale(scale, torch.uint8), values=values)


def transformers_fp8(subject, weight):
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize

    for fmt, name in ((None, "F32"), ("ue8m0", "F8_E8M0")):
        config = types.SimpleNamespace(weight_block_size=(8, 16), scale_fmt=fmt)
        quantizer = types.SimpleNamespace(quantization_config=config)
        found = Fp8Quantize(quantizer)._quantize_one("w.weight", weight)
        codes, scales = found["w.weight"], found["w.weight_scale_inv"]
        values = Fp8Dequantize(quantizer)._dequantize_one(codes, scales, output_dtype=torch.float32)
        subject.add({"format": "fp8_e4m3", "rule": "transformers", "model": "F32", "scales": name, "block": [8, 16]},
                    input=weight, codes=codes, scales=scales, values=values)
    # A grid of other blocks than the configuration says: 24 rows and 48 columns under 2 x 3 scales.
    scales = torch.tensor([[0.5, -3e-4, 7.0], [1e-3, 1.0, 0.03]])
    values = Fp8Dequantize(quantizer)._dequantize_one(codes, scales, output_dtype=torch.float32)
    subject.add({"format": "fp8_e4m3", "rule": "", "model": "F32", "scales": "F32", "block": [12, 16]},
                codes=codes, scales=scales, values=values)


def compressed_tensors_fp4(subject, weight):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme
    from compressed_tensors.quantization.quant_scheme import preset_name_to_scheme
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    for preset, kind in (("MXFP4A16", "mxfp4-pack-quantized"), ("NVFP4A16", "nvfp4-pack-quantized")):
        scheme = preset_name_to_scheme(preset, ["Linear"])
        compressor = BaseCompressor.get_value_from_registry(kind)
        for name, dtype in DTYPES.items():
            # Rows 2 and 3 alone are so small that the global scale overflows float16, and becomes 1.
            for source in [weight, weight[2:4]] if preset[0] == "N" else [weight[:, :32]]:
                w = source.to(dtype)
                scale, zero, whole = compressed_tensors_parameters(w, scheme.weights)
                state = {"weight": w, "weight_scale": scale, "weight_zero_point": zero}
                if whole is not None:
                    state["weight_global_scale"] = whole
                packed = compressor.compress(state, scheme)
                arrays = {"input": source, "codes": packed["weight_packed"], "scales": packed["weight_scale"]}
                if whole is not None:
                    arrays["global_scale"] = whole
                values = compressor.decompress(dict(packed), scheme)["weight"]
                assert values.dtype == torch.bfloat16
                # The same in float32, where nothing is rounded to bfloat16.
                table = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])
                bytes_ = packed["weight_packed"].int()
                numbers = table[torch.stack([bytes_ & 15, bytes_ >> 4], -1).reshape(w.shape)]
                stored = (2.0 ** (packed["weight_scale"].float() - 127) if whole is None else packed["weight_scale"].float())
                exact = dequantize(numbers, stored, None, scheme.weights, global_scale=whole)
                assert exact.dtype == torch.float32 and torch.equal(exact.to(torch.bfloat16), values)
                subject.add({"format": preset[:-3].lower(), "rule": "compressed_tensors", "model": name,
                             "scales": "F8_E8M0" if whole is None else "F8_E4M3", "block": [1, 32 if whole is None else 16]},
                            **arrays, values=exact)


def floats(sources):
    libraries = [f"{name} {version(name)}" for name in ("compressed-tensors", "llmcompressor", "transformers")]
    subject = Subject("floats", ", ".join(libraries))
    random = np.random.default_rng(3)
    weight = float_weights(random, (24, 48))
    compressed_tensors_fp8(subject, weight)
    transformers_fp8(subject, weight)
    compressed_tensors_fp4(subject, weight[:12])
    return subject


SUBJECTS = [int_groups, bitsandbytes_formats, floats]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=ROOT / "tests/data/goldens/quantized")
    parser.add_argument("--sources", type=pathlib.Path, default=pathlib.Path(sys.prefix) / "src")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for subject in SUBJECTS:
        subject(arguments.sources).write(arguments.out)


if __name__ == "__main__":
    main()
