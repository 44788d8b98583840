"""A small finished run folder, made by chains over a told model, without Ray: what the tests of exports read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charter.recipe import frozen, recipe_from
from constitution import to_yaml
from engine.products import RevisionExample, revision_example
from engine.records import Comparison, Preference, Prompt, RevisedRow, as_table
from engine.storage import Folder, StageStore, write_sealed
from prompts.messages import Message
from tests.engine.rows_for_tests import ToldModel, compare_chain, constitution, revise_chain, shown

SINGLE: list[Message] = [{"role": "user", "content": "How do I whistle?"}]
SEVERAL: list[Message] = [
    {"role": "user", "content": "My basil {{ wilts }}."},
    {"role": "assistant", "content": "Is it dry?\u2028Or wet?"},
    {"role": "user", "content": "Yes: very\x00 dry. <b>\u202eHelp</b>"},
]
WITH_SYSTEM: list[Message] = [
    {"role": "system", "content": "Answer as a gardener."},
    {"role": "user", "content": "Wann säe ich Möhren?"},
    {"role": "assistant", "content": "Im April."},
    {"role": "user", "content": "Und Erbsen?"},
]
QUESTIONS = ("boil an egg", "mend a tyre", "fold a boat", "whet a knife", "tie a bowline", "read a map", "patch a coat")
ASKED: list[list[Message]] = [
    SINGLE,
    SEVERAL,
    WITH_SYSTEM,
    *([Message(role="user", content=f"How do I {question}?")] for question in QUESTIONS),
]


def _prefer_later(messages: Sequence[Message], options: Sequence[str]) -> Sequence[float]:
    """Believes 0.8 in the answer that comes later in the alphabet, wherever it stands."""
    first, second = shown(messages)
    return (0.8, 0.2) if first > second else (0.2, 0.8)


def make_run(path: Path) -> Folder:
    """A run of ten prompts, two of them with several turns, one with a system message."""
    folder, law = Folder(str(path)), constitution()
    prompts = [Prompt.of(messages, index, source=f"asked:{index}") for index, messages in enumerate(ASKED)]
    model = ToldModel(weigh=_prefer_later, say=lambda messages, sampling: f"Try it {sampling.seed} times.")

    def rows(chain: Any) -> list[Any]:
        async def every() -> list[Any]:
            return [row for prompt in prompts for row in await chain.run(prompt)]

        return asyncio.run(every())

    revised, compared = rows(revise_chain(model, law, rounds=1)), rows(compare_chain(model, law))
    write_sealed(StageStore(folder, "01_prompts", Prompt), [prompts])
    write_sealed(StageStore(folder, "02_revise", RevisedRow), [revised])
    write_sealed(StageStore(folder, "03_compare", Comparison), [compared])
    examples = as_table([revision_example(row, ()) for row in revised], RevisionExample)
    preferences = as_table([row.preference() for row in compared], Preference)
    folder.write_table("data/revisions/part-00000.parquet", examples)
    folder.write_table("data/preferences/part-00000.parquet", preferences)
    recipe = {
        "name": "made",
        "output": str(path),
        "prompts": [{"path": "asked.jsonl"}],
        "models": {"policy": {"backend": "scripted", "model": "hash"}},
        "revise": {},
        "compare": {},
    }
    counts = {"rows": 10, "items": 10, "failed": 0}
    step = {"step": "compare", "model": "hash", "calls": 4, "reused": 0, "prompt_tokens": 5000, "cached_tokens": 0}
    folder.write("constitution.yaml", to_yaml(law).encode())
    folder.write_json(
        "manifest.json",
        {
            "constitution": {"name": law.name, "version": law.version, "hash": law.hash},
            "seed": 7,
            "versions": {"python": "3"},
            "stages": {"02_revise": counts, "03_compare": counts},
            "products": {
                "revisions": {"rows": examples.num_rows, "left_out": {}},
                "preferences": {"rows": preferences.num_rows, "left_out": {"tie": 3}},
            },
            "flags": {"both_bad": {"count": 2, "known": 9, "policy": "keep"}},
        },
    )
    bill = {"wall_seconds": 3.0, "steps": [{**step, "completion_tokens": 7, "money": None}]}
    folder.write_json("cost.json", {"03_compare": bill})
    folder.write("recipe.yaml", frozen(recipe_from(recipe, {})).encode())
    return folder
