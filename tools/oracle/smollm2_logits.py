"""Write the goldens of the default model's logits: transformers in float32 on the file's dequantized weights.

usage: smollm2_logits.py MODEL.gguf [OUT_DIR] [--save FOLDER]        OUT_DIR: tests/data/goldens/smollm2

  logits.json       for six prompts: ids, deviation of all logits, the 20 best [id, logit] of each position, 128 greedy ids
                    and their margins (best logit minus second best)
  last_NAME.npy     for two of them: all logits of the last position, float32
Ids come from Hugging Face's tokenizers. --save also writes the model as a Hugging Face folder in float32.
"""
import argparse
import hashlib
import json
import pathlib

import numpy as np
import torch
import transformers

import goldens
import gguf_llama
import smollm2_prompts

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Prompts whose greedy paths have no near-tie: every margin is above twice a thousandth of the logits' deviation.
NAMES = ["english-letter", "chat-code", "korean-weather", "korean-english", "code-class", "code-sql"]
FULL = ["english-letter", "korean-weather"]
BEST = 20
GREEDY_TOKENS = 128


def greedy(model, prompt, guess):
    """Greedy ids and margins. A pass over a guessed continuation settles it up to its first wrong id; the rest of the pass is the next guess."""
    while True:
        rows = torch.from_numpy(goldens.logits(model, prompt + guess[:-1])[len(prompt) - 1 :])
        best = torch.topk(rows, 2)
        chosen = best.indices[:, 0].tolist()
        if chosen == guess:
            return chosen, [round(float(margin), 4) for margin in best.values[:, 0] - best.values[:, 1]]
        guess = chosen


def first_guess(path, name):
    """llama.cpp's continuation if it is there; it only saves passes."""
    if path.exists():
        for row in json.loads(path.read_text())["prompts"]:
            if row["name"] == name:
                return row["ids"]
    return [0] * GREEDY_TOKENS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=ROOT / "tests/data/goldens/smollm2")
    parser.add_argument("--save", type=pathlib.Path)
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    arguments.out.mkdir(parents=True, exist_ok=True)
    model = gguf_llama.load_model(arguments.model)
    tokenizer = gguf_llama.load_tokenizer(arguments.model)
    if arguments.save:
        model.save_pretrained(arguments.save)
        tokenizer.save(str(arguments.save / "tokenizer.json"))
    prompts = []
    for name in NAMES:
        text = smollm2_prompts.text(name)
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
        values = goldens.logits(model, ids)
        order = np.argsort(-values, axis=1, kind="stable")[:, :BEST]
        best = [[[int(token), round(float(row[token]), 5)] for token in tokens] for row, tokens in zip(values, order)]
        if name in FULL:
            np.save(arguments.out / f"last_{name}.npy", values[-1].astype("<f4"))
        continuation, margins = greedy(model, ids, first_guess(arguments.out / "greedy_llamacpp.json", name))
        assert min(margins) > 2e-3 * values.std(), f"{name}: near-tie"
        prompts.append({"name": name, "text": text, "ids": ids, "deviation": round(float(values.std()), 5), "best": best, "greedy_ids": continuation,
                        "greedy_margins": margins})
        print(f"{name:16s} {len(ids):3d} tokens, deviation {values.std():.3f}, smallest margin {min(margins):.4f}", repr(tokenizer.decode(continuation[:24])))
    digest = hashlib.sha256(arguments.model.read_bytes()).hexdigest()
    lines = ",\n".join(json.dumps(prompt, ensure_ascii=False, separators=(",", ":")) for prompt in prompts)
    head = json.dumps({"made_by": goldens.made_by("smollm2_logits.py"), "model_sha256": digest})
    (arguments.out / "logits.json").write_text(f'{head[:-1]}, "prompts": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
