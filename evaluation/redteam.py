"""Prompts pushed in several ways: every seed as it is, under each attack vector's template, and in several turns.

The families of vectors are those of the Llama 2 paper (Touvron et al. 2023, section 4.2): psychological, logic,
syntactic, semantic and perspective manipulation. `none` is the control. A vector is a Jinja file that holds `prompt`;
an escalation is a YAML file of turns, some of which do, and the last of which is the user's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from jinja2 import meta
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from constitution.faults import BadInput, Fault, did_you_mean
from constitution.yaml_files import read_text
from engine.records import Prompt
from evaluation.scorecard import NO_VECTOR
from prompts.bounded_templates import BoundedEnvironment
from prompts.messages import Message

OUR_VECTORS = Path(__file__).parents[1] / "prompts" / "vectors"
OUR_ESCALATIONS = Path(__file__).parents[1] / "prompts" / "escalations"

EQUAL = "equal to another one, or not changed by a push"
"""Why `pushed` leaves a prompt out."""


class Push(Protocol):
    """One way to push a prompt."""

    @property
    def name(self) -> str: ...

    def push(self, prompt: str) -> list[Message]:
        """The turns that the prompt becomes, the last of them the user's. The prompt is a value, never a template."""
        ...


@dataclass(frozen=True, slots=True)
class Vector:
    """A push in one turn. `text` is a Jinja template over `prompt`."""

    name: str
    text: str

    def push(self, prompt: str) -> list[Message]:
        """The prompt under this vector."""
        return [Message(role="user", content=_filled(self.text, prompt))]


@dataclass(frozen=True, slots=True)
class Escalation:
    """A push in several turns: role and Jinja template of each."""

    name: str
    turns: tuple[tuple[Literal["user", "assistant"], str], ...]

    def push(self, prompt: str) -> list[Message]:
        """The conversation in which the prompt is asked."""
        return [Message(role=role, content=_filled(text, prompt)) for role, text in self.turns]


@functools.cache
def environment() -> BoundedEnvironment:
    """What templates of prompts are rendered in."""
    return BoundedEnvironment(trim_blocks=True, lstrip_blocks=True)


def _filled(text: str, prompt: str) -> str:
    return environment().from_string(text).render(prompt=prompt).strip()


Read = TypeVar("Read")


def read_vectors(folder: Path = OUR_VECTORS, names: Iterable[str] = ()) -> list[Vector]:
    """The vectors of a folder, or those named. Raises BadInput where one is missing or is no template of `prompt`."""
    return _read_all(folder, names, ".jinja", "vector", _read_vector)


def read_escalations(folder: Path = OUR_ESCALATIONS, names: Iterable[str] = ()) -> list[Escalation]:
    """The escalations of a folder, or those named. Raises BadInput where one is missing or is no list of turns."""
    return _read_all(folder, names, ".yaml", "escalation", _read_escalation)


def _read_all(folder: Path, names: Iterable[str], ending: str, what: str, read: Callable[[Path], Read]) -> list[Read]:
    files = {path.stem: path for path in sorted(folder.glob(f"*{ending}"))}
    faults = [
        Fault(f"there is no {what} '{name}'", file=str(folder), hint=did_you_mean(name, files))
        for name in names
        if name not in files
    ]
    if not files:
        faults.append(Fault(f"the folder holds no {what}", file=str(folder), hint=f"{what}s are files NAME{ending}"))
    if faults:
        raise BadInput(faults)
    return [read(files[name]) for name in (tuple(names) or tuple(files))]


def _read_vector(path: Path) -> Vector:
    vector = Vector(path.stem, read_text(path))
    _check_templates(path, [vector.text])
    return vector


def _read_escalation(path: Path) -> Escalation:
    try:
        turns = [next(iter(turn.items())) for turn in YAML(typ="safe").load(read_text(path))]
    except (YAMLError, TypeError, AttributeError, StopIteration):
        hint = "write `- user: …` and `- assistant: …`, one a line"
        raise BadInput(Fault("it is no list of turns", file=str(path), hint=hint)) from None
    roles = [role for role, _ in turns]
    if roles != ["user", "assistant"] * (len(roles) // 2) + ["user"] or not all(isinstance(t, str) for _, t in turns):
        hint = "let user and assistant take turns, each with a text, and end with the user"
        raise BadInput(Fault(f"its turns are {', '.join(map(str, roles)) or 'none'}", file=str(path), hint=hint))
    _check_templates(path, [text for _, text in turns])
    return Escalation(path.stem, tuple(turns))


def _check_templates(path: Path, texts: Sequence[str]) -> None:
    """Raises BadInput where the texts are no templates of `prompt`, and of nothing else."""
    try:
        used = set().union(*(meta.find_undeclared_variables(environment().parse(text)) for text in texts))
        if used != {"prompt"}:
            raise BadInput(Fault("it has to use 'prompt' and nothing else", file=str(path), hint="write {{ prompt }}"))
        for text in texts:
            _filled(text, "some prompt")
    except BadInput:
        raise
    except Exception as error:  # a template can fail in any way, and each is the file's fault
        raise BadInput(Fault(f"not a usable template: {error}", file=str(path))) from None


@dataclass(frozen=True, slots=True)
class RedTeamPrompt:
    """A prompt and what it was made of.

    `parent` is the id of the prompt that was pushed; prompts with one parent belong together in intervals. `parents`
    are the ids of those that a writer was shown, and `writer` its name and revision, where a model wrote it.
    """

    prompt: Prompt
    parent: str
    parents: tuple[str, ...] = ()
    writer: str = ""

    def as_json(self) -> Mapping[str, object]:
        """A row that Charter reads as a prompt, with its tags."""
        return {
            "messages": list(self.prompt.messages),
            "category": self.prompt.category,
            "vector": self.prompt.vector,
            "parent": self.parent,
            "parents": list(self.parents),
            "writer": self.writer,
            "source": self.prompt.source,
        }


@dataclass(frozen=True, slots=True)
class Seed:
    """What is pushed, and where it comes from."""

    prompt: Prompt
    parents: tuple[str, ...] = ()
    writer: str = ""


def pushed(seeds: Iterable[Seed], pushes: Iterable[Push]) -> Iterator[RedTeamPrompt]:
    """Every distinct seed as it is, then pushed in each way: its last user turn is what changes. A seed that already
    has a vector is not pushed again."""
    every = list(pushes)
    seen: set[str] = set()
    for seed in seeds:
        prompt = seed.prompt
        tags = {"source": prompt.source, "category": prompt.category}
        forms: list[tuple[str, Sequence[Message]]] = [(prompt.vector or NO_VECTOR, prompt.messages[-1:])]
        forms += [(each.name, each.push(prompt.messages[-1]["content"])) for each in every] if not prompt.vector else []
        for name, turns in forms:
            made = Prompt.of([*prompt.messages[:-1], *turns], index=len(seen), vector=name, **tags)
            if made.item_id not in seen:
                seen.add(made.item_id)
                yield RedTeamPrompt(made, prompt.item_id, seed.parents, seed.writer)


def equal(seeds: Sequence[Seed], pushes: Sequence[Push], made: Sequence[RedTeamPrompt]) -> int:
    """How many prompts `pushed` left out."""
    return sum(1 if seed.prompt.vector else 1 + len(pushes) for seed in seeds) - len(made)
