"""Pairs about three plain subjects, for tests of the map."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from constitution.hashing import content_hash
from engine.pairs import Pair
from prompts.messages import Message

SUBJECTS = {
    "bicycles": "bicycle wheel chain saddle brake pedal tyre spoke handlebar gear",
    "soup": "soup carrot onion broth simmer ladle pepper stock celery bowl",
    "stars": "star planet telescope orbit comet galaxy moon nebula eclipse sky",
}


def pair(prompt: str, chosen: str, rejected: str, index: int = 0, **columns: Any) -> Pair:
    """A foreign pair with one turn on each side."""
    made = Pair(
        pair_id=content_hash([prompt, chosen, rejected]),
        item_id=content_hash(prompt),
        index=index,
        prompt=(Message(role="user", content=prompt),),
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        probability=None,
        order_consistent=None,
        status="given",
        both_bad=None,
        votes=(),
        finish_reasons=(),
        principle_ids=(),
        constitution_hash="",
        source=f"pairs.jsonl:{index + 1}",
        category="",
        vector="",
    )
    return replace(made, **columns)


def pairs_about_subjects(each: int = 20, seed: int = 0) -> list[Pair]:
    """So many pairs of each subject, their words drawn from the subject's; the subject is the category."""
    chance = random.Random(seed)
    made: list[Pair] = []
    for subject, words in SUBJECTS.items():
        for _ in range(each):
            drawn = [" ".join(chance.sample(words.split(), 6)) for _ in range(3)]
            made.append(pair(f"Tell me: {drawn[0]}?", drawn[1], drawn[2], len(made), category=subject))
    return made
