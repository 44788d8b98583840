"""What can be exported: the examples of each kind, out of a run, a pair folder or a foreign file.

    preference, reward   Pair              engine/pairs.py
    sft                  RevisionExample   data/revisions of a run
    prompts              Prompt            01_prompts of a run, or any prompt or preference file
    unpaired             Answer            both answers of every pair

A reader yields an example, or the reason why there is none: rows that would poison a trainer never pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from constitution.faults import BadInput, Fault
from constitution.hashing import content_hash
from engine.exporters.form import Kind
from engine.exporters.poison import poison_in_pair, poison_in_prompt, poison_in_revision
from engine.inputs import PromptSource, read_prompts
from engine.pairs import Pair, is_pair_folder, is_run_folder, read_pairs
from engine.products import RevisionExample
from engine.records import Prompt, from_row
from engine.storage import Folder, StageStore
from prompts.messages import Message

REPEATED = "the same row again"
BOTH_BAD = "the better of two bad answers"
CONTRADICTED = "an answer that is better in one pair and worse in another"
BY_POLICY = "a flag's policy keeps it out of data/preferences"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer and whether it is the better of its pair. `probability` is that of the label being right."""

    pair_id: str
    item_id: str
    index: int
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    label: bool
    probability: float | None
    weight: float
    constitution_hash: str
    source: str
    category: str
    vector: str

    @property
    def key(self) -> str:
        """The content hash of the prompt and the answer."""
        return content_hash([self.item_id, list(self.completion)])


Example = Pair | RevisionExample | Prompt | Answer


def prompt_of(example: Example) -> tuple[Message, ...]:
    """The conversation that waits for an answer."""
    return example.messages if isinstance(example, Prompt) else example.prompt


def read_examples(source: str, kind: Kind, *, allow_leaks: bool = False) -> Iterator[Example | str]:
    """The examples of one kind in the order of the data, or the reason why a row is none. Raises BadInput where the
    source holds nothing of the kind."""
    if kind == "sft":
        return _distinct(_revisions(source, allow_leaks=allow_leaks))
    if kind == "prompts":
        return _distinct(_prompts(source))
    if kind == "unpaired":
        return _distinct(_answers(source, allow_leaks=allow_leaks))
    return _distinct(_pairs(source, allow_leaks=allow_leaks))


def _distinct(examples: Iterator[Example | str]) -> Iterator[Example | str]:
    """The first of equal examples."""
    seen = set[str]()
    for example in examples:
        if isinstance(example, str):
            yield example
            continue
        key = _content(example)
        yield REPEATED if key in seen else example
        seen.add(key)


def _content(example: Example) -> str:
    match example:
        case Prompt():
            return example.item_id
        case Answer():
            return example.key
        case RevisionExample():
            return content_hash([example.item_id, list(example.completion)])
        case Pair():
            return content_hash([example.item_id, list(example.chosen), list(example.rejected)])


def _pairs(source: str, *, allow_leaks: bool) -> Iterator[Pair | str]:
    weights = _weights(Folder(source))
    for pair in read_pairs(source):
        poison = poison_in_pair(pair, allow_leaks=allow_leaks)
        if poison is not None or weights is None:
            yield poison or pair
            continue
        weight = weights.get(pair.pair_id.partition("-")[0])  # a repeated pair has a number behind its id
        yield BY_POLICY if weight is None else replace(pair, weight=weight)


def _weights(run: Folder) -> dict[str, float] | None:
    """The weight of each pair that a run gave to trainers, by its id; None for what is no finished run."""
    if not is_run_folder(run) or not run.exists("data/preferences"):
        return None
    data = run.child("data/preferences")
    parts = (data.read_table(name, ["pair_id", "weight"]) for name in data.names(suffix=".parquet"))
    return {row["pair_id"]: row["weight"] for part in parts for row in part.to_pylist()}


def _answers(source: str, *, allow_leaks: bool) -> Iterator[Answer | str]:
    labels: dict[str, set[bool]] = {}
    for pair in _pairs(source, allow_leaks=allow_leaks):
        if isinstance(pair, Pair):
            for answer in _both(pair):
                labels.setdefault(answer.key, set()).add(answer.label)
    for pair in _pairs(source, allow_leaks=allow_leaks):
        if isinstance(pair, str):
            yield pair
            continue
        for answer in _both(pair):
            if len(labels[answer.key]) == 2:
                yield CONTRADICTED
            elif answer.label and pair.both_bad:
                yield BOTH_BAD
            else:
                yield answer


def _both(pair: Pair) -> Iterator[Answer]:
    for completion, label in ((pair.chosen, True), (pair.rejected, False)):
        yield Answer(
            pair_id=pair.pair_id,
            item_id=pair.item_id,
            index=pair.index,
            prompt=pair.prompt,
            completion=completion,
            label=label,
            probability=pair.probability,
            weight=pair.weight,
            constitution_hash=pair.constitution_hash,
            source=pair.source,
            category=pair.category,
            vector=pair.vector,
        )


def _revisions(source: str, *, allow_leaks: bool) -> Iterator[RevisionExample | str]:
    folder = Folder(source)
    if not is_run_folder(folder) or not folder.exists("data/revisions"):
        hint = "name a finished run whose recipe has a 'revise:' section, or another --kind"
        raise BadInput(Fault("there are no revisions in it", file=source, hint=hint))
    data = folder.child("data/revisions")
    for name in data.names(suffix=".parquet"):
        for row in data.read_table(name).to_pylist():
            example = from_row(RevisionExample, row)
            yield poison_in_revision(example, allow_leaks=allow_leaks) or example


def _prompts(source: str) -> Iterator[Prompt | str]:
    for prompt in _prompts_of(source):
        yield poison_in_prompt(prompt.messages) or prompt


def _prompts_of(source: str) -> Iterator[Prompt]:
    folder = Folder(source)
    if is_run_folder(folder):
        for table in StageStore(folder, "01_prompts", Prompt).tables():
            yield from (from_row(Prompt, row) for row in table.to_pylist())
    elif is_pair_folder(folder):
        for pair in read_pairs(source):
            tags = {"source": pair.source, "category": pair.category, "vector": pair.vector}
            yield Prompt.of(pair.prompt, pair.index, **tags)
    else:
        yield from read_prompts([PromptSource(path=source)])
