"""From a name or a path to a resolved constitution, and back to YAML.

    load_constitution("harmlessness")       a built-in one: a file of constitution/library/
    load_constitution("mine.yaml")          a file; `extends` is resolved relative to it

A resolved constitution stands alone: it has no `extends`. `to_yaml` freezes it beside the run that used it.
"""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, FoldedScalarString, LiteralScalarString

from constitution.faults import BadInput, Fault, did_you_mean
from constitution.schema import Constitution, Principle
from constitution.yaml_files import Document, parse_document, read_document

LIBRARY = Path(__file__).with_name("library")
LINE_WIDTH = 100
YAML_ENDINGS = {".yaml", ".yml", ".json"}


def built_in_names() -> list[str]:
    """The constitutions that come with Charter, sorted."""
    return sorted(file.stem for file in LIBRARY.glob("*.yaml"))


def load_constitution(name_or_path: str | Path, overrides: Mapping[str, str] | None = None) -> Constitution:
    """The resolved constitution of a built-in name or of a YAML file.

    Raises BadInput with one fault for each thing that is wrong, there or in what it extends.
    """
    path = constitution_path(name_or_path)
    return resolve(read_document(path, overrides), path)


def load_constitution_text(text: str, name: str = "<text>") -> Constitution:
    """As `load_constitution`, for YAML already read; `extends` may name built-in constitutions and absolute paths."""
    return resolve(parse_document(text, name), Path(name))


def constitution_path(name_or_path: str | Path) -> Path:
    """The file of a built-in name or a path. Raises BadInput, with a suggestion, for a name that is neither."""
    name = os.fspath(name_or_path)
    if isinstance(name_or_path, str) and name in built_in_names():
        return LIBRARY / f"{name}.yaml"
    path = Path(name)
    looks_like_path = path.suffix in YAML_ENDINGS or len(path.parts) > 1 or isinstance(name_or_path, Path)
    if looks_like_path or path.exists():
        return path
    hint = did_you_mean(name, built_in_names())
    message = f"there is no built-in constitution '{name}', and no file of that name"
    raise BadInput(Fault(message, hint=hint or "give a path that ends in .yaml"))


def resolve(document: Document, path: Path, below: tuple[Path, ...] = ()) -> Constitution:
    """The constitution of a document read from `path`, with what it extends. `below` holds the files that led here."""
    own = document.validate(Constitution)
    if own.extends is None:
        return own
    parent_path = _parent_path(document, own.extends, path)
    chain = (*below, path.absolute())
    if any(_same_file(parent_path, file) for file in chain):
        files = " → ".join(file.name for file in (*chain, parent_path))
        raise BadInput(document.fault(("extends",), f"the files extend each other in a circle: {files}"))
    parent = resolve(read_document(parent_path), parent_path, chain)
    known = {each.id for each in parent.principles}
    dangling = [
        document.fault(
            ("remove", index), f"'{parent.name}' has no principle '{name}' to remove", did_you_mean(name, known)
        )
        for index, name in enumerate(own.remove)
        if name not in known
    ]
    if dangling:
        raise BadInput(dangling)
    merged = {**document_fields(own), "principles": _merge(parent, own), "preamble": own.preamble or parent.preamble}
    return Document(str(path), merged).validate(Constitution)


def document_fields(constitution: Constitution) -> dict[str, Any]:
    """The name and version of a constitution, as they stand in a file."""
    return {"name": constitution.name, "version": constitution.version}


def _parent_path(document: Document, extends: str, path: Path) -> Path:
    try:
        if extends in built_in_names():
            return constitution_path(extends)
        parent = path.parent / extends
        if parent.is_file():
            return parent
        siblings = [file.name for file in path.parent.glob("*.y*ml") if not _same_file(file, path)]
    except OSError as error:
        raise BadInput(document.fault(("extends",), f"'{extends}' cannot be read: {error.strerror}")) from None
    hint = did_you_mean(extends, [*built_in_names(), *siblings])
    message = f"there is no built-in constitution and no file '{extends}'"
    raise BadInput(document.fault(("extends",), message, hint))


def _same_file(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _merge(parent: Constitution, own: Constitution) -> list[dict[str, Any]]:
    """The parent's principles less those removed, with those of the same id replaced, and then the new ones."""
    principles: dict[str, Principle] = {each.id: each for each in parent.principles if each.id not in own.remove}
    principles.update({each.id: each for each in own.principles})
    return [each.model_dump() for each in principles.values()]


def to_yaml(constitution: Constitution) -> str:
    """The constitution as a YAML file. It loads back to one with the same hash."""
    writer = YAML()
    writer.width = 10_000  # long text is folded below, where it folds without spaces at the ends of lines
    writer.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    writer.dump(_writable(constitution.model_dump(mode="json", exclude_defaults=True)), text)
    return text.getvalue()


def _writable(value: Any) -> Any:
    """Values as a person would write them: long text folded, text of several lines as a block, "yes" in quotes."""
    if isinstance(value, dict):
        return {key: _writable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_writable(each) for each in value]
    if not isinstance(value, str):
        return value
    if value in {"yes", "no", "on", "off"}:  # older YAML readers take these for true and false
        return DoubleQuotedScalarString(value)
    lines = value.split("\n")
    if not all(line.isprintable() and line == " ".join(line.split()) for line in lines):
        return DoubleQuotedScalarString(value)  # the style that escapes tabs, odd line breaks and the like
    if len(lines) > 1:
        return LiteralScalarString(value)
    return _folded(value) if len(value) > LINE_WIDTH else value


def _folded(text: str) -> FoldedScalarString:
    folded: FoldedScalarString = FoldedScalarString(text)
    ends, start = [], 0
    for line in textwrap.wrap(text, LINE_WIDTH, break_long_words=False, break_on_hyphens=False)[:-1]:
        start += len(line) + 1
        ends.append(start - 1)
    folded.fold_pos = ends  # type: ignore[attr-defined]  # where ruamel breaks the line
    return folded
