"""The rows that stages hand to each other, and how they are stored.

    record       made by                          read by
    Prompt       engine/inputs                    every chain
    Call         every chain                      one question to a model: engine/cost.py, `charter show`
    Response     the respond step                 critique ► revise, compare
    Critique     the critique step                the reviser
    Revision     the revise step                  the next round, SFT
    RevisedRow   the revise stage, one a prompt   engine/products.py
    SampledRow   the sample stage, one a prompt   trainers
    Vote         the compare step                 Comparison
    Comparison   the compare stage, one a pair    engine/products.py, flags, the map
    Preference   Comparison.preference()          preference models, exporters

A row says where all of it came from: content hashes, principle, template, model, sampling, seed, token counts,
finish reasons, and the raw votes behind a label. `None` means "not known"; it never stands for a default.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any, Literal, TypedDict, TypeVar

import pyarrow as pa

from constitution.hashing import content_hash
from prompts.messages import Message

SCHEMA_VERSION = 1

Record = TypeVar("Record")
Position = Literal["ab", "ba"]


def derived_seed(*parts: object) -> int:
    """A seed in [0, 2**31) that depends on the parts alone: the same row draws the same text on any machine."""
    return int(content_hash([str(part) for part in parts])[:8], 16) & 0x7FFFFFFF


class Carried(TypedDict):
    """The columns of a prompt that every row made from it has too."""

    item_id: str
    index: int
    messages: tuple[Message, ...]
    source: str
    category: str
    vector: str
    extra: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that waits for the assistant's turn.

    `item_id` is the content hash of the messages; `index` is the place in the input; `source` says file and row.
    `category` and `vector` are tags where the input has them ("" otherwise); `extra` keeps the input's other
    columns as JSON text.
    """

    item_id: str
    index: int
    messages: tuple[Message, ...]
    source: str = ""
    category: str = ""
    vector: str = ""
    extra: str = ""

    @classmethod
    def of(cls, messages: Sequence[Message], index: int = 0, **columns: str) -> Prompt:
        """A prompt with its content hash. The messages are taken as they are."""
        copied = tuple(Message(role=m["role"], content=m["content"]) for m in messages)
        return cls(item_id=content_hash(list(copied)), index=index, messages=copied, **columns)

    def carried(self) -> Carried:
        """Its columns, for a row that is made from it."""
        return Carried(
            item_id=self.item_id,
            index=self.index,
            messages=self.messages,
            source=self.source,
            category=self.category,
            vector=self.vector,
            extra=self.extra,
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One question to a model and what it cost. `finish_reason` is "choice" where nothing was decoded; `reused` marks
    an answer that was taken over from an earlier run, and cost this one nothing."""

    step: str
    template_hash: str
    model: str
    revision: str
    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    finish_reason: str
    reused: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """An answer to the prompt. `text` has no surrounding white space."""

    sample: int
    text: str
    call: Call


@dataclass(frozen=True, slots=True)
class Critique:
    """What the critic said of the answer as it stood in this round.

    `finds_fault` is None where the text does not say; such an answer is revised, as in the paper.
    """

    round: int
    principle_id: str
    principle_hash: str
    text: str
    finds_fault: bool | None
    call: Call


@dataclass(frozen=True, slots=True)
class Revision:
    """The answer after this round. Where the critique found nothing and the run stops on that, `call` is None and
    the text is the answer as it stood."""

    round: int
    principle_id: str
    principle_hash: str
    text: str
    changed: bool
    call: Call | None


@dataclass(frozen=True, slots=True)
class RevisedRow:
    """A prompt, the first answer, and what the rounds made of it.

    `final` is the text a model may be trained on: the last revision without a flag that rules it out, or None.
    `flags`: empty, truncated, template_leak, unchanged.
    """

    item_id: str
    index: int
    messages: tuple[Message, ...]
    source: str
    category: str
    vector: str
    extra: str
    constitution_hash: str
    response: Response
    critiques: tuple[Critique, ...]
    revisions: tuple[Revision, ...]
    final: str | None
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SampledRow:
    """A prompt and several answers to it. `guided` ones were given under the preprompt named `preprompt`, which is ""
    where the prompt's category has none."""

    item_id: str
    index: int
    messages: tuple[Message, ...]
    source: str
    category: str
    vector: str
    extra: str
    responses: tuple[Response, ...]
    guided: tuple[Response, ...]
    preprompt: str


@dataclass(frozen=True, slots=True)
class Vote:
    """One judgement of a pair under one principle in one order.

    `order` "ab" shows response a as (A); "ba" shows response b as (A). `log_probabilities` are those of the options
    (A) and (B) as shown, raw; `mass` is the probability they hold together. `probability_a` is that of response a,
    whatever its place, normalised over the two options and clamped where the run clamps; None where the answer was
    no verdict, and then `fault` says why. The paper's soft label (Bai et al. 2022, section 4.1).
    """

    principle_id: str
    principle_hash: str
    order: Position
    log_probabilities: tuple[float, ...]
    mass: float | None
    probability_a: float | None
    fault: str
    reasoning: str
    calls: tuple[Call, ...]

    def swap(self) -> Vote:
        """The same judgement with the two responses' names exchanged."""
        return replace(
            self,
            order="ba" if self.order == "ab" else "ab",
            probability_a=None if self.probability_a is None else 1.0 - self.probability_a,
        )


@dataclass(frozen=True, slots=True)
class Check:
    """A yes/no proposition put to one answer alone. `bad` is the probability, in [0, 1], of the answer that speaks
    against the response; None where the reply was no verdict, and then `fault` says why."""

    proposition_id: str
    response: Literal["a", "b"]
    log_probabilities: tuple[float, ...]
    mass: float | None
    bad: float | None
    fault: str
    call: Call | None


def worst(checks: Sequence[Check], response: Literal["a", "b"]) -> float | None:
    """The probability of the proposition that speaks most against a response; None where none was read."""
    return max((check.bad for check in checks if check.response == response and check.bad is not None), default=None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two responses to one prompt, and every vote between them.

    `probability_a` is the mean over principles of the mean over both orders (Lee et al. 2023, section 2.2), None
    unless `status` is "decided" or "tie". A principle counts only where both orders were read. `order_consistent`
    is the share of counted principles whose two orders prefer the same response.
    `status`: decided | tie (one half, within the run's margin) | undecided (no principle could be read) | identical
    (the same text twice).
    `both_bad`: a proposition speaks against each response; None where propositions were not asked or not read.
    """

    pair_id: str
    item_id: str
    index: int
    messages: tuple[Message, ...]
    source: str
    category: str
    vector: str
    extra: str
    constitution_hash: str
    response_a: Response
    response_b: Response
    votes: tuple[Vote, ...]
    checks: tuple[Check, ...]
    probability_a: float | None
    order_consistent: float | None
    status: Literal["decided", "tie", "undecided", "identical"]
    both_bad: bool | None

    def swap(self) -> Comparison:
        """The same comparison with the responses exchanged: the label is mirrored."""
        return replace(
            self,
            response_a=self.response_b,
            response_b=self.response_a,
            votes=tuple(vote.swap() for vote in self.votes),
            checks=tuple(replace(check, response="b" if check.response == "a" else "a") for check in self.checks),
            probability_a=None if self.probability_a is None else 1.0 - self.probability_a,
        )

    def preference(self) -> Preference | None:
        """The pair as a preference model reads it; None where there is no label."""
        if self.status != "decided" or self.probability_a is None:
            return None
        a_wins = self.probability_a > 0.5
        chosen, rejected = (self.response_a, self.response_b) if a_wins else (self.response_b, self.response_a)
        return Preference(
            pair_id=self.pair_id,
            item_id=self.item_id,
            index=self.index,
            prompt=self.messages,
            chosen=(Message(role="assistant", content=chosen.text),),
            rejected=(Message(role="assistant", content=rejected.text),),
            probability=self.probability_a if a_wins else 1.0 - self.probability_a,
            order_consistent=self.order_consistent,
            both_bad=self.both_bad,
            chosen_bad=worst(self.checks, "a" if a_wins else "b"),
            rejected_bad=worst(self.checks, "b" if a_wins else "a"),
            principle_ids=tuple(dict.fromkeys(vote.principle_id for vote in self.votes)),
            constitution_hash=self.constitution_hash,
            source=self.source,
            category=self.category,
            vector=self.vector,
        )


@dataclass(frozen=True, slots=True)
class Preference:
    """A labelled pair. `probability` is that of `chosen` being better, in (0.5, 1]: the soft target. `chosen_bad` and
    `rejected_bad` are the probabilities, in [0, 1], of the proposition that speaks most against each answer."""

    pair_id: str
    item_id: str
    index: int
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    probability: float
    order_consistent: float | None
    both_bad: bool | None
    chosen_bad: float | None
    rejected_bad: float | None
    principle_ids: tuple[str, ...]
    constitution_hash: str
    source: str
    category: str
    vector: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A prompt that was set aside: why, after how many attempts."""

    item_id: str
    index: int
    messages: tuple[Message, ...]
    source: str
    category: str
    vector: str
    extra: str
    error: str
    message: str
    attempts: int


@cache
def arrow_type(annotation: Any) -> pa.DataType:
    """The Arrow type that stores a value of this annotation."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return arrow_type(inner)
    if origin is Literal:
        return pa.string()
    if origin is tuple:
        return pa.list_(arrow_type(arguments[0]))
    if annotation is Message:
        return pa.struct({"role": pa.string(), "content": pa.string()})
    if is_dataclass(annotation):
        return pa.struct(list(arrow_schema(annotation)))  # type: ignore[arg-type]
    return {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[annotation]


@cache
def arrow_schema(record: Any) -> pa.Schema:
    """The Arrow schema of a record class: its fields in order, `None` allowed only where the annotation says so."""
    hints = typing.get_type_hints(record)
    return pa.schema(
        [
            pa.field(item.name, arrow_type(hints[item.name]), nullable=type(None) in typing.get_args(hints[item.name]))
            for item in fields(record)
        ],
        metadata={"charter.record": record.__name__, "charter.schema_version": str(SCHEMA_VERSION)},
    )


@cache
def _field_names(record: Any) -> tuple[str, ...]:
    return tuple(item.name for item in fields(record))


def as_row(value: Any) -> Any:
    """A record, and all records in it, as the plain dicts and lists that Arrow stores."""
    if isinstance(value, tuple):
        return [as_row(item) for item in value]
    if is_dataclass(value):
        return {name: as_row(getattr(value, name)) for name in _field_names(type(value))}  # type: ignore[arg-type]
    return value


def as_table(records: Iterable[Any], record: type[Any]) -> pa.Table:
    """Records of one class as a table with the class's schema."""
    return pa.Table.from_pylist([as_row(item) for item in records], schema=arrow_schema(record))  # type: ignore[arg-type]


@cache
def _reader(annotation: Any) -> Callable[[Any], Any]:
    """The function that turns a stored value of this annotation back into what the record holds."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (_reader(argument) for argument in arguments if argument is not type(None))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda value: tuple(item(element) for element in value)
    if is_dataclass(annotation):
        record: Any = annotation
        return lambda value: from_row(record, value)
    if annotation is Message:
        return lambda value: Message(role=value["role"], content=value["content"])
    return lambda value: value


@cache
def _readers(record: Any) -> dict[str, Callable[[Any], Any]]:
    return {name: _reader(hint) for name, hint in typing.get_type_hints(record).items() if name in _field_names(record)}


def from_row(record: Callable[..., Record], row: Mapping[str, Any]) -> Record:
    """The record that `as_row` made this row from. Raises KeyError where a column is missing."""
    return record(**{name: read(row[name]) for name, read in _readers(record).items()})
