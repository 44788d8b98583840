"""Constitutions in other people's formats, turned into ours.

    format      the file holds
    cai         {name: {prompt: [critique request], edit_request}}, or a list of comparison questions ("… Options:"):
                CritiqueRevisionInstructions.json and RLMadisonInstructions.json of the Constitutional AI paper
    llm-swarm   {constitutions: [{critic, revision}]}
    langchain   [{name, critique_request, revision_request}]
    icai        [principle, …] or {key: principle}: the principles that Inverse Constitutional AI recovers from pairs
    text        one principle a line; empty lines and lines that begin with # are left out

Ids come from names where there are any, else from the text, so importing twice gives the same ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constitution.faults import BadInput, Fault
from constitution.hashing import content_hash
from constitution.schema import Constitution
from constitution.validation import describe
from constitution.yaml_files import Document, read_text

Fields = dict[str, Any]
"""A principle as keys and values."""


@dataclass(frozen=True, slots=True)
class _File:
    """One file being imported: its name for messages, and what it holds."""

    name: str
    data: Any

    def fault(self, message: str, where: str = "", hint: str = "", line: int = 0) -> BadInput:
        return BadInput(Fault(message, file=self.name, line=line, where=where, hint=hint))

    def text(self, value: Any, key: str | int, where: str) -> str:
        """A value that must be text, stripped. Raises BadInput where it is missing, empty or something else."""
        if not isinstance(value, str) or not value.strip():
            raise self.fault(f"{key} must be text, found {describe(value)}", where=where)
        return value.strip()


def import_constitution(
    path: str | Path | Sequence[str | Path],
    format: str = "auto",  # noqa: A002
    name: str | None = None,
) -> Constitution:
    """One constitution made of one or more files, such as the paper's critique file together with its comparison file.

    `name` is taken from the first file where it is left out. Raises BadInput where a file has none of the shapes above.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    if not paths:
        raise BadInput("there is no file to import")
    if format != "auto" and format not in READERS:
        raise BadInput(Fault(f"unknown format '{format}'", hint=f"known: auto, {', '.join(READERS)}"))
    principles: list[Fields] = []
    for each in paths:
        file = _read(each, format)
        found = READERS[_shape(file) if format == "auto" else format](file)
        if not found:
            raise file.fault("the file holds no principles")
        principles += [{**fields, "source": f"Imported from {Path(each).name}."} for fields in found]
    document = Document(str(paths[0]), {"name": name or Path(paths[0]).stem, "principles": principles})
    return document.validate(Constitution)


def _read(path: str | Path, format: str) -> _File:  # noqa: A002
    text, ending = read_text(path), Path(path).suffix.lower()
    if not text.strip():
        raise BadInput(Fault("the file is empty", file=str(path)))
    if format == "text" or (format == "auto" and ending in {"", ".txt", ".md"} and text.lstrip()[0] not in "[{"):
        return _File(str(path), text)
    if ending in {".yaml", ".yml"}:
        hint = "use it as it is, or check it with 'charter constitution check'"
        raise BadInput(Fault("YAML is Charter's own format and needs no import", file=str(path), hint=hint))
    try:
        return _File(str(path), json.loads(text))
    except json.JSONDecodeError as error:
        message, line, column = f"not JSON: {error.msg}", error.lineno, error.colno
        hint = "for one principle a line, say --format text"
        raise BadInput(Fault(message, file=str(path), line=line, column=column, hint=hint)) from None
    except RecursionError:
        raise BadInput(Fault("not JSON: nested too deeply", file=str(path))) from None


def _shape(file: _File) -> str:
    """The format whose shape the file has. Raises BadInput where it has none."""
    data = file.data
    if isinstance(data, str):
        return "text"
    if isinstance(data, dict) and "constitutions" in data:
        return "llm-swarm"
    first = (
        next(iter(data.values() if isinstance(data, dict) else data), None) if isinstance(data, dict | list) else None
    )
    if isinstance(data, dict) and isinstance(first, dict) and "edit_request" in first:
        return "cai"
    if isinstance(data, list) and isinstance(first, dict) and "critique_request" in first:
        return "langchain"
    if isinstance(first, str):
        return "cai" if isinstance(data, list) and first.rstrip().endswith("Options:") else "icai"
    found = describe(data) + (f" whose first is {describe(first)}" if first is not None else "")
    hint = "docs/constitutions.md shows the shapes; --format names one; few-shot files go into asking.few_shots"
    raise file.fault(f"no known format: the file holds {found}", hint=hint)


# ── The readers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _from_cai(file: _File) -> list[Fields]:
    if isinstance(file.data, list):
        return _numbered_apart(file, [_comparison_of_paper(file, index) for index in range(len(file.data))])
    principles = []
    for name, entry in _mapping(file, file.data, "{name: {prompt: [request], edit_request: request}}").items():
        if not isinstance(entry, dict):
            raise file.fault(f"must be keys and values, found {describe(entry)}", where=f"'{name}'")
        requests = entry.get("prompt")
        request = requests[0] if isinstance(requests, list) and requests else requests
        critique = file.text(request, "prompt", f"'{name}'")
        revision = file.text(entry.get("edit_request"), "edit_request", f"'{name}'")
        principles.append({"id": _slug(name), "critique": _bare(critique), "revision": _bare(revision)})
    return principles


def _comparison_of_paper(file: _File, index: int) -> Fields:
    text = file.text(file.data[index], index, f"[{index}]")
    return {"id": _id_of(text), "comparison": re.sub(r"\s*Options:$", "", text)}


def _from_llm_swarm(file: _File) -> list[Fields]:
    data = _mapping(file, file.data, "{constitutions: [{critic, revision}]}")
    principles = []
    for where, entry in _entries(file, data.get("constitutions"), "constitutions"):
        critique, revision = (
            file.text(entry.get("critic"), "critic", where),
            file.text(entry.get("revision"), "revision", where),
        )
        principles.append({"id": _id_of(critique), "critique": critique, "revision": revision})
    return _numbered_apart(file, principles)


def _from_langchain(file: _File) -> list[Fields]:
    principles = []
    for where, entry in _entries(file, file.data, ""):
        critique = file.text(entry.get("critique_request"), "critique_request", where)
        revision = file.text(entry.get("revision_request"), "revision_request", where)
        name = entry.get("name") or "Constitutional Principle"  # LangChain's own default
        unnamed = name == "Constitutional Principle" or not isinstance(name, str)
        principles.append(
            {"id": _id_of(critique) if unnamed else _slug(name), "critique": critique, "revision": revision}
        )
    return _numbered_apart(file, principles)


def _from_icai(file: _File) -> list[Fields]:
    if isinstance(file.data, dict):
        entries = {f"'{key}'": value for key, value in file.data.items()}
    elif isinstance(file.data, list):
        entries = {f"[{index}]": value for index, value in enumerate(file.data)}
    else:
        raise file.fault(f"must be a list of principles, found {describe(file.data)}")
    texts = {where: file.text(value, "the principle", where) for where, value in entries.items()}
    for where, text in texts.items():
        if "\n" in text:  # a list of prompts or few-shots, taken for a list of principles
            hint = "few-shots are no constitution: name their folder as asking.few_shots in a recipe"
            raise file.fault("a principle must be one line of text", where=where, hint=hint)
    return _derived_apart(file, texts)


def _from_text(file: _File) -> list[Fields]:
    lines = {f"line {number}": line.strip() for number, line in enumerate(file.data.splitlines(), start=1)}
    bare = {where: re.sub(r"^([-*•]|\d+[.)])\s+", "", line) for where, line in lines.items()}
    return _derived_apart(file, {where: line for where, line in bare.items() if line and not line.startswith("#")})


READERS: Mapping[str, Callable[[_File], list[Fields]]] = {
    "cai": _from_cai,
    "llm-swarm": _from_llm_swarm,
    "langchain": _from_langchain,
    "icai": _from_icai,
    "text": _from_text,
}


# ── Parts of the readers ─────────────────────────────────────────────────────────────────────────────────────────────


def _derived_apart(file: _File, texts: Mapping[str, str]) -> list[Fields]:
    """Principles from bare texts. A text that comes twice is a fault: it would be drawn twice as often."""
    first: dict[str, str] = {}
    for where, text in texts.items():
        if first.setdefault(text, where) != where:
            raise file.fault(f"says the same as {first[text]}", where=where, hint="delete one of the two")
    return _numbered_apart(file, [_derived(text) for text in texts.values()])


def _derived(text: str) -> Fields:
    """The three texts of a principle of one sentence: "Be kind", or "Select the response that is shorter"."""
    principle = f"“{text}”"
    selects = re.match(r"(select|choose|pick|prefer)\b|which\b", text, re.IGNORECASE) is not None
    return {
        "id": _id_of(text),
        "critique": f"Here is a principle for good responses: {principle} Point out each place where the assistant's "
        "last response falls short of it, and say why.",
        "revision": f"Rewrite the assistant's last response so that it lives up to this principle: {principle} Keep "
        "everything that was already good.",
        "comparison": text if selects else f"Which response better keeps this principle: {principle} Choose that one.",
    }


def _numbered_apart(file: _File, principles: list[Fields]) -> list[Fields]:
    """The same principles, with -2, -3 … after ids that come again. Wholly equal principles are a fault."""
    seen: dict[str, int] = {}
    contents: dict[str, int] = {}
    for index, fields in enumerate(principles):
        content = content_hash({key: value for key, value in fields.items() if key != "id"})
        if contents.setdefault(content, index) != index:
            raise file.fault(
                f"says the same as [{contents[content]}]", where=f"[{index}]", hint="delete one of the two"
            )
        seen[fields["id"]] = seen.get(fields["id"], 0) + 1
        if seen[fields["id"]] > 1:
            fields["id"] = f"{fields['id']}-{seen[fields['id']]}"
    return principles


def _mapping(file: _File, data: Any, shape: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise file.fault(f"must look like {shape}, found {describe(data)}")
    return data


def _entries(file: _File, data: Any, key: str) -> list[tuple[str, dict[str, Any]]]:
    """The entries of a list of mappings, each with its place."""
    if not isinstance(data, list):
        raise file.fault(f"{key or 'the file'} must be a list of keys and values, found {describe(data)}")
    for index, entry in enumerate(data):
        if not isinstance(entry, dict):
            raise file.fault(f"must be keys and values, found {describe(entry)}", where=f"{key}[{index}]")
    return [(f"{key}[{index}]", entry) for index, entry in enumerate(data)]


def _bare(request: str) -> str:
    """A request of the paper without the labels of its prompt format."""
    return re.sub(r"^(Critique|Revision)Request:\s*|\s*(Critique|Revision):$", "", request)


FILLER = re.compile(
    "a|an|and|as|assistant|be|by|choose|consider|do|for|human|in|is|it|its|of|one|or|please|responses?|s|select|that|the"
    "|these|to|which"
)
"""Words that tell nothing in an id."""


def _id_of(text: str) -> str:
    """The first telling words of a text and four digits of its hash: readable, and the same at every import."""
    words = [word for word in re.findall(r"[a-z0-9]+", text.lower()) if not FILLER.fullmatch(word)]
    return "-".join([*words[:4], content_hash(text)[:4]])


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return slug or f"principle-{content_hash(name)[:4]}"
