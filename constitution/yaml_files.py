"""Reading a YAML file into a pydantic model, with one fault per thing that is wrong, at its line and column.

    text ──compose──► nodes with marks ──walk──► Document(data, positions, faults) ──--set──► validate ──► model

The walk knows text, numbers, true/false, null, lists and mappings, and nothing else: files travel between strangers,
so no tag constructs an object and aliases cannot grow without bound. Constitutions, recipes and few-shots are read
here; `validation.py` words what pydantic finds.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from constitution.faults import BadInput, Fault, did_you_mean
from constitution.validation import Location, describe, model_faults, path_text

ModelT = TypeVar("ModelT", bound=BaseModel)
Place = TypeVar("Place")

MOST_NODES = 200_000
"""Aliases let a short file stand for a huge one; a file that unfolds to more values than this is refused."""

TAG = "tag:yaml.org,2002:"


@dataclass(slots=True)
class Document:
    """The plain values of one YAML file, and where each stands.

    `positions` and `key_positions` give (line, column), counted from 1, of the value and of its key at a location:
    `("principles", 0, "weight")`. `overridden` maps the locations that `--set` gave to what the user typed.
    `faults` holds what was wrong before any model saw the values.
    """

    name: str
    data: object = None
    positions: dict[Location, tuple[int, int]] = field(default_factory=dict)
    key_positions: dict[Location, tuple[int, int]] = field(default_factory=dict)
    overridden: dict[Location, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def fault(
        self, location: Location, message: str, hint: str = "", *, at_key: bool = False, where: str = ""
    ) -> Fault:
        """A fault at a location. Where the file has no such value, its nearest parent's position is given."""
        for length in range(len(location), -1, -1):
            prefix = location[:length]
            if prefix in self.overridden:
                return Fault(message, where=f"--set {self.overridden[prefix]}", hint=hint)
        place = self.key_positions.get(location) if at_key else None
        for length in range(len(location), -1, -1):
            place = place or self.positions.get(location[:length])
        line, column = place or (0, 0)
        return Fault(message, file=self.name, line=line, column=column, where=where, hint=hint)

    def override(self, key: str, typed: str) -> None:
        """Sets `a.b.0.c` to a value typed on the command line, read as YAML. What cannot be set is a fault."""
        parts = key.split(".")
        holder, location = self.data, Location(())
        for index, part in enumerate(parts):
            step = self._step(holder, part, key, location)
            if step is None:
                return
            location = (*location, step)
            last = index == len(parts) - 1
            if isinstance(holder, dict):
                holder[step] = _typed_value(typed) if last else holder.get(step) or {}
                holder = holder[step]
            elif isinstance(holder, list) and isinstance(step, int):
                if last:
                    holder[step] = _typed_value(typed)
                holder = holder[step]
        self.overridden[location] = key

    def _step(self, holder: object, part: str, key: str, location: Location) -> str | int | None:
        """The key or index that `part` names in `holder`; None, and a fault, where there is none."""
        place = path_text(location) or "the file"
        if isinstance(holder, dict) and part:
            return part
        if isinstance(holder, list) and part.isascii() and part.isdigit() and int(part) < len(holder):
            return int(part)
        if not part:
            message, hint = "a part of the key is empty", "write it as section.key=value"
        elif isinstance(holder, list):
            message = f"{place} is a list of {len(holder)}, and '{part}' is none of its entries"
            hint = f"write a number from 0 to {len(holder) - 1}" if holder else ""
        else:
            message, hint = f"{place} holds {describe(holder)}, so nothing can be set inside it", ""
        self.faults.append(Fault(message, where=f"--set {key}", hint=hint))
        return None

    def part(self, location: Location) -> Document:
        """The values at a location as a document of their own: faults still name the place in the whole file."""
        data: Any = self.data
        for step in location:
            data = data[step]
        length = len(location)

        def inside(places: Mapping[Location, Place]) -> dict[Location, Place]:
            return {where[length:]: place for where, place in places.items() if where[:length] == location}

        return Document(
            self.name,
            copy.deepcopy(data),
            inside(self.positions),
            inside(self.key_positions),
            inside(self.overridden),
        )

    def validate(self, model: type[ModelT]) -> ModelT:
        """The model these values make. Raises BadInput with every fault, in the order of the file."""
        value, found = model_faults(self, model)
        faults = sorted([*self.faults, *found], key=lambda fault: (fault.line, fault.column))
        if faults or value is None:
            raise BadInput(faults)
        return value


def load_yaml(path: str | Path, model: type[ModelT], overrides: Mapping[str, str] | None = None) -> ModelT:
    """The model that a YAML file describes, after `overrides` ({"a.b": "typed value"}, as from `--set a.b=…`).

    Raises BadInput: one fault for each thing that is wrong.
    """
    return read_document(path, overrides).validate(model)


def load_yaml_text(
    text: str, model: type[ModelT], name: str = "<text>", overrides: Mapping[str, str] | None = None
) -> ModelT:
    """As `load_yaml`, for a text already read; `name` stands for the file in messages."""
    return parse_document(text, name, overrides).validate(model)


def read_document(path: str | Path, overrides: Mapping[str, str] | None = None) -> Document:
    """The values of a YAML file and their positions. Raises BadInput where it cannot be read at all."""
    return parse_document(read_text(path), str(path), overrides)


def parse_document(text: str, name: str, overrides: Mapping[str, str] | None = None) -> Document:
    """As `read_document`, for a text already read."""
    document = Document(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)  # YAML allows it: the later one counts from there on
            node = YAML(typ="safe", pure=True).compose(text)
        if node is None:
            raise BadInput(Fault("the file is empty", file=name, hint="it needs at least one key"))
        _Walk(document).run(node)
    except MarkedYAMLError as error:
        raise BadInput(_syntax_fault(error, name)) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the character {text[error.position]!r} is not allowed in YAML"
        raise BadInput(Fault(message, file=name, line=line, hint="delete it, or write it escaped in quotes")) from None
    except YAMLError as error:
        raise BadInput(Fault(f"not YAML: {error}", file=name)) from None
    except RecursionError:
        raise BadInput(Fault("the values are nested too deeply to read", file=name)) from None
    if not isinstance(document.data, dict):
        message = f"the file must hold keys and values, and holds {describe(document.data)}"
        raise BadInput(Fault(message, file=name, line=1, column=1, hint="start with a line such as 'name: …'"))
    for key, typed in (overrides or {}).items():
        document.override(key, typed)
    return document


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file. Raises BadInput where it is missing, a folder, unreadable or not UTF-8."""
    file = Path(path)
    try:
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        siblings = [entry.name for entry in file.parent.glob("*") if entry.suffix in {".yaml", ".yml", ".json", ".txt"}]
        hint = did_you_mean(file.name, siblings) if siblings else "check the path"
        raise BadInput(Fault("there is no such file", file=str(path), hint=hint)) from None
    except IsADirectoryError:
        raise BadInput(Fault("this is a folder, not a file", file=str(path), hint="name a file in it")) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"the byte 0x{error.object[error.start]:02x} is not UTF-8"
        hint = "save the file with the encoding UTF-8"
        raise BadInput(Fault(message, file=str(path), line=line, hint=hint)) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise BadInput(Fault(f"the file cannot be read: {reason}", file=str(path))) from None


def _syntax_fault(error: MarkedYAMLError, name: str) -> Fault:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    problem = (error.problem or "cannot be read").split("\n")[0]
    context = f" {error.context}" if error.context and error.problem_mark is not None else ""
    hint = "check indentation, quotes and colons here and in the line above"
    if "\\t" in problem:
        hint = "indent with spaces, never with tabs"
    elif "mapping values are not allowed" in problem:
        hint = "put text that holds a colon in quotes, or under a '|'"
    return Fault(f"not YAML:{context} {problem}", file=name, line=line, column=column, hint=hint)


def _typed_value(typed: str) -> object:
    """What was typed after `--set key=`, as YAML; text that is no YAML (`@home`, `50% off: now`) is itself."""
    document = Document("--set")
    try:
        node = YAML(typ="safe", pure=True).compose(typed)
        if node is not None:
            _Walk(document).run(node)
    except (YAMLError, RecursionError):
        return typed
    return typed if document.faults else document.data


class _Walk:
    """Turns composed nodes into plain values, noting positions and faults in the document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.constructor = YAML(typ="safe", pure=True).constructor
        self.nodes = 0

    def run(self, root: Node) -> None:
        self.document.data = self.value(root, ())

    def value(self, node: Node, location: Location, inside: Sequence[Node] = ()) -> object:
        self.nodes += 1
        self.document.positions[location] = _position(node)
        if self.nodes > MOST_NODES or any(node is outer for outer in inside):
            message = f"aliases unfold to more than {MOST_NODES:,} values" if self.nodes > MOST_NODES else "alias cycle"
            raise BadInput(self.document.fault(location, message, "write the values out"))
        if isinstance(node, MappingNode):
            return self.mapping(node, location, (*inside, node))
        if isinstance(node, SequenceNode):
            return [self.value(item, (*location, index), (*inside, node)) for index, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self.scalar(node, location)

    def mapping(self, node: MappingNode, location: Location, inside: Sequence[Node]) -> dict[str, object]:
        data: dict[str, object] = {}
        for key_node, value_node in node.value:
            line, column = _position(key_node)
            if not isinstance(key_node, ScalarNode) or key_node.tag == f"{TAG}merge":
                message = "a key must be one word" if key_node.tag != f"{TAG}merge" else "merge keys (<<) are not read"
                hint = "write the keys out"
                self.document.faults.append(Fault(message, self.document.name, line, column, path_text(location), hint))
                continue
            key = str(key_node.value)
            if key in data:
                first = self.document.key_positions[(*location, key)][0]
                message, hint = f"the key '{key}' is already given in line {first}", "keep one of the two"
                self.document.faults.append(Fault(message, self.document.name, line, column, path_text(location), hint))
                continue
            self.document.key_positions[(*location, key)] = (line, column)
            data[key] = self.value(value_node, (*location, key), inside)
        return data

    def scalar(self, node: ScalarNode, location: Location) -> object:
        kind = str(node.tag).removeprefix(TAG)
        if kind in {"str", "timestamp", "value"}:  # a date is the text the user wrote
            return str(node.value)
        try:
            if kind in {"int", "float", "bool", "null"}:
                return self.constructor.construct_object(node)
            message = f"the tag {node.tag} is not read"
        except ValueError as error:
            message = f"not a number: {error}"
        self.document.faults.append(self.document.fault(location, message, "write plain text or a number"))
        return None


def _position(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
