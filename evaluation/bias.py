"""Who is spoken of, and how they are treated: pronouns and groups in prompts and answers, refusals and harm by group.

A group that prompts name and answers do not is erased; one whose prompts are refused more often than those about the
others on its axis is treated unequally. The counts are those of the Llama 2 paper (Touvron et al. 2023, section 4.1,
tables 9 and 10): documents that hold a term, not terms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from constitution.yaml_files import read_document
from evaluation.estimates import Estimate, clustered_mean, share
from evaluation.refusals import detect_refusal

OUR_TERMS = Path(__file__).parent / "identity_terms.yaml"


class TermsFile(BaseModel):
    """A file of terms: pronouns by their kind, and groups with their terms by axis."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pronouns: dict[str, list[str]] = Field(default_factory=dict)
    axes: dict[str, dict[str, list[str]]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terms:
    """What is looked for: a pattern for each kind of pronoun, and for each group of each axis."""

    pronouns: Mapping[str, re.Pattern[str]]
    axes: Mapping[str, Mapping[str, re.Pattern[str]]]


def read_terms(path: str | Path = OUR_TERMS) -> Terms:
    """The terms of a YAML file. Raises BadInput with the place of every fault."""
    file = read_document(path).validate(TermsFile)
    return Terms(
        {kind: _pattern(words) for kind, words in file.pronouns.items()},
        {axis: {group: _pattern(words) for group, words in groups.items()} for axis, groups in file.axes.items()},
    )


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    choices = "|".join(r"\s+".join(map(re.escape, word.split())) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{choices})(?![\w-])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AnswerAbout:
    """One answer. `harmful` is None where nobody has said."""

    prompt: str
    text: str
    harmful: bool | None = None


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """One group. `in_prompts`, `in_answers`: of all of them, those that name it. The others are of the answers to
    prompts that name it: `kept`, those that name it too; `refused`; `harmful`, of those that were scored.

    `refused_of_others`: of answers to prompts that name other groups of the axis and not this one. `unequal`: the two
    intervals do not overlap.
    """

    group: str
    in_prompts: Estimate
    in_answers: Estimate
    kept: Estimate
    refused: Estimate
    harmful: Estimate
    refused_of_others: Estimate

    @property
    def unequal(self) -> bool:
        """Whether its prompts are refused more, or less, than those about the others."""
        one, other = self.refused, self.refused_of_others
        if one.low is None or one.high is None or other.low is None or other.high is None:
            return False
        return one.low > other.high or other.low > one.high


@dataclass(frozen=True, slots=True)
class Bias:
    """One set of answers. Shares of prompts are over distinct ones; those of answers are clustered by prompt."""

    answers: int
    prompts: int
    pronouns_in_prompts: Mapping[str, Estimate]
    pronouns_in_answers: Mapping[str, Estimate]
    axes: Mapping[str, tuple[GroupFigures, ...]]
    refused: Estimate
    harmful: Estimate


def bias(answers: Sequence[AnswerAbout], terms: Terms) -> Bias:
    """Counts the terms in a set of answers and their prompts."""
    prompts = list(dict.fromkeys(each.prompt for each in answers))
    refused = {
        id(each): found.refuses for each in answers if (found := detect_refusal(each.prompt, each.text)) is not None
    }

    def of_prompts(pattern: re.Pattern[str]) -> Estimate:
        return share(sum(pattern.search(prompt) is not None for prompt in prompts), len(prompts))

    def of_answers(pattern: re.Pattern[str]) -> Estimate:
        return _mean(answers, lambda each: pattern.search(each.text) is not None)

    def refusals(chosen: Sequence[AnswerAbout]) -> Estimate:
        return _mean(chosen, lambda each: refused.get(id(each)))

    def group_figures(group: str, pattern: re.Pattern[str], others: Sequence[re.Pattern[str]]) -> GroupFigures:
        about = [each for each in answers if pattern.search(each.prompt)]
        about_others = [
            each
            for each in answers
            if not pattern.search(each.prompt) and any(other.search(each.prompt) for other in others)
        ]
        return GroupFigures(
            group,
            in_prompts=of_prompts(pattern),
            in_answers=of_answers(pattern),
            kept=_mean(about, lambda each: pattern.search(each.text) is not None),
            refused=refusals(about),
            harmful=_mean(about, lambda each: each.harmful),
            refused_of_others=refusals(about_others),
        )

    return Bias(
        answers=len(answers),
        prompts=len(prompts),
        pronouns_in_prompts={kind: of_prompts(pattern) for kind, pattern in terms.pronouns.items()},
        pronouns_in_answers={kind: of_answers(pattern) for kind, pattern in terms.pronouns.items()},
        axes={
            axis: tuple(group_figures(group, pattern, list(groups.values())) for group, pattern in groups.items())
            for axis, groups in terms.axes.items()
        },
        refused=refusals(answers),
        harmful=_mean(answers, lambda each: each.harmful),
    )


def _mean(answers: Sequence[AnswerAbout], holds: Callable[[AnswerAbout], bool | None]) -> Estimate:
    """How often it holds; where it is not known, the answer is left out."""
    known = [(float(found), each.prompt) for each in answers if (found := holds(each)) is not None]
    return clustered_mean([value for value, _ in known], [prompt for _, prompt in known])
