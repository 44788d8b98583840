"""What the watch sees, and when it calls."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import pytest
from transformers import TrainerControl, TrainerState

from trainers.watch import JUDGED, Watch, alarms, looks_since_best, observed, surely_differs
from trainers.watch_settings import WatchSettings
from trainers.watched import Sample

TOLD = WatchSettings.model_validate({"judge": {"model": "x"}})
VARIED = [f"the {n} of {n * 7} goes {n * 3} there {n * 11} now" for n in range(40)]


def samples(texts: list[str] = VARIED, reward: float = 0.0, judge: float = 0.0, tokens: int = 10) -> list[Sample]:
    """Rewards and scores that vary a little, by prompt."""
    return [
        Sample(f"p{n}", f"question {n}", text, tokens, reward + n % 3 / 10, judge + n % 2 / 10)
        for n, text in enumerate(texts)
    ]


def called(last: list[Sample], first: list[Sample] | None = None, **told: Any) -> tuple[str, ...]:
    first = first or samples()
    settings = TOLD.model_copy(update=told)
    return alarms(settings, observed(0, first, 0.0), observed(20, last, 0.1), first, last)


def test_a_policy_that_stays_as_it_was_is_left_alone() -> None:
    assert called(samples()) == ()
    assert called(samples(reward=2.0, judge=1.0)) == (), "both rise"
    assert called(samples(reward=-1.0, judge=-1.0)) == (), "the reward does not rise"


def test_reward_up_and_judge_down_is_reward_hacking() -> None:
    (alarm,) = called(samples(reward=1.0, judge=-0.5))
    assert "the reward rises (0.10 to 1.10) and the judge's score falls (0.05 to -0.45)" in alarm


def test_differences_within_the_noise_are_none() -> None:
    assert surely_differs([0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.5]) == 0
    assert surely_differs([0.0, 1.0, 2.0], [1.0, 2.1, 3.0]) == 1
    assert surely_differs([0.0, 1.0, math.nan], [-1.0, -0.1, 5.0]) == -1
    assert surely_differs([0.0], [5.0]) == 0


def test_a_phrase_that_spreads_is_named() -> None:
    spread = [f"{text} I am here to listen" if n % 2 else text for n, text in enumerate(VARIED)]
    (alarm,) = called(samples(spread), distinct=0.1)
    assert "'am here to listen' is in 50% of the answers" in alarm
    assert called(samples(spread), stock_phrase=0.6, distinct=0.1) == ()
    assert called(samples(spread), first=samples(spread)) == (), "it was said from the start"


def test_sameness_and_length_are_seen() -> None:
    same = samples([f"all answers are about number {n % 4} and alike" for n in range(40)])
    assert any("distinct-4 fell" in alarm for alarm in called(same))
    assert any("answers have 30 tokens on average; at the start 10" in alarm for alarm in called(samples(tokens=30)))
    assert any("answers have 4 tokens" in alarm for alarm in called(samples(tokens=4)))


def test_unscored_completions_do_not_count() -> None:
    some = [Sample("a", "q", "x", 3, math.nan, 1.0), Sample("b", "q", "y", 5, 2.0, math.nan)]
    seen = observed(3, some, None)
    assert (seen.reward, seen.judge, seen.tokens, seen.prompts) == (2.0, 1.0, 4.0, 2)


def test_looks_are_counted_from_the_best() -> None:
    assert looks_since_best([0.5]) == 0
    assert looks_since_best([0.5, 0.7, 0.7, math.nan]) == 2, "as good is no better, and nor is a look without a score"
    assert looks_since_best([0.5, 0.7, 0.8]) == 0


def test_the_range_of_lengths_holds_one() -> None:
    with pytest.raises(ValueError, match="length must hold 1 between its ends"):
        WatchSettings.model_validate({"judge": {"model": "x"}, "length": [1.2, 2.0]})


def test_a_checkpoint_that_an_alarm_was_raised_at_is_not_kept(tmp_path: Path) -> None:
    """A policy that games the reward may please the judge as well: here it does, with ever longer answers."""
    watch = Watch(TOLD, cast("Any", None), cast("Any", None), tmp_path, 0)
    judged = []
    for step, (judge, tokens) in enumerate([(0.0, 10), (0.5, 11), (0.9, 30)]):
        watch.samples = samples(judge=judge, tokens=tokens)
        metrics: dict[str, Any] = {}
        watch.on_evaluate(None, TrainerState(global_step=step), TrainerControl(), metrics)
        judged.append(metrics[JUDGED])
    assert judged == [pytest.approx(0.05), pytest.approx(0.55), -math.inf]
    figures = watch.figures(best=1)
    assert figures["judge of the kept checkpoint"] == pytest.approx(0.55)
    assert figures["alarms of the kept checkpoint"] == 0.0


def test_where_every_look_alarms_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch(TOLD, cast("Any", None), cast("Any", None), tmp_path, 0)
    for step, tokens in enumerate([10, 30]):
        watch.samples = samples(tokens=tokens)
        watch.on_evaluate(None, TrainerState(global_step=step), TrainerControl(), {})
    watch.on_train_end(None, TrainerState(), TrainerControl())
    assert "no look was without an alarm: the last policy is kept" in capsys.readouterr().err
    assert watch.figures(best=None)["alarms of the kept checkpoint"] == 1.0
