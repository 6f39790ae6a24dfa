#!/usr/bin/env bash
# Measures narae and vLLM in turns on one NVIDIA GPU, with random weights of Llama-3-8B's shape, and appends what it found to
# a file of JSON lines; gpu_table.py makes the table of it.
#
#   bench/gpu.sh FORMAT        bf16: both in bf16
#                              q4:   narae Q4_0 (head Q8_0), vLLM AWQ of 128-groups on Machete and on Marlin
#                              q8:   narae Q8_0, vLLM FP8
#
# Environment:
#   NARAE        the program; default build/cuda/narae, else build/release/narae
#   VLLM_DIR     what bench/peers/vllm/build.sh made, or a virtual environment with vLLM; without it narae is measured alone
#   SCRATCH      where the checkpoints and what vLLM compiles go (30 GB for all formats) and stay for the next run; /tmp/narae-bench
#   RESULTS      the file that is appended to; default build/gpu/results.jsonl
#   SHAPE        as tools/random_checkpoint has it; default llama-3-8b
#   ROUNDS       how often each is measured; default 2
#   LIMIT        seconds after which no more is started; default 560
#   DEVICE       narae's --device; default cuda
#   NARAE_FLAGS  more options for `narae bench`, such as --kv-type bf16
#
# In each round narae, then each kernel of vLLM; narae once more at the end, so that it stands on both sides of vLLM.
# Needs nvidia-smi, python3, and torch for the copy bandwidth.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
format=${1:-}
case "$format" in
    bf16) narae_variant=bf16 narae_options=(--layout hf --dtype bf16) vllm_variants=(none) ;;
    q4) narae_variant=Q4_0 narae_options=(--layout gguf --dtype q4_0) vllm_variants=(awq:machete awq:marlin) ;;
    q8) narae_variant=Q8_0 narae_options=(--layout gguf --dtype q8_0) vllm_variants=(fp8) ;;
    *)
        echo "usage: bench/gpu.sh bf16|q4|q8" >&2
        exit 2
        ;;
esac

narae=${NARAE:-}
for candidate in "$root/build/cuda/narae" "$root/build/release/narae"; do
    [ -n "$narae" ] || [ ! -x "$candidate" ] || narae=$candidate
done
if [ ! -x "$narae" ]; then
    echo "bench/gpu.sh: no program ${narae:-build/cuda/narae}; build one (cmake --preset cuda && cmake --build build/cuda), or set NARAE" >&2
    exit 3
fi
if ! nvidia-smi > /dev/null; then
    echo "bench/gpu.sh: needs an NVIDIA GPU and nvidia-smi" >&2
    exit 3
fi
vllm_python=() vllm_path=
if [ -z "${VLLM_DIR:-}" ]; then
    echo "VLLM_DIR is not set: narae is measured alone" >&2
    vllm_variants=()
elif [ -x "$VLLM_DIR/bin/python3" ]; then
    vllm_python=("$VLLM_DIR/bin/python3")
elif [ -d "$VLLM_DIR/site/vllm" ]; then
    # For vLLM's commands alone: the folder brings packages of its own that others may not want.
    vllm_python=(python3) vllm_path=$(cd "$VLLM_DIR" && pwd)/site
else
    echo "bench/gpu.sh: VLLM_DIR=$VLLM_DIR has neither bin/python3 nor site/vllm; see bench/peers/vllm/README.md" >&2
    exit 2
fi

scratch=${SCRATCH:-/tmp/narae-bench} results=${RESULTS:-$root/build/gpu/results.jsonl} shape=${SHAPE:-llama-3-8b}
rounds=${ROUNDS:-2} limit=${LIMIT:-560} device=${DEVICE:-cuda}
read -ra flags <<< "${NARAE_FLAGS:-}"
mkdir -p "$scratch" "$(dirname "$results")"
run_name=$(date -u +%Y-%m-%dT%H:%M:%SZ)
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)
work=$(mktemp -d "$scratch/run-XXXXXX")
watcher=
clean_up() {
    [ "$BASHPID" = $$ ] || return 0 # a child that is killed before it became another program comes here too
    [ -z "$watcher" ] || kill "$watcher" 2> /dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

checkpoint() { # NAME OPTIONS...: makes it unless it is there, prints its path
    local path=$scratch/$1
    shift
    [ -e "$path" ] || "$root/tools/random_checkpoint" --shape "$shape" "$@" "$path" || exit
    echo "$path"
}

gpu_used() { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits | head -1; }

# Runs a command with its output in $work/out.
run() {
    if ! "$@" > "$work/out" 2> "$work/errors"; then
        tail -n 30 "$work/errors" >&2
        echo "bench/gpu.sh: failed: $*" >&2
        exit 1
    fi
}

# The same; afterwards gpu_mib is the most that it took of the GPU's memory, or empty if that is not known.
run_watched() {
    local before waited
    before=$(gpu_used)
    rm -f "$work/memory"
    # Seldom enough to disturb nothing; memory is taken at the start and kept.
    stdbuf -oL nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 500 > "$work/memory" &
    watcher=$!
    run "$@"
    for ((waited = 0; waited < 1000; ++waited)); do
        [ ! -s "$work/memory" ] || break
        sleep 0.01
    done
    kill "$watcher"
    wait "$watcher" 2> /dev/null || true
    watcher=
    gpu_mib=$(awk -v before="$before" '$1 > most { most = $1 } END { if (NR) print most - before }' "$work/memory")
}

# Appends one line: what was measured, by which program, and the document in $work/out.
record() { # ENGINE VARIANT ROUND KIND
    python3 - "$run_name" "$format" "$shape" "$gpu" "$@" "$gpu_mib" "$work/out" >> "$results" << 'PYTHON'
import json, sys

keys = ["run", "format", "shape", "gpu", "engine", "variant", "round", "kind", "gpu_mib"]
line = dict(zip(keys, sys.argv[1:-1])) | {"document": json.load(open(sys.argv[-1], encoding="utf-8"))}
print(json.dumps(line | {"round": int(line["round"]), "gpu_mib": int(line["gpu_mib"]) if line["gpu_mib"] else None}, separators=(",", ":")))
PYTHON
    echo "$SECONDS s: round $3, $1 $2 $4" >&2
}

measure_copy() { # ROUND
    gpu_mib=
    if ! python3 "$root/bench/copy_bandwidth.py" > "$work/out" 2> "$work/errors"; then
        echo "no copy bandwidth: $(tail -n 1 "$work/errors")" >&2
        return
    fi
    record copy - "$1" copy
}

measure_narae() { # ROUND
    local seconds=() before
    for _ in 1 2 3; do
        before=$EPOCHREALTIME
        run "$narae" generate "$narae_model" --device "$device" --ids 1,2,3 -n 1 --temp 0 -c 2048
        seconds+=("$(awk "BEGIN { print $EPOCHREALTIME - $before }")")
    done
    (IFS=, && echo "[${seconds[*]}]") > "$work/out"
    gpu_mib=
    record narae "$narae_variant" "$1" start
    # As vLLM's: the tokens after a prompt of 128 and 32 more.
    run_watched "$narae" bench "$narae_model" --device "$device" -p 0 -n 256 -d 160 -b 1,8,32 -r 5 --json "${flags[@]}"
    record narae "$narae_variant" "$1" bench
    run_watched "$narae" bench "$narae_model" --device "$device" -p 2048 -n 0 -b 1 -r 10 --json "${flags[@]}"
    record narae "$narae_variant" "$1" bench
}

slowest=150 # seconds that one measurement of vLLM takes; a guess at first
measure_vllm() { # ROUND VARIANT
    local quantization=${2%%:*} kernel=() begun=$SECONDS
    if [ $((SECONDS + slowest)) -gt "$limit" ]; then
        echo "$SECONDS s: no time left for round $1 of vLLM $2" >&2
        return
    fi
    [ "$quantization" = "$2" ] || kernel=(--kernel "${2##*:}")
    run_watched env PYTHONPATH="$vllm_path${PYTHONPATH:+:$PYTHONPATH}" "${vllm_python[@]}" "$root/bench/peers/vllm/measure.py" "$vllm_model" \
        --quantization "$quantization" "${kernel[@]}" --cache "$scratch/vllm-$shape-${2//:/-}"
    record vllm "$2" "$1" bench
    [ $((SECONDS - begun)) -le "$slowest" ] || slowest=$((SECONDS - begun))
}

narae_name=$shape-${narae_options[3]}
[ "${narae_options[1]}" = hf ] || narae_name+=.gguf
narae_model=$(checkpoint "$narae_name" "${narae_options[@]}")
vllm_model=$narae_model
if [ "$format" != bf16 ] && [ ${#vllm_variants[@]} -gt 0 ]; then
    vllm_model=$(checkpoint "$shape-config" --layout hf --dtype bf16 --no-weights)
fi
echo "$SECONDS s: $gpu; $narae; $narae_model" >&2

for ((round = 1; round <= rounds; ++round)); do
    measure_copy "$round"
    measure_narae "$round"
    for variant in "${vllm_variants[@]}"; do measure_vllm "$round" "$variant"; done
done
if [ ${#vllm_variants[@]} -gt 0 ] && [ $((SECONDS + 60)) -lt "$limit" ]; then
    measure_narae "$round"
fi
python3 "$root/bench/gpu_table.py" "$results" --run "$run_name"
