"""The steps of a run folder: what each is, what it was made from, and how they build on each other.

a run, a training, an evaluation ─► one Part             loop.json ─► a Part a step
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from charter import oracle_judge
from charter.recipe import Recipe
from charter.run import frozen_recipe, prompts_store
from constitution import BadInput, Fault
from constitution.yaml_files import load_yaml_text
from engine.records import Prompt, from_row
from engine.storage import Folder
from evaluation.policies import EvaluationSettings
from evaluation.report.content import Step

LOOP = "loop.json"
KINDS = {
    "sft": "fine-tuning",
    "distil": "context distillation",
    "best_of": "rejection sampling",
    "pm": "preference model",
    "rl": "reinforcement learning",
    "dpo": "preference optimisation",
    "evaluate": "evaluation",
}
"""Kinds of steps, in words."""
ASKING = ("run", "evaluate")
"""Kinds of steps that ask prompts; the others train."""


@dataclass(frozen=True)
class Part:
    """One step, and the folder that it left behind. `uses` are the steps it builds on."""

    name: str
    kind: str
    folder: Folder
    uses: tuple[str, ...] = ()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the step was made from."""
        found: dict[str, Any] = self.folder.read_json("manifest.json")
        return found

    @cached_property
    def recipe(self) -> Recipe:
        """Of a run."""
        return frozen_recipe(self.folder)

    @cached_property
    def evaluation(self) -> EvaluationSettings:
        """Of an evaluation."""
        text = self.folder.read("settings.yaml").decode()
        return load_yaml_text(text, EvaluationSettings, self.folder.path("settings.yaml"))

    @property
    def is_finished(self) -> bool:
        """Whether it came to its end."""
        return "finished" in self.manifest


def parts_of(folder: Folder) -> list[Part]:
    """The steps of a loop that were begun, or the one thing that a folder holds. Raises BadInput."""
    if folder.exists(LOOP):
        noted = folder.read_json(LOOP)["steps"]
        parts = [Part(each["name"], each["kind"], folder.child(each["folder"]), tuple(each["uses"])) for each in noted]
        return [part for part in parts if part.folder.exists("manifest.json")]
    if not folder.exists("manifest.json"):
        hint = "name the folder of a run, a training, an evaluation or a loop"
        raise BadInput(Fault("it is no run folder: it has no manifest.json", where=folder.location, hint=hint))
    kind = folder.read_json("manifest.json").get("kind", "run")
    return [Part(folder.path().rstrip("/").rpartition("/")[2], kind, folder)]


def name_of(folder: Folder, parts: Sequence[Part]) -> str:
    """What the loop, or the one thing in a folder, is called."""
    if folder.exists(LOOP):
        return str(folder.read_json(LOOP)["name"])
    return parts[0].recipe.name if parts[0].kind == "run" else parts[0].name


def is_sandbox(parts: Sequence[Part]) -> bool:
    """Whether all prompts that were asked are the sandbox's."""
    asking = [part for part in parts if part.kind in ASKING]
    rows = (row for part in asking for table in prompts_store(part.folder).tables() for row in table.to_pylist())
    return bool(asking) and all(oracle_judge.knows(from_row(Prompt, row).messages) for row in rows)


def drawn_steps(folder: Folder, parts: Sequence[Part]) -> Iterator[Step]:
    """The boxes of the drawing: a box a step of a loop, behind the models that came first; or one thing, stage by
    stage."""
    if not folder.exists(LOOP):
        yield from _stages(parts[0])
        return
    taken = {part.name for part in parts}
    first: dict[str, str] = {}
    for name in (name for part in parts for name in models_given(part) if not is_inside(name, folder)):
        first[name] = name if short_name(name) in taken else short_name(name)
    for short in first.values():
        yield Step(short, "model", ())
    for part in parts:
        own = tuple(first[name] for name in models_given(part) if name in first)
        yield Step(part.name, _kind(part), _facts(part), (*own, *part.uses))


def short_name(model: str) -> str:
    """The last word of a model's name, or two where the last one is `model`."""
    words = model.rstrip("/").split("/")
    return "/".join(words[-2:]) if words[-1] == "model" else words[-1]


def is_inside(name: str, folder: Folder) -> bool:
    """Whether a model's name is a path in the loop's own folder."""
    return folder.is_local and Path(name).resolve().is_relative_to(Path(folder.path()).resolve())


def models_given(part: Part) -> list[str]:
    """The models that a step was given, each once."""
    if part.kind == "run":
        return list(dict.fromkeys(spec.model for spec in part.recipe.models_by_role(part.recipe.played_roles).values()))
    if part.kind == "evaluate":
        return []  # it asks all that there are
    return [str(part.manifest["model"]["name"])]


def _kind(part: Part) -> str:
    if part.kind != "run":
        return KINDS.get(part.kind, part.kind)
    stages = (("critique ► revise", part.recipe.revise), ("AI feedback", part.recipe.compare))
    return " and ".join(name for name, settings in stages if settings is not None)


def _facts(part: Part) -> tuple[str, ...]:
    """What a step made, in a few words each."""
    manifest = part.manifest
    if part.kind == "run":
        facts = []
        products = manifest["products"]
        if "revisions" in products:
            facts.append(f"{products['revisions']['rows']:,} revised answers")
        if "preferences" in products:
            facts.append(f"{products['preferences']['rows']:,} labelled pairs")
        return tuple(facts)
    if part.kind == "evaluate":
        return f"{len(manifest['policies'])} policies", f"{_prompts(part):,} prompts"
    rows = sum(manifest["data"]["rows"].values())
    return f"{rows:,} {'pairs' if part.kind in ('pm', 'dpo') else 'rows'}", f"{manifest['steps']:,} steps"


def _stages(part: Part) -> Iterator[Step]:
    """One run, training or evaluation by itself."""
    if part.kind == "evaluate":
        for name in part.manifest["policies"]:
            yield Step(name, "policy", ())
        yield Step(part.name, _kind(part), _facts(part), tuple(part.manifest["policies"]))
        return
    if part.kind != "run":
        (model,) = models_given(part)
        yield Step(short_name(model), "model", ())
        yield Step(part.name, _kind(part), _facts(part), (short_name(model),))
        return
    stages, products = part.manifest["stages"], part.manifest["products"]
    yield Step("prompts", "frozen", (f"{_prompts(part):,} prompts",))
    if "02_revise" in stages and part.recipe.revise:
        facts = (f"{stages['02_revise']['rows']:,} answers", f"{part.recipe.revise.rounds} rounds")
        yield Step("revise", "critique ► revise", facts, ("prompts",))
        yield Step("data/revisions", "for trainers", (f"{products['revisions']['rows']:,} rows",), ("revise",))
    if "03_compare" in stages:
        yield Step("compare", "AI feedback", (f"{stages['03_compare']['rows']:,} pairs",), ("prompts",))
        yield Step("data/preferences", "for trainers", (f"{products['preferences']['rows']:,} rows",), ("compare",))


def _prompts(part: Part) -> int:
    return sum(table.num_rows for table in prompts_store(part.folder).tables(["item_id"]))


def set_aside(parts: Sequence[Part]) -> dict[str, int]:
    """Rows that each step set aside."""
    found = {}
    for part in parts:
        stages = part.folder.child("stages")
        names = {name.partition("/")[0] for name in stages.names(suffix="_SEALED.json")}
        count = sum(int(stages.read_json(f"{name}/_SEALED.json")["failed"]) for name in names)
        if count:
            found[part.name] = count
    return found
