"""What the page is given: all pairs as columns of plain values, long texts cut.

A text is a string, or [head, characters left out, tail] where it was cut. Places are whole numbers from 0 to UNIT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from engine.pairs import Pair
from evaluation.map.facets import Facet, Flags
from evaluation.map.layout import Positions
from evaluation.map.regions import Regions
from prompts.messages import Message

UNIT = 20_000
LIMITS = (8_000, 4_000, 2_000, 1_000, 500, 250)
"""Characters of a text that the page may hold."""
MOST_CHARACTERS = 40_000_000
"""Of all texts together: the page must open in a browser on a small computer."""
TAIL_SHARE = 0.25

CutText = str | list[str | int]


def text_limit(pairs: Sequence[Pair]) -> int:
    """The largest of LIMITS under which all texts together keep to MOST_CHARACTERS; the smallest if none does."""
    lengths = [len(message["content"]) for pair in pairs for message in (*pair.prompt, *pair.chosen, *pair.rejected)]
    return next((limit for limit in LIMITS if sum(min(n, limit) for n in lengths) <= MOST_CHARACTERS), LIMITS[-1])


def cut(text: str, limit: int) -> CutText:
    """The text, or its head and tail with the number of characters between them that are left out."""
    if len(text) <= limit:
        return text
    tail = int(limit * TAIL_SHARE)
    return [text[: limit - tail], len(text) - limit, text[-tail:]]


def cut_prompt(prompt: Sequence[Message], limit: int) -> dict[str, Any]:
    """The last turns of a prompt that keep to the limit together, at least one; how many before them are left out."""
    turns: list[list[str | CutText]] = []
    room = limit
    for message in reversed(prompt):
        room -= len(message["content"])
        if turns and room < 0:
            break
        turns.insert(0, [message["role"], cut(message["content"], limit)])
    return {"left_out": len(prompt) - len(turns), "turns": turns}


def completion_text(messages: Sequence[Message]) -> str:
    """What a completion says; with the roles where it goes on for several turns."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def payload_of(
    title: str,
    pairs: Sequence[Pair],
    positions: Positions,
    regions: Regions,
    facets: Sequence[Facet],
    flags: Flags,
    *,
    counts: str,
    about: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """The page's data. `counts` is its line of figures; `about` says how the map was made, as terms and sentences."""
    limit = text_limit(pairs)
    cuts = _cuts(pairs, limit)
    said = f"{cuts:,} are longer than {limit:,} characters: the page holds and searches their beginning and end"
    places = (positions * UNIT).round().astype(int)
    centres = (regions.centres * UNIT).round().astype(int)
    sizes = [int((regions.of == region).sum()) for region in range(len(regions.names))]
    return {
        "title": title,
        "unit": UNIT,
        "counts": counts,
        "about": [*about, *([("Long texts", said)] if cuts else [])],
        "regions": [
            {"name": name, "count": size, "x": int(x), "y": int(y)}
            for name, size, (x, y) in zip(regions.names, sizes, centres, strict=True)
        ],
        "facets": [asdict(facet) for facet in facets],
        "pairs": {
            "id": [pair.pair_id for pair in pairs],
            "x": places[:, 0].tolist(),
            "y": places[:, 1].tolist(),
            "region": regions.of.tolist(),
            "source": [pair.source for pair in pairs],
            "flags": [list(flags.get(pair.pair_id, {}).items()) for pair in pairs],
            "unlabelled": [pair.status in ("tie", "undecided", "identical") for pair in pairs],
            "prompt": [cut_prompt(pair.prompt, limit) for pair in pairs],
            "chosen": [cut(completion_text(pair.chosen), limit) for pair in pairs],
            "rejected": [cut(completion_text(pair.rejected), limit) for pair in pairs],
        },
    }


def _cuts(pairs: Sequence[Pair], limit: int) -> int:
    texts = (message["content"] for pair in pairs for message in (*pair.prompt, *pair.chosen, *pair.rejected))
    return sum(len(text) > limit for text in texts)
