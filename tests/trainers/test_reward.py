"""Rewards against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from prompts.messages import Message
from trainers.reward import (
    expected_rating,
    format_faults,
    format_term,
    gated,
    length_term,
    under_principle,
    weighted_sum,
    whitened,
    with_kl,
)

NAN = math.nan


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def test_the_gate_takes_safety_where_it_is_asked_for_or_low() -> None:
    safety = torch.tensor([logit(0.9), logit(0.9), logit(0.149), logit(0.151)])
    helpful = torch.tensor([5.0, 5.0, 5.0, 5.0])
    tagged = torch.tensor([True, False, False, False])
    assert gated(safety, helpful, tagged).tolist() == pytest.approx([logit(0.9), 5.0, logit(0.149), 5.0])
    assert gated(safety, helpful, tagged, threshold=0.0).tolist() == pytest.approx([logit(0.9), 5.0, 5.0, 5.0])


def test_what_either_model_could_not_score_is_not_scored() -> None:
    tagged = torch.tensor([False, True, False])
    found = gated(torch.tensor([NAN, 1.0, 2.0]), torch.tensor([1.0, NAN, NAN]), tagged)
    assert [math.isnan(each) for each in found.tolist()] == [True, False, True]


def test_scores_are_summed_by_weight() -> None:
    scores = {
        "safety": torch.tensor([1.0, -2.0]),
        "helpful": torch.tensor([0.5, 4.0]),
        "other": torch.tensor([9.0, 9.0]),
    }
    assert weighted_sum(scores, {"safety": 2.0, "helpful": 0.5}).tolist() == [2.25, -2.0]


def test_whitening_is_over_every_worker_and_leaves_out_what_is_not_scored() -> None:
    assert whitened(torch.tensor([1.0, 3.0, NAN, 5.0])).tolist() == pytest.approx(
        [-math.sqrt(1.5), 0.0, NAN, math.sqrt(1.5)], nan_ok=True
    )
    assert whitened(torch.tensor([1.0]), torch.tensor([1.0, 3.0])).tolist() == [-1.0]


def test_scores_that_are_all_alike_say_nothing() -> None:
    assert whitened(torch.tensor([2.0, 2.0])).tolist() == [0.0, 0.0]
    assert math.isnan(whitened(torch.tensor([NAN])).item())


def test_kl_and_length_are_taken_off() -> None:
    assert with_kl(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 4.0]), 0.05).tolist() == pytest.approx([1.0, 0.8])
    assert length_term(torch.tensor([10, 60, 64]), 60, 0.01).tolist() == pytest.approx([0.0, 0.0, -0.04])


def test_faults_of_form_cost_what_they_are_said_to() -> None:
    faults = [
        format_faults("Glue it.", finished=True),
        format_faults(" \n", finished=True),
        format_faults("Here is the revised response: glue", finished=False),
    ]
    assert faults == [(), ("empty",), ("truncated", "template_leak")]
    penalties = {"empty": 1.0, "truncated": 0.5, "template_leak": 0.25}
    assert format_term(faults, penalties).tolist() == [0.0, -1.0, -0.75]


def test_a_rating_is_the_mean_over_its_scale() -> None:
    assert expected_rating([0.0, 0.0, 1.0]) == 1.0
    assert expected_rating([1.0, 0.0, 0.0]) == -1.0
    assert expected_rating([0.2, 0.2, 0.2, 0.2, 0.2]) == pytest.approx(0.0)
    assert expected_rating([0.1, 0.1, 0.3]) == pytest.approx(0.4), "the options hold half of the mass"


def test_a_principle_joins_the_system_message() -> None:
    asked: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert under_principle(asked, "Is it kind?") == [
        {"role": "system", "content": "Be brief.\n\nJudge by: Is it kind?"},
        {"role": "user", "content": "Hi"},
    ]
    assert under_principle(asked[1:], "x")[0] == {"role": "system", "content": "Judge by: x"}
