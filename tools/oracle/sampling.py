#!/usr/bin/env python3
"""Makes tests/data/goldens/sampling.json: the tokens that the definition in src/kernels/sampling.h chooses, by a second
implementation of it, written from that text with numpy's float32 and Python's integers.

    pip install numpy
    python tools/oracle/sampling.py tests/data/goldens/sampling.json

Logits are not stored: logit i of a case is (((i + 1) * 2654435761 mod 2^32) >> 8) * 2^-24 * range, rounded down to a
multiple of `step` where there is one, which makes ties.
"""

import json
import math
import sys
from fractions import Fraction

import numpy as np

F = np.float32
COEFFICIENTS = [float.fromhex(x) for x in (
    "0x1.41fbbcp-13", "0x1.5f3e52p-10", "0x1.3b2d4cp-7", "0x1.c6aee8p-5", "0x1.ebfbdcp-3", "0x1.62e430p-1", "1.0")]
LARGEST = np.finfo(F).max


def logits_of(case):
    words = [((i + 1) * 2654435761 % 2**32) >> 8 for i in range(case["vocab"])]
    values = [word * 2.0**-24 * case["range"] for word in words]
    if case["step"]:
        values = [math.floor(value / case["step"]) * case["step"] for value in values]
    return [F(value) for value in values]


def weight(y):
    y = max(y, F(-64))
    n = F(round(float(y)))  # to the nearest, ties to even
    f = F(y - n)
    p = F(COEFFICIENTS[0])
    for coefficient in COEFFICIENTS[1:]:
        p = F(F(p * f) + F(coefficient))
    return (int(p * F(2**24)) << 16) >> min(int(-n), 63)


def philox(key, counter):
    key, counter = list(key), list(counter)
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & 0xFFFFFFFF, (a >> 32) ^ counter[3] ^ key[1], a & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def keep_share(tokens, share, weights, key):
    total, before, kept = sum(weights[i] for i in tokens), 0, []
    for i in sorted(tokens, key=key):
        if not before < Fraction(float(F(share))) * total:
            break
        kept.append(i)
        before += weights[i]
    return sorted(kept)


def choose(case, position):
    logits = logits_of(case)
    p = case["parameters"]
    with np.errstate(over="ignore"):
        for token, bias in p.get("logit_bias", []):
            logits[token] = F(logits[token] + F(bias))
        penalty, output = F(p.get("repetition_penalty", 1)), case["output"]
        for token in dict.fromkeys(case["prompt"] + output):
            if penalty != 1:
                logits[token] = F(logits[token] * penalty) if logits[token] < 0 else F(logits[token] / penalty)
        frequency, presence = F(p.get("frequency_penalty", 0)), F(p.get("presence_penalty", 0))
        for token in dict.fromkeys(output):
            logits[token] = F(logits[token] - F(frequency * F(output.count(token))))
            logits[token] = F(logits[token] - presence)
        largest = max(logits)
        if p["temperature"] == 0:
            return logits.index(largest)
        scale = min(F(F(float.fromhex("0x1.715476p+0")) / F(p["temperature"])), LARGEST)
        y = [F(F(logit - largest) * scale) for logit in logits]
    weights = [weight(value) for value in y]
    tokens = [i for i in range(len(logits)) if weights[i] > 0]
    if "min_p" in p:
        tokens = [i for i in tokens if weights[i] >= Fraction(float(F(p["min_p"]))) * 2**40]
    if 0 < p.get("top_k", 0) < len(tokens):
        limit = sorted((logits[i] for i in tokens), reverse=True)[p["top_k"] - 1]
        tokens = [i for i in tokens if logits[i] >= limit]
    if "top_p" in p:
        tokens = keep_share(tokens, p["top_p"], weights, lambda i: (-logits[i], i))
    if "typical_p" in p:
        depth = [int(F(value * F(-2**20))) if weights[i] else 0 for i, value in enumerate(y)]
        mean = sum(weights[i] * depth[i] for i in tokens) // sum(weights[i] for i in tokens)
        tokens = keep_share(tokens, p["typical_p"], weights, lambda i: (abs(depth[i] - mean), i))
    seed, choice = p["seed"], p.get("choice", 0)
    words = philox((seed & 0xFFFFFFFF, seed >> 32), (position & 0xFFFFFFFF, position >> 32, choice, 0))
    target = (words[1] << 32 | words[0]) * sum(weights[i] for i in tokens) >> 64
    for i in tokens:
        if target < weights[i]:
            return i
        target -= weights[i]
    raise AssertionError


def main():
    seed = 0x123456789ABCDEF
    changes = [
        {}, {"temperature": 0.0}, {"temperature": 0.37}, {"temperature": 1.9}, {"top_k": 7}, {"top_p": 0.9}, {"min_p": 0.05},
        {"typical_p": 0.6}, {"temperature": 0.8, "top_k": 40, "top_p": 0.95}, {"min_p": 0.02, "top_p": 0.5, "typical_p": 0.8},
        {"temperature": 1.3, "repetition_penalty": 1.1}, {"frequency_penalty": 0.7, "presence_penalty": -0.4}, {"choice": 3},
        {"repetition_penalty": 0.9, "frequency_penalty": 0.3, "logit_bias": [[5, 2.5], [11, -1.25], [5, 0.1]], "top_k": 12},
    ]
    cases = []
    for vocab, span, step in ((13, 6.0, 0), (300, 14.0, 0), (300, 10.0, 0.5), (5000, 20.0, 0)):
        for change in changes:
            case = {"vocab": vocab, "range": span, "step": step, "prompt": [1, 2, 2, 7], "output": [7, 3, 3, 3, 10],
                    "parameters": {"temperature": 1.0, "seed": seed, **change}}
            case["ids"] = [choose(case, position) for position in (0, 1, 2, 1000, 2**33)]
            cases.append(case)
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


main()
