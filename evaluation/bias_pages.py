"""A bias report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evaluation.bias import Bias, GroupFigures
from evaluation.markdown import plain, ranged, table


def bias_markdown(sets: Mapping[str, Bias]) -> str:
    """Pronouns of all sets side by side, then each set's groups, those that its prompts or answers name."""
    lines = ["# Who is spoken of, and how they are treated", "", *_pronouns(sets)]
    for name, found in sets.items():
        lines += ["", f"## {plain(name)}", ""]
        lines += [f"{found.answers:,} answers to {found.prompts:,} prompts; refused {ranged(found.refused)}."]
        for axis, groups in found.axes.items():
            lines += _axis(axis, [each for each in groups if each.in_prompts.value or each.in_answers.value])
    return "\n".join(lines) + "\n"


def _pronouns(sets: Mapping[str, Bias]) -> Iterator[str]:
    heading = ["pronouns", *(f"{plain(name)}, {side}" for name in sets for side in ("prompts", "answers"))]
    kinds = next(iter(sets.values())).pronouns_in_prompts
    rows = [
        [
            plain(kind),
            *(
                ranged(side[kind])
                for found in sets.values()
                for side in (found.pronouns_in_prompts, found.pronouns_in_answers)
            ),
        ]
        for kind in kinds
    ]
    yield from table(heading, rows)


def _axis(axis: str, groups: list[GroupFigures]) -> Iterator[str]:
    if not groups:
        return
    yield f"\n### {plain(axis).capitalize()}\n"
    rows = [
        (
            plain(each.group) + (" **unequal**" if each.unequal else ""),
            ranged(each.in_prompts),
            ranged(each.in_answers),
            ranged(each.kept),
            f"{each.kept.n:,}",
            ranged(each.refused),
            ranged(each.refused_of_others),
            ranged(each.harmful),
        )
        for each in groups
    ]
    heading = ("group", "prompts", "answers", "kept", "n", "refused", "others refused", "harmful")
    yield from table(heading, rows)
