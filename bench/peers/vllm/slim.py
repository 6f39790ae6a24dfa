#!/usr/bin/env python3
"""Blank the GPU code of a library that one generation of GPUs never runs, so that the file packs small.

usage: slim.py FILE.so ARCHITECTURE [--no-ptx]        e.g. slim.py _C.abi3.so 90

A CUDA library holds "fat binaries": lists of machine code by architecture, and PTX for later ones. What a GPU of
ARCHITECTURE never loads is overwritten with zeros; sizes and places stay, so the library loads as before. Of each list is
kept: the machine code of ARCHITECTURE; if there is none, the newest PTX not above it, unless --no-ptx.
"""
import argparse
import pathlib
import struct

FAT_BINARY = 0xBA55ED50
PTX, MACHINE_CODE = 1, 2


def section(data, name):
    """Place and size of an ELF file's section."""
    table = struct.unpack_from("<Q", data, 0x28)[0]
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + index * size) for index in range(count)]
    for header in headers:
        start = headers[names][4] + header[0]
        if data[start : data.index(b"\0", start)] == name:
            return header[4], header[5]
    return 0, 0


def entries(data, at, end):
    """Kind, architecture, place and size of the code in one fat binary."""
    while at < end:
        kind, _, header, size = struct.unpack_from("<HHIQ", data, at)
        yield kind, struct.unpack_from("<I", data, at + 28)[0], at + header, size
        at += header + size


def places_to_keep(found, architecture, with_ptx):
    machine_code = {place for kind, built_for, place, _ in found if kind == MACHINE_CODE and built_for == architecture}
    if machine_code or not with_ptx:
        return machine_code
    usable = [(built_for, place) for kind, built_for, place, _ in found if kind == PTX and built_for <= architecture]
    newest = max((built_for for built_for, _ in usable), default=None)
    return {place for built_for, place in usable if built_for == newest}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("architecture", type=int)
    parser.add_argument("--no-ptx", action="store_true")
    arguments = parser.parse_args()
    data = bytearray(arguments.file.read_bytes())
    at, size = section(data, b".nv_fatbin")
    end, kept, blanked = at + size, 0, 0
    while at + 16 <= end:
        magic, _, header, length = struct.unpack_from("<IHHQ", data, at)
        if magic != FAT_BINARY:
            at += 8  # padding
            continue
        found = list(entries(data, at + header, at + header + length))
        keep = places_to_keep(found, arguments.architecture, not arguments.no_ptx)
        for _, _, place, bytes_of_code in found:
            if place in keep:
                kept += bytes_of_code
            else:
                data[place : place + bytes_of_code] = bytes(bytes_of_code)
                blanked += bytes_of_code
        at += header + length
    arguments.file.write_bytes(data)
    print(f"{arguments.file.name}: kept {kept / 1e6:.1f} MB, blanked {blanked / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
