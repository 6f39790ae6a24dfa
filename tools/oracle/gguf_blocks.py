"""Write the goldens of GGUF's block formats: what packed bytes mean, and what packing writes.

usage: gguf_blocks.py [OUT_DIR] [--ggml LIBGGML_BASE.so]          OUT_DIR: tests/data/goldens/blocks

For each type TYPE of Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K:
  TYPE.packed.bin   random blocks as they lie in a file (all codes; scales negative, denormal, zero and at half's limit)
  TYPE.values.bin   their values, float32 little-endian, in order: gguf-py's dequantize, bit for bit
For Q4_0, Q4_1, Q8_0 also:
  TYPE.pack_input.bin   float32 rows: random, ties, zeros, one value, small and large magnitudes
  TYPE.pack_output.bin  the blocks of the plain float32 rule, every operation rounded by itself (no fused multiply-add)
blocks.json lists types, block sizes and counts, and how many packed blocks gguf-py writes differently: it adds the
rounding constant in double precision, as a compiler's fused multiply-add would, so codes may differ at near-ties.
With --ggml the values are also compared with that library's own to_float functions.
"""
import argparse
import ctypes
import json
import pathlib

import gguf
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCKS = 6
# Where the half-precision scales of a block lie, in bytes.
SCALES = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q2_K: [80, 82], Type.Q3_K: [108],
          Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208]}
PACKED_TYPES = [Type.Q4_0, Type.Q4_1, Type.Q8_0]


def random_blocks(kind, random):
    size = GGML_QUANT_SIZES[kind][1]
    blocks = random.integers(0, 256, size=(BLOCKS, size), dtype=np.uint8)
    special = np.array([-0.0371, 6.1e-8, 0.0, 65504.0, -3.1e-6], np.float16)  # 6.1e-8 and 3.1e-6 are denormal halves
    for position, offset in enumerate(SCALES[kind]):
        scale = random.normal(0, 0.1, BLOCKS).astype(np.float16)
        scale[1 : 1 + len(special)] = np.roll(special, position)
        blocks[:, offset : offset + 2] = scale.reshape(BLOCKS, 1).view(np.uint8)
    return blocks


def pack_inputs(kind, random):
    """Rows of 32: each is one case of the rule."""
    unit = {Type.Q4_0: 8.0, Type.Q4_1: 15.0, Type.Q8_0: 127.0}[kind]  # with this extreme the scale is 1 and halves are ties
    ties = np.arange(32) * 0.5 - (0.0 if kind == Type.Q4_1 else 7.5)
    ties[-1] = -unit if kind == Type.Q4_0 else unit
    wide_ties = np.where(np.arange(32) % 2 == 0, 1.0, -1.0) * (np.arange(32) * 3 + 0.5) if kind == Type.Q8_0 else ties[::-1].copy()
    if kind == Type.Q8_0:
        wide_ties[5] = -127.0
    rows = [
        (np.arange(32) - 13) / 4,
        ties,
        wide_ties,
        np.zeros(32),
        np.full(32, 0.7300000190734863),
        np.full(32, -2.5),
        np.where(np.arange(32) % 2 == 0, 1.25, -1.25),  # equal magnitudes of both signs: the first one decides
        np.where(np.arange(32) % 2 == 0, -1.25, 1.25),
        np.eye(32)[17] * -3.0,
        np.eye(32)[31] * 1e-30,
        random.normal(0, 1e-7, 32),   # the scale is a denormal half
        random.normal(0, 1e-10, 32),  # the scale is rounded to zero, the codes are not
        random.uniform(-4e5, 4e5, 32) if kind != Type.Q4_1 else random.uniform(-6e4, 6e4, 32),
        np.exp(random.normal(0, 4, 32)) * random.choice([-1.0, 1.0], 32),
    ]
    rows += list(random.normal(0, 0.05, (10, 32))) + list(random.normal(1.0, 0.3, (4, 32))) + list(random.standard_t(3, (4, 32)))
    return np.array(rows, np.float32)


def reciprocal(scale):
    with np.errstate(divide="ignore"):
        return np.where(scale == 0, np.float32(0), np.float32(1) / scale).astype(np.float32)


def nibbles(codes):
    return (codes[:, :16] | (codes[:, 16:] << 4)).astype(np.uint8)


def pack(kind, rows):
    """The rule in float32 arithmetic, one rounding per operation."""
    rows = rows.astype(np.float32)
    if kind == Type.Q4_0:
        extreme = np.take_along_axis(rows, np.abs(rows).argmax(axis=1, keepdims=True), axis=1)
        scale = (extreme / np.float32(-8)).astype(np.float32)
        scaled = (rows * reciprocal(scale)).astype(np.float32)
        codes = np.minimum(15, np.trunc((scaled + np.float32(8.5)).astype(np.float32))).astype(np.uint8)
        return np.concatenate([scale.astype(np.float16).view(np.uint8), nibbles(codes)], axis=1)
    if kind == Type.Q4_1:
        low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
        scale = ((high - low) / np.float32(15)).astype(np.float32)
        scaled = ((rows - low).astype(np.float32) * reciprocal(scale)).astype(np.float32)
        codes = np.minimum(15, np.trunc((scaled + np.float32(0.5)).astype(np.float32))).astype(np.uint8)
        return np.concatenate([scale.astype(np.float16).view(np.uint8), low.astype(np.float16).view(np.uint8), nibbles(codes)], axis=1)
    scale = (np.abs(rows).max(axis=1, keepdims=True) / np.float32(127)).astype(np.float32)
    scaled = (rows * reciprocal(scale)).astype(np.float32)
    magnitude = np.floor(np.abs(scaled).astype(np.float64) + 0.5)  # half away from zero, exact in double
    codes = (np.sign(scaled) * magnitude).astype(np.int8)
    return np.concatenate([scale.astype(np.float16).view(np.uint8), codes.view(np.uint8)], axis=1)


def check_with_ggml(path, kind, blocks, values):
    library = ctypes.CDLL(path)
    function = getattr(library, "dequantize_row_" + kind.name.lower().replace("_k", "_K"))
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None
    out = np.empty(values.size, np.float32)
    data = np.ascontiguousarray(blocks)
    function(data.ctypes.data, out.ctypes.data, out.size)
    return int((out.view(np.uint32) != values.reshape(-1).view(np.uint32)).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=ROOT / "tests/data/goldens/blocks")
    parser.add_argument("--ggml", help="libggml-base.so to compare with")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    manifest = {"made_by": f"tools/oracle/gguf_blocks.py, gguf {gguf_version()}", "types": []}
    for kind in SCALES:
        random = np.random.default_rng(1000 + int(kind))
        blocks = random_blocks(kind, random)
        values = gguf.quants.dequantize(blocks, kind).astype("<f4")
        assert np.isfinite(values).all()
        entry = {"type": kind.name, "id": int(kind), "block_elements": GGML_QUANT_SIZES[kind][0], "block_bytes": GGML_QUANT_SIZES[kind][1],
                 "blocks": BLOCKS}
        (arguments.out / f"{kind.name}.packed.bin").write_bytes(blocks.tobytes())
        (arguments.out / f"{kind.name}.values.bin").write_bytes(values.tobytes())
        if arguments.ggml:
            print(kind.name, "values that differ from libggml:", check_with_ggml(arguments.ggml, kind, blocks, values))
        if kind in PACKED_TYPES:
            rows = pack_inputs(kind, random)
            packed = pack(kind, rows)
            theirs = gguf.quants.quantize(rows, kind)
            differing = [int(row) for row in np.flatnonzero((packed != theirs).any(axis=1))]
            (arguments.out / f"{kind.name}.pack_input.bin").write_bytes(rows.astype("<f4").tobytes())
            (arguments.out / f"{kind.name}.pack_output.bin").write_bytes(packed.tobytes())
            entry |= {"pack_rows": len(rows), "rows_gguf_py_packs_differently": differing}
            print(kind.name, "rows:", len(rows), "packed differently by gguf-py:", differing)
        manifest["types"].append(entry)
    (arguments.out / "blocks.json").write_text(json.dumps(manifest, indent=1) + "\n")


def gguf_version():
    from importlib.metadata import version
    return version("gguf")


if __name__ == "__main__":
    main()
