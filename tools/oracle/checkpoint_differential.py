"""Hold narae's readers of safetensors and GGUF against those of the formats' own projects, over generated files.

usage: checkpoint_differential.py [--cases N] [--seed S] [--build BUILD_DIR] [--ggml LIBGGML_BASE.so]

Makes N files of each kind, a part of them damaged (numbers of the header set to borders, members dropped, repeated or
renamed, bytes flipped, cut, lengthened), and compares: accepted or refused, names, types, shapes, every byte. The readers are
safetensors.deserialize, gguf.GGUFReader and, with --ggml, ggml's gguf_init_from_file (accept or refuse). narae is stricter on
purpose in some points; such refusals are counted by their reason, and everything else is a difference: it is printed, and the
exit code is 1. Compiles read_checkpoint.cpp with the objects of BUILD_DIR (build/release).
"""
import argparse
import collections
import copy
import ctypes
import json
import pathlib
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile

import gguf
import safetensors

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH = 500
BORDERS = [0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 33, 63, 64, 65, 255, 256, 4096, 8192, 2**16, 2**20, 2**26, 2**31, 2**32, 2**61,
           2**62, 2**63 - 1, 2**63, 2**64 - 1]

# Refusals of narae that the other readers do not make, by a part of the message. Each is a rule of the format's document, a
# limit of untrusted input, or a kind of number that narae does not know.
STRICTER_SAFETENSORS = ["does not begin with", "is there twice", "has the key", "more than 8 dimensions", "a tensor's name of", "nested deeper",
                        "is too large"]
STRICTER_GGUF = ["is there twice", "element type of", "is empty", "is not valid UTF-8", "need a power of two", "need u32",
                 "is not a multiple of the alignment", "lies in the data of", "need 1 to 2^63", "is not supported",
                 "need at most", "which do not fit into", "big-endian", "a bool of", "the data section has", "arrays of arrays",
                 "is not a multiple of the", "overflows", "do not fit into"]


def build_reader(build, folder):
    program = folder / "read_checkpoint"
    rooms = ["base", "tensor", "formats", "text", "checkpoint"]
    objects = [str(path) for room in rooms for path in build.glob(f"CMakeFiles/narae_{room}_objects.dir/**/*.o")]
    if not objects:
        sys.exit(f"{build}: no objects; build it first, or name another with --build")
    libraries = ["-lfmt", "-lsimdjson", "-lutf8proc", "-lpcre2-8", "-lpthread"]
    subprocess.run(["g++", "-std=c++20", "-O1", f"-I{ROOT}/src", str(ROOT / "tools/oracle/read_checkpoint.cpp"), *objects,
                    *libraries, "-o", str(program)], check=True)
    return program


def ask(program, questions):
    """What narae finds in files of (kind, path)."""
    text = "".join(f"{kind} {path}\n" for kind, path in questions)
    result = subprocess.run([str(program)], input=text, stdout=subprocess.PIPE, text=True, check=True)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) == len(questions)
    return answers


def damage_bytes(rng, data):
    """What happens to files: flipped bytes, a lost end, something after the end."""
    data = bytearray(data)
    act = rng.randrange(4)
    if act == 0 and data:
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif act == 1:
        del data[rng.randrange(len(data) + 1):]
    elif act == 2:
        data += bytes(rng.randint(1, 40))
    elif data:
        at = rng.randrange(len(data))
        data[at:at + 8] = struct.pack("<Q", rng.choice(BORDERS))
    return bytes(data)


# ---- safetensors ------------------------------------------------------------------------------------------------------------

SAFETENSORS_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16,
                    "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F4": 4,
                    "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8}


def random_name(rng):
    parts = ["w", "layers.", "0", ".weight", "가", "é", "\"", "\\", "\n", "😀", " ", "", "a" * 40]
    return "".join(rng.choice(parts) for _ in range(rng.randint(1, 4)))


def safetensors_case(rng):
    members, offset = [], 0
    for _ in range(rng.randint(0, 5)):
        dtype = rng.choice(list(SAFETENSORS_BITS))
        shape = [rng.choice([0, 1, 2, 3, 4, 5, 8]) for _ in range(rng.randint(0, 4))]
        bits = SAFETENSORS_BITS[dtype]
        for size in shape:
            bits *= size
        if bits % 8 and not rng.randrange(8) == 0:
            shape.append(8)
            bits *= 8
        members.append([random_name(rng), {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + bits // 8]}])
        offset += bits // 8
    if rng.randrange(3) == 0:
        members.insert(0, ["__metadata__", rng.choice([{"format": "pt"}, {}, None, {"a": 1}, [], {"a": "b", "c": "d"}])])
    rng.shuffle(members)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        damage_members(rng, members)
    text = json_text(rng, members)
    if rng.randrange(4) == 0:
        text += " " * rng.randrange(9)
    if rng.randrange(16) == 0:
        text = rng.choice([" " + text, text + "\n", text + "x", text[:-1], text.replace(":", " : "), text + "\0"])
    header = text.encode("utf-8", "surrogatepass")
    data = struct.pack("<Q", len(header)) + header + rng.randbytes(offset)
    return damage_bytes(rng, data) if rng.randrange(6) == 0 else data


def damage_members(rng, members):
    if not members:
        return
    index = rng.randrange(len(members))
    name, value = members[index]
    value = copy.deepcopy(value)  # a repeated member keeps its own
    members[index] = [name, value]
    offsets = value.get("data_offsets") if isinstance(value, dict) else None
    offsets = offsets if isinstance(offsets, list) else []
    act = rng.randrange(7)
    if act == 0:
        members.append([name, value])  # a duplicate
    elif act == 1:
        del members[index]
    elif not isinstance(value, dict) or "shape" not in value:
        members[index][1] = rng.choice([None, 1, [], {}, "x", {"a": None}])
    elif act == 2:
        shape = value["shape"] if isinstance(value["shape"], list) else []
        value["shape"] = shape + [rng.choice(BORDERS)]
    elif act == 3:
        value["data_offsets"] = [rng.choice(BORDERS + offsets) for _ in range(rng.choice([1, 2, 2, 2, 3]))]
    elif act == 4:
        value["dtype"] = rng.choice(list(SAFETENSORS_BITS) + ["f32", "F33", "", 3, None])
    elif act == 5:
        del value[rng.choice(list(value))]
    else:
        value[rng.choice(["extra", "shape", "dtype", "data_offsets"])] = rng.choice(
            [None, True, -1, 1.5, [1, [2, {"x": []}]], "text", {"a": 1e300}, [-0.0], [1.0], ["1"]])


def json_text(rng, members):
    """JSON with repeated keys kept."""
    ascii_only = rng.randrange(2) == 0
    separators = rng.choice([(",", ":"), (", ", ": ")])
    parts = [json.dumps(name, ensure_ascii=ascii_only) + separators[1] + json.dumps(value, ensure_ascii=ascii_only, separators=separators)
             for name, value in members]
    return "{" + separators[0].join(parts) + "}"


def oracle_safetensors(path):
    data = path.read_bytes()
    try:
        tensors = safetensors.deserialize(data)
        return {"tensors": {name: [each["dtype"], each["shape"], bytes(each["data"]).hex()] for name, each in tensors}}
    except Exception as error:  # pylint: disable=broad-except
        return f"{type(error).__name__}: {error}"


# ---- GGUF -------------------------------------------------------------------------------------------------------------------

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 10: "<Q", 11: "<q", 12: "<d"}
GGUF_TYPES = {0: ("f32", 1, 4), 1: ("f16", 1, 2), 2: ("q4_0", 32, 18), 3: ("q4_1", 32, 20), 6: ("q5_0", 32, 22), 7: ("q5_1", 32, 24),
              8: ("q8_0", 32, 34), 10: ("q2_k", 256, 84), 11: ("q3_k", 256, 110), 12: ("q4_k", 256, 144), 13: ("q5_k", 256, 176),
              14: ("q6_k", 256, 210), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
              30: ("bf16", 1, 2)}


def gguf_string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(rng, kind):
    if kind == 8:
        return gguf_string("".join(rng.choice(["a", "가", " ", "\n", "xyz"]) for _ in range(rng.randint(0, 4))))
    if kind == 7:
        return bytes([rng.randrange(2)])
    return rng.randbytes(struct.calcsize(SCALARS[kind]))


def gguf_entry(rng, index):
    kinds = list(SCALARS) + [7, 8]
    kind = rng.choice(kinds + [9, 9])
    head = gguf_string(f"key.{index}") + struct.pack("<I", kind)
    if kind != 9:
        return head + gguf_value(rng, kind)
    element, count = rng.choice(kinds), rng.randint(0, 4)
    return head + struct.pack("<IQ", element, count) + b"".join(gguf_value(rng, element) for _ in range(count))


def gguf_case(rng):
    alignment = rng.choice([32, 32, 32, 8, 64, 4096])
    entries = [gguf_entry(rng, i) for i in range(rng.randint(0, 6))]
    if alignment != 32:
        entries.insert(rng.randrange(len(entries) + 1), gguf_string("general.alignment") + struct.pack("<II", 4, alignment))
    tensors, offset = [], 0
    for index in range(rng.randint(0, 4)):
        kind = rng.choice(list(GGUF_TYPES))
        _, block, block_bytes = GGUF_TYPES[kind]
        shape = [block * rng.randint(1, 3)] + [rng.randint(1, 3) for _ in range(rng.randint(0, 3))]
        elements = 1
        for size in shape:
            elements *= size
        tensors.append(gguf_string(f"tensor.{index}") + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
                       + struct.pack("<IQ", kind, offset))
        offset += (elements // block * block_bytes + alignment - 1) // alignment * alignment
    counts = [len(tensors), len(entries)]
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        damage_gguf_parts(rng, entries, tensors, counts)
    version = rng.choice([3, 3, 3, 3, 3, 2, 2, 1, 0, 4, 0x03000000]) if rng.randrange(4) == 0 else 3
    data = rng.choice([b"GGUF"] * 50 + [b"GGML"]) + struct.pack("<I", version) + struct.pack("<2Q", *[c % 2**64 for c in counts])
    data += b"".join(entries) + b"".join(tensors)
    data += bytes(-len(data) % alignment) + rng.randbytes(offset)
    return damage_bytes(rng, data) if rng.randrange(4) == 0 else data


def damage_gguf_parts(rng, entries, tensors, counts):
    act = rng.randrange(6)
    parts = rng.choice([entries, tensors])
    if act == 0:
        counts[rng.randrange(2)] = rng.choice(BORDERS + [-1])
    elif not parts:
        return
    elif act == 1:
        parts.append(rng.choice(parts))
        counts[:] = [len(tensors), len(entries)]
    elif act == 2:
        del parts[rng.randrange(len(parts))]
        counts[:] = [len(tensors), len(entries)]
    else:
        index = rng.randrange(len(parts))
        part = bytearray(parts[index])
        width = rng.choice([1, 4, 8])
        at = rng.randrange(len(part))
        value = rng.choice(BORDERS) % 2**(8 * width)
        part[at:at + width] = value.to_bytes(width, "little")[:len(part) - at]
        parts[index] = bytes(part)


class TooSlow(Exception):
    """gguf-py walks an array of any length that the file claims, and keeps a list of it."""


def give_up(_signal, _frame):
    raise TooSlow()


def oracle_gguf(path):
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        reader = gguf.GGUFReader(path)
        tensors = {}
        for tensor in reader.tensors:
            name = GGUF_TYPES.get(int(tensor.tensor_type), (tensor.tensor_type.name,))[0]
            tensors[tensor.name] = [name, [int(size) for size in reversed(tensor.shape)], tensor.data.tobytes().hex()]
        metadata = {}
        for key, field in reader.fields.items():
            if key.startswith("GGUF."):
                continue
            kind = int(field.types[0])
            parts = field.parts[5:] if kind == 9 else field.parts[4:] if kind == 8 else field.parts[3:]
            metadata[key] = [kind, b"".join(part.tobytes() for part in parts).hex()]
        return {"tensors": tensors, "metadata": metadata}
    except Exception as error:  # pylint: disable=broad-except
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Ggml:
    """ggml's own reader, which says only yes or no here."""

    class Parameters(ctypes.Structure):
        _fields_ = [("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p)]

    def __init__(self, library):
        self.library = ctypes.CDLL(library)
        self.library.gguf_init_from_file.restype = ctypes.c_void_p
        self.library.gguf_init_from_file.argtypes = [ctypes.c_char_p, Ggml.Parameters]
        self.library.gguf_free.argtypes = [ctypes.c_void_p]
        self.callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(self.note)
        self.library.ggml_log_set(self.callback, None)
        self.messages = []

    def note(self, _level, text, _data):
        self.messages.append(text.decode(errors="replace").strip())

    def accepts(self, path):
        self.messages = []
        context = self.library.gguf_init_from_file(str(path).encode(), Ggml.Parameters(True, None))
        if context:
            self.library.gguf_free(context)
        return bool(context)


# What ggml refuses and narae reads: ggml asks for tensors without gaps, in the order of their offsets.
GGML_STRICTER = ["has offset", "expected"]


def explain(message, reasons):
    return next((reason for reason in reasons if reason in message), None)


class Count:
    def __init__(self):
        self.same_accepted = self.same_refused = 0
        self.explained = collections.Counter()
        self.differences = []

    def report(self, title):
        print(f"{title}: {self.same_accepted} accepted alike, {self.same_refused} refused alike, "
              f"{sum(self.explained.values())} refused by one for a known reason, {len(self.differences)} differences")
        for reason, count in self.explained.most_common():
            print(f"    {count:6} {reason}")
        for difference in self.differences[:20]:
            print("    DIFFERENCE", difference)


def compare(count, case, ours, theirs, reasons):
    refused = ours.get("refused")
    if refused is None and not isinstance(theirs, str):
        if ours == theirs:
            count.same_accepted += 1
        else:
            count.differences.append(f"{case}: other contents")
    elif refused is not None and isinstance(theirs, str):
        count.same_refused += 1
    elif refused is not None and explain(refused, reasons):
        count.explained["narae: " + explain(refused, reasons)] += 1
    else:
        count.differences.append(f"{case}: narae {refused or 'accepts'}; other {theirs if isinstance(theirs, str) else 'accepts'}")


def compare_with_ggml(count, path, ours, ggml):
    accepts = ggml.accepts(path)
    message = " ".join(ggml.messages)
    if "refused" not in ours and not accepts and explain(message, GGML_STRICTER):
        count.explained["ggml: gaps between tensors, or another order"] += 1
    elif "refused" not in ours:
        compare(count, path.name, {}, {} if accepts else message, [])
    else:
        compare(count, path.name, ours, {} if accepts else message, STRICTER_GGUF)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cases", type=int, default=10000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    arguments.add_argument("--ggml")
    options = arguments.parse_args()
    signal.signal(signal.SIGALRM, give_up)
    resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
    ggml = Ggml(options.ggml) if options.ggml else None
    safetensors_count, gguf_count, ggml_count = Count(), Count(), Count()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        program = build_reader(options.build, folder)
        for first in range(0, options.cases, BATCH):
            cases = range(first, min(first + BATCH, options.cases))
            questions = [(kind, folder / f"{case}.{kind}") for case in cases for kind in ("safetensors", "gguf")]
            for (kind, path), case in zip(questions, [case for case in cases for _ in range(2)]):
                rng = random.Random(f"{options.seed}/{case}/{kind}")
                path.write_bytes(safetensors_case(rng) if kind == "safetensors" else gguf_case(rng))
            for (kind, path), ours in zip(questions, ask(program, questions)):
                if kind == "safetensors":
                    compare(safetensors_count, path.name, ours, oracle_safetensors(path), STRICTER_SAFETENSORS)
                else:
                    compare(gguf_count, path.name, ours, oracle_gguf(path), STRICTER_GGUF)
                    if ggml:
                        compare_with_ggml(ggml_count, path, ours, ggml)
                path.unlink()
    safetensors_count.report(f"safetensors {safetensors.__version__}")
    gguf_count.report("gguf-py")
    if ggml:
        ggml_count.report("ggml")
    return 1 if any(count.differences for count in (safetensors_count, gguf_count, ggml_count)) else 0


if __name__ == "__main__":
    sys.exit(main())
