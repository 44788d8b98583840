"""What pydantic finds wrong, in words for the person who wrote the file: place, what was found, what to write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from constitution.faults import Fault, did_you_mean

if TYPE_CHECKING:
    from constitution.yaml_files import Document

ModelT = TypeVar("ModelT", bound=BaseModel)
Location = tuple[str | int, ...]
"""The way to a value: keys and list indices from the root."""

EXPECTED: Mapping[str, str] = {
    "string_type": "text",
    "string_unicode": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "none_required": "nothing",
}
"""pydantic's type errors, and the words for what would have been right."""

LIMITS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


@dataclass(slots=True)
class _Finding:
    """One pydantic error, placed in the file. `expected` is set for a wrong type; a union reports one a branch."""

    location: Location
    message: str
    hint: str = ""
    expected: str = ""
    at_key: bool = False
    in_union: bool = False


def model_faults(document: Document, model: type[ModelT]) -> tuple[ModelT | None, list[Fault]]:
    """The model the document's values make, or None and a fault for each thing that is wrong."""
    try:
        return model.model_validate(document.data), []
    except ValidationError as error:
        findings = [_finding(details, document.data, model) for details in error.errors(include_url=False)]
    return None, [_fault(finding, document) for finding in _merged(findings)]


def _fault(finding: _Finding, document: Document) -> Fault:
    """The finding at its position. What the message names by its key is not named again by its place."""
    location = finding.location
    names_key = bool(location) and isinstance(location[-1], str)
    if names_key and (finding.at_key or finding.expected or not isinstance(_value_at(location, document.data), dict)):
        location = location[:-1]
    where = place_text(location, document.data)
    return document.fault(finding.location, finding.message, finding.hint, at_key=finding.at_key, where=where)


def _finding(details: ErrorDetails, data: object, model: type[BaseModel]) -> _Finding:
    missing = details["type"] == "missing"
    location, in_union = _resolve(details["loc"][:-1] if missing else details["loc"], data)
    kind, context, found = details["type"], details.get("ctx", {}), describe(details["input"])
    name = f"'{location[-1]}'" if location and isinstance(location[-1], str) else "this entry"
    if kind == "extra_forbidden":
        key = str(details["loc"][-1])
        hint = did_you_mean(key, _known_keys(model, details["loc"][:-1]))
        return _Finding(location, f"unknown key '{key}'", hint, at_key=True, in_union=in_union)
    if missing:
        return _Finding(location, f"the key '{details['loc'][-1]}' is missing", "add it")
    if kind in EXPECTED:
        number_for_text = kind == "string_type" and isinstance(details["input"], int | float)
        hint = f'in quotes: "{details["input"]}"'.lower() if number_for_text else ""
        message = f"{name} must be {EXPECTED[kind]}, found {found}"
        return _Finding(location, message, hint, expected=EXPECTED[kind], in_union=in_union)
    if kind in LIMITS:
        limit, words = LIMITS[kind]
        return _Finding(location, f"{name} must be {words} {context[limit]:g}, found {found}")
    if kind in {"literal_error", "enum"}:
        hint = did_you_mean(str(details["input"]), _options(context["expected"]))
        hint = "" if hint.startswith("known") else hint  # the message names them
        message = f"{name} must be {context['expected']}, found {found}"
        return _Finding(location, message, hint, expected=context["expected"], in_union=in_union)
    if kind == "union_tag_invalid":
        return _Finding(location, f"{name}: '{context['tag']}' is none of {context['expected_tags']}")
    if kind in {"string_too_short", "too_short"}:
        return _Finding(location, f"{name} is empty", "write something, or leave the key out")
    if kind == "string_pattern_mismatch":
        return _Finding(location, f"{name} must match {context['pattern']}, found {found}")
    words = details["msg"].removeprefix("Value error, ")
    hint = str(context.get("hint", ""))
    return _Finding(location, words, hint)


def _merged(findings: list[_Finding]) -> Iterator[_Finding]:
    """The findings, with those that a union's branches make of one value joined: "must be text or a list". Where a
    branch fits better, so that something inside the value is wrong, the other branches say nothing."""
    first: dict[Location, _Finding] = {}
    for finding in findings:
        if not (finding.in_union and finding.expected):
            yield finding
            continue
        depth = len(finding.location)
        if any(f.in_union and len(f.location) > depth and f.location[:depth] == finding.location for f in findings):
            continue
        if finding.location in first:
            joined = first[finding.location]
            joined.message = joined.message.replace(", found", f" or {finding.expected}, found")
        else:
            first[finding.location] = finding
    yield from first.values()


def _resolve(loc: Location, data: object) -> tuple[Location, bool]:
    """The part of pydantic's location that exists in the data, and whether a name of a union's branch was skipped."""
    location: Location = ()
    skipped = False
    for part in loc:
        if (isinstance(data, dict) and part in data) or (isinstance(data, list) and part in range(len(data))):
            location, data = (*location, part), _inside(data, part)
        else:
            skipped = True
    return location, skipped


def _known_keys(model: type[BaseModel], loc: Location) -> set[str]:
    """The keys that the models at a location know: through lists, mappings and unions."""
    models: list[type[BaseModel]] = [model]
    for part in loc:
        if isinstance(part, int):
            continue
        inner = [
            found
            for each in models
            if part in each.model_fields
            for found in _models_in(each.model_fields[part].annotation)
        ]
        models = inner or [each for each in models if each.__name__ == part] or models
    return {info.alias or name for each in models for name, info in each.model_fields.items()}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model class named in a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _options(expected: str) -> list[str]:
    return [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]


def _inside(data: object, part: str | int) -> object:
    """The value that a key or an index names, or None."""
    if isinstance(data, dict):
        return data.get(part)
    return data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else None


def _value_at(location: Location, data: object) -> object:
    for part in location:
        data = _inside(data, part)
    return data


def path_text(location: Location) -> str:
    """`model.sampling.stop[2]`: a location as users write it."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def place_text(location: Location, data: object) -> str:
    """`principles[0] 'be-kind', tests[1]`: a location with the id of every entry that has one."""
    words, start = [], 0
    for length, part in enumerate(location, start=1):
        data = _inside(data, part)
        name = (data.get("id") or data.get("name")) if isinstance(data, dict) else None
        if isinstance(part, int) and isinstance(name, str):
            words.append(f"{path_text(location[start:length])} '{name}'")
            start = length
    rest = path_text(location[start:])
    return ", ".join([*words, rest] if rest else words)


def describe(value: object) -> str:
    """A value in a few words, for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        shown = value if len(value) <= 40 else f"{value[:39]}…"
        return f"text '{shown}'" if value.strip() else "empty text"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return "keys and values" if isinstance(value, dict) else type(value).__name__
