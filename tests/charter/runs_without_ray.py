"""Run folders as `charter run` leaves them, made in this process with a scripted model: no Ray, well under a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from charter.recipe import check_recipe, load_recipe
from charter.run import finish, freeze, prompts_store, stage_store, stages_of
from charter.trial import first_prompts, try_prompts
from engine.storage import write_sealed


def make_run(
    folder: Path, name: str = "run", *, prompts: list[dict[str, Any]], rules: list[dict[str, Any]], **keys: Any
) -> Path:
    """A finished run over these prompts with a model that follows these rules; `keys` are the recipe's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    (folder / f"{name}-script.yaml").write_text(json.dumps({"rules": rules}))
    described = {
        "name": name,
        "output": str(folder / name),
        "prompts": [{"path": str(folder / "prompts.jsonl")}],
        "constitution": "learning",
        "models": {"policy": {"backend": "scripted", "model": str(folder / f"{name}-script.yaml")}},
        "compare": {"principles": 2},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(described | keys))
    recipe = load_recipe(path)
    constitution, prompt_set = check_recipe(recipe)
    freeze(recipe, constitution, prompt_set, f"charter run {path}")
    asked = first_prompts(recipe, len(prompts))
    write_sealed(prompts_store(recipe.folder), [asked])
    for number, row in enumerate(try_prompts(recipe, asked, together=True)):
        assert row.error is None, row.error
        stage_store(recipe.folder, row.stage).write_part(f"{number:08d}", 0, row.rows, ())
    finish(recipe, {stage: stage_store(recipe.folder, stage).seal() for stage in stages_of(recipe)})
    return folder / name
