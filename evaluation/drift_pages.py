"""A drift report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from evaluation.drift import Drift, RisenPhrase
from evaluation.markdown import number, plain, ranged, table
from trainers.watched import Observation

MEMBERS_SHOWN = 4


def drift_markdown(
    sets: Mapping[str, Drift],
    risen: Mapping[str, Sequence[RisenPhrase]],
    trainings: Mapping[str, Sequence[Observation]] | None = None,
) -> str:
    """The figures of all sets side by side, those of watched trainings by step, then each set's phrases. `risen`:
    against the first set."""
    lines = ["# Drift", "", *_side_by_side(sets)]
    for name, seen in (trainings or {}).items():
        lines += ["", f"## Training {plain(name)}", "", *_by_step(seen)]
    for name, found in sets.items():
        lines += ["", f"## {plain(name)}", "", *_phrases(found), *_risen(risen.get(name, ()), next(iter(sets)))]
    return "\n".join(lines) + "\n"


def _side_by_side(sets: Mapping[str, Drift]) -> Iterator[str]:
    every = list(sets.values())
    rows = [
        ("answers", *(f"{each.answers:,}" for each in every)),
        ("prompts", *(f"{each.prompts:,}" for each in every)),
        *((f"distinct-{n + 1}", *(ranged(each.distinct[n]) for each in every)) for n in range(4)),
        ("answers with the widest phrase", *(ranged(each.widest.share) if each.widest else "–" for each in every)),
        ("answers with a stock phrase", *(ranged(each.stock_share) for each in every)),
        ("answers with a common opener", *(ranged(each.opener_share) for each in every)),
        ("preachy answers", *(ranged(each.preachy) for each in every)),
        ("moral sentences", *(ranged(each.moral_sentences) for each in every)),
        ("answers that send away", *(ranged(each.sends_away) for each in every)),
        ("refusals", *(ranged(each.refusals) for each in every)),
        ("canned refusals", *(ranged(each.canned_refusals) for each in every)),
        ("words, mean", *(ranged(each.words) for each in every)),
        ("words, median", *(f"{each.median_words:g}" for each in every)),
    ]
    yield from table(("", *(plain(name) for name in sets)), rows)


def _by_step(seen: Sequence[Observation]) -> Iterator[str]:
    """A watched training: what it was rewarded for beside what it was not."""
    rows = [
        (
            f"{each.step:,}",
            number(each.reward),
            number(each.judge),
            number(each.kl),
            f"{each.tokens:.0f}",
            number(each.distinct),
            f"{number(each.phrase_share)} {plain(each.phrase)}".strip(),
            "; ".join(plain(alarm) for alarm in each.alarms),
        )
        for each in seen
    ]
    yield from table(
        ("step", "reward", "judge, not in the reward", "KL", "tokens", "distinct-4", "widest phrase", "alarms"), rows
    )


def _phrases(found: Drift) -> Iterator[str]:
    if not found.families:
        yield "No phrase stands in answers to many prompts."
    else:
        rows = [
            (
                plain(each.phrase),
                ranged(each.share),
                f"{each.prompts} of {found.prompts}",
                ranged(each.family_share),
                "; ".join(plain(member) for member in each.members[1 : 1 + MEMBERS_SHOWN]),
            )
            for each in found.families
        ]
        yield from table(("stock phrase", "answers", "prompts", "its family", "such as"), rows)
    if found.openers:
        yield ""
        openers = [
            (plain(each.words), ranged(each.share), f"{each.prompts} of {found.prompts}") for each in found.openers
        ]
        yield from table(("opener", "answers", "prompts"), openers)


def _risen(phrases: Sequence[RisenPhrase], first: str) -> Iterator[str]:
    if phrases:
        yield f"\nMore than in {plain(first)}: " + "; ".join(
            f"{plain(each.phrase)} ({number(each.before.value)} to {number(each.after.value)})" for each in phrases
        )
