"""A tiny policy is rewarded for what a preference model likes; it is watched and stopped; bad input is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification

from charter.training_plan import held_parameters, parameters_in, shape_of, steps_of
from constitution import load_constitution
from constitution.faults import BadInput
from engine.storage import Folder
from tests.engine.backends_for_tests import VLLM_MISSING, has_vllm
from tests.trainers.models_for_tests import make_scorer
from tests.trainers.rows_for_training import THEIR_WARNINGS
from trainers.fitting import Outcome
from trainers.reinforcement import ReinforcementSettings, check, prepare, train

pytestmark = THEIR_WARNINGS


@pytest.fixture(scope="module")
def scorers(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with preference models `reward` and `judge`."""
    folder = tmp_path_factory.mktemp("scorers")
    for seed, name in enumerate(("reward", "judge")):
        make_scorer(tiny_model, folder / name, seed)
    return folder


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompts")
    for name, count in (("red", 30), ("kind", 20)):
        rows = [
            {"prompt": f"{name} question {n}", "category": "illicit" if name == "red" else ""} for n in range(count)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def settings(model: Path, prompt_files: Path, scorers: Path, **changes: Any) -> ReinforcementSettings:
    how = {"learning_rate": 3e-3, "batch_size": 16, "micro_batch_size": 8, "max_steps": 4}
    told = {
        "name": "x",
        "model": str(model),
        "prompts": {
            "red": {"sources": [{"path": str(prompt_files / "red.jsonl")}], "share": 1},
            "kind": {"sources": [{"path": str(prompt_files / "kind.jsonl")}], "share": 1},
        },
        "reward": {"models": {"main": {"model": str(scorers / "reward")}}},
        "completions": 4,
        "sampling": {"max_tokens": 12},
        "max_length": 128,
        "optimization": how,
        "watch": {"judge": {"model": str(scorers / "judge")}, "prompts": 6, "every": 2, "on_alarm": "tell"},
    }
    return ReinforcementSettings.model_validate(told | changes)


def trained(told: ReinforcementSettings, folder: Path) -> Outcome:
    prepare(told, Folder(str(folder)), print)
    return train(told, folder)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_a_policy_is_rewarded_and_watched(
    algorithm: str, tiny_model: Path, prompts: Path, scorers: Path, tmp_path: Path
) -> None:
    outcome = trained(settings(tiny_model, prompts, scorers, algorithm=algorithm), tmp_path)
    assert (tmp_path / "model" / "model.safetensors").exists()
    steps = [entry for entry in lines(tmp_path / "metrics.jsonl") if "reward" in entry]
    assert [entry["step"] for entry in steps] == [1, 2, 3, 4]
    assert all(entry["kl"] is not None and "score/main" in entry for entry in steps)
    seen = lines(tmp_path / "watch.jsonl")
    assert [each["step"] for each in seen] == [0, 2, 4]
    assert all(each["prompts"] == 6 and each["judge"] is not None for each in seen)
    watched = {row["item_id"] for row in Folder(str(tmp_path)).read_table("data/watch/part-00000.parquet").to_pylist()}
    assert {sample["item_id"] for sample in lines(tmp_path / "watch" / "step-000004.jsonl")} == watched
    best = max(each["judge"] for each in seen[1:])
    assert outcome.figures["judge of the kept checkpoint"] == pytest.approx(best, abs=1e-4)


def test_a_judge_that_rates_rewards_without_a_preference_model(
    tiny_model: Path, prompts: Path, scorers: Path, tmp_path: Path
) -> None:
    rating = {"judge": {"model": str(tiny_model), "device": "cpu"}, "min_mass": 0}
    how = {"learning_rate": 3e-3, "batch_size": 8, "micro_batch_size": 8, "max_steps": 2}
    told = settings(tiny_model, prompts, scorers, reward={"ratings": {"kindness": rating}}, optimization=how)
    outcome = trained(told, tmp_path)
    rated = [entry["score/kindness"] for entry in lines(tmp_path / "metrics.jsonl") if "score/kindness" in entry]
    assert len(rated) >= 2
    assert all(-1 <= each <= 1 for each in rated)
    assert len(set(rated)) > 1
    assert outcome.figures["reward at the start"] is not None


def test_the_reward_is_learnt_and_an_alarm_ends_what_it_leads_to(
    tiny_model: Path, prompts: Path, scorers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reward that a few steps can raise: short answers, by the length term alone."""
    reward = {
        "models": {"main": {"model": str(scorers / "reward"), "weight": 0.0}},
        "length": {"free": 0, "per_token": 0.2},
        "format": {"empty": 0, "truncated": 0, "template_leak": 0},
        "whiten": False,
    }
    how = {"learning_rate": 3e-3, "batch_size": 32, "micro_batch_size": 32, "max_steps": 60}
    judge = {"model": str(scorers / "judge")}
    watch = {"judge": judge, "prompts": 16, "every": 1, "length": [0.6, 2], "distinct": 0.01, "patience": 99}
    told = settings(tiny_model, prompts, scorers, reward=reward, optimization=how, watch=watch, kl=0.0)
    outcome = trained(told, tmp_path)
    steps = [entry for entry in lines(tmp_path / "metrics.jsonl") if "reward" in entry]
    assert sum(entry["reward"] for entry in steps[-3:]) / 3 > sum(entry["reward"] for entry in steps[:3]) / 3 + 0.2
    assert outcome.steps == len(steps) < 60
    assert outcome.figures["alarms"] == 1.0
    assert "tokens on average; at the start" in capsys.readouterr().err
    calm = {each["step"]: each["judge"] for each in lines(tmp_path / "watch.jsonl")[1:] if not each["alarms"]}
    assert outcome.figures["alarms of the kept checkpoint"] == 0.0
    assert outcome.figures["judge of the kept checkpoint"] == pytest.approx(max(calm.values()), abs=1e-4)


def test_prompts_are_mixed_held_out_and_counted(tiny_model: Path, prompts: Path, scorers: Path, tmp_path: Path) -> None:
    with (prompts / "red.jsonl").open() as rows:
        again = tmp_path / "again.jsonl"
        long = {"prompt": "word " * 300, "category": ""}
        again.write_text(rows.readline() + json.dumps(long) + "\n")
    parts = {
        "red": {"sources": [{"path": str(prompts / "red.jsonl")}], "share": 2},
        "kind": {"sources": [{"path": str(prompts / "kind.jsonl")}, {"path": str(again)}], "share": 1},
    }
    told = settings(tiny_model, prompts, scorers, prompts=parts)
    prepared = prepare(told, Folder(str(tmp_path)), print)
    assert prepared.rows["red"] in range(26, 31)
    assert prepared.rows["kind"] == prepared.rows["red"] // 2
    assert prepared.left_out["seen before"] == 1
    assert prepared.left_out["longer than 116 tokens, which leaves no room for 12"] == 1
    assert prepared.facts["prompts watched"] == 6
    total = sum(prepared.rows.values()) + sum(prepared.left_out.values()) + 6
    assert total == 30 + 20 + 2


def test_the_constitutions_behind_the_reward_are_on_record(
    tiny_model: Path, prompts: Path, scorers: Path, tmp_path: Path
) -> None:
    make_scorer(tiny_model, tmp_path / "pm" / "model")
    (tmp_path / "pm" / "manifest.json").write_text('{"data": {"constitutions": ["abc"]}}')
    shown = {"model": str(scorers / "reward"), "constitution": "harmlessness"}
    models = {"one": {"model": str(tmp_path / "pm")}, "two": shown}
    told = settings(tiny_model, prompts, scorers, reward={"models": models})
    prepared = prepare(told, Folder(str(tmp_path / "run")), print)
    assert prepared.constitutions == ("abc", load_constitution("harmlessness").hash)


@pytest.mark.vllm
@pytest.mark.skipif(not has_vllm(), reason=VLLM_MISSING)
def test_vllm_writes_with_the_weights_of_the_last_update(
    tiny_model: Path, prompts: Path, scorers: Path, tmp_path: Path
) -> None:
    """In a process of its own, as a user has it: vLLM takes over the environment. The policy moves far in each step,
    and vLLM's log-probabilities, in 16 bits, stay those of the trainer."""
    told = settings(tiny_model, prompts, scorers, generation={"engine": "vllm"}, watch=None)
    file = tmp_path / "rl.yaml"
    file.write_text(yaml.safe_dump(told.model_dump(mode="json", exclude_unset=True)))
    command = [sys.executable, "-m", "charter", "train", "rl", str(file), "--output", str(tmp_path / "run")]
    quiet = {"VLLM_CPU_KVCACHE_SPACE": "1"}
    ended = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    steps = [entry for entry in lines(tmp_path / "run" / "metrics.jsonl") if "reward" in entry]
    assert [entry["step"] for entry in steps] == [1, 2, 3, 4]
    assert steps[-1]["kl"] > 0.5
    assert all(entry["sampling/sampling_logp_difference/mean"] < 0.1 for entry in steps)
    assert all(entry["completions/mean_length"] > 1 for entry in steps)


def test_a_server_that_cannot_take_the_policys_weights_is_refused(
    tiny_model: Path, prompts: Path, scorers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    nobody = {"mode": "server", "server": "http://127.0.0.1:9"}
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(BadInput, match="there is no GPU here"):
        check(settings(tiny_model, prompts, scorers, generation=nobody))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(BadInput, match=r"no vLLM server answers at http://127.0.0.1:9"):
        check(settings(tiny_model, prompts, scorers, generation=nobody))


def test_a_preference_model_that_changed_is_refused_on_resuming(
    tiny_model: Path, prompts: Path, scorers: Path, tmp_path: Path
) -> None:
    mine = make_scorer(tiny_model, tmp_path / "mine", seed=7)
    reward = {"models": {"main": {"model": str(mine)}}}
    told = settings(tiny_model, prompts, scorers, reward=reward)
    prepare(told, Folder(str(tmp_path / "run")), print)
    make_scorer(tiny_model, mine, seed=8)
    with pytest.raises(BadInput, match=r"reward.models.main: its weights changed since this training began"):
        train(told, tmp_path / "run")


def test_weights_that_are_no_numbers_are_said_before_training(
    tiny_model: Path, prompts: Path, scorers: Path, tmp_path: Path
) -> None:
    broken = make_scorer(tiny_model, tmp_path / "broken", seed=3)
    model = AutoModelForSequenceClassification.from_pretrained(broken)
    with torch.no_grad():
        model.score.weight.fill_(torch.nan)
    model.save_pretrained(broken)
    told = settings(tiny_model, prompts, scorers, reward={"models": {"main": {"model": str(broken)}}})
    prepare(told, Folder(str(tmp_path / "run")), print)
    with pytest.raises(BadInput, match=r"reward.models.main: .*no number"):
        train(told, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_plan_counts_completions_and_the_models_beside_the_policy(
    tiny_model: Path, prompts: Path, scorers: Path
) -> None:
    told = settings(tiny_model, prompts, scorers)
    epoch = told.model_copy(update={"optimization": told.optimization.model_copy(update={"max_steps": None})})
    assert steps_of(epoch, rows=40) == 40 * 4 // 16
    policy, scorer = shape_of(told).parameters, parameters_in(scorers / "reward")
    assert held_parameters(told.model_copy(update={"kl": 0.0, "watch": None})) == scorer
    assert held_parameters(told) == policy + 2 * scorer, "the reference and the judge, too"


def test_bad_input_is_said_before_anything_is_loaded(
    tiny_model: Path, prompts: Path, scorers: Path, tmp_path: Path
) -> None:
    three = tmp_path / "three"
    make_scorer(tiny_model, three)
    config = json.loads((three / "config.json").read_text())
    config["id2label"] = {"0": "a", "1": "b", "2": "c"}
    (three / "config.json").write_text(json.dumps(config))
    same = {"judge": {"model": str(scorers / "reward")}}
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"model": str(scorers / "reward")}, "model: it is a LlamaForSequenceClassification, which writes no text"),
        ({"reward": {"models": {"a": {"model": str(tiny_model)}}}}, "reward.models.a: it is a LlamaForCausalLM"),
        ({"reward": {"models": {"a": {"model": str(three)}}}}, "reward.models.a: it has 3 labels"),
        ({"watch": same}, "the judge is the reward's own model 'main'"),
        ({"prompts": {"a": {"sources": [{"path": str(tmp_path / "none.jsonl")}]}}}, "no such file"),
    )
    for changes, message in cases:
        told = ReinforcementSettings.model_validate(settings(tiny_model, prompts, scorers).model_dump() | changes)
        with pytest.raises(BadInput, match=message):
            check(told)
    with pytest.raises(ValueError, match="must be a multiple of completions"):
        settings(tiny_model, prompts, scorers, completions=5)
    with pytest.raises(ValueError, match="all completions of a prompt would be the same"):
        settings(tiny_model, prompts, scorers, sampling={"temperature": 0})
