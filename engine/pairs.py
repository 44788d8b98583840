"""A preference pair, whatever it came from, and reading pairs from wherever they lie.

    a run folder         every row of its compare stage, undecided ones too ┐
    data/preferences     what a run gave to trainers                        ├─ read_pairs ─► Pair
    a pair folder        what `charter import` and `charter filter` write   │
    a foreign file       engine/pair_forms.py: hh-rlhf, TRL, OpenRLHF, …    ┘

`read_pairs` promises, and flags, the map and the exporters rely on it:
- pairs come one at a time, in the order of the data, the same in every reading;
- every row is a pair or raises BadInput with its place; none is passed over, save where `on_fault` takes the fault;
- `pair_id` is unique among them, and the same for the same content: a repeated pair gets `-2`, `-3`, … behind it.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from constitution.faults import BadInput, Fault
from constitution.hashing import content_hash
from engine.annotated_forms import unfolded
from engine.inputs import PromptSource
from engine.inputs.conversations import MissingColumn, WrongShape
from engine.inputs.reading import check_text
from engine.inputs.rows import Row, read_rows
from engine.inputs.source import find_inputs
from engine.pair_forms import SplitPair, read_foreign
from engine.records import Comparison, Preference, Vote, as_table, from_row, worst
from engine.storage import Folder, StageStore
from prompts.messages import Message

COMPARE_STAGE = "03_compare"
PAIRS_PER_PART = 5_000

PairStatus = Literal["decided", "tie", "undecided", "identical", "given"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and two completions of it.

    `prompt` is the whole conversation before them, system messages included; it may be empty where two foreign
    conversations share nothing. `chosen` and `rejected` hold at least one message: the assistant's answer, or, where
    two foreign conversations part earlier, everything after that point.

    `probability` is that of `chosen` being better; None where nothing was decided and where the source only says which
    is better. `status` is a Comparison's, or "given" for a foreign label. Where it is "undecided" or "identical",
    `chosen` and `rejected` are just the answers a and b. `votes` call the chosen answer a. `finish_reasons` are those
    of chosen and rejected, empty where not known. `margin` is how much better, in the source's own unit; None unless
    the source has one; `grade` is the same in words. `weight` is the pair's share in a trainer's loss. `chosen_bad` and
    `rejected_bad` are as in Preference.
    """

    pair_id: str
    item_id: str
    index: int
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    probability: float | None
    order_consistent: float | None
    status: PairStatus
    both_bad: bool | None
    votes: tuple[Vote, ...]
    finish_reasons: tuple[str, ...]
    principle_ids: tuple[str, ...]
    constitution_hash: str
    source: str
    category: str
    vector: str
    margin: float | None = None
    grade: str = ""
    weight: float = 1.0
    chosen_bad: float | None = None
    rejected_bad: float | None = None


PAIR_COLUMNS = frozenset(item.name for item in fields(Pair))
PREFERENCE_COLUMNS = frozenset(item.name for item in fields(Preference))
COMPARISON_COLUMNS = frozenset(item.name for item in fields(Comparison))


def text_of(messages: Iterable[Message]) -> str:
    """What a prompt or a completion says: its texts, with an empty line between turns."""
    return "\n\n".join(message["content"] for message in messages)


def chosen_as_a(row: Comparison) -> Comparison:
    """The comparison with the better answer as a; as it is where nothing was decided."""
    worse = row.status == "decided" and row.probability_a is not None and row.probability_a <= 0.5
    return row.swap() if worse else row


def pair_of_comparison(row: Comparison) -> Pair:
    """The pair behind a row of the compare stage, the better answer as `chosen`."""
    row = chosen_as_a(row)
    answers = (row.response_a, row.response_b)
    chosen, rejected = ((Message(role="assistant", content=answer.text),) for answer in answers)
    return Pair(
        pair_id=row.pair_id,
        item_id=row.item_id,
        index=row.index,
        prompt=row.messages,
        chosen=chosen,
        rejected=rejected,
        probability=row.probability_a,
        order_consistent=row.order_consistent,
        status=row.status,
        both_bad=row.both_bad,
        votes=row.votes,
        finish_reasons=tuple(answer.call.finish_reason for answer in answers),
        principle_ids=tuple(dict.fromkeys(vote.principle_id for vote in row.votes)),
        constitution_hash=row.constitution_hash,
        source=row.source,
        category=row.category,
        vector=row.vector,
        chosen_bad=worst(row.checks, "a"),
        rejected_bad=worst(row.checks, "b"),
    )


def read_pairs(
    where: str | Path, *, split: str | None = None, on_fault: Callable[[Fault], None] | None = None
) -> Iterator[Pair]:
    """The pairs of a run folder, a pair folder, or of foreign files: a file, folder, glob, URL or hub data set.

    `split` picks one split of a Hugging Face data set. A row that is no pair raises BadInput, or is given to
    `on_fault` and left out; a file that cannot be read always raises.
    """
    yield from with_unique_ids(_pairs(str(where), split, on_fault))


def with_unique_ids(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The pairs, with `-2`, `-3`, … behind an id that an earlier one has."""
    first, second = itertools.tee(pairs)
    for pair, name in zip(first, unique_names(each.pair_id for each in second), strict=True):
        yield pair if name == pair.pair_id else replace(pair, pair_id=name)


def unique_names(names: Iterable[str]) -> Iterator[str]:
    """The names, with `-2`, `-3`, … behind one that came before."""
    times: Counter[str] = Counter()
    taken = set[str]()
    for name in names:
        free = name
        while free in taken:
            times[name] += 1
            free = f"{name}-{times[name] + 1}"
        taken.add(free)
        yield free


def _pairs(where: str, split: str | None, on_fault: Callable[[Fault], None] | None) -> Iterator[Pair]:
    folder = Folder(where)
    if is_run_folder(folder):
        yield from _compared(folder)
    elif is_pair_folder(folder):
        yield from _from_files(PromptSource(path=folder.child("pairs").location), on_fault)
    elif Path(where, "dataset_info.json").is_file() and not Path(where, "state.json").is_file():
        yield from _by_dataset_info(Path(where), on_fault)
    else:
        yield from _from_files(PromptSource(path=where, split=split), on_fault)


def is_run_folder(folder: Folder) -> bool:
    """Whether a run made it."""
    return _holds(folder, "recipe.yaml")


def is_pair_folder(folder: Folder) -> bool:
    """Whether `charter import` or `charter filter` made it."""
    return _holds(folder, "pairs") and _holds(folder, "manifest.json")


def _holds(folder: Folder, name: str) -> bool:
    try:
        return folder.exists(name)
    except (OSError, ValueError, ImportError):  # a URL that no file system knows is the reader's to refuse
        return False


def _compared(run: Folder) -> Iterator[Pair]:
    found = False
    for row in read_comparisons(run):
        found = True
        yield pair_of_comparison(row)
    if not found:
        hint = "a run makes pairs where its recipe has a 'compare:' section"
        raise BadInput(Fault("this run has no pairs", where=f"run folder {run.location}", hint=hint))


def find_comparison(run: Folder, pair_id: str) -> Comparison | None:
    """The row behind one of a run's pairs. Reads no other row's votes."""
    store = StageStore(run, COMPARE_STAGE, Comparison)
    names = (name for table in store.tables(["pair_id"]) for name in table["pair_id"].to_pylist())
    place = next((number for number, name in enumerate(unique_names(names)) if name == pair_id), None)
    for table in store.tables() if place is not None else ():
        if place < table.num_rows:
            return from_row(Comparison, table.slice(place, 1).to_pylist()[0])
        place -= table.num_rows
    return None


def read_comparisons(run: Folder) -> Iterator[Comparison]:
    """The rows of a run's compare stage, those of an unfinished one too."""
    for table in StageStore(run, COMPARE_STAGE, Comparison).tables():
        for batch in table.to_batches(max_chunksize=256):
            yield from (from_row(Comparison, values) for values in batch.to_pylist())


def _from_files(
    source: PromptSource,
    on_fault: Callable[[Fault], None] | None,
    rename: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    first_index: int = 0,
) -> Iterator[Pair]:
    index = first_index
    for row in itertools.chain.from_iterable(read_rows(item, source) for item in find_inputs(source)):
        try:
            if isinstance(row, Fault):
                raise _NotAPair(row)
            yield _pair_of_row(replace(row, values=rename(row.values)), index)
        except _NotAPair as error:
            if on_fault is None or error.whole_file:
                raise BadInput(error.fault) from None
            on_fault(error.fault)
        index += 1
    if index == first_index:
        raise BadInput(Fault("there are no pairs in it", file=source.path))


class _NotAPair(Exception):
    """A row that holds no pair. `whole_file` says that no other row of its file does."""

    def __init__(self, fault: Fault, *, whole_file: bool = False) -> None:
        super().__init__(fault)
        self.fault = fault
        self.whole_file = whole_file


def _pair_of_row(row: Row, index: int) -> Pair:
    """One stored row. Raises _NotAPair."""
    try:
        pair = _of_record(row.values) or _of_foreign(row, index)
        for message in (*pair.prompt, *pair.chosen, *pair.rejected):
            check_text(message["content"])
    except WrongShape as error:
        whole_file = isinstance(error, MissingColumn) and row.shares_columns
        raise _NotAPair(row.fault(error.message, error.hint), whole_file=whole_file) from None
    return pair


def _of_record(values: Mapping[str, Any]) -> Pair | None:
    """The pair of a row that Charter wrote as it stands; None for any other."""
    names = values.keys()
    try:
        if names >= PAIR_COLUMNS:
            return from_row(Pair, values)
        if names >= COMPARISON_COLUMNS:
            return pair_of_comparison(from_row(Comparison, values))
        if names >= PREFERENCE_COLUMNS and "status" not in names:
            return _of_preference(from_row(Preference, values))
    except (KeyError, TypeError) as error:
        raise WrongShape(f"it has Charter's columns, and not what they hold: {error}") from None
    return None


def _of_preference(row: Preference) -> Pair:
    columns = {name: getattr(row, name) for name in PREFERENCE_COLUMNS}
    return Pair(**columns, status="decided", votes=(), finish_reasons=())


def _of_foreign(row: Row, index: int) -> Pair:
    """A foreign row, with those of our own columns that it carries: an export of ours comes back as it was."""
    values = unfolded(row.values)
    split = read_foreign(values)
    item_id = content_hash(list(split.prompt))
    kept = _Carried(values)
    pair_id = content_hash([item_id, text_of(split.chosen), text_of(split.rejected)])
    return Pair(
        pair_id=kept.text("pair_id") or pair_id,
        item_id=item_id,
        index=kept.whole("index", index) if kept.text("pair_id") else index,
        prompt=split.prompt,
        chosen=split.chosen,
        rejected=split.rejected,
        probability=kept.share("probability"),
        order_consistent=kept.share("order_consistent"),
        status=_status(split, kept.text("status")),
        both_bad=kept.yes_no("both_bad"),
        votes=(),
        finish_reasons=(),
        principle_ids=kept.texts("principle_ids"),
        constitution_hash=kept.text("constitution_hash"),
        source=(kept.text("source") if kept.text("pair_id") else "") or row.source,
        category=kept.text("category"),
        vector=kept.text("vector"),
        margin=kept.number("margin"),
        grade=kept.text("grade"),
        weight=1.0 if (weight := kept.number("weight")) is None else weight,
        chosen_bad=kept.share("chosen_bad"),
        rejected_bad=kept.share("rejected_bad"),
    )


def _status(split: SplitPair, said: str) -> PairStatus:
    if said in get_args(PairStatus):
        return cast("PairStatus", said)
    return "tie" if split.tied else "given"


@dataclass(frozen=True, slots=True)
class _Carried:
    """Columns of a foreign row that have our names, where they hold what ours hold."""

    values: Mapping[str, Any]

    def text(self, name: str) -> str:
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.values.get(name)
        return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()

    def number(self, name: str) -> float | None:
        value = self.values.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise WrongShape(f"'{name}' is {value!r}, and a number is due")
        return float(value)

    def whole(self, name: str, default: int) -> int:
        value = self.values.get(name)
        return value if isinstance(value, int) else default

    def share(self, name: str) -> float | None:
        """A number from 0 to 1."""
        value = self.number(name)
        if value is not None and not 0 <= value <= 1:
            raise WrongShape(f"'{name}' is {value:g}, and lies between 0 and 1")
        return value

    def yes_no(self, name: str) -> bool | None:
        value = self.values.get(name)
        return value if isinstance(value, bool) else None


# LLaMA-Factory's dataset_info.json ------------------------------------------------------------------------------------


def _by_dataset_info(folder: Path, on_fault: Callable[[Fault], None] | None) -> Iterator[Pair]:
    """The preference data sets that a `dataset_info.json` lists, with the columns and tags that it names."""
    file = folder / "dataset_info.json"
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(Fault(f"this is no JSON: {error}", file=str(file))) from None
    entries = [each for each in listed.values() if isinstance(each, dict)] if isinstance(listed, dict) else []
    ranking = [entry for entry in entries if entry.get("ranking") and isinstance(entry.get("file_name"), str)]
    if not ranking:
        hint = 'an entry of pairs has "file_name" and "ranking": true'
        raise BadInput(Fault("it lists no preference data", file=str(file), hint=hint))
    index = 0
    for entry in ranking:
        source = PromptSource(path=str(folder / entry["file_name"]))
        for pair in _from_files(source, on_fault, _Renamed(entry), index):
            index = pair.index + 1
            yield pair


class _Renamed:
    """Gives the columns and the keys of the turns the names that LLaMA-Factory has for them unless told otherwise."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        usual = {
            "prompt": "instruction",
            "query": "input",
            "system": "system",
            "history": "history",
            "messages": "conversations",
            "chosen": "chosen",
            "rejected": "rejected",
        }
        columns = entry.get("columns") or {}
        self.names = {columns[key]: name for key, name in usual.items() if key in columns}
        tags = entry.get("tags") or {}
        self.keys = {tags.get("role_tag", "from"): "from", tags.get("content_tag", "value"): "value"}
        spoken = {"user_tag": "human", "assistant_tag": "gpt", "system_tag": "system"}
        self.roles = {tags[key]: name for key, name in spoken.items() if key in tags}

    def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
        return {self.names.get(name, name): self._turns(value) for name, value in values.items()}

    def _turns(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._turns(each) for each in value]
        if not isinstance(value, dict):
            return value
        turn = {self.keys.get(key, key): said for key, said in value.items()}
        return turn | {"from": self.roles.get(turn["from"], turn["from"])} if "from" in turn else turn


# Writing --------------------------------------------------------------------------------------------------------------


def write_pairs(folder: Folder, pairs: Iterable[Pair]) -> int:
    """Writes `pairs/` of a pair folder, part by part, and returns how many. The caller writes `manifest.json` last: its
    presence makes it a pair folder."""
    count = 0
    remaining = iter(pairs)
    for number in itertools.count():
        part = list(itertools.islice(remaining, PAIRS_PER_PART))
        if part or not number:  # no pairs at all are a table without rows
            folder.write_table(f"pairs/part-{number:05d}.parquet", as_table(part, Pair))
        if not part:
            break
        count += len(part)
    return count
