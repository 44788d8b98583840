"""Pairs that a tiny model can learn: the answer that says "kind" is the better one, the surer the longer it is."""

from __future__ import annotations

import json
import random
from pathlib import Path

PROMPTS = ("How do I mend it?", "What is for dinner?", "May I take his bicycle?", "Tell me a story about rain.")


def write_pairs_file(path: Path, count: int, seed: int = 0, probability: float | None = 0.9) -> Path:
    """`count` pairs with a soft label, or with none."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        prompt = f"{chance.choice(PROMPTS)} ({seed}.{number})"
        good, bad = (f"{word} {chance.randrange(1000)}" for word in ("kind", "rude"))
        row: dict[str, object] = {"prompt": prompt, "chosen": good, "rejected": bad}
        if probability is not None:
            row["probability"] = probability
        rows.append(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
