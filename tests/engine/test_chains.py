from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model import Completion, Sampling
from engine.records import Comparison, Prompt, Vote
from prompts.messages import Message
from tests.engine.rows_for_tests import (
    ToldModel,
    bad_check,
    compare_chain,
    constitution,
    prefer_longer,
    principle,
    prompt,
    response,
    revise_chain,
    shown,
)

probability = st.floats(min_value=0.0, max_value=1.0, allow_nan=False)


def last(messages: Sequence[Message]) -> str:
    return messages[-1]["content"]


# Critique ► revise ---------------------------------------------------------------------------------------------------


async def test_four_rounds_make_a_critique_and_a_revision_each() -> None:
    (row,) = await revise_chain(ToldModel(), rounds=4).run(prompt())
    assert [item.round for item in row.critiques] == [1, 2, 3, 4]
    assert [item.round for item in row.revisions] == [1, 2, 3, 4]
    assert [a.principle_id for a in row.critiques] == [b.principle_id for b in row.revisions]
    assert row.final == row.revisions[-1].text
    assert row.flags == ()


async def test_each_round_starts_clean_from_the_answer_as_it_stands() -> None:
    def say(messages: Sequence[Message], sampling: Sampling) -> str:
        if "Find what is wrong" in last(messages):
            return f"CRITIQUE of {messages[-2]['content']}"
        if "Mend it" in last(messages):
            return messages[-4]["content"] + "+"
        return "answer"

    model = ToldModel(say)
    (row,) = await revise_chain(model, rounds=3).run(prompt())
    assert [item.text for item in row.revisions] == ["answer+", "answer++", "answer+++"]
    assert row.critiques[2].text == "CRITIQUE of answer++"
    third_critique = [asked for asked in model.asked if "Find what is wrong" in last(asked)][2]
    assert not any("CRITIQUE" in message["content"] for message in third_critique), "earlier critiques are dropped"


async def test_the_whole_conversation_is_seen_in_every_step() -> None:
    conversation: list[Message] = [
        {"role": "user", "content": "First: {{ braces }} and a colon"},
        {"role": "assistant", "content": "Reply one"},
        {"role": "user", "content": "Second"},
    ]
    model = ToldModel()
    await revise_chain(model, rounds=2).run(Prompt.of(conversation))
    for asked in model.asked:
        said = [message["content"] for message in asked]
        assert {"First: {{ braces }} and a colon", "Reply one", "Second"} <= set(said)


async def test_without_critique_the_reviser_is_asked_directly() -> None:
    model = ToldModel()
    (row,) = await revise_chain(model, rounds=2, critique=False).run(prompt())
    assert row.critiques == ()
    assert len(row.revisions) == 2
    assert not any("Find what is wrong" in message["content"] for asked in model.asked for message in asked)


@pytest.mark.parametrize(
    ("on_no_fault", "rounds_run", "revision_calls"), [("keep", 3, 0), ("stop", 1, 0), ("revise", 3, 3)]
)
async def test_what_happens_where_the_critique_finds_nothing(
    on_no_fault: str, rounds_run: int, revision_calls: int
) -> None:
    def say(messages: Sequence[Message], sampling: Sampling) -> str:
        return "No change needed." if "Find what is wrong" in last(messages) else "answer"

    (row,) = await revise_chain(ToldModel(say), rounds=3, on_no_fault=on_no_fault).run(prompt())
    assert len(row.revisions) == rounds_run
    assert sum(item.call is not None for item in row.revisions) == revision_calls
    assert row.final == "answer"
    assert "unchanged" in row.flags


async def test_an_empty_revision_leaves_the_answer_before_it_standing() -> None:
    def say(messages: Sequence[Message], sampling: Sampling) -> str:
        return "   \n" if "Mend it" in last(messages) else "answer"

    (row,) = await revise_chain(ToldModel(say), rounds=2).run(prompt())
    assert row.final == "answer"
    assert [item.text for item in row.revisions] == ["", ""]


async def test_flags_name_what_is_wrong_with_the_final_answer() -> None:
    def leak(messages: Sequence[Message], sampling: Sampling) -> str:
        return "Critique: it is harmful." if "Mend it" in last(messages) else "answer"

    (row,) = await revise_chain(ToldModel(leak), rounds=1).run(prompt())
    assert row.flags == ("template_leak",)
    (row,) = await revise_chain(ToldModel(lambda messages, sampling: ""), rounds=1).run(prompt())
    assert "empty" in row.flags


async def test_draws_follow_the_declared_weights_and_the_seed() -> None:
    law = constitution(principle("often", weight=3.0), principle("seldom", weight=1.0))
    chain = revise_chain(ToldModel(), law, rounds=4)
    rows = [(await chain.run(prompt(f"question {number}")))[0] for number in range(300)]
    drawn = Counter(item.principle_id for row in rows for item in row.revisions)
    # 1,200 draws at 3:1; five standard deviations are 75.
    assert abs(drawn["often"] - 900) < 75
    again = (await chain.run(prompt("question 5")))[0]
    assert again == rows[5]


async def test_every_call_says_where_it_came_from() -> None:
    (row,) = await revise_chain(ToldModel(), rounds=1).run(prompt())
    calls = [row.response.call, row.critiques[0].call, row.revisions[0].call]
    for step, call in zip(("respond", "critique", "revise"), calls, strict=True):
        assert call is not None
        assert (call.step, call.model, call.revision, call.finish_reason) == (step, "told", "1", "stop")
        assert (call.prompt_tokens, call.cached_tokens, call.completion_tokens) == (10, 4, 5)
        assert len(call.template_hash) == 16
    assert len({call.seed for call in calls if call}) == 3


# Compare -------------------------------------------------------------------------------------------------------------


def shares_of(votes: Sequence[Vote]) -> set[float]:
    return {round(vote.probability_a, 9) for vote in votes if vote.probability_a is not None}


async def compared(chain_model: ToldModel, a: str, b: str, **settings: Any) -> Comparison:
    return await compare_chain(chain_model, **settings).compare(prompt(), response(a), response(b, 1))


async def test_both_orders_are_asked_and_averaged() -> None:
    # The judge says (A) with 0.9 whatever stands there: pure position bias, which two orders cancel.
    row = await compared(ToldModel(weigh=lambda messages, options: (0.9, 0.1)), "one", "two", principles=2)
    assert [vote.order for vote in row.votes] == ["ab", "ba", "ab", "ba"]
    assert row.probability_a == pytest.approx(0.5)
    assert row.status == "tie"
    assert row.order_consistent == 0.0
    assert row.preference() is None


async def test_the_better_answer_is_chosen_with_its_probability() -> None:
    row = await compared(ToldModel(weigh=prefer_longer), "short", "a much longer answer", principles=3)
    assert row.status == "decided"
    assert row.probability_a == pytest.approx(0.2)
    assert row.order_consistent == 1.0
    preference = row.preference()
    assert preference is not None
    assert preference.chosen[0]["content"] == "a much longer answer"
    assert preference.rejected[0]["content"] == "short"
    assert preference.probability == pytest.approx(0.8)


async def test_low_mass_nan_and_garbage_never_become_a_label() -> None:
    for shares in [(0.001, 0.002), (math.nan, 0.5), (0.0, 0.0)]:
        row = await compared(ToldModel(weigh=lambda messages, options, shares=shares: shares), "one", "two")  # type: ignore[misc]
        assert row.status == "undecided"
        assert row.probability_a is None
        assert row.preference() is None
        assert all(vote.fault and vote.probability_a is None for vote in row.votes)


async def test_a_principle_with_one_unread_order_is_left_out() -> None:
    def weigh(messages: Sequence[Message], options: Sequence[str]) -> Sequence[float]:
        b_first = shown(messages) == ("two", "one")
        if b_first and "by kind" in messages[-2]["content"]:
            return 0.01, 0.01
        return (0.1, 0.9) if b_first else (0.9, 0.1)

    row = await compared(ToldModel(weigh=weigh), "one", "two", principles=3)
    assert row.status == "decided"
    assert row.probability_a == pytest.approx(0.9)
    assert sum(vote.probability_a is None for vote in row.votes) == 1


async def test_the_same_text_twice_is_not_asked_about() -> None:
    model = ToldModel()
    row = await compared(model, "same", "same", principles=2)
    assert row.status == "identical"
    assert row.votes == ()
    assert model.asked == []
    assert row.preference() is None


async def test_two_bad_answers_are_seen_by_propositions() -> None:
    def weigh(messages: Sequence[Message], options: Sequence[str]) -> Sequence[float]:
        if "yes" in options:
            return (0.9, 0.1) if "bad" in shown(messages)[0] else (0.1, 0.9)
        return (0.7, 0.3) if "fine" in shown(messages)[0] else (0.3, 0.7)

    law = constitution(principle("safe", propositions=[bad_check("harm").model_dump()]))
    chain = compare_chain(ToldModel(weigh=weigh), law)
    both = await chain.compare(prompt(), response("a bad one"), response("another bad one", 1))
    one = await chain.compare(prompt(), response("a bad one"), response("a fine one", 1))
    assert both.both_bad is True
    assert one.both_bad is False
    assert {(check.response, round(check.bad or 0, 6)) for check in one.checks} == {("a", 0.9), ("b", 0.1)}
    pair = one.preference()
    assert pair is not None
    assert pair.chosen[0]["content"] == "a fine one"
    assert (pair.chosen_bad, pair.rejected_bad) == pytest.approx((0.1, 0.9)), "each answer keeps its own"


async def test_a_bad_answer_may_be_no() -> None:
    law = constitution(principle("safe", propositions=[bad_check("explain", "no").model_dump()]))
    chain = compare_chain(ToldModel(weigh=lambda messages, options: (0.2, 0.8)), law)
    row = await chain.compare(prompt(), response("x"), response("y", 1))
    assert [round(check.bad or 0, 6) for check in row.checks] == [0.8, 0.8]


async def test_reasoning_is_clamped_and_a_cut_reasoning_is_no_vote() -> None:
    model = ToldModel(say=lambda messages, sampling: " because.", weigh=prefer_longer)
    row = await compared(model, "short", "a much longer answer", reasoning={"clamp": [0.4, 0.6]})
    assert shares_of(row.votes) == {0.4}
    assert all(vote.reasoning == " because." and len(vote.calls) == 2 for vote in row.votes)

    class Cut(ToldModel):
        async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
            answer = await super().generate(messages, sampling)
            return Completion(answer.text, "length", 10, 5)

    row = await compared(Cut(), "short", "a much longer answer", reasoning={})
    assert row.status == "undecided"
    assert all("TruncatedAnswer" in vote.fault for vote in row.votes)


async def test_n_samples_make_every_pair() -> None:
    rows = await compare_chain(ToldModel(), samples=4).run(prompt())
    assert [(row.response_a.sample, row.response_b.sample) for row in rows] == [
        (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)
    ]  # fmt: skip
    assert len({row.pair_id for row in rows}) == 6


@settings(deadline=None)
@given(st.lists(st.tuples(probability, probability), min_size=1, max_size=4), st.floats(0.0, 1.0))
async def test_swapping_the_responses_mirrors_the_label(shares: list[tuple[float, float]], mass: float) -> None:
    """The judge's belief hangs on what is shown where: any belief at all must give a mirrored label."""
    belief: dict[str, tuple[float, float]] = {}

    def weigh(messages: Sequence[Message], options: Sequence[str]) -> Sequence[float]:
        text = "\n".join(message["content"] for message in messages)
        first, second = belief.setdefault(text, shares[len(belief) % len(shares)])
        scale = mass / max(first + second, 1e-9)
        return first * scale, second * scale

    chain = compare_chain(ToldModel(weigh=weigh), principles=3)
    one, two = response("first text"), response("second text", 1)
    forward = await chain.compare(prompt(), one, two)
    # The same samples under exchanged names: the same principles are drawn for the same sample numbers.
    backward = await chain.compare(prompt(), response("second text", 0), response("first text", 1))
    assert forward.status == backward.status
    if forward.probability_a is not None and backward.probability_a is not None:
        assert backward.probability_a == pytest.approx(1 - forward.probability_a)
        assert forward.swap().probability_a == pytest.approx(backward.probability_a)
    for row in (forward, forward.swap()):
        label = row.preference()
        assert (label is not None) == (row.status == "decided")
        if label is not None:
            assert label.chosen != label.rejected
            assert 0.5 < label.probability <= 1.0
    if forward.status == "decided":
        assert forward.preference().chosen == forward.swap().preference().chosen  # type: ignore[union-attr]


async def test_a_preamble_heads_every_question_but_the_first_answer() -> None:
    conversation: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How?"}]
    model = ToldModel()
    chain = replace(revise_chain(model, rounds=1), preamble="We value care.")
    await chain.run(Prompt.of(conversation))
    respond, critique, revise = model.asked
    assert respond[0]["content"] == "Be brief."
    assert critique[0] == revise[0] == {"role": "system", "content": "We value care.\n\nBe brief."}
    judge = ToldModel()
    law = constitution(principle("safe", propositions=[bad_check("harm").model_dump()]))
    await replace(compare_chain(judge, law), preamble="We value care.").compare(
        prompt(), response("a"), response("b", 1)
    )
    assert all(asked[0] == {"role": "system", "content": "We value care."} for asked in judge.asked)
