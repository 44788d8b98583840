"""Labelled pairs for preference training: read, checked, and mixed in a stated ratio.

    PreferenceSource ──load_pairs──► Pair ──by_prompt──► held out
                                       └──► mixed_pairs ► trained on, and what was left out, by reason

A pair may come from `data/preferences` of a run folder, from TRL's preference format (with or without `prompt`), or
from transcripts as hh-rlhf writes them. Columns that are used where they are there: `probability` (the label; 1 where
there is none), `grade` (one of Llama 2's four, for margins), `weight`, `chosen_bad`, `rejected_bad`, `both_bad`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from pydantic import Field

from constitution.faults import BadInput, Fault, did_you_mean
from constitution.hashing import content_hash
from engine.inputs.conversations import MissingColumn, WrongShape, chat_messages, read_conversation
from engine.inputs.rows import read_rows
from engine.inputs.source import PromptSource, find_inputs
from engine.records import derived_seed
from engine.settings import Settings
from prompts.messages import Message
from trainers.losses import MARGINS, Grade
from trainers.mixing import drawn, mixture

FAULTS_LISTED = 20

Bin = Literal["good and bad", "both good", "both bad", "bad preferred", "not known"]
"""What propositions said of the two answers; `bad preferred` is a bad answer chosen over a good one."""


class PreferenceSource(Settings):
    """Labelled pairs from one place."""

    path: str = Field(min_length=1)
    """A file, a folder such as `runs/mine/data/preferences`, a glob, a URL, or a Hugging Face data set."""
    subset: str | None = None
    """The configuration of a Hugging Face data set."""
    split: str | None = None
    """The split of a Hugging Face data set."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many rows."""
    share: float | None = Field(default=None, gt=0)
    """How much of the mixture is from here, relative to the other sources; without shares every pair is taken."""
    weight: float = Field(default=1.0, gt=0)
    """How much each pair counts in the loss, times the row's own `weight` where it has one."""
    labels: Literal["soft", "hard"] = "soft"
    """`hard` takes every preferred answer as certainly better, whatever its probability."""
    margins: Literal["small", "large"] | None = None
    """Ask for margins by the column `grade`: how strongly a person preferred the answer."""


class PairWeights(Settings):
    """How much pairs count by what propositions said of their answers. 0 leaves them out."""

    both_bad: float = Field(default=1.0, ge=0)
    """Both answers are bad: a third of Llama 2's safety comparisons, and hard to tell apart."""
    bad_preferred: float = Field(default=0.0, ge=0)
    """The chosen answer is bad and the other is not; Llama 2 leaves these out."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, the better one first unless the label is one half.

    `probability` is that of `chosen` being better, in [0.5, 1]; `margin` is by how much its reward is to exceed the
    other's; `chosen_bad` and `rejected_bad` are what propositions gave each answer, None where nobody asked.
    """

    item_id: str
    pair_id: str
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    probability: float
    weight: float = 1.0
    margin: float = 0.0
    chosen_bad: float | None = None
    rejected_bad: float | None = None
    both_bad: bool | None = None

    @property
    def bin(self) -> Bin:
        """What propositions said of the two answers."""
        if self.chosen_bad is None or self.rejected_bad is None:
            return "both bad" if self.both_bad else "not known"
        match self.chosen_bad > 0.5, self.rejected_bad > 0.5:
            case False, True:
                return "good and bad"
            case False, False:
                return "both good"
            case True, True:
                return "both bad"
            case _:
                return "bad preferred"


@dataclass
class PairSet:
    """Pairs, and how many rows were left out by reason."""

    pairs: list[Pair] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def read_pairs(source: PreferenceSource) -> Iterator[Pair | Fault]:
    """The pairs of a source in their order, and a fault for each row that is none.

    Raises BadInput where there is no such file, or it lacks the columns of a pair.
    """
    place = PromptSource(path=source.path, subset=source.subset, split=source.split)
    count = 0
    for item in find_inputs(place):
        for row in read_rows(item, place):
            if source.limit is not None and count >= source.limit:
                return
            count += 1
            if isinstance(row, Fault):
                yield row
                continue
            try:
                yield read_pair(row.values, source)
            except MissingColumn as error:
                if row.shares_columns:
                    raise BadInput(row.fault(error.message, error.hint)) from None
                yield row.fault(error.message, error.hint)
            except WrongShape as error:
                yield row.fault(error.message, error.hint)


def read_pair(values: Mapping[str, Any], source: PreferenceSource) -> Pair:
    """The pair of one row. Raises WrongShape, and MissingColumn where it has no `chosen` or `rejected`."""
    for name in ("chosen", "rejected"):
        if name not in values:
            found = ", ".join(values) or "none"
            raise MissingColumn(f"there is no column '{name}'; found: {found}", did_you_mean(name, values))
    prompt, chosen, rejected = _turns(values)
    probability = _label(values)
    if probability < 0.5:
        chosen, rejected, probability = rejected, chosen, 1 - probability
        values = {**values, "chosen_bad": values.get("rejected_bad"), "rejected_bad": values.get("chosen_bad")}
    if source.labels == "hard" and probability > 0.5:
        probability = 1.0
    item_id = content_hash(list(prompt))
    return Pair(
        item_id=item_id,
        pair_id=content_hash([item_id, *sorted([content_hash(list(chosen)), content_hash(list(rejected))])]),
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        probability=probability,
        weight=source.weight * _number(values, "weight", 1.0, lowest=0.0),
        margin=_margin(values, source, probability),
        chosen_bad=_share(values, "chosen_bad"),
        rejected_bad=_share(values, "rejected_bad"),
        both_bad=values.get("both_bad"),
    )


def _turns(values: Mapping[str, Any]) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]:
    """Prompt, chosen and rejected turns; without a prompt, what both conversations begin with is the prompt."""
    answers = {name: values[name] for name in ("chosen", "rejected")}
    if values.get("prompt") is not None:
        prompt = read_conversation({"prompt": values["prompt"]}, PromptSource(path="pair")).messages
    else:
        shared = read_conversation(answers, PromptSource(path="pair", format="hh-rlhf"))
        prompt = shared.messages
        answers = {name: shared.answers.get(name, "") for name in answers}
    return prompt, _answer(answers["chosen"], "chosen", prompt), _answer(answers["rejected"], "rejected", prompt)


def _answer(value: Any, name: str, prompt: tuple[Message, ...]) -> tuple[Message, ...]:
    """An answer's turns: a text, or messages, which may repeat the prompt before it."""
    if isinstance(value, str):
        return (Message(role="assistant", content=value),)
    turns = tuple(chat_messages(value, name))
    if turns[: len(prompt)] == prompt:
        turns = turns[len(prompt) :]
    if not turns or turns[-1]["role"] != "assistant":
        raise WrongShape(f"'{name}' does not end with an assistant message")
    return turns


def _label(values: Mapping[str, Any]) -> float:
    return _number(values, "probability", 1.0, lowest=0.0, highest=1.0)


def _share(values: Mapping[str, Any], name: str) -> float | None:
    return None if values.get(name) is None else _number(values, name, 0.0, lowest=0.0, highest=1.0)


def _number(values: Mapping[str, Any], name: str, otherwise: float, lowest: float, highest: float = math.inf) -> float:
    value = values.get(name)
    if value is None:
        return otherwise
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not lowest <= number <= highest or not math.isfinite(number):
        most = "" if highest == math.inf else f" to {highest:g}"
        raise WrongShape(f"'{name}' is {value!r}", f"a number from {lowest:g}{most} is due")
    return number


def _margin(values: Mapping[str, Any], source: PreferenceSource, probability: float) -> float:
    if source.margins is None:
        return 0.0
    if "grade" not in values:
        raise MissingColumn("there is no column 'grade', and margins are asked for", "leave out margins")
    grade = values["grade"]
    known = MARGINS[source.margins]
    if grade not in known:
        raise WrongShape(f"the grade is {grade!r}", f"one of {', '.join(get_args(Grade))}")
    if probability != 1.0:
        raise WrongShape(f"a margin is asked for a label of {probability:g}", "margins go with certain labels")
    return known[grade]


def load_pairs(sources: Sequence[PreferenceSource], where: str) -> list[PairSet]:
    """Every pair of every source, once. Rows that say nothing are left out: the same answer twice, a pair seen before.

    Raises BadInput with the first faults of all sources, and where a source or all of them have nothing to learn from.
    """
    faults: list[Fault] = []
    seen: set[str] = set()
    sets = []
    for number, source in enumerate(sources):
        found = PairSet()
        try:
            for item in read_pairs(source):
                if isinstance(item, Fault):
                    faults.append(item)
                elif item.chosen == item.rejected:
                    found.left_out["the same answer twice"] += 1
                elif item.pair_id in seen:
                    found.left_out["seen before"] += 1
                else:
                    seen.add(item.pair_id)
                    found.pairs.append(item)
        except BadInput as error:
            faults += error.faults
        else:
            faults += _nothing_to_learn(found, source, f"{where}.{number}") if not faults else []
        sets.append(found)
    if faults:
        more = len(faults) - FAULTS_LISTED
        raise BadInput([*faults[:FAULTS_LISTED], *([Fault(f"and {more:,} more faults")] if more > 0 else [])])
    return sets


def _nothing_to_learn(found: PairSet, source: PreferenceSource, where: str) -> list[Fault]:
    """What keeps pairs from teaching anything: there is none, no label prefers an answer, or always the same one."""
    if not found.pairs:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.left_out.items())
        return [Fault(f"there are no pairs in it{f' ({reasons})' if reasons else ''}", source.path, where=where)]
    if all(pair.probability == 0.5 for pair in found.pairs):
        message = f"the label of each of its {len(found.pairs):,} pairs is one half: there is nothing to learn"
        return [Fault(message, source.path, where=where, hint="check the column 'probability'")]
    chosen = {content_hash(list(pair.chosen)) for pair in found.pairs}
    rejected = {content_hash(list(pair.rejected)) for pair in found.pairs}
    if len(found.pairs) > 1 and len(chosen) == len(rejected) == 1:
        text = found.pairs[0].chosen[-1]["content"]
        message = f"all {len(found.pairs):,} pairs prefer the same answer {text[:40]!r} to the same other one"
        return [Fault(message, source.path, where=where, hint="a model would learn two texts; give pairs that differ")]
    return []


def by_prompt(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and pairs held out: about `share` of the prompts, with all their pairs."""
    items = {pair.item_id for pair in pairs}
    held_out = {item for item in items if derived_seed(seed, "held out", item) < share * 2**31}
    return (
        [pair for pair in pairs if pair.item_id not in held_out],
        [pair for pair in pairs if pair.item_id in held_out],
    )


def mixed_pairs(
    sources: Sequence[PreferenceSource], sets: Sequence[PairSet], weights: PairWeights, seed: int
) -> tuple[list[Pair], Counter[str]]:
    """The pairs to train on, source by source, with their weights; and why the others are left out."""
    left_out: Counter[str] = Counter()
    usable: list[list[Pair]] = []
    for found in sets:
        left_out.update(found.left_out)
        weighed = [replace(pair, weight=pair.weight * _bin_weight(pair.bin, weights)) for pair in found.pairs]
        left_out.update(f"weight 0, {pair.bin}" for pair in weighed if pair.weight == 0)
        usable.append([pair for pair in weighed if pair.weight > 0])
    counts = mixture([len(pairs) for pairs in usable], [source.share for source in sources])
    mixed: list[Pair] = []
    for pairs, count in zip(usable, counts, strict=True):
        mixed += drawn(pairs, [pair.pair_id for pair in pairs], count, seed)
        if count < len(pairs):
            left_out["more than their source's share"] += len(pairs) - count
    return mixed, left_out


def _bin_weight(name: Bin, weights: PairWeights) -> float:
    return {"both bad": weights.both_bad, "bad preferred": weights.bad_preferred}.get(name, 1.0)
