"""What a constitution is: the fields of the YAML file, and the hashes that name its content.

The texts under the fields become the JSON Schema that editors show while a constitution is written:

    python -m constitution.schema        writes constitution/schema.json anew
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from constitution.faults import BadInput, Fault, did_you_mean
from constitution.hashing import content_hash

SCHEMA_FILE = Path(__file__).with_name("schema.json")

RISK_CATEGORIES: tuple[str, ...] = ("illicit", "hateful", "unqualified_advice")
"""The categories our own constitutions cover: illicit and criminal; hateful and harmful; unqualified advice."""

SLUG = r"^[a-z0-9]+([-_][a-z0-9]+)*$"


def _slug(text: str) -> str:
    if not re.match(SLUG, text):
        near = re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-_")
        near = re.sub(r"[-_]{2,}", "-", near)
        message = f"'{text}' cannot be a name: use lower-case letters, digits and hyphens"
        raise _custom("not_a_slug", message, f"write '{near or 'be-kind'}'")
    return text


def _custom(kind: str, message: str, hint: str) -> PydanticCustomError:
    # The message is data, never a template, so braces in it survive.
    return PydanticCustomError(kind, "{message}", {"message": message, "hint": hint})


Slug = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    AfterValidator(_slug),
    WithJsonSchema({"type": "string", "pattern": SLUG}),
]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Axis = Literal["helpful", "harmless", "honest"]


class _Strict(BaseModel):
    """Frozen, and every unknown key is an error: a misspelt key is never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Proposition(_Strict):
    """A yes/no check on a single answer. It sees what a comparison cannot: that both answers of a pair are bad."""

    id: Slug
    """Stable name in lower case, such as `gives-dosage`. The same id may stand under several principles, with the
    same question."""
    question: Text
    """A question about one answer that yes or no settles: `Does the response name a dose?`"""
    bad_answer: Literal["yes", "no"]
    """The answer that counts against the response."""


class PrincipleTest(_Strict):
    """A case the principle must decide rightly: a judge that follows it prefers `better` to `worse`."""

    prompt: Text
    """What the user says."""
    better: Text
    """The answer that the principle prefers."""
    worse: Text
    """The answer that the principle likes less."""


class Principle(_Strict):
    """One thing the model is asked to be. It needs `critique` and `revision`, or `comparison`, or all three."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": ["critique", "revision"]}, {"required": ["comparison"]}],
            "dependentRequired": {"critique": ["revision"], "revision": ["critique"]},
        }
    )

    id: Slug
    """Stable name in lower case with hyphens. Rows carry it, so never give an old id to a new principle."""
    critique: Text | None = None
    """The request that makes a model find what is wrong with its last answer. Plain text: braces mean nothing."""
    revision: Text | None = None
    """The request that makes a model rewrite its last answer after the critique."""
    comparison: Text | None = None
    """The question that decides between two answers: `Which response …?` It must say which one to choose."""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """How often the principle is drawn, relative to the others: 2 is drawn twice as often as 1."""
    axis: Axis = "harmless"
    """What the principle serves: `helpful`, `harmless` or `honest`."""
    risk: tuple[Slug, ...] = Field(default=(), examples=[list(RISK_CATEGORIES)])
    """Risk categories of prompts it is drawn for: `illicit`, `hateful`, `unqualified_advice` or your own. Without
    any it is drawn for every prompt."""
    tags: tuple[Text, ...] = ()
    """Free words for your own use: a language, a theme, an owner."""
    propositions: tuple[Proposition, ...] = ()
    """Yes/no checks on a single answer."""
    source: str = ""
    """Where the principle comes from."""
    tests: tuple[PrincipleTest, ...] = ()
    """Cases that `charter constitution test` asks the judge."""

    @model_validator(mode="after")
    def _has_texts(self) -> Principle:
        if (self.critique is None) != (self.revision is None):
            given, missing = ("revision", "critique") if self.critique is None else ("critique", "revision")
            raise _custom("half_a_pair", f"it has '{given}' but no '{missing}'", "write both, or neither")
        if self.critique is None and self.comparison is None:
            hint = "add 'critique' and 'revision', or 'comparison', or all three"
            raise _custom("no_texts", "the principle asks for nothing", hint)
        return self

    @cached_property
    def hash(self) -> str:
        """16 hex digits over what reaches a label or a revision: the three texts and the propositions.

        The id, weight, tests and tags are left out, so changing them makes no stored row stale.
        """
        propositions = [[check.id, check.question, check.bad_answer] for check in self.propositions]
        return content_hash([self.critique, self.revision, self.comparison, propositions])


class Constitution(_Strict):
    """What a model is asked to be: a preamble in prose, and principles that are drawn and asked one at a time."""

    name: Text
    """What the constitution is called in reports."""
    version: Text = "1"
    """Your own version, in quotes: `"1.2"`. Rows are identified by content hash, whatever stands here."""
    extends: Text | None = None
    """A constitution to start from: a built-in name (`harmlessness`) or a path relative to this file. A principle with
    the id of one of its principles replaces that one."""
    remove: tuple[Slug, ...] = ()
    """Ids of principles of the extended constitution to leave out."""
    preamble: Annotated[str, StringConstraints(strip_whitespace=True)] = ""
    """Prose: what the constitution is for. Taken from the extended constitution where it is left out."""
    principles: tuple[Principle, ...] = ()
    """The principles, in any order."""

    @field_validator("principles", mode="wrap")
    @classmethod
    def _ids_name_one_thing(cls, value: object, handler: ValidatorFunctionWrapHandler) -> tuple[Principle, ...]:
        """Reports repeated ids together with whatever else is wrong with the principles."""
        errors = [*_repeated_ids(value), *_propositions_at_odds(value)]
        try:
            principles: tuple[Principle, ...] = handler(value)
        except ValidationError as error:
            errors += [_as_raised(details) for details in error.errors(include_url=False)]
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return principles

    @model_validator(mode="after")
    def _has_principles(self) -> Constitution:
        if not self.principles and self.extends is None:
            raise _custom("no_principles", "the constitution has no principles", "write at least one, or 'extends'")
        if self.remove and self.extends is None:
            raise _custom("nothing_to_remove", "'remove' needs 'extends'", "delete it, or say what is extended")
        return self

    @cached_property
    def hash(self) -> str:
        """16 hex digits over everything that changes what a run does: the preamble, and each principle's id, hash,
        weight, axis and risk. Order, name, version, tags, sources and tests do not change it."""
        rows = [[each.id, each.hash, each.weight, each.axis, sorted(set(each.risk))] for each in self.principles]
        return content_hash([self.preamble, sorted(rows, key=lambda row: str(row[0])), self.extends, list(self.remove)])

    def principle(self, principle_id: str) -> Principle:
        """The principle with this id. Raises BadInput, with a suggestion, where there is none."""
        for each in self.principles:
            if each.id == principle_id:
                return each
        hint = did_you_mean(principle_id, [each.id for each in self.principles])
        raise BadInput(Fault(f"the constitution '{self.name}' has no principle '{principle_id}'", hint=hint))

    def principle_hash(self, principle_id: str) -> str:
        """`Principle.hash` of the principle with this id."""
        return self.principle(principle_id).hash

    def for_revision(self, category: str = "") -> tuple[Principle, ...]:
        """The principles with a critique and a revision request that apply to a risk category."""
        return self._pool("critique", category)

    def for_comparison(self, category: str = "") -> tuple[Principle, ...]:
        """The principles with a comparison question that apply to a risk category."""
        return self._pool("comparison", category)

    @cached_property
    def _pools(self) -> dict[tuple[str, str], tuple[Principle, ...]]:
        """Pools already found. A cached property: pydantic reads private attributes ten times slower."""
        return {}

    def _pool(self, text: str, category: str) -> tuple[Principle, ...]:
        """Principles without `risk` apply to all prompts. A category that no principle names is a word of the input's
        own vocabulary: all principles apply to it."""
        found = self._pools.get((text, category))
        if found is None:
            able = tuple(each for each in self.principles if getattr(each, text) is not None)
            known = any(category in each.risk for each in able)
            found = tuple(each for each in able if not known or not each.risk or category in each.risk)
            self._pools[text, category] = found
        return found

    def propositions(self) -> tuple[Proposition, ...]:
        """The yes/no checks of all principles, each once, in the order of the file."""
        return tuple({check.id: check for each in self.principles for check in each.propositions}.values())

    @property
    def risk_categories(self) -> tuple[str, ...]:
        """The risk categories that some principle names, sorted."""
        return tuple(sorted({category for each in self.principles for category in each.risk}))


def _entries(value: object) -> Iterable[tuple[int, object]]:
    return enumerate(value) if isinstance(value, list | tuple) else ()


def _of(entry: object, key: str) -> object:
    return entry.get(key) if isinstance(entry, dict) else getattr(entry, key, None)


def _repeated_ids(value: object) -> list[InitErrorDetails]:
    first: dict[str, int] = {}
    errors: list[InitErrorDetails] = []
    for index, entry in _entries(value):
        name = _of(entry, "id")
        if isinstance(name, str) and first.setdefault(name.strip(), index) != index:
            message = f"the id '{name.strip()}' is already taken by principles[{first[name.strip()]}]"
            error = _custom("repeated_id", message, "give it an id of its own")
            errors.append(InitErrorDetails(type=error, loc=(index, "id"), input=name))
    return errors


def _propositions_at_odds(value: object) -> list[InitErrorDetails]:
    """Propositions that share an id and ask different things."""
    first: dict[str, tuple[object, object]] = {}
    errors: list[InitErrorDetails] = []
    for index, entry in _entries(value):
        for place, check in _entries(_of(entry, "propositions")):
            name, content = _of(check, "id"), (str(_of(check, "question")).strip(), _of(check, "bad_answer"))
            if isinstance(name, str) and first.setdefault(name.strip(), content) != content:
                message = f"the proposition '{name}' asks something else elsewhere"
                error = _custom("proposition_at_odds", message, "give it an id of its own, or the same question")
                errors.append(InitErrorDetails(type=error, loc=(index, "propositions", place, "id"), input=name))
    return errors


def _as_raised(details: ErrorDetails) -> InitErrorDetails:
    """An error that was already raised, to be raised again among others with its type and context kept."""
    context = dict(details.get("ctx", {}))
    context["message"] = details["msg"]
    error = PydanticCustomError(details["type"], "{message}", context)
    return InitErrorDetails(type=error, loc=details["loc"], input=details["input"])


def json_schema() -> str:
    """The JSON Schema of a constitution file, as it is committed."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Constitution.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(json_schema(), encoding="utf-8")
    print(f"wrote {SCHEMA_FILE}")
