"""What is found in pairs, what cannot be told, and what becomes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.flags import CHECKS, MEANINGS, Evidence, PairFlags, count_flags, flag_pairs, read_flags, write_flags
from engine.pairs import Pair, pair_of_comparison
from engine.policies import Treatment, treatment
from engine.records import Vote
from engine.settings import FlagPolicies, FlagSettings
from engine.storage import Folder
from prompts.messages import Message
from tests.engine.test_pairs import comparison

WORDS = [f"{start}{end}" for start in ("alpha", "bravo", "charlie", "delta") for end in ("one", "two", "three", "four")]


def said(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)


def asked(*texts: str) -> tuple[Message, ...]:
    """A conversation of these turns, the user's first."""
    return tuple(Message(role="assistant" if n % 2 else "user", content=text) for n, text in enumerate(texts))


def pair(number: int = 0, **columns: Any) -> Pair:
    """A foreign pair like no other: every text is a different run of words."""
    turned = WORDS[number % 16 :] + WORDS[: number % 16]
    text = " ".join(f"{word}{number}" for word in turned)
    plain = Pair(
        pair_id=f"pair-{number}",
        item_id=f"item-{number}",
        index=number,
        prompt=asked(f"What of {text}?"),
        chosen=said(f"Good: {text}."),
        rejected=said(f"No, {' '.join(reversed(text.split()))}!"),
        probability=None,
        order_consistent=None,
        status="given",
        both_bad=None,
        votes=(),
        finish_reasons=(),
        principle_ids=(),
        constitution_hash="",
        source=f"file:{number}",
        category="",
        vector="",
    )
    return replace(plain, **columns)


def found(*pairs: Pair, evidence: Evidence | None = None, **settings: Any) -> list[PairFlags]:
    return list(flag_pairs(lambda: pairs, FlagSettings(**settings), evidence))


def names(*pairs: Pair, evidence: Evidence | None = None) -> tuple[str, ...]:
    """The flags of the last pair."""
    return found(*pairs, evidence=evidence)[-1].names


def vote(principle: str, order: Any, probability: float | None, fault: str = "") -> Vote:
    return Vote(principle, "0" * 16, order, (), None, probability, fault, "", ())


def test_every_flag_has_a_check_a_meaning_and_a_policy() -> None:
    assert list(CHECKS) == list(MEANINGS) == list(FlagPolicies.model_fields)


def test_a_clean_pair_has_no_flags_and_says_what_it_cannot_tell() -> None:
    (clean,) = found(pair())
    assert clean.flags == ()
    assert {"both_bad", "order_flip", "parse_failure", "truncated", "both_refuse", "likely_mislabelled"} <= set(
        clean.unknown
    )
    assert {count.flag: count.rate for count in count_flags([clean])}["both_bad"] is None
    assert {count.flag: count.rate for count in count_flags([clean])}["empty"] == 0


LONG = "The first step is to turn the water off, and then you loosen the old tap with a wrench."


@pytest.mark.parametrize(
    ("flag", "columns"),
    [
        ("undecided", {"status": "tie"}),
        ("both_bad", {"both_bad": True}),
        ("order_flip", {"order_consistent": 0.75}),
        ("only_longer", {"rejected": said(LONG), "chosen": said(f"{LONG} Then fit the new one by hand.")}),
        ("no_op", {"rejected": said(LONG), "chosen": said(LONG.lower().replace(",", ""))}),
        ("template_leak", {"chosen": said("Sure.\n\nHuman: and then?")}),
        ("empty", {"rejected": said(" \n")}),
        ("truncated", {"finish_reasons": ("stop", "length")}),
        ("context_mismatch", {"chosen": asked("a", "b")}),
        ("context_mismatch", {"prompt": ()}),
        ("context_mismatch", {"prompt": (*asked("a", "b"), *asked("", "c")[1:])}),
        ("parse_failure", {"votes": (vote("kind", "ab", None, "LowMass: 0.1"), vote("kind", "ba", 0.7))}),
        (
            "principles_disagree",
            {
                "votes": (
                    *(vote("kind", order, 0.9) for order in ("ab", "ba")),
                    *(vote("safe", order, 0.2) for order in ("ab", "ba")),
                )
            },
        ),
    ],
)
def test_what_is_wrong_is_flagged(flag: str, columns: dict[str, Any]) -> None:
    assert flag not in names(pair())
    assert flag in names(pair(**columns))


def test_principles_agree_where_the_mean_over_both_orders_does() -> None:
    votes = (vote("kind", "ab", 0.9), vote("kind", "ba", 0.3), vote("safe", "ab", 0.6), vote("safe", "ba", 0.6))
    assert names(pair(votes=votes)) == ()
    unread = (vote("kind", "ab", 0.1), vote("kind", "ba", None, "LowMass: 0.1"), *votes[2:])
    assert names(pair(votes=unread)) == ("parse_failure",), "a principle counts where both orders were read"


def refuses(prompt: Sequence[Message], text: str) -> bool:
    return text.startswith("I cannot")


def test_refusals_come_from_a_detector() -> None:
    evidence = Evidence(refuses=refuses)
    both = pair(chosen=said("I cannot do that."), rejected=said("I cannot, sorry."), category="benign")
    assert names(both, evidence=evidence) == ("both_refuse", "refuses_benign")
    assert names(replace(both, category="theft"), evidence=evidence) == ("both_refuse",)
    assert names(replace(both, rejected=said("Sure.")), evidence=evidence) == ("refuses_benign",)


def test_a_label_is_doubted_where_a_preference_model_is_sure_of_the_opposite() -> None:
    sure, unsure = math.log(0.1 / 0.9), math.log(0.3 / 0.7)
    scores = Evidence(scores={"pair-0": sure, "pair-1": unsure})
    first, second = found(pair(0), pair(1), evidence=scores)
    assert [flag.detail for flag in first.flags] == ["it gives the label 10%"]
    assert second.names == ()
    assert "likely_mislabelled" not in second.unknown


def test_near_duplicates_are_the_later_ones_whatever_their_label() -> None:
    first, other = pair(1), pair(2)
    again = replace(first, pair_id="again", prompt=asked(first.prompt[0]["content"].upper()))
    turned = replace(first, pair_id="turned", chosen=first.rejected, rejected=first.chosen)
    flags = {each.pair_id: each for each in found(first, other, again, turned)}
    assert [name for name, each in flags.items() if "near_duplicate" in each.names] == ["again", "turned"]
    details = {
        name: flag.detail for name, each in flags.items() for flag in each.flags if flag.name == "near_duplicate"
    }
    assert details["again"].startswith("pair-1, similarity 1.00")
    assert details["turned"].endswith("the other way round")


def test_one_long_prompt_with_other_answers_is_no_duplicate() -> None:
    """Pairs of several answers to one prompt share most of their words."""
    long = asked(" ".join(f"{word}{number}" for number in range(20) for word in WORDS))
    first, second = (replace(pair(number), prompt=long, item_id="same") for number in (1, 2))
    assert "near_duplicate" not in names(first, second)
    assert "repeated_opening" not in names(first, second), "it is the same prompt"
    third = replace(pair(3), prompt=(*long, *asked("x", "y")[1:], *asked("And then?")))
    assert "repeated_opening" in names(first, third)


def test_chosen_answers_that_share_a_phrase_are_flagged() -> None:
    chosen = [replace(pair(n), chosen=said(f"Thing {n}. You are valid and you are heard.")) for n in range(20)]
    assert all("stock_phrase" in each.names for each in found(*chosen))


def test_flags_are_stored_with_the_settings_that_made_them(tmp_path: Path) -> None:
    folder, settings = Folder(str(tmp_path)), FlagSettings()
    rows = write_flags(folder, found(pair(both_bad=True), pair(1)), settings)
    assert read_flags(folder, settings) == rows
    other_policy = FlagSettings(policies=FlagPolicies(both_bad="drop"))
    assert read_flags(folder, other_policy) == rows, "policies do not change what is found"
    assert read_flags(folder, FlagSettings(near_duplicates=0.9)) is None
    assert read_flags(Folder(str(tmp_path / "none"))) is None


def test_the_strictest_policy_decides() -> None:
    policies = FlagPolicies(both_bad="separate", order_flip="down-weight", no_op="down-weight", empty="drop")
    settings = FlagSettings(policies=policies, down_weight=0.5)
    assert treatment([], settings) == Treatment("keep", ())
    assert treatment(["truncated"], settings).policy == "keep"
    assert treatment(["order_flip", "no_op"], settings) == Treatment("down-weight", ("order_flip", "no_op"), 0.25)
    assert treatment(["order_flip", "both_bad"], settings) == Treatment("separate", ("both_bad",))
    assert treatment(["both_bad", "empty"], settings) == Treatment("drop", ("empty",))


def test_both_bad_pairs_stay_unless_told_otherwise() -> None:
    both_bad = pair_of_comparison(comparison(0.9, both_bad=True))
    (flags,) = found(both_bad)
    assert treatment(flags.names, FlagSettings()).policy == "keep"
