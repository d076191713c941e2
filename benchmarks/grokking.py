"""The real control: modular addition in a small network must be found as a breakthrough, at the right step.

    python benchmarks/grokking.py --out grokking.csv     # trains (minutes on a core), writes step,task,loss, prints
    events

Power et al. (2022): trained on a part of the table of a + b mod p with weight decay, a network first remembers, its
loss on the other pairs rises and stays high, and much later falls. Right step: where the accuracy on the held-out
pairs, which the monitor never sees, passes one half. Beside it stands how the curve itself falls, read off without any
test: the middle of the fall of the log loss from its peak (the monitor counts losses under `monitor.loss_floor` as
that), and how many decades of steps lie between a tenth and nine tenths of it. A run must go on for a while after the
fall, or nobody can say that it held.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from monitor.alone import events_from_losses
from monitor.cadence import checkpoints
from monitor.config import MonitorConfig
from monitor.events import standing


def train(modulus: int, share: float, updates: int, seed: int, decay: float, rate: float) -> list[dict[str, float]]:
    """Full-batch AdamW on `share` of all pairs; a row {"step", "loss", "accuracy", "train_loss"} at log-spaced
    steps."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.cartesian_prod(torch.arange(modulus), torch.arange(modulus))
    pairs = pairs[torch.randperm(len(pairs), generator=generator)]
    answers = pairs.sum(1) % modulus
    count = round(share * len(pairs))
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Embedding(modulus, 64), nn.Flatten(), nn.Linear(128, 192), nn.ReLU(), nn.Linear(192, modulus)
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay, betas=(0.9, 0.98))
    measured, rows = set(checkpoints(updates, 50, 60)), []
    for step in range(1, updates + 1):
        loss = functional.cross_entropy(network(pairs[:count]), answers[:count])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step in measured:
            with torch.no_grad():
                logits = network(pairs[count:])
            held_out = functional.cross_entropy(logits, answers[count:]).item()
            accuracy = (logits.argmax(1) == answers[count:]).float().mean().item()
            rows.append({"step": step, "loss": held_out, "accuracy": accuracy, "train_loss": loss.item()})
    return rows


def judge(rows: list[dict[str, float]]) -> dict:
    """{"events", "generalised"}: what stands of the monitor's events, and the first step with half the pairs right."""
    events = standing(events_from_losses([{"step": r["step"], "task": "addition", "loss": r["loss"]} for r in rows]))
    generalised = next((r["step"] for r in rows if r["accuracy"] >= 0.5), None)
    return {"events": events, "generalised": generalised}


def described(rows: list[dict[str, float]], floor: float) -> dict[str, float]:
    """{"middle", "decades"} of the fall of the log loss from its peak to its least value, by interpolation; no test."""
    x = np.log10([row["step"] for row in rows])
    y = np.log([max(row["loss"], floor) for row in rows])
    peak = int(y.argmax())
    x, fallen = x[peak:], np.maximum.accumulate((y[peak] - y[peak:]) / max(y[peak] - y.min(), 1e-12))
    low, middle, high = np.interp([0.1, 0.5, 0.9], fallen, x)
    return {"middle": float(10**middle), "decades": float(high - low)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="CSV of the run")
    parser.add_argument("--modulus", type=int, default=59)
    parser.add_argument(
        "--share", type=float, default=0.5, help="of all pairs that is trained on (default: %(default)s)"
    )
    parser.add_argument("--updates", type=int, default=20_000, help="(default: %(default)s)")
    parser.add_argument("--decay", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = train(args.modulus, args.share, args.updates, args.seed, args.decay, args.rate)
    if args.out:
        with args.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["step", "task", "loss", "accuracy", "train_loss"])
            writer.writeheader()
            writer.writerows({"task": "addition", **row} for row in rows)
    answer = judge(rows)
    for event in answer["events"]:
        print(json.dumps(event))
    falls = [e for e in answer["events"] if e["type"] in ("breakthrough", "drop") and e["status"] == "confirmed"]
    print(f"held-out accuracy passed one half at step {answer['generalised']}")
    shape = described(rows, MonitorConfig().loss_floor)
    print(f"middle of the fall of the log loss: {shape['middle']:.0f}; {shape['decades']:.2f} decades between a tenth "
          "and nine tenths of it")  # fmt: skip
    if not falls:
        print("no fall was confirmed")
    for fall in falls:
        off = math.log10(fall["step"] / answer["generalised"]) if answer["generalised"] else math.nan
        print(f"{fall['type']} at {fall['step']}, {off:+.3f} decades from it")


if __name__ == "__main__":
    main()
