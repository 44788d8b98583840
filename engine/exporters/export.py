"""One export: a source, a format, the kinds of data, a folder.

    check ─► split (every kind together) ─► write each kind ─► files beside ─► _EXPORT.json, README.md ─► in place

All kinds of one export share their splits: a prompt that is tested in one is not learnt from in another.
"""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa

from constitution.faults import BadInput, Fault, did_you_mean
from constitution.loading import load_constitution_text
from engine.exporters import (
    alignment_handbook,
    annotated_pairs,
    argilla,
    axolotl,
    llama_factory,
    nemo_rl,
    open_instruct,
    openrlhf,
    plain,
    trl,
    verl,
)
from engine.exporters.examples import Example, prompt_of, read_examples
from engine.exporters.form import CARRIED, NUMBER, DataFile, Form, Format, Kind, Row, Split
from engine.exporters.splits import Evaluations, assign_splits
from engine.exporters.writing import MARKER, RowFile, check_target, row_file, whole_folder
from engine.inputs import PromptSource, check_prompts, read_prompts
from engine.pairs import Pair, is_run_folder
from engine.records import Prompt
from engine.storage import Folder

FORMATS: dict[str, Format] = {
    "trl": trl.FORMAT,
    "openrlhf": openrlhf.FORMAT,
    "verl": verl.FORMAT,
    "nemo-rl": nemo_rl.FORMAT,
    "open-instruct": open_instruct.FORMAT,
    "axolotl": axolotl.FORMAT,
    "llama-factory": llama_factory.FORMAT,
    "alignment-handbook": alignment_handbook.FORMAT,
    "hugging-face": plain.HUGGING_FACE,
    "parquet": plain.PARQUET,
    "jsonl": plain.JSON_LINES,
    "argilla": argilla.FORMAT,
    "annotated-pairs": annotated_pairs.FORMAT,
}
"""What `--format` takes, in the order of the documents."""

Margin = Literal["given", "log-odds"]
LARGEST_MARGIN = 3.0
"""That of Llama 2's surest grade (Touvron et al. 2023, table 27)."""
NO_MARGIN = "there is no margin"
IN_EVALUATION = "an evaluation's prompt is in it"
SPLITS: tuple[Split, ...] = get_args(Split)
ROWS_TOLD = 1_000
ORIGIN = ("recipe.yaml", "constitution.yaml")
"""Files of a run that its exports carry."""

Told = Callable[[Kind, int], None]


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What a user may ask of an export. `test` is the share of prompts in the test split, in [0, 1)."""

    format: str
    kinds: tuple[Kind, ...] = ("preference",)
    test: float = 0.0
    seed: int = 0
    decontaminate: tuple[str, ...] = ()
    margin: Margin | None = None
    allow_leaks: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class KindReport:
    """What became of one kind of data. `left_out` counts by reason."""

    files: tuple[DataFile, ...]
    left_out: Mapping[str, int]
    use: str
    notes: tuple[str, ...]

    @property
    def rows(self) -> int:
        """In all splits together."""
        return sum(file.rows for file in self.files)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export holds, as `_EXPORT.json` says it."""

    source: str
    settings: ExportSettings
    title: str
    kinds: Mapping[Kind, KindReport]
    sample: Mapping[Kind, Row] = field(default_factory=dict)


def check_settings(source: str, settings: ExportSettings, folder: Path) -> Format:
    """The format. Raises BadInput where an export cannot be made as asked, before anything is read."""
    found = FORMATS.get(settings.format)
    if found is None:
        hint = did_you_mean(settings.format, FORMATS)
        raise BadInput(Fault(f"there is no format '{settings.format}'", where="--format", hint=hint))
    for kind in settings.kinds:
        if kind not in found.forms:
            hint = f"it has {', '.join(found.forms)}"
            raise BadInput(Fault(f"{found.title} takes no '{kind}' data", where="--kind", hint=hint))
    if settings.margin and not any(found.forms[kind].takes_margin for kind in settings.kinds):
        raise BadInput(Fault(f"{found.title} reads no margin here", where="--margin", hint="leave it out"))
    inside = Path(source).absolute()
    if "://" not in source and folder.absolute() in (inside, *inside.parents):
        hint = "name another folder with --output"
        raise BadInput(Fault("the export would replace its own source", where=f"output {folder}", hint=hint))
    check_target(folder, overwrite=settings.overwrite)
    if settings.decontaminate:
        check_prompts([PromptSource(path=path) for path in settings.decontaminate])
    return found


def export(
    source: str,
    settings: ExportSettings,
    folder: Path,
    *,
    card: Callable[[ExportReport], str] | None = None,
    told: Told = lambda kind, rows: None,
) -> ExportReport:
    """Writes an export and says what is in it.

    `card` makes README.md of the report; `told` hears how many rows of a kind were read. Raises BadInput before
    anything is written where the source or the settings are wrong, or a split would be empty.
    """
    chosen = check_settings(source, settings, folder)
    splits, contaminated = _splits(source, settings)
    with whole_folder(folder) as target:
        writing = _Writing(source, settings, splits, contaminated, target, told)
        written = {kind: writing.kind(kind, chosen.forms[kind]) for kind in settings.kinds}
        kinds = {kind: found for kind, (found, _) in written.items()}
        samples = {kind: sample for kind, (_, sample) in written.items()}
        report = ExportReport(source, settings, chosen.title, kinds, samples)
        files = [file for each in kinds.values() for file in each.files]
        for name, value in chosen.beside(files).items():
            _write_json(target / name, value)
        _copy_origin(source, target)
        told_of = asdict(report)
        del told_of["sample"]
        _write_json(target / MARKER, told_of)
        if card is not None:
            (target / "README.md").write_text(card(report), encoding="utf-8")
    return report


def _splits(source: str, settings: ExportSettings) -> tuple[dict[str, Split], set[str]]:
    """Each prompt's split, and the prompts that hold one of an evaluation."""
    if not settings.test and not settings.decontaminate:
        return {}, set()
    prompts: dict[str, Prompt] = {}
    for kind in settings.kinds:
        for example in read_examples(source, kind, allow_leaks=settings.allow_leaks):
            if not isinstance(example, str):
                prompts.setdefault(example.item_id, _as_prompt(example))
    contaminated = set[str]()
    if settings.decontaminate:
        evaluations = Evaluations(read_prompts([PromptSource(path=path) for path in settings.decontaminate]))
        contaminated = {item_id for item_id, prompt in prompts.items() if evaluations.held_in(prompt)}
    if not settings.test:
        return {}, contaminated
    splits = assign_splits(prompts.values(), settings.test, settings.seed)
    for split in SPLITS:
        if not any(found == split and item_id not in contaminated for item_id, found in splits.items()):
            message = f"no prompt falls into '{split}': {len(prompts):,} prompts, of which related ones stay together"
            raise BadInput(Fault(message, where="--test", hint="give another share or seed"))
    return splits, contaminated


def _as_prompt(example: Example) -> Prompt:
    return Prompt(item_id=example.item_id, index=example.index, messages=prompt_of(example), source=example.source)


@dataclass
class _Writing:
    """The data files of an export."""

    source: str
    settings: ExportSettings
    splits: Mapping[str, Split]
    contaminated: set[str]
    target: Path
    told: Told

    def kind(self, kind: Kind, form: Form) -> tuple[KindReport, Row]:
        """Writes one kind of data. Returns what was written, and the first row of it."""
        columns = dict(form.columns) | ({"margin": NUMBER} if self._margin(form) else {})
        carried = {name: of for name, of in CARRIED[kind].items() if form.carries and name not in columns}
        left_out: Counter[str] = Counter()
        rows: Counter[Split] = Counter()
        sample: Row = {}
        with ExitStack() as stack:
            files: dict[Split, RowFile] = {}
            for split, example in self._examples(kind, form, left_out):
                row = form.row_in_split(form.row(example), split)
                if self._margin(form):
                    row["margin"] = self._margin_of(example)
                row |= {name: getattr(example, name) for name in carried}
                if split not in files:
                    files[split] = self._open(stack, kind, form, split, columns | carried)
                files[split].add(row)
                rows[split] += 1
                sample = sample or row
        if not rows:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
            raise BadInput(Fault(f"no row of '{kind}' can be exported: {reasons}", file=self.source))
        written = tuple(
            DataFile(kind, split, form.splits[split], self._name(kind, form, split), rows[split])
            for split in SPLITS
            if rows[split]
        )
        return KindReport(written, dict(left_out.most_common()), form.use, form.notes), sample

    def _examples(self, kind: Kind, form: Form, left_out: Counter[str]) -> Iterator[tuple[Split, Example]]:
        """The examples that can be written, with their splits. Counts the others."""
        for number, example in enumerate(
            read_examples(self.source, kind, allow_leaks=self.settings.allow_leaks), start=1
        ):
            if number % ROWS_TOLD == 0:
                self.told(kind, number)
            reason = example if isinstance(example, str) else self._refused(example, form)
            if reason is not None:
                left_out[reason] += 1
            elif not isinstance(example, str):
                yield self.splits.get(example.item_id, "train"), example

    def _refused(self, example: Example, form: Form) -> str | None:
        if example.item_id in self.contaminated:
            return IN_EVALUATION
        if self._margin(form) and self._margin_of(example) is None:
            return NO_MARGIN
        return form.refuses(example)

    def _margin(self, form: Form) -> Margin | None:
        return self.settings.margin if form.takes_margin else None

    def _margin_of(self, example: Example) -> float | None:
        assert isinstance(example, Pair)
        return example.margin if self.settings.margin == "given" else log_odds(example.probability)

    def _open(
        self, stack: ExitStack, kind: Kind, form: Form, split: Split, columns: Mapping[str, pa.DataType]
    ) -> RowFile:
        path = self.target / self._name(kind, form, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        document = form.document and functools.partial(_documented, form.document, principle_texts(self.source))
        return stack.enter_context(closing(row_file(path, form.stored, columns, document)))

    def _name(self, kind: Kind, form: Form, split: Split) -> str:
        return f"{form.file.format(kind=kind, split=form.splits[split])}.{form.stored}"


def _documented(
    document: Callable[[Sequence[Row], Mapping[str, str]], object], texts: Mapping[str, str], rows: Sequence[Row]
) -> object:
    return document(rows, texts)


def log_odds(probability: float | None) -> float | None:
    """The difference of rewards that a Bradley-Terry model with this probability has, LARGEST_MARGIN at most."""
    if probability is None:
        return None
    return LARGEST_MARGIN if probability == 1 else min(math.log(probability / (1 - probability)), LARGEST_MARGIN)


def principle_texts(source: str) -> dict[str, str]:
    """The comparison questions of a run's constitution by principle id; nothing for other sources."""
    folder = Folder(source)
    if not is_run_folder(folder) or not folder.exists("constitution.yaml"):
        return {}
    constitution = load_constitution_text(folder.read("constitution.yaml").decode(), "constitution.yaml")
    return {principle.id: principle.comparison or principle.id for principle in constitution.principles}


def _copy_origin(source: str, target: Path) -> None:
    """What the data was made of, where a run made it; in a folder of its own, lest the export be taken for a run."""
    folder = Folder(source)
    if not is_run_folder(folder):
        return
    (target / "run").mkdir()
    for name in ORIGIN:
        if folder.is_local and Path(folder.path(name)).is_symlink():
            raise BadInput(Fault("it is a link, and may lead to anything", file=folder.path(name), hint="delete it"))
        if folder.exists(name):
            (target / "run" / name).write_bytes(folder.read(name))


def usage(report: KindReport, folder: str) -> str:
    """How the trainer is told of a kind of data that lies in the folder."""
    paths = {file.split: f"{folder}/{file.name}".removeprefix("./") for file in report.files}
    kind = report.files[0].kind
    words = {
        "{files}": json.dumps(paths),
        "{train}": paths.get("train", "…"),
        "{test}": paths.get("test", "…"),
        "{folder}": folder,
        "{name}": f"{kind}_{report.files[0].split}",
        "{kind}": kind,
    }
    told = report.use
    for word, said in words.items():
        told = told.replace(word, said)
    return told


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=True) + "\n", encoding="ascii")
