"""What a compare stage may take over from an earlier run (`compare.reuse`), and why not more.

Which answers and votes are the same is decided row by row (engine/earlier.py). Here is what holds for a whole run: how
the models are run, how the judge is asked, and which principles still ask what they asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from charter.recipe import MODEL_PLACE_KEYS, Recipe, changed_keys
from constitution import BadInput, Constitution, Fault
from constitution.yaml_files import ModelT, load_yaml_text
from engine.backends.spec import ModelSpec
from engine.earlier import Earlier
from engine.pairs import COMPARE_STAGE
from engine.records import Comparison
from engine.storage import Folder, StageStore

IDENTITY_KEYS = ("model", "revision", "base_url", "batch_size")
"""Where weights lie: calls say by content which they were."""


@dataclass(frozen=True)
class Reuse:
    """What may be taken over, and what is asked again whatever the rows say."""

    earlier: Earlier
    unchanged: int
    """How many of the earlier run's principles still ask what they asked."""
    principles: int
    """How many it had that compare."""
    changes: tuple[str, ...]
    """What keeps votes or answers from being taken over."""

    def line(self) -> str:
        """For the user."""
        run = self.earlier.store.run.location
        if self.changes:
            return f"from {run}: {'; '.join(self.changes)}"
        asked = f"{self.unchanged} of its {self.principles} principles still ask what they asked"
        return f"answers and votes of {run} are taken over where nothing changed: {asked}"


def reuse_of(recipe: Recipe, constitution: Constitution) -> Reuse | None:
    """What `compare.reuse` means for this run; None without it.

    Raises BadInput where the folder is no run with a compare stage, or this run's own.
    """
    if recipe.compare is None or recipe.compare.reuse is None:
        return None
    folder = Folder(recipe.compare.reuse)
    store = StageStore(folder, COMPARE_STAGE, Comparison)
    _check(folder, recipe)
    old = _read(folder, "recipe.yaml", Recipe)
    old_law = _read(folder, "constitution.yaml", Constitution)
    votes = list(_vote_changes(old, recipe, old_law, constitution))
    answers = list(_model_changes(old, recipe, "responder"))
    now = {principle.comparison for principle in constitution.principles if principle.comparison}
    asked = {each.hash: each.comparison for each in old_law.principles if each.comparison}
    kept = {} if votes else {key: question for key, question in asked.items() if question in now}
    changes = [f"votes are asked again ({', '.join(votes)})"] if votes else []
    changes += [f"answers are drawn again ({', '.join(answers)})"] if answers else []
    propositions = frozenset() if votes else _unchanged_propositions(old_law, constitution)
    earlier = Earlier(store, kept, propositions, answers=not answers)
    return Reuse(earlier, len(kept), len(asked), tuple(changes))


def _read(folder: Folder, name: str, model: type[ModelT]) -> ModelT:
    return load_yaml_text(folder.read(name).decode(), model, f"{folder.location}/{name}")


def has_pairs(folder: Folder) -> bool:
    """Whether there is a run with compared pairs, whose answers and votes may be taken over."""
    return folder.exists("recipe.yaml") and bool(StageStore(folder, COMPARE_STAGE, Comparison).parts)


def _check(folder: Folder, recipe: Recipe) -> None:
    where = "compare.reuse"
    if folder.path() == recipe.folder.path():
        raise BadInput(Fault("it is this run's own folder", file=folder.location, where=where, hint="use --resume"))
    if not has_pairs(folder):
        message = "there is no run with compared pairs in it"
        raise BadInput(Fault(message, file=folder.location, where=where, hint="name the folder of an earlier run"))


def _vote_changes(old: Recipe, new: Recipe, old_law: Constitution, law: Constitution) -> Iterator[str]:
    """What the judge is now told, or how its answers are read, otherwise than then."""
    assert old.compare is not None
    assert new.compare is not None
    reading = {"min_mass", "reasoning"}
    told = changed_keys(old.compare.model_copy(update={"reuse": None}), new.compare.model_copy(update={"reuse": None}))
    yield from (f"compare.{line}" for key, line in told.items() if key.partition(".")[0] in reading)
    if new.compare.reasoning and old.seed != new.seed:
        yield f"seed: {old.seed} -> {new.seed}"
    if old.asking.preamble != new.asking.preamble or (new.asking.preamble and old_law.preamble != law.preamble):
        yield "the preamble that the judge is told"
    yield from _model_changes(old, new, "judge")


def _model_changes(old: Recipe, new: Recipe, role: str) -> Iterator[str]:
    """How the model of a role is run otherwise than then."""
    before, after = (_how_it_runs(recipe.models_by_role([role])[role]) for recipe in (old, new))
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield f"the {role}'s {key}: {json.dumps(before.get(key))} -> {json.dumps(after.get(key))}"


def _how_it_runs(spec: ModelSpec) -> Mapping[str, Any]:
    places = {*MODEL_PLACE_KEYS, *IDENTITY_KEYS}
    return {key: value for key, value in spec.model_dump(mode="json").items() if key not in places}


def _unchanged_propositions(old: Constitution, new: Constitution) -> frozenset[str]:
    before, after = (
        {item.id: (item.question, item.bad_answer) for each in law.principles for item in each.propositions}
        for law in (old, new)
    )
    return frozenset(name for name, words in before.items() if after.get(name) == words)


def reused_lines(cost: Mapping[str, Any]) -> Iterator[str]:
    """What stages took over from an earlier run: `03_compare took over 60 of 80 respond, 480 of 640 compare`."""
    for stage, bill in cost.items():
        shares = [
            f"{step['reused']:,} of {step['reused'] + step['calls']:,} {step['step']}"
            for step in bill["steps"]
            if step["reused"]
        ]
        if shares:
            yield f"{stage} took over from the earlier run: {', '.join(shares)} calls"
