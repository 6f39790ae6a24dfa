"""Write llama.cpp's greedy continuations of the default model: its float32 copy, float32 activations and KV cache.

usage: smollm2_greedy.py GREEDY MODEL.Q4_1.gguf MODEL.F32.gguf [OUT.json] [--threads N]
       OUT.json: tests/data/goldens/smollm2/greedy_llamacpp.json

GREEDY and the float32 copy are made by bench/peers/llamacpp/build.sh. For 25 prompts the file holds the prompt's ids (llama.cpp's
own, checked against Hugging Face's tokenizers), 128 ids and their margins, best logit minus second best. A reader feeds these ids
and compares its choice wherever the margin exceeds 0.5: "compared" counts those steps.
"""
import argparse
import json
import pathlib
import subprocess

import gguf_llama
import smollm2_prompts

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENS = 128
MARGIN = 0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("greedy")
    parser.add_argument("quantized")
    parser.add_argument("float32")
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=ROOT / "tests/data/goldens/smollm2/greedy_llamacpp.json")
    parser.add_argument("--threads", default="1")
    arguments = parser.parse_args()
    tokenizer = gguf_llama.load_tokenizer(arguments.quantized)
    texts = {name: smollm2_prompts.text(name) for name in smollm2_prompts.PROMPTS}
    given = b"".join(f"{name} {len(text.encode())}\n".encode() + text.encode() for name, text in texts.items())
    output = subprocess.run([arguments.greedy, arguments.float32, arguments.threads, str(TOKENS)], input=given, stdout=subprocess.PIPE, check=True).stdout
    rows, steps, compared = [], 0, 0
    for line in output.decode().splitlines():
        row = json.loads(line)
        name = row.pop("name")
        assert row["prompt_ids"] == tokenizer.encode(texts[name], add_special_tokens=False).ids, name
        steps += len(row["ids"])
        compared += sum(margin > MARGIN for margin in row["margins"])
        rows.append({"name": name, "text": texts[name]} | row)
        print(f"{name:20s} smallest margin {min(row['margins']):.3f}, above {MARGIN}: {sum(m > MARGIN for m in row['margins'])}")
    head = json.dumps({"made_by": "tools/oracle/smollm2_greedy.py, llama.cpp 0c1e57098, F32 weights dequantized from Q4_1, float32 KV cache",
                       "steps": steps, "compared": compared})
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    arguments.out.write_text(f'{head[:-1]}, "prompts": [\n{lines}\n]}}\n')
    print(f"{len(rows)} prompts, {compared} of {steps} steps have a margin above {MARGIN}: {compared / steps:.1%}")


if __name__ == "__main__":
    main()
