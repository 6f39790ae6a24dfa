"""Write the perplexity goldens: a small model on a small text, by the recipes as they were published.

usage: perplexity.py [OUT_DIR]                 OUT_DIR: tests/data/goldens/perplexity

gptq-2048: the loop of the GPTQ paper's program (windows without overlap, the mean of each times its length). hf-strided: the
loop of transformers' documentation. Both with transformers in float32 and the windows that a small model takes; llama.cpp-512 is
held against llama.cpp itself by bench/peers/llamacpp/perplexity.py. The text is read as `datasets` reads WikiText. Windows are
summed in float64 (the recipes sum in float32, which costs up to 4e-6 of the perplexity here).
"""
import hashlib
import json
import pathlib
import sys

import numpy
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests/data/models/llama-gqa-tied"


def sample_text():
    """Twelve paragraphs with WikiText's blank lines between them, a special token among them, and no line end at the end."""
    lines = (ROOT / "data/eval/english.txt").read_text(encoding="utf-8").splitlines()[2:14]
    return "\n \n".join(f" {line[:300]} " for line in lines[:6]) + "\n\n<|im_end|>\n" + "\n \n".join(line[:200] for line in lines[6:])


def dataset_rows(text):
    """The rows of the `wikitext` data set: a line with letters as it is, with its end; a blank one as nothing."""
    return [line if line.strip() else "" for line in text.splitlines(keepends=True)]


def gptq(model, ids, window):
    means = []
    for i in range(ids.shape[1] // window):
        batch = ids[:, i * window:(i + 1) * window]
        logits = model(batch).logits
        loss = torch.nn.functional.cross_entropy(logits[0, :-1].float(), batch[0, 1:])
        means.append(loss.double() * window)
    return torch.exp(torch.stack(means).sum() / (len(means) * window)).item(), len(means)


def strided(model, ids, window, stride):
    total, tokens, seen, windows = 0.0, 0, 0, 0
    for begin in range(0, ids.shape[1], stride):
        end = min(begin + window, ids.shape[1])
        fresh = end - seen
        labels = ids[:, begin:end].clone()
        labels[:, :-fresh] = -100
        loss = model(ids[:, begin:end], labels=labels).loss
        counted = (labels != -100).sum().item() - labels.size(0)
        total += loss.double() * counted
        tokens += counted
        seen = end
        windows += 1
        if end == ids.shape[1]:
            break
    return torch.exp(total / tokens).item(), windows


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/data/goldens/perplexity"
    out.mkdir(parents=True, exist_ok=True)
    text = sample_text()
    (out / "text.txt").write_text(text, encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()
    joined = "\n\n".join(dataset_rows(text))
    ids = tokenizer(joined, return_tensors="pt").input_ids
    cases = []
    with torch.no_grad():
        for window in (128, 64, 37):
            ppl, windows = gptq(model, ids, window)
            cases.append({"protocol": "gptq-2048", "window": window, "stride": 0, "ppl": ppl, "windows": windows})
        for window, stride in ((0, 0), (128, 50), (64, 16), (31, 31)):
            ppl, windows = strided(model, ids, window or model.config.max_position_embeddings, stride or 128)
            cases.append({"protocol": "hf-strided", "window": window, "stride": stride, "ppl": ppl, "windows": windows})
    golden = {"made_by": f"tools/oracle/perplexity.py, transformers {transformers.__version__}", "model": MODEL.name,
              "text_sha256": hashlib.sha256(joined.encode()).hexdigest(), "ids": ids.shape[1],
              "ids_sha256": hashlib.sha256(ids[0].numpy().astype(numpy.int32).tobytes()).hexdigest(), "cases": cases}
    (out / "golden.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(golden, indent=1))


if __name__ == "__main__":
    main()
