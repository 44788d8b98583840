"""Completions become the rewards that the settings describe."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from constitution import Constitution
from constitution.faults import BadInput
from constitution.schema import Principle
from prompts.messages import Message
from trainers.rewarding import NoReward, Rewarder, RewardSettings, check_at_work

END = 9


@dataclass
class Told:
    """Scores that a function tells."""

    say: Callable[[Sequence[Message]], float | None]
    name: str = "told"
    revision: str = "1"

    def score(self, conversations: Sequence[Sequence[Message]]) -> list[float | None]:
        return [self.say(conversation) for conversation in conversations]


def by_length(conversation: Sequence[Message]) -> float:
    return float(len(conversation[-1]["content"]))


def kindness(conversation: Sequence[Message]) -> float:
    return 3.0 if "kind" in conversation[-1]["content"] else -3.0


def rewarder(told: dict[str, Any], *, constitutions: dict[str, Constitution] | None = None, **scorers: Any) -> Rewarder:
    settings = RewardSettings.model_validate(
        {"models": {name: {"model": name, **told.pop(name, {})} for name in scorers}, "whiten": False, **told}
    )
    models = {name: Told(say) for name, say in scorers.items()}
    return Rewarder(settings, models, {}, constitutions or {}, seed=0, end_ids=frozenset({END}))


def rewards(one: Rewarder, *texts: str, cut: int = -1, **columns: Any) -> tuple[list[float | None], dict[str, float]]:
    metrics: dict[str, float] = {}
    count = len(texts)
    found = one(
        prompts=[[{"role": "user", "content": f"question {n}"}] for n in range(count)],
        completions=[[{"role": "assistant", "content": text}] for text in texts],
        completion_ids=[[1] * (len(text) // 2) + ([] if n == cut else [END]) for n, text in enumerate(texts)],
        log_metric=metrics.__setitem__,
        **{"category": [""] * count, "kind": ["helpful"] * count, "item_id": [str(n) for n in range(count)], **columns},
    )
    return found, metrics


def test_models_are_summed_by_weight() -> None:
    found, metrics = rewards(rewarder({"kind": {"weight": 2.0}}, kind=kindness, long=by_length), "kind", "rude man")
    assert found == [2 * 3 + 4, 2 * -3 + 8]
    assert (metrics["score/kind"], metrics["score/long"]) == (0.0, 6.0)


def test_the_gate_hangs_on_the_category_and_on_the_score() -> None:
    gate = {"gate": {"safety": "safe", "helpful": "long"}}
    found, _ = rewards(
        rewarder(gate, safe=kindness, long=by_length),
        "kind words", "kind words", "kind words", "rude words",
        category=["illicit", "benign", "", "benign"],
    )  # fmt: skip
    assert found == [3.0, 10.0, 10.0, -3.0]


def test_terms_of_form_and_length_come_on_top_of_whitened_scores() -> None:
    told = {"whiten": True, "length": {"free": 2, "per_token": 0.5}, "format": {"empty": 7.0, "truncated": 1.0}}
    found, metrics = rewards(rewarder(told, long=by_length), "ab", "abcdef", "", cut=1)
    spread = math.sqrt(((2 - 8 / 3) ** 2 + (6 - 8 / 3) ** 2 + (0 - 8 / 3) ** 2) / 3)
    expected = [(2 - 8 / 3) / spread, (6 - 8 / 3) / spread - 1.0 - 0.5, -8 / 3 / spread - 7.0]
    assert found == pytest.approx(expected, abs=1e-5)
    assert metrics["faults/truncated"] == pytest.approx(1 / 3)
    assert metrics["faults/empty"] == pytest.approx(1 / 3)


def test_what_does_not_fit_a_window_has_no_reward_and_is_counted() -> None:
    def fits(conversation: Sequence[Message]) -> float | None:
        return None if len(conversation[-1]["content"]) > 5 else 1.0

    found, metrics = rewards(rewarder({}, one=fits), "short", "far too long")
    assert found == [1.0, None]
    assert metrics["unscored"] == 0.5


def test_a_score_that_is_no_number_ends_it_with_a_name_and_a_count() -> None:
    broken = rewarder({}, safety=lambda conversation: math.nan, long=by_length)
    with pytest.raises(NoReward, match="'safety' gives a score that is no number for 2 of 2 completions"):
        rewards(broken, "a", "b")
    with pytest.raises(BadInput, match="no number"):
        check_at_work(Told(lambda conversation: math.inf), "reward.models.safety")
    check_at_work(Told(by_length), "reward.models.safety")


def test_principles_are_shown_to_a_model_that_is_conditioned_on_them() -> None:
    def principle(name: str) -> Principle:
        return Principle.model_validate({"id": name, "comparison": f"Which is {name}?"})

    def by_principle(conversation: Sequence[Message]) -> float:
        assert conversation[0]["role"] == "system"
        return {"Which is kind?": 1.0, "Which is true?": 4.0}[conversation[0]["content"].removeprefix("Judge by: ")]

    law = Constitution.model_validate(
        {"name": "law", "version": "1", "principles": [principle("kind"), principle("true")]}
    )
    told = {"one": {"constitution": "law", "principles": 2}}
    found, _ = rewards(rewarder(told, constitutions={"one": law}, one=by_principle), "a", "b")
    assert found == [2.5, 2.5]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({}, "nothing rewards"),
        ({"models": {"a": {"model": "x"}}, "gate": {"safety": "a", "helpful": "b"}}, "there is no model 'b'"),
        ({"models": {"a": {"model": "x"}}, "gate": {"safety": "a", "helpful": "a"}}, "exactly two models"),
        (
            {"models": {"a": {"model": "x"}}, "ratings": {"a": {"judge": {"model": "y"}}}},
            "the name of a model and of a rating",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(told: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RewardSettings.model_validate(told)
