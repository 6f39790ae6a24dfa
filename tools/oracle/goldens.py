"""What every model golden holds, and how it is computed: transformers, float32, eager attention."""
import json
import pathlib

import numpy as np
import torch
import transformers

PROMPT_TOKENS = 24
GREEDY_TOKENS = 32
SMALLEST_MARGIN = 0.02  # a prompt with a closer decision is not used: float32 sums in another order could turn it


def made_by(script):
    return f"tools/oracle/{script}, torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"


@torch.no_grad()
def greedy(model, prompt, count):
    """The greedy continuation, and the smallest distance between the two best logits on its way."""
    ids, cache, feed, margin = [], None, list(prompt), float("inf")
    for _ in range(count):
        out = model(torch.tensor([feed]), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        best = torch.topk(out.logits[0, -1].float(), 2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
        feed = ids[-1:]
    return ids, margin


@torch.no_grad()
def logits(model, ids):
    return model(torch.tensor([ids])).logits[0].float().numpy()


def write(folder: pathlib.Path, model, script, with_greedy=True, extra=None):
    """logits.npy [tokens, vocab] and golden.json; the prompt is random, the first whose greedy path has no near-tie."""
    vocabulary = model.config.vocab_size
    for attempt in range(200):
        random = np.random.default_rng([attempt, sum(folder.name.encode())])
        prompt = [int(token) for token in random.integers(3, vocabulary, PROMPT_TOKENS)]
        golden = {"made_by": made_by(script), "prompt_ids": prompt}
        if not with_greedy:
            break
        ids, margin = greedy(model, prompt, GREEDY_TOKENS)
        if margin >= SMALLEST_MARGIN and len(set(ids)) >= 8:
            golden |= {"greedy_ids": ids, "greedy_smallest_margin": round(margin, 4)}
            break
    else:
        raise RuntimeError(f"{folder.name}: no prompt without a near-tie")
    values = logits(model, prompt)
    np.save(folder / "logits.npy", values.astype("<f4"))
    (folder / "golden.json").write_text(json.dumps(golden | (extra or {}), ensure_ascii=False) + "\n")
    print(f"{folder.name:34s} attempt {attempt:3d} logits' deviation {values.std():.3f} smallest margin {golden.get('greedy_smallest_margin')}"
          f" distinct {len(set(golden.get('greedy_ids', [])))}")
