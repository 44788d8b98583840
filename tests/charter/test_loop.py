"""Steps that feed each other: what is refused before anything is made, what is kept, and what is made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation.report.figures import repeatable
from tests.charter.command_line import Called, charter


def steps(folder: Path, model: Path) -> dict[str, Any]:
    """Revisions by a script, a policy that learns them, and what became of it."""
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Question {number}: how?"}) + "\n" for number in range(4)))
    run = {
        "prompts": [{"path": str(prompts)}],
        "constitution": "learning",
        "models": {"policy": {"backend": "scripted", "model": "hash", "cpus": 0.1}},
        "revise": {"rounds": 1},
    }
    sft = {
        "model": str(model),
        "revisions": {"run": "step:revisions"},
        "optimization": {"learning_rate": 1e-3, "max_steps": 1, "batch_size": 2},
    }
    evaluate = {
        "prompts": [{"path": str(prompts), "category": "benign"}],
        "policies": {"base": {"model": str(model)}, "sl_cai": {"model": "step:sl_cai"}},
        "max_tokens": 4,
    }
    return {"revisions": {"run": run}, "sl_cai": {"sft": sft}, "evaluation": {"evaluate": evaluate}}


def make(folder: Path, described: dict[str, Any], *options: str) -> Called:
    recipe = folder / "loop.yaml"
    recipe.write_text(
        yaml.safe_dump({"name": "loop", "output": str(folder / "out"), "steps": described}, sort_keys=False)
    )
    return charter("run", recipe, *options)


def noted(folder: Path) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in json.loads((folder / "out/loop.json").read_text())["steps"]}


def test_a_policy_learns_what_the_step_before_made_and_only_what_changed_is_made_again(
    tmp_path: Path, tiny_model: Path
) -> None:
    described = steps(tmp_path, tiny_model)
    done = make(tmp_path, described)
    assert done.status == 0, done.errors
    learnt = json.loads((tmp_path / "out/steps/sl_cai/manifest.json").read_text())
    assert learnt["data"]["rows"] == {"revisions": 4}
    assert (tmp_path / "out/steps/sl_cai/model/model.safetensors").is_file()
    first = noted(tmp_path)
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert set(report["policies"]) == {"base", "sl_cai"}
    assert report["policies"]["sl_cai"]["helpful_rate"]["n"] == 4
    assert report["revisions"]["rows"] == 4
    assert set(report["cost"]["by_stage"]) == {"revisions", "sl_cai", "evaluation"}
    told = done.output.splitlines()
    assert any("Harmful answers" in line for line in told)
    assert told[-1] == f"report: {tmp_path / 'out/report.html'}"

    assert "there is a loop in it already" in make(tmp_path, described).errors
    kept = make(tmp_path, described, "--resume")
    assert kept.status == 0
    assert kept.errors.count("made before") == 3
    assert noted(tmp_path) == first
    assert repeatable(json.loads((tmp_path / "out/report.json").read_text())) == repeatable(report)

    described["sl_cai"]["sft"]["optimization"]["learning_rate"] = 2e-3
    refused = make(tmp_path, described, "--resume")
    assert refused.status == 2
    assert "changed since they were made, or use one that did: sl_cai, evaluation" in refused.errors
    assert noted(tmp_path) == first
    again = make(tmp_path, described, "--again")
    assert again.status == 0
    assert noted(tmp_path)["revisions"] == first["revisions"]
    assert noted(tmp_path)["sl_cai"]["key"] != first["sl_cai"]["key"]
    assert (tmp_path / "out/replaced/sl_cai-1/model/model.safetensors").is_file()


def test_what_a_step_uses_decides_whether_it_is_the_same(tmp_path: Path, tiny_model: Path) -> None:
    """A step that is not edited itself changes with the text of a constitution that an earlier one was made under."""
    from charter.loop import loop_of, steps_of
    from constitution.yaml_files import parse_document

    described = steps(tmp_path, tiny_model)
    constitution = tmp_path / "mine.yaml"
    described["revisions"]["run"]["constitution"] = str(constitution)

    def keys(principle: str) -> dict[str, str]:
        texts = {"id": "one", "critique": f"{principle}?", "revision": "Mend it.", "comparison": "Which?"}
        constitution.write_text(yaml.safe_dump({"name": "mine", "principles": [texts]}))
        document = parse_document(yaml.safe_dump({"name": "loop", "steps": described}, sort_keys=False), "loop.yaml")
        return {step.name: step.key for step in steps_of(loop_of(document), document)}

    before, after = keys("Is it kind"), keys("Is it true")
    assert before == keys("Is it kind")
    assert before["revisions"] != after["revisions"]
    assert before["sl_cai"] != after["sl_cai"]


def test_an_edited_principle_is_asked_about_alone(tmp_path: Path) -> None:
    described = steps(tmp_path, tmp_path)
    constitution = tmp_path / "mine.yaml"
    run = described["revisions"]["run"] | {"constitution": str(constitution), "compare": {"principles": 2}}
    del run["revise"]

    def write(second: str) -> None:
        principles = [{"id": "kind", "comparison": "Which is kinder?"}, {"id": "other", "comparison": second}]
        constitution.write_text(yaml.safe_dump({"name": "mine", "principles": principles}))

    write("Which is truer?")
    assert make(tmp_path, {"labels": {"run": run}}).status == 0
    write("Which is shorter?")
    again = make(tmp_path, {"labels": {"run": run}}, "--again")
    assert again.status == 0, again.errors
    cost = json.loads((tmp_path / "out/steps/labels/cost.json").read_text())
    reused = {step["step"]: step["reused"] for step in cost["03_compare"]["steps"]}
    assert reused == {"respond": 8, "compare": 8}, "4 prompts: both answers, and one principle's votes in both orders"


def test_comparisons_that_were_stopped_before_the_first_pair_leave_nothing_to_take_over(tmp_path: Path) -> None:
    described = {"labels": {"run": steps(tmp_path, tmp_path)["revisions"]["run"] | {"compare": {"principles": 2}}}}
    del described["labels"]["run"]["revise"]
    assert make(tmp_path, described).status == 0
    shutil.rmtree(tmp_path / "out/steps/labels/stages/03_compare")
    loop = json.loads((tmp_path / "out/loop.json").read_text())
    loop["steps"][0]["made"] = None
    (tmp_path / "out/loop.json").write_text(json.dumps(loop))
    described["labels"]["run"]["compare"]["principles"] = 1
    again = make(tmp_path, described, "--again")
    assert again.status == 0, again.errors
    assert (tmp_path / "out/replaced/labels-1/recipe.yaml").is_file()
    assert list((tmp_path / "out/steps/labels/stages/03_compare").glob("*.parquet"))


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("sl_cai", "sft", "revisions", "run"), "step:revision", "there is no earlier step 'revision'"),
        (("revisions", "run", "constitution"), "step:sl_cai", "there is no earlier step 'sl_cai'"),
        (("sl_cai", "sft", "optimisation"), {}, "unknown key"),
        (("revisions", "run", "revise", "rounds"), -1, "loop.yaml:15:17: revise: 'rounds' must be at least 0"),
        (("sl_cai", "sfd"), {}, "a step is one of run, "),
        (("revisions", "run", "models", "policy", "model"), "nowhere.yaml", "nowhere.yaml"),
    ],
)
def test_a_bad_step_is_refused_with_its_place_before_anything_is_made(
    tmp_path: Path, tiny_model: Path, place: tuple[str, ...], value: object, expected: str
) -> None:
    described = steps(tmp_path, tiny_model)
    inner: Any = described
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    refused = make(tmp_path, described)
    assert refused.status == 2
    assert expected in refused.errors
    assert "loop.yaml:" in refused.errors or "step revisions" in refused.errors
    assert refused.errors.count("error:") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../../stolen", "/stolen", "a/b", ".."])
def test_a_step_cannot_be_named_out_of_its_loop(tmp_path: Path, name: str) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Why?"}\n')
    models = {"policy": {"backend": "scripted", "model": "hash"}}
    run = {"name": "fine", "compare": {}, "prompts": [{"path": str(prompts)}], "models": models}
    refused = make(tmp_path, {name: {"run": run}})
    assert (refused.status, "must match" in refused.errors) == (2, True), refused.errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop.yaml", "prompts.jsonl"]
