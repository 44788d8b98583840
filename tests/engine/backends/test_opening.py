"""What is found out about a model entry before any model loads."""

from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from backends_for_tests import user
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file

from constitution.faults import BadInput
from engine.backends.folder import model_revision, safetensors_header
from engine.backends.opening import FIELDS, OPENERS, check_model, open_model, open_tokenizer
from engine.backends.spec import ModelSpec


def faults(**fields: Any) -> str:
    """What check_model says, in one text."""
    with pytest.raises(BadInput) as caught:
        check_model(ModelSpec(**fields), where="models.judge")
    return str(caught.value)


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_a_good_entry_passes_and_travels(tiny_model: Path) -> None:
    spec = ModelSpec(model=str(tiny_model), context_window=1024)
    check_model(spec)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


def test_every_field_belongs_to_a_backend_and_is_documented() -> None:
    assert set(FIELDS) == set(OPENERS)
    assert set().union(*FIELDS.values()) == set(ModelSpec.model_fields)
    assert all(field.description for field in ModelSpec.model_fields.values())


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="modle"):
        ModelSpec.model_validate({"modle": "x", "model": "y"})


def test_a_missing_folder_is_named() -> None:
    said = faults(model="/no/such/folder")
    assert "models.judge: '/no/such/folder' is no such folder" in said


def test_a_folder_without_a_model_gets_every_fault(tmp_path: Path) -> None:
    said = faults(model=str(tmp_path))
    assert "no config.json" in said
    assert "no *.safetensors" in said
    assert "no tokenizer" in said


def test_pickled_weights_are_refused_with_the_reason(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickles (pytorch_model.bin), which can run code" in faults(model=str(folder))


def test_damaged_weights_are_found_without_loading_them(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    assert "model.safetensors is damaged" in faults(model=str(folder))
    weights.write_bytes(b"")
    assert "empty or cut off" in faults(model=str(folder))


def test_a_missing_shard_is_named(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert "model-00002-of-00002.safetensors" in faults(model=str(folder))


def test_a_broken_configuration_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")
    assert "config.json is not JSON" in faults(model=str(folder))


def test_a_missing_chat_template_is_named_unless_one_is_given(folder: Path, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    assert "no chat template" in faults(model=str(folder))
    template = tmp_path / "own.jinja"
    assert f"no such file: {template}" in faults(model=str(folder), chat_template=str(template))
    template.write_text("{{ messages[0].content }}", encoding="utf-8")
    check_model(ModelSpec(model=str(folder), chat_template=str(template)))


def test_another_folder_may_hold_the_tokenizer(folder: Path, tiny_model: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink()
    assert "no tokenizer in the folder" in faults(model=str(folder))
    check_model(ModelSpec(model=str(folder), tokenizer=str(tiny_model)))


def test_a_missing_package_says_how_to_get_it(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "vllm" else find_spec(name))
    assert "pip install 'charter[vllm]'" in faults(backend="vllm", model=str(tiny_model))
    assert open_tokenizer(ModelSpec(backend="vllm", model=str(tiny_model))).count_tokens(user("x")) > 0


def test_settings_of_another_backend_are_refused(tiny_model: Path) -> None:
    said = faults(backend="transformers", model=str(tiny_model), tensor_parallel=2, base_url="http://x/v1")
    assert "models.judge.tensor_parallel: the transformers backend has no such setting (it belongs to vllm)" in said
    assert "models.judge.base_url" in said


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x/v1", "http://", "http://x:notaport/v1"])
def test_a_malformed_address_is_refused(url: str) -> None:
    assert "models.judge.base_url" in faults(backend="openai", model="m", base_url=url)


def test_a_server_needs_an_address_and_no_secrets_in_it() -> None:
    assert "needs the address" in faults(backend="openai", model="m")
    said = faults(backend="openai", model="m", base_url="http://me:hunter2@x/v1")
    assert "user name or password" in said
    assert "hunter2" not in said


def test_the_key_is_named_by_its_variable_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    server = {"backend": "openai", "model": "m", "base_url": "http://x/v1"}
    assert "JUDGE_KEY is not set" in faults(**server, api_key_env="JUDGE_KEY")
    said = faults(**server, api_key_env="sk-proj-secret")
    assert "no name of an environment variable" in said
    assert "secret" not in said
    monkeypatch.setenv("JUDGE_KEY", "sk-proj-secret")
    check_model(ModelSpec(**server, api_key_env="JUDGE_KEY"))


def test_a_hub_id_that_cannot_be_had_is_bad_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert "'nobody/nothing'" in faults(model="nobody/nothing")


def test_the_tokenizer_opens_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    counter = open_tokenizer(ModelSpec(model=str(folder)))
    assert counter.count_tokens(user("How do I mend a bicycle?")) > 10
    assert counter.context_window == 8192
    counter.check_options(("A", "B"))


async def test_opening_checks_first(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no config\.json"):
        await open_model(ModelSpec(model=str(tmp_path)))


@pytest.mark.parametrize("name", ["lm_head.weight", "model.norm.weight"], ids=["large", "small"])
def test_the_revision_follows_the_content(folder: Path, tiny_model: Path, name: str) -> None:
    first = model_revision(folder)
    assert first == model_revision(tiny_model)
    assert first.startswith("sha256-")
    weights = load_file(folder / "model.safetensors")
    weights[name] = weights[name] + 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert model_revision(folder) != first
    assert safetensors_header(folder / "model.safetensors").keys() >= weights.keys()


def test_a_hub_snapshot_is_known_by_its_commit(tiny_model: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / ("0123456789" * 4)
    shutil.copytree(tiny_model, snapshot)
    assert model_revision(snapshot) == "0123456789" * 4
