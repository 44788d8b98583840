"""Everything a user can get wrong: one clear message, exit status 2, nothing written, no model loaded."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.charter.command_line import Called, charter


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "How do I whistle?"}\n{"prompt": "And sing?"}\n')
    return path


@pytest.fixture
def run(tmp_path: Path, prompts: Path) -> Callable[..., Called]:
    """Runs a recipe that is right but for the given changes."""

    def call(*flags: str, **changes: object) -> Called:
        recipe = {
            "name": "bad",
            "output": str(tmp_path / "out"),
            "prompts": [{"path": str(prompts)}],
            "constitution": "learning",
            "models": {"policy": {"backend": "scripted", "model": "hash"}},
            "compare": {"principles": 1},
            **changes,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in recipe.items() if value is not None}))
        called = charter("run", path, *flags)
        if called.status == 2 and "--resume" not in flags:
            assert not (tmp_path / "out").exists(), "nothing is written"
        return called

    return call


def refused(called: Called, *words: str) -> None:
    assert called.status == 2, called.errors
    assert "Traceback" not in called.errors
    for word in words:
        assert word in called.errors, called.errors


def test_a_missing_constitution(run: Callable[..., Called], tmp_path: Path) -> None:
    refused(run(constitution="harmlesness"), "harmlesness", "did you mean 'harmlessness'")
    refused(run(constitution=str(tmp_path / "none.yaml")), "none.yaml", "no such file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["the file is empty"]),
        ("name: x\n  principles: [", ["bad.yaml:2", "not YAML"]),
        ("- a list\n", ["bad.yaml:1", "keys and values"]),
        (
            "name: x\nprinciples:\n  - {id: a, comparison: Which?}\n  - {id: a, comparison: Which one?}\n",
            ["bad.yaml:4", "'a'"],
        ),
        ("name: x\nextends: learning\nremove: [no-lectur]\n", ["bad.yaml:3", "no-lectur", "did you mean 'no-lecture'"]),
        ("name: x\nprinciples:\n  - {id: a, comparison: Which?, wieght: 2}\n", ["bad.yaml:3", "wieght", "'weight'"]),
    ],
)
def test_a_faulty_constitution(run: Callable[..., Called], tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    refused(run(constitution=str(path)), *words)


def test_more_principles_than_there_are(run: Callable[..., Called]) -> None:
    refused(run(compare={"principles": 9}), "9", "3")


def test_unknown_keys_with_their_place(run: Callable[..., Called]) -> None:
    refused(run(compare={"principels": 1}), "recipe.yaml:", "principels", "did you mean 'principles'")
    refused(run("--set", "compare.sampels=3"), "--set compare.sampels", "did you mean 'samples'")
    refused(run("--set", "compare.samples"), "--set", "sets nothing")
    refused(run(compare={"samples": 1}), "recipe.yaml:", "2")


def test_a_dangling_model_name(run: Callable[..., Called]) -> None:
    refused(run(roles={"judge": "polcy"}), "recipe.yaml:", "polcy", "did you mean 'policy'")


def test_a_recipe_with_nothing_to_do(run: Callable[..., Called]) -> None:
    refused(run(compare=None), "nothing to do")


def test_a_template_variable_that_does_not_exist(run: Callable[..., Called], tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "critique.jinja").write_text("{{ requst }}\n{{ request }}")
    refused(run(asking={"templates": str(folder)}), "critique.jinja:1", "requst", "did you mean 'request'")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no prompts"]),
        ('{"prompt": "fine"}\n{"prompt": 5}\n', ["prompts.jsonl:2"]),
        ('{"prompt": "fine"}\nnot json\n', ["prompts.jsonl:2"]),
        ('{"text_of_the_prompt": "x"}\n', ["prompts.jsonl:1", "text_of_the_prompt"]),
    ],
)
def test_faulty_prompts(run: Callable[..., Called], prompts: Path, text: str, words: list[str]) -> None:
    prompts.write_text(text)
    refused(run(), *words)


def test_what_is_wrong_in_the_same_way_is_said_once(run: Callable[..., Called], prompts: Path) -> None:
    prompts.write_text('{"prompt": 5}\n' * 3 + '{"prompt": "fine"}\n' + "{\n" * 15)
    called = run()
    refused(called, "prompts.jsonl:1: 'prompt'", "; the same in line 2, 3\n")
    refused(called, "prompts.jsonl:5:2: this is not JSON", "; the same in line 6, 7, 8", "13, 14, 15, and 4 more")
    assert called.errors.count("error:") == 2


@pytest.mark.parametrize("address", ["s3://AKIA:sesame@bucket/run", "s3://bucket/run?secret_key=sesame"])
def test_a_password_in_an_address_is_refused_and_not_shown(run: Callable[..., Called], address: str) -> None:
    for called in (run(output=address), run(prompts=[{"path": address}])):
        refused(called, "password")
        assert "sesame" not in called.errors + called.output


@pytest.mark.parametrize("address", ["http://head:8265", "head", "head:port", "ray://head"])
def test_an_address_that_no_cluster_has(run: Callable[..., Called], address: str) -> None:
    refused(run(ray={"address": address}), "recipe.yaml:", address, "HOST:PORT or ray://HOST:10001")


def test_validate_asks_whether_the_cluster_is_there(run: Callable[..., Called], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        run("--set", "compare.sampels=3", ray={"address": f"127.0.0.1:{port}"})  # writes the recipe and is refused
        assert charter("validate", tmp_path / "recipe.yaml").status == 0
    refused(charter("validate", tmp_path / "recipe.yaml"), "ray.address", f"nothing answers at 127.0.0.1:{port}")


def test_what_a_file_says_cannot_steer_the_terminal(run: Callable[..., Called], prompts: Path) -> None:
    prompts.write_text('{"prompt": [{"role": "\\u001b[2J\\ud83d", "content": ""}]}\n')
    called = run()
    refused(called, "unknown role")
    assert "\x1b" not in called.errors


def test_missing_prompts(run: Callable[..., Called], tmp_path: Path) -> None:
    refused(run(prompts=[{"path": str(tmp_path / "none.jsonl")}]), "none.jsonl")


def test_a_model_folder_that_is_none(run: Callable[..., Called], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    refused(run(models={"policy": {"model": str(folder)}}), "models.policy", str(folder), "config.json")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    refused(run(models={"policy": {"model": str(folder)}}), "safetensors")


def test_options_that_are_not_tokens(run: Callable[..., Called], tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    package = Path(__file__).parents[2] / "prompts" / "templates"
    text = (package / "compare.jinja").read_text()
    replaced = text.replace('["A", "B"]', '["first answer", "second answer"]')
    assert replaced != text
    (folder / "compare.jinja").write_text(replaced)
    refused(run(asking={"templates": str(folder)}), "first answer", "one token")


def test_an_output_folder_that_cannot_be_used(
    run: Callable[..., Called], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    refused(run(output=str(tmp_path / "file" / "run")), "is a file")
    refused(run(output="/proc/charter/run"), "/proc", "nothing can be written")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
        refused(run(), "1 MiB are free")
    strangers = tmp_path / "strangers"
    strangers.mkdir()
    (strangers / "thesis.txt").write_text("precious")
    refused(run(output=str(strangers)), "thesis.txt", "no run folder")
    assert (strangers / "thesis.txt").read_text() == "precious"


def test_a_run_folder_of_another_recipe(run: Callable[..., Called], tmp_path: Path) -> None:
    """The folder is made by a run that never starts: freezing comes before Ray."""
    from charter.recipe import check_recipe, load_recipe
    from charter.run import freeze

    run("--set", "compare.samples")  # writes recipe.yaml and is refused
    recipe = load_recipe(tmp_path / "recipe.yaml")
    freeze(recipe, *check_recipe(recipe), command="")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    refused(run("--resume", seed=5), "another recipe", "seed: 0 -> 5")
    called = run("--resume", compare={"principles": 2})
    refused(called, "compare.principles: 1 -> 2")
    assert charter("run", tmp_path / "recipe.yaml").status == 2, "without --resume it is not touched"
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_flags_are_checked_as_recipes_are(prompts: Path, tmp_path: Path) -> None:
    refused(charter("revise", prompts, "--model", tmp_path / "no-model", "--output", tmp_path / "o"), "no-model")
    refused(charter("revise", prompts), "--model")
    refused(charter("revize", prompts), "revize")
    refused(charter("run", tmp_path / "none.yaml"), "none.yaml", "no such file")


def test_every_fault_is_told_at_once(run: Callable[..., Called], tmp_path: Path) -> None:
    called = run(constitution="none-such", models={"policy": {"model": str(tmp_path / "nothing")}})
    refused(called, "none-such", "nothing")
    assert called.errors.count("error:") >= 2
