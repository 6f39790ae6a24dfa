#!/usr/bin/env bash
# Unpacks what `build.sh --pack` wrote, on the machine with the GPU; needs python3 alone.
#
#   unpack.sh PARTS FOLDER      PARTS: the folder of vllm.tar.xz.*; then VLLM_DIR=FOLDER bench/gpu.sh bf16
set -euo pipefail
parts=$1 folder=$2
mkdir -p "$folder"
cat "$parts"/vllm.tar.xz.* | python3 -c '
import lzma, sys, tarfile
tarfile.open(fileobj=lzma.open(sys.stdin.buffer), mode="r|").extractall(sys.argv[1], filter="fully_trusted")' "$folder"
# Otherwise the first start would compile them; some files are for other versions of Python.
python3 -m compileall -q -j 0 "$folder/site" > /dev/null 2>&1 || true
du -sm "$folder/site"
