#!/usr/bin/env bash
# Makes a small vLLM for a Hopper GPU, without torch and what torch brings: FOLDER/site, 0.4 GB, to be put on PYTHONPATH there.
#
#   build.sh [FOLDER] [--pack SIZE]     FOLDER: build/vllm; --pack 48M also writes FOLDER/parts/vllm.tar.xz.00, .01, … of at
#                                       most so many bytes each (47 MiB in all), to be carried to a machine without network
#
# Needs python3 with pip, unzip and xz, and no GPU; about 5 minutes on two cores.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$here/../../../build/vllm part=
while [ $# -gt 0 ]; do
    case "$1" in
        --pack) part=${2:?--pack needs a size, such as 48M}; shift ;;
        *) folder=$1 ;;
    esac
    shift
done
mkdir -p "$folder/download"
folder=$(cd "$folder" && pwd)

make_site() { # FOLDER
    local site=$1 platforms=() version wheel lib data
    for version in 35 34 31 28 27 26 24 17; do platforms+=(--platform "manylinux_2_${version}_x86_64"); done
    python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux1_x86_64 \
        -d "$folder/download" -r "$here/requirements.txt"
    for wheel in "$folder"/download/*.whl; do unzip -qo "$wheel" -d "$site"; done
    for data in "$site"/*.data; do # folders beside the package; of them only what Python imports matters
        for lib in "$data"/{purelib,platlib}; do
            if [ -d "$lib" ]; then cp -r "$lib"/. "$site"/; fi
        done
        rm -rf "$data"
    done

    # What dense models on Hopper never load: FlashAttention 2 (3 is used), MLA, DeepGEMM, Blackwell's kernels, the Rust front
    # end, Mistral's tokenizers, translations.
    (
        cd "$site"
        rm -rf vllm/vllm-rs vllm/_flashmla_*.so vllm/_flashmla_C* vllm/_qutlass_C* vllm/vllm_flash_attn/_vllm_fa2_C* \
            vllm/third_party/{deep_gemm,fmha_sm100,tml_fa4} vllm/entrypoints/serve/instrumentator/static \
            vllm/model_executor/layers/fused_moe/configs vllm/distributed/kv_transfer/*.jpg \
            pycountry/locales mistral_common/data flashinfer/data/cutlass
        find . -name tests -type d -prune -exec rm -rf {} +
        find . -name '*.pyi' -delete
        python3 "$here/slim.py" vllm/_C_stable_libtorch.abi3.so 90
        python3 "$here/slim.py" vllm/_moe_C_stable_libtorch.abi3.so 90 --no-ptx
    )

    find "$site" -name __pycache__ -type d -prune -exec rm -rf {} +
}

if [ ! -d "$folder/site" ]; then
    rm -rf "$folder/site.new"
    mkdir "$folder/site.new"
    make_site "$folder/site.new"
    mv "$folder/site.new" "$folder/site"
fi
if [ -n "$part" ]; then
    rm -rf "$folder/parts" "$folder/parts.new"
    mkdir "$folder/parts.new"
    tar -C "$folder" --sort=name --owner=0 --group=0 -cf - site | xz -T0 -6 | split -b "$part" -d - "$folder/parts.new/vllm.tar.xz."
    mv "$folder/parts.new" "$folder/parts"
    ls -l "$folder/parts"
fi
du -sm "$folder/site"
