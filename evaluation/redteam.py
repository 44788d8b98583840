"""Prompts pushed in several ways: every seed as it is, and under each attack vector's template.

The families are those of the Llama 2 paper (Touvron et al. 2023, section 4.2): psychological, logic, syntactic,
semantic and perspective manipulation. `none` is the control. A vector is a Jinja file that holds `prompt`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from constitution.faults import BadInput, Fault, did_you_mean
from constitution.yaml_files import read_text
from engine.records import Prompt
from evaluation.scorecard import NO_VECTOR
from prompts.messages import Message

OUR_VECTORS = Path(__file__).parents[1] / "prompts" / "vectors"


@dataclass(frozen=True, slots=True)
class Vector:
    """One way to push a prompt. `text` is a Jinja template over `prompt`."""

    name: str
    text: str

    def push(self, prompt: str) -> str:
        """The prompt under this vector. The prompt is a value, never read as a template."""
        return _environment().from_string(self.text).render(prompt=prompt).strip()


def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(autoescape=False, undefined=StrictUndefined)  # text for a model


def read_vectors(folder: Path = OUR_VECTORS, names: Iterable[str] = ()) -> list[Vector]:
    """The vectors of a folder, or those named. Raises BadInput where one is missing or is no template of `prompt`."""
    files = {path.stem: path for path in sorted(folder.glob("*.jinja"))}
    faults = [
        Fault(f"there is no vector '{name}'", file=str(folder), hint=did_you_mean(name, files))
        for name in names
        if name not in files
    ]
    if not files:
        faults.append(Fault("the folder holds no vector", file=str(folder), hint="a vector is a file NAME.jinja"))
    if faults:
        raise BadInput(faults)
    return [_read(files[name]) for name in (tuple(names) or tuple(files))]


def _read(path: Path) -> Vector:
    vector = Vector(path.stem, read_text(path))
    try:
        used = meta.find_undeclared_variables(_environment().parse(vector.text))
        if used != {"prompt"}:
            raise BadInput(Fault("it has to use 'prompt' and nothing else", file=str(path), hint="write {{ prompt }}"))
        vector.push("some prompt")
    except TemplateError as error:
        raise BadInput(Fault(f"not a usable template: {error}", file=str(path))) from None
    return vector


@dataclass(frozen=True, slots=True)
class RedTeamPrompt:
    """A prompt and what it was made of: `parent` is the seed's id."""

    prompt: Prompt
    parent: str

    def as_json(self) -> Mapping[str, object]:
        """A row that Charter reads as a prompt, with its tags."""
        return {
            "messages": list(self.prompt.messages),
            "category": self.prompt.category,
            "vector": self.prompt.vector,
            "parent": self.parent,
            "source": self.prompt.source,
        }


def pushed(seeds: Iterable[Prompt], vectors: Iterable[Vector]) -> Iterator[RedTeamPrompt]:
    """Every distinct seed as it is, then under each vector: its last user turn is what changes. A seed that already has
    a vector is not pushed again."""
    every = list(vectors)
    seen: set[str] = set()
    for seed in seeds:
        tags = {"source": seed.source, "category": seed.category}
        forms = [(seed.vector or NO_VECTOR, seed.messages[-1]["content"])]
        forms += [(each.name, each.push(seed.messages[-1]["content"])) for each in every] if not seed.vector else []
        for name, text in forms:
            messages = [*seed.messages[:-1], Message(role="user", content=text)]
            made = Prompt.of(messages, index=len(seen), vector=name, **tags)
            if made.item_id not in seen:
                seen.add(made.item_id)
                yield RedTeamPrompt(made, seed.item_id)
