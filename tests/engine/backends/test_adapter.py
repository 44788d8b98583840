"""A LoRA adapter beside a model: what it says is what the merged model says, in both local backends."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from constitution.faults import BadInput
from engine.backends.opening import check_model, open_model
from engine.backends.spec import ModelSpec
from engine.model import Sampling
from tests.engine.backends_for_tests import NEEDS_VLLM, Reference, asked, user

OPTIONS = ("A", "B")
GREEDY = Sampling(temperature=0.0, max_tokens=24)


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of rank 4 that turns the model's answers around, and the merged model beside it in `merged`."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("adapters")
    config = LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft reads what transformers has renamed
        tuned: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config)
    torch.manual_seed(1)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    tuned.save_pretrained(folder / "run" / "adapter")
    tuned.merge_and_unload().save_pretrained(folder / "merged")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder / "merged")
    return folder / "run" / "adapter"


async def answers(spec: ModelSpec) -> tuple[str, tuple[float, ...], str]:
    """A greedy text, the options' log-probabilities, and the revision."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's imports warn
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        model = await open_model(spec)
        try:
            text = (await model.generate(user("Who is it?"), GREEDY)).text
            return text, (await model.choose(asked("Which?"), OPTIONS)).log_probabilities, model.revision
        finally:
            await model.close()


@pytest.mark.parametrize("backend", ["transformers", pytest.param("vllm", marks=NEEDS_VLLM)])
def test_an_adapter_says_what_the_merged_model_says(backend: Any, tiny_model: Path, adapter: Path) -> None:
    settings = {"context_window": 512, "dtype": "float32"}
    if backend == "vllm":
        settings |= {"enforce_eager": True, "engine_args": {"max_num_seqs": 4}}
    spec = ModelSpec(backend=backend, model=str(tiny_model), adapter=str(adapter), **settings)
    text, found, revision = asyncio.run(answers(spec))
    merged, plain = Reference(adapter.parents[1] / "merged"), Reference(tiny_model)
    asked_of = "<s><|user|>\nWho is it?<|end|>\n<|assistant|>\n"
    assert text == merged.greedy(merged.ids(asked_of), GREEDY.max_tokens)
    assert text != plain.greedy(plain.ids(asked_of), GREEDY.max_tokens)
    question = "<s><|user|>\nWhich?<|end|>\n<|assistant|>\nThe answer is: ("
    expected = [float(merged.log_probabilities(merged.ids(question))[merged.ids(each)[0]]) for each in OPTIONS]
    assert found == pytest.approx(expected, abs=1e-3)
    assert len(set(revision.split("+"))) == 2


def test_a_training_run_names_its_adapter(tiny_model: Path, adapter: Path) -> None:
    check_model(ModelSpec(model=str(tiny_model), adapter=str(adapter.parent)))


def damaged(adapter: Path, folder: Path, how: str) -> str:
    """A copy of the adapter with a fault."""
    shutil.copytree(adapter, folder)
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    match how:
        case "kind":
            config.write_text(json.dumps({"peft_type": "PREFIX_TUNING"}), encoding="utf-8")
        case "configuration":
            config.unlink()
        case "broken configuration":
            config.write_text("{", encoding="utf-8")
        case "pickle":
            weights.rename(folder / "adapter_model.bin")
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-9])
    return str(folder)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("kind", "PREFIX_TUNING"),
        ("configuration", "no adapter_config.json"),
        ("broken configuration", "cannot be read"),
        ("pickle", "pickles"),
        ("cut", "damaged"),
    ],
)
def test_what_is_no_adapter_is_refused_before_anything_loads(
    how: str, said: str, tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    spec = ModelSpec(model=str(tiny_model), adapter=damaged(adapter, tmp_path / "copy", how))
    with pytest.raises(BadInput, match=said) as caught:
        check_model(spec, "models.judge")
    assert [fault.where for fault in caught.value.faults] == ["models.judge.adapter"]


def test_a_missing_folder_and_a_stray_adapter_are_refused(tiny_model: Path) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        check_model(ModelSpec(model=str(tiny_model), adapter="./nowhere"))
    with pytest.raises(BadInput, match="the scripted backend has no such setting"):
        check_model(ModelSpec(backend="scripted", model="hash", adapter="./nowhere"))
