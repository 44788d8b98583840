"""Every recipe that ships loads, and says in its first line what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.recipe import load_recipe
from charter.training import read_settings
from constitution import check_count, check_revision, load_constitution

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
TRAININGS = sorted((Path(__file__).parents[2] / "recipes" / "training").glob("*.yaml"))
"""Named after the kind of training: `pm_harmless.yaml` is for `charter train pm`."""


def test_there_are_recipes() -> None:
    assert "quickstart.yaml" in {path.name for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_and_its_constitution_serves_it(path: Path) -> None:
    recipe = load_recipe(path)
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


def test_the_prompts_that_ship_with_recipes_are_there() -> None:
    root = RECIPES[0].parents[1]
    named = [source.path for path in RECIPES for source in load_recipe(path).prompts]
    shipped = [name for name in named if name.startswith(("recipes/", "sandbox/"))]
    assert shipped
    assert all((root / name).is_file() for name in shipped)


def test_recipes_have_names_of_their_own() -> None:
    names = [load_recipe(path).name for path in RECIPES]
    assert len(set(names)) == len(names), "two recipes of one name would share a run folder"
