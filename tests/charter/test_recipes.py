"""Every recipe that ships loads, and says in its first line what it is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charter.loop import is_loop, loop_of, steps_of
from charter.recipe import Recipe, load_recipe
from charter.training import read_settings
from constitution import check_count, check_revision, load_constitution
from constitution.yaml_files import read_document
from engine.inputs import PromptSource

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
TRAININGS = sorted((ROOT / "recipes" / "training").glob("*.yaml"))
"""Named after the kind of training: `pm_harmless.yaml` is for `charter train pm`."""


def settings_of(path: Path) -> list[Any]:
    """The recipe of a file, or the settings of all its steps."""
    document = read_document(path)
    if is_loop(document):
        return [step.settings for step in steps_of(loop_of(document), document)]
    return [load_recipe(path)]


def test_there_are_recipes() -> None:
    assert "quickstart.yaml" in {path.name for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_and_its_constitutions_serve_it(path: Path) -> None:
    for recipe in settings_of(path):
        if not isinstance(recipe, Recipe):
            continue
        constitution = load_constitution(recipe.constitution)
        if recipe.revise:
            check_revision(constitution)
        if recipe.compare:
            check_count(constitution, recipe.compare.principles)
        assert recipe.prompt_set().hashes
    assert says_what_it_is_for(path)


def says_what_it_is_for(path: Path) -> bool:
    """A recipe's first line is a comment."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return first.startswith("# ") and len(first.split()) >= 6


@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: path.stem)
def test_settings_of_a_training_load(path: Path) -> None:
    kind = path.stem.partition("_")[0]
    settings = read_settings(kind, str(path), {})
    assert settings.name == path.stem.replace("_", "-")
    assert says_what_it_is_for(path)


def prompt_sources(value: Any) -> Iterator[PromptSource]:
    """Every source of prompts in settings, however deep."""
    if isinstance(value, PromptSource):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from prompt_sources(inner)
    elif isinstance(value, dict):
        yield from prompt_sources(list(value.values()))
    elif hasattr(value, "model_fields_set"):
        yield from prompt_sources([getattr(value, name) for name in type(value).model_fields])


def test_the_prompts_that_ship_with_recipes_are_there() -> None:
    named = {source.path for path in RECIPES for source in prompt_sources(settings_of(path))}
    shipped = {name for name in named if name.startswith(("recipes/", "sandbox/"))}
    assert shipped
    assert all((ROOT / name).is_file() for name in shipped)


def test_nothing_is_trained_on_the_prompts_that_judge() -> None:
    for path in RECIPES:
        for settings in settings_of(path):
            if not hasattr(settings, "policies"):
                assert "sandbox/prompts/evaluation.jsonl" not in {each.path for each in prompt_sources(settings)}


def test_recipes_have_names_of_their_own() -> None:
    names = [str(read_document(path).data["name"]) for path in RECIPES]  # type: ignore[index]
    assert len(set(names)) == len(names), "two recipes of one name would share a run folder"
