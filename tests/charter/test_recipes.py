"""Every recipe that ships loads, and says in its first line what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.recipe import load_recipe
from constitution import check_count, check_revision, load_constitution

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


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
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert len(first.split()) >= 6, "the first line says what the recipe is for"


def test_the_prompts_that_ship_with_recipes_are_there() -> None:
    root = RECIPES[0].parents[1]
    named = [source.path for path in RECIPES for source in load_recipe(path).prompts]
    shipped = [name for name in named if name.startswith("recipes/")]
    assert shipped
    assert all((root / name).is_file() for name in shipped)


def test_recipes_have_names_of_their_own() -> None:
    names = [load_recipe(path).name for path in RECIPES]
    assert len(set(names)) == len(names), "two recipes of one name would share a run folder"
