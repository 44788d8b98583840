"""The scripted model."""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path

import pytest
from backends_for_tests import asked, user

from constitution.faults import BadInput
from engine.backends.opening import open_model
from engine.backends.scripted import ScriptedModel, read_script
from engine.backends.spec import ModelSpec
from engine.model import ModelUnavailable, Sampling

SCRIPT = """
context_window: 300
rules:
  - {match: poisoned, fail: 2}
  - {match: cursed, fail: -1}
  - {match: "Options:", choose: [0.7, 0.2]}
  - {match: Identify, reply: "It is rude. And late."}
  - {match: tar pit, hang: true}
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.yaml"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


async def opened(script: Path) -> ScriptedModel:
    model = await open_model(ModelSpec(backend="scripted", model=str(script)))
    assert isinstance(model, ScriptedModel)
    return model


async def test_the_first_rule_that_matches_answers(script: Path) -> None:
    model = await opened(script)
    assert (await model.generate(user("Identify it"), Sampling())).text == "It is rude. And late."
    cut = await model.generate(user("Identify it"), Sampling(stop=(" And",)))
    assert (cut.text, cut.finish_reason) == ("It is rude.", "stop")
    choice = await model.choose(user("Options: (A) or (B)"), ("A", "B"))
    assert [math.exp(value) for value in choice.log_probabilities] == pytest.approx([0.7, 0.2])
    assert model.context_window == 300


async def test_failures_are_counted_for_each_conversation(script: Path) -> None:
    model = await opened(script)
    for text in ("poisoned well", "another poisoned well"):
        for _ in range(2):
            with pytest.raises(ModelUnavailable):
                await model.generate(user(text), Sampling())
        assert (await model.generate(user(text), Sampling())).text
    for _ in range(5):
        with pytest.raises(ModelUnavailable):
            await model.generate(user("cursed"), Sampling())


async def test_a_hanging_call_can_be_cancelled(script: Path) -> None:
    model = await opened(script)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(model.generate(user("a tar pit"), Sampling()), timeout=0.01)


async def test_swapping_the_answers_mirrors_the_verdict() -> None:
    model = ScriptedModel()
    spread = []
    for pair in range(40):
        first, second = f"Answer {pair}, politely.", f"Answer {pair}, rudely."
        straight = await model.choose(asked(f"Which?\n(A) {first}\n(B) {second}\nPrinciple: kind."), ("A", "B"))
        swapped = await model.choose(asked(f"Which?\n(A) {second}\n(B) {first}\nPrinciple: kind."), ("A", "B"))
        assert straight.probabilities[0] == pytest.approx(swapped.probabilities[1], abs=0.06)
        assert straight.mass == pytest.approx(swapped.mass)
        spread.append(straight.probabilities[0])
    assert min(spread) < 0.25
    assert max(spread) > 0.75


async def test_texts_vary_in_length_and_echo_repeats() -> None:
    model = ScriptedModel()
    texts = [(await model.generate(user("x"), Sampling(seed=seed))).text for seed in range(200)]
    lengths = {len(text.split()) for text in texts}
    assert len(set(texts)) == 200
    assert min(lengths) < 10
    assert max(lengths) > 55
    echo = await open_model(ModelSpec(backend="scripted", model="echo"))
    assert (await echo.generate(user("say it again"), Sampling())).text == "say it again"


async def test_functions_can_be_the_script() -> None:
    model = ScriptedModel(
        reply=lambda messages, sampling: f"{messages[-1]['content']} {sampling.seed}",
        weigh=lambda messages, options: [1.0, 0.0],
    )
    assert (await model.generate(user("x"), Sampling(seed=7))).text == "x 7"
    assert (await model.choose(user("x"), ("A", "B"))).probabilities == (1.0, 0.0)
    assert model.calls == 2


async def test_a_call_costs_microseconds() -> None:
    model = ScriptedModel()
    messages = asked("Which?\n(A) one answer of some length\n(B) another\nPrinciple: kind.")
    best = math.inf
    for _ in range(5):  # the best of some, since the machine has other things to do
        start = time.perf_counter()
        for seed in range(200):
            await model.generate(messages, Sampling(seed=seed))
            await model.choose(messages, ("A", "B"))
        best = min(best, (time.perf_counter() - start) / 400)
    assert best < 50e-6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [{match: '(', reply: x}]", "rules.0.match"),
        ("rules: [{match: x, replay: x}]", "rules.0.replay"),
        ("rules: [{match: x, choose: [0.9, 0.9]}]", "together at most 1"),
        ("rules: [", "not a YAML file"),
    ],
)
def test_a_bad_script_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=message):
        read_script(path)


def test_an_unknown_script_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no script of the name.*echo, hash"):
        read_script(tmp_path / "none.yaml")
