#!/usr/bin/env python3
"""Measure a GPU's copy bandwidth: 4 GB to another place of its memory, 20 times. Prints one JSON object; needs torch.

Bytes read and written both count. A kernel that only reads can come near this figure, so speeds are shown beside it.
"""
import json
import statistics

import torch

BYTES, WARM_UP, REPEATS = 4_000_000_000, 3, 20


def main():
    source = torch.empty(BYTES, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    samples = []
    for _ in range(WARM_UP + REPEATS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize()
        samples.append(2 * BYTES / start.elapsed_time(end) / 1e6)
    samples = samples[WARM_UP:]
    print(json.dumps({"gpu": torch.cuda.get_device_name(), "gb_per_second": round(statistics.median(samples), 1), "samples": [round(x, 1) for x in samples]}))


if __name__ == "__main__":
    main()
