"""One training, from settings to a model with a card. The counterpart of charter/run.py.

    check ─► freeze ─► prepare (data/train) ─► launch (checkpoints/, metrics.jsonl, model/) ─► manifest.json, README.md

A training that was stopped goes on with --resume: the data is not made again, and the weights come from the last whole
checkpoint.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.locking import locked
from charter.recipe import changed_keys, check_output, frozen
from charter.run import versions
from charter.training_card import training_card
from charter.training_progress import following
from constitution import BadInput, Fault, content_hash
from constitution.yaml_files import Document, load_yaml_text, read_document
from engine.meter import metered
from engine.progress import EventLog, Reporter
from engine.storage import Folder

if TYPE_CHECKING:
    from trainers.launch import Prepared
    from trainers.settings import TrainingSettings

TRAINERS: dict[str, tuple[str, str]] = {
    "sft": ("trainers.fine_tuning", "FineTuningSettings"),
    "pm": ("trainers.preference_model", "PreferenceModelSettings"),
    "rl": ("trainers.reinforcement", "ReinforcementSettings"),
    "dpo": ("trainers.direct_preference", "DirectPreferenceSettings"),
}
"""Kind of training: its module (see trainers.launch.Task) and its settings' class."""

SETTINGS = "settings.yaml"
PREPARED = "data/prepared.json"
TRAINING = "training"
"""What a training's events call the work itself."""
PLACE_KEYS = ("output", "launch", "report_to", "checkpoints")
"""Settings that do not change what comes out: a resumed training may change them."""


@dataclass(frozen=True)
class Trained:
    """How a training ended."""

    folder: Folder
    model: str
    steps: int
    figures: dict[str, float]
    prepared: Prepared


def settings_class(kind: str) -> type[TrainingSettings]:
    """The class of a kind's settings."""
    module, name = TRAINERS[kind]
    found: type[TrainingSettings] = getattr(importlib.import_module(module), name)
    return found


def run_folder(settings: TrainingSettings) -> Folder:
    """Where a training writes."""
    return Folder(settings.output or f"runs/{settings.name}")


def execute_training(kind: str, settings: TrainingSettings, *, resume: bool = False, command: str = "") -> Trained:
    """Trains to the end, or what is left of it.

    Raises BadInput before anything is loaded or written; CharterError where it stops and can be resumed;
    KeyboardInterrupt on Ctrl-C or SIGTERM, with a checkpoint on disk.
    """
    from trainers.launch import gpus_of, launch, task_of

    folder = run_folder(settings)
    check_training(kind, settings)
    _check_folder(kind, settings, folder, resume=resume)
    task = task_of(TRAINERS[kind][0])
    with locked(folder):
        events = EventLog(folder)
        reporter = Reporter(events)
        _freeze(kind, settings, folder, command)
        prepared = _prepared(task, settings, folder, reporter)
        reporter.say(_rows_line(prepared))
        events.write("training_started", kind=kind)
        place, is_here = Path(folder.path()), settings.launch.address is None
        with (
            following(place / "metrics.jsonl", events),
            metered(folder, TRAINING, gpus_of(settings.launch), here=is_here),
        ):
            outcome = launch(TRAINERS[kind][0], settings, place)
        events.write("training_ended", kind=kind, steps=outcome.steps)
        manifest = folder.read_json("manifest.json") | {
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "data": asdict(prepared),
            "steps": outcome.steps,
            "figures": dict(outcome.figures),
        }
        folder.write_json("manifest.json", manifest)
        folder.write("README.md", training_card(kind, settings, manifest).encode())
    return Trained(folder, outcome.model, outcome.steps, dict(outcome.figures), prepared)


def check_training(kind: str, settings: TrainingSettings) -> None:
    """Raises BadInput with everything that can be seen without loading weights or writing a file."""
    from trainers.launch import check_launch, task_of

    folder = run_folder(settings)
    check_output(folder)
    if not folder.is_local:
        message = "a training writes checkpoints, and needs a folder that every worker sees as a path"
        raise BadInput(Fault(message, where=f"output {folder.location}", hint="name a folder with --output"))
    check_launch(settings)
    if not folder.exists(PREPARED):  # what is prepared is frozen, whatever became of the files
        task_of(TRAINERS[kind][0]).check(settings)


def _check_folder(kind: str, settings: TrainingSettings, folder: Folder, *, resume: bool) -> None:
    """Raises BadInput where the folder holds something that this training would damage or mix with."""
    where = f"run folder {folder.location}"
    if not folder.exists(SETTINGS):
        strangers = [name for name in folder.names() if not name.startswith(".")]
        if strangers:
            message = f"it holds {strangers[0]!r} and is no training's folder"
            raise BadInput(Fault(message, where=where, hint="name an empty or new folder with --output"))
        return
    if not resume:
        hint = "go on with --resume, or name another folder with --output"
        raise BadInput(Fault("there is a training in it already", where=where, hint=hint))
    manifest = folder.read_json("manifest.json")
    changes = [f"the kind of training: {manifest['kind']} -> {kind}"] if manifest["kind"] != kind else []
    if not changes:
        old = load_yaml_text(folder.read(SETTINGS).decode(), type(settings), f"{folder.location}/{SETTINGS}")
        changed = changed_keys(old, settings)
        changes = [line for key, line in changed.items() if key.partition(".")[0] not in PLACE_KEYS]
        revision = _model_revision(settings)
        if not changes and manifest["model"]["revision"] != revision:
            changes = [f"the weights of {settings.model}: {manifest['model']['revision']} -> {revision}"]
    if changes:
        message = "it belongs to another training:\n  " + "\n  ".join(changes)
        hint = "train with the settings it was started with, or name another folder with --output"
        raise BadInput(Fault(message, where=where, hint=hint))


def _model_revision(settings: TrainingSettings) -> str:
    from engine.backends.folder import weights_folder

    return weights_folder(settings.spec)[1]


def _freeze(kind: str, settings: TrainingSettings, folder: Folder, command: str) -> None:
    if folder.exists(SETTINGS):
        return
    folder.write_json(
        "manifest.json",
        {
            "kind": kind,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command,
            "settings_hash": content_hash(json.loads(settings.model_dump_json())),
            "model": {"name": settings.model, "revision": _model_revision(settings)},
            "seed": settings.seed,
            "versions": versions(),
        },
    )
    folder.write(SETTINGS, frozen(settings).encode())  # last: its presence makes this a training's folder


def _prepared(task: Any, settings: TrainingSettings, folder: Folder, reporter: Reporter) -> Prepared:
    from trainers.launch import Prepared

    if not folder.exists(PREPARED):
        try:
            prepared = task.prepare(settings, folder, reporter.say)
        except BadInput:
            if not folder.exists("answers"):  # nothing was made: the folder is free for the next try
                for name in (SETTINGS, "manifest.json", "data"):
                    folder.delete(name)
            raise
        folder.write_json(PREPARED, asdict(prepared))
    return Prepared(**folder.read_json(PREPARED))


def _rows_line(prepared: Prepared) -> str:
    made = ", ".join(f"{count:,} {kind}" for kind, count in prepared.rows.items())
    left = ", ".join(f"{count:,} {reason}" for reason, count in prepared.left_out.items() if count)
    noted = "".join(f"; {count:,} {name}" for name, count in prepared.facts.items())
    return f"rows: {made}; left out: {left or 'none'}{noted}; {prepared.tokens:,} tokens a pass"


def resume_hint(folder: Folder) -> None:
    """Tells how to go on, on standard error."""
    print(f"what is done is in {folder.location}; go on with the same command and --resume", file=sys.stderr)


def read_settings(kind: str, path: str | None, typed: Mapping[str, str]) -> TrainingSettings:
    """The settings of a file, or none, after flags and `--set`. Raises BadInput.

    Without a file and a name, the training is called after its kind and the model.
    """
    document = read_document(path, typed) if path else Document("", data={})
    if not path:
        for key, value in typed.items():
            document.override(key, value)
        assert isinstance(document.data, dict)
        document.data.setdefault("name", f"{kind}-{Path(str(document.data.get('model', 'model'))).name}")
    return document.validate(settings_class(kind))
