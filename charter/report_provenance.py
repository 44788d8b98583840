"""What the steps of a run folder were made from: constitutions, models, versions, recipes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from charter.report_parts import LOOP, Part, is_inside
from charter.run import frozen_constitution, stage_store
from engine.backends.spec import ModelSpec
from engine.storage import Folder
from evaluation.report.content import ConstitutionUsed, ModelUsed, Provenance

ROLE_STEPS = {"responder": "respond", "critic": "critique", "reviser": "revise", "judge": "compare"}
"""Role: the step whose calls its model answers."""


def provenance_of(folder: Folder, parts: Sequence[Part]) -> Provenance:
    loop = folder.read_json(LOOP) if folder.exists(LOOP) else parts[0].manifest
    files = {"loop.yaml": folder.read("loop.yaml").decode()} if folder.exists("loop.yaml") else {}
    for part in parts:
        name = "recipe.yaml" if part.kind == "run" else "settings.yaml"
        files[name if len(parts) == 1 else f"{part.name}/{name}"] = part.folder.read(name).decode()
    seeds = {part.manifest.get("seed") for part in parts}
    return Provenance(
        command=str(loop.get("command", "")),
        seed=seeds.pop() if len(seeds) == 1 else None,
        constitutions=tuple(_constitutions(parts)),
        models=tuple(each for part in parts for each in _models_used(part, folder)),
        versions={name: each for part in parts for name, each in part.manifest.get("versions", {}).items()},
        files=files,
    )


def _constitutions(parts: Sequence[Part]) -> Iterator[ConstitutionUsed]:
    by_hash: dict[str, list[Part]] = {}
    for part in parts:
        if part.kind == "run":
            by_hash.setdefault(part.manifest["constitution"]["hash"], []).append(part)
    for found, users in by_hash.items():
        law = users[0].manifest["constitution"]
        principles = len(frozen_constitution(users[0].folder).principles)
        yield ConstitutionUsed(law["name"], law["version"], found, principles, tuple(part.name for part in users))


def _models_used(part: Part, folder: Folder) -> Iterator[ModelUsed]:
    def written(model: str) -> str:
        """Models of the loop itself by their place in it, so that the same loop elsewhere reads the same."""
        if not is_inside(model, folder):
            return model
        return str(Path(model).resolve().relative_to(Path(folder.path()).resolve()))

    def named(spec: ModelSpec) -> str:
        return " with ".join(written(each) for each in (spec.model, spec.adapter) if each)

    if part.kind == "run":
        for role, spec in part.recipe.models_by_role(part.recipe.played_roles).items():
            yield ModelUsed(f"{part.name}: {role}", named(spec), _revision(part, role), spec.backend)
    elif part.kind == "evaluate":
        settings = part.evaluation
        for name, spec in settings.policies.items():
            yield ModelUsed(name, named(spec), part.manifest["policies"][name], spec.backend)
        if settings.model_that_judges is not None:
            spec = settings.model_that_judges
            yield ModelUsed(f"{part.name}: judge", named(spec), spec.revision or "", spec.backend)
    else:
        model = part.manifest["model"]
        yield ModelUsed(f"{part.name}: trained from", written(model["name"]), model["revision"], "")


def _revision(part: Part, role: str) -> str:
    """The revision that the calls of a role carry, from the first finished row."""
    for stage in part.manifest["stages"]:
        for table in stage_store(part.folder, stage).tables():
            for row in table.slice(0, 1).to_pylist():
                for call in _calls(row):
                    if call["step"] == ROLE_STEPS[role]:
                        return str(call["revision"])
            break
    return ""


def _calls(value: Any) -> Iterator[dict[str, Any]]:
    """Every call in a row, however deep."""
    if isinstance(value, dict):
        if "template_hash" in value:
            yield value
        for inner in value.values():
            yield from _calls(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _calls(inner)
