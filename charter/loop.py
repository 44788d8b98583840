"""The whole loop, or any part of it, in one file: steps that feed each other.

    steps:
      revisions: {run: {prompts: …, revise: …}}                   step:revisions ─► runs/<name>/steps/revisions
      sl_cai:    {sft: {model: …, revisions: {run: step:revisions}}}     step:sl_cai ─► runs/<name>/steps/sl_cai
      labels:    {run: {models: {policy: {model: step:sl_cai}}, compare: …}}

A step holds exactly what the command of its kind takes (`charter run`, `charter train sft`, `charter evaluate`), so it
can be cut out and run alone. `step:NAME` anywhere in it stands for the run folder of an earlier step; a training's is
taken wherever a model is. Steps are made in the order of the file; one that is done is kept, one that was stopped goes
on. At the end everything is told in one report.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from charter import evaluating, run, training
from charter.locking import locked
from charter.recipe import Recipe, check_output, check_recipe, frozen, recipe_of
from charter.reporting import write_report
from charter.reuse import has_pairs
from constitution import BadInput, Fault, content_hash, load_constitution
from constitution.faults import did_you_mean
from constitution.yaml_files import Document
from engine.inputs import check_prompts
from engine.progress import EventLog, Reporter
from engine.settings import Settings
from engine.storage import Folder
from evaluation.policies import EvaluationSettings
from evaluation.report.content import Report

REFERENCE = "step:"
LOOP = "loop.json"
REPLACED = "replaced"
"""Where steps are moved that are made again: nothing that was made is deleted."""


StepName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Loop(Settings):
    """Steps that feed each other, made one after another."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """What the loop is called; its folder is `runs/<name>` unless `output` says otherwise."""
    seed: int = 0
    """The seed of every step that names none."""
    output: str | None = None
    """The folder of the loop: a path."""
    steps: dict[StepName, dict[str, Any]] = Field(min_length=1)
    """Name: {kind: what the command of that kind takes}. A step's folder is called after it."""

    @property
    def folder(self) -> Folder:
        """Where everything lands."""
        return Folder(self.output or f"runs/{self.name}")


@dataclass(frozen=True)
class Step:
    """One step, ready to be made."""

    name: str
    kind: str
    settings: Any
    """A Recipe, or the settings of a training or an evaluation."""
    uses: tuple[str, ...]
    """The earlier steps that it names."""
    key: str
    """Hashes everything that decides what comes out of it, the steps that it uses included."""
    folder: Folder


def is_loop(document: Document) -> bool:
    """Whether a file describes steps, and not one run."""
    return isinstance(document.data, dict) and "steps" in document.data


def loop_of(document: Document) -> Loop:
    """The loop that a document describes. Raises BadInput."""
    return document.validate(Loop)


def steps_of(loop: Loop, document: Document) -> list[Step]:
    """The steps in their order, each validated by the settings of its kind.

    Raises BadInput with every fault of every step, at its place in the file.
    """
    faults: list[Fault] = []
    steps: dict[str, Step] = {}
    for place, name in enumerate(loop.steps):
        try:
            steps[name] = _step(loop, document, name, list(loop.steps)[:place], steps)
        except BadInput as error:
            faults += error.faults
    if faults:
        raise BadInput(faults)
    return list(steps.values())


def _step(loop: Loop, document: Document, name: str, earlier: Sequence[str], made: Mapping[str, Step]) -> Step:
    """One step. `made` are those of the earlier ones in which nothing is wrong."""
    kind = _kind(loop, document, name)
    part = document.part(("steps", name, kind))
    if not isinstance(part.data, dict):
        raise BadInput(part.fault((), f"it must hold what `{KINDS[kind].command}` takes"))
    uses: list[str] = []

    def resolved(value: Any, location: tuple[str | int, ...]) -> Any:
        """The value with every `step:NAME` replaced by that step's folder."""
        if isinstance(value, dict):
            return {key: resolved(inner, (*location, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [resolved(inner, (*location, at)) for at, inner in enumerate(value)]
        if not isinstance(value, str) or not value.startswith(REFERENCE):
            return value
        used = value.removeprefix(REFERENCE)
        if used not in earlier:
            hint = did_you_mean(used, earlier) if earlier else "the first step has none before it"
            raise BadInput(part.fault(location, f"there is no earlier step '{used}'", hint))
        uses.append(used)
        return _folder(loop, used).location

    given = resolved(part.data, ())
    part.data = {"name": name, "seed": loop.seed, **given, "output": _folder(loop, name).location}
    settings = KINDS[kind].read(part)
    keys = [made[used].key for used in uses if used in made]
    key = content_hash([kind, loop.seed, given, keys, KINDS[kind].texts(settings)])
    return Step(name, kind, settings, tuple(dict.fromkeys(uses)), key, _folder(loop, name))


def _kind(loop: Loop, document: Document, name: str) -> str:
    kinds = list(loop.steps[name])
    if len(kinds) == 1 and kinds[0] in KINDS:
        return kinds[0]
    hint = (did_you_mean(kinds[0], KINDS) if kinds else "") or f"write one of {', '.join(KINDS)}"
    raise BadInput(document.fault(("steps", name), f"a step is one of {', '.join(KINDS)}", hint))


def _folder(loop: Loop, name: str) -> Folder:
    return loop.folder.child(f"steps/{name}")


# Kinds of steps -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """How steps of one kind are read, checked and made."""

    command: str
    read: Callable[[Document], Any]
    texts: Callable[[Any], list[str]]
    """Hashes of files that decide what comes out, beside the settings."""
    check: Callable[[Any], None]
    make: Callable[..., int]
    """(settings, resume=…, command=…) ► exit status."""


def _recipe_texts(recipe: Recipe) -> list[str]:
    return [load_constitution(recipe.constitution).hash, *sorted(recipe.prompt_set().hashes.values())]


def _evaluation_texts(settings: EvaluationSettings) -> list[str]:
    constitutions = evaluating.load_constitutions(settings)
    return [
        *(each.hash for each in constitutions.values()),
        *sorted(evaluating.prompt_set(settings).hashes.values()),
    ]


def _check_run(recipe: Recipe) -> None:
    check_recipe(recipe)
    check_prompts(recipe.prompts)


def _run(recipe: Recipe, *, resume: bool, command: str) -> int:
    return run.execute(recipe, resume=resume, command=command).exit_status


def _training(kind: str) -> Kind:
    def check(settings: Any) -> None:
        training.check_training(kind, settings)

    def make(settings: Any, *, resume: bool, command: str) -> int:
        training.execute_training(kind, settings, resume=resume, command=command)
        return 0

    def read(document: Document) -> Any:
        return document.validate(training.settings_class(kind))

    return Kind(
        command=f"charter train {kind}",
        read=read,
        texts=lambda settings: [],
        check=check,
        make=make,
    )


KINDS: dict[str, Kind] = {
    "run": Kind(
        command="charter run",
        read=recipe_of,
        texts=_recipe_texts,
        check=_check_run,
        make=_run,
    ),
    **{kind: _training(kind) for kind in training.TRAINERS},
    "evaluate": Kind(
        command="charter evaluate",
        read=lambda document: document.validate(EvaluationSettings),
        texts=_evaluation_texts,
        check=evaluating.check_evaluation,
        make=evaluating.evaluate,
    ),
}

# Making them ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """How a loop ended."""

    folder: Folder
    steps: tuple[Step, ...]
    set_aside: tuple[str, ...]
    """Steps that set rows aside."""
    report: Report

    @property
    def exit_status(self) -> int:
        """0, or 3 where rows were set aside."""
        return run.SET_ASIDE_STATUS if self.set_aside else 0


def check_loop(loop: Loop, steps: Sequence[Step]) -> None:
    """Everything that can be wrong and be seen now. Steps that use others are checked again when those are made.

    Raises BadInput with the faults of all steps.
    """
    faults: list[Fault] = []
    for step in steps:
        if all(_is_made(loop, next(other for other in steps if other.name == used)) for used in step.uses):
            try:
                KINDS[step.kind].check(step.settings)
            except BadInput as error:
                faults += [replace(fault, where=_within(step, fault.where)) for fault in error.faults]
    if faults:
        raise BadInput(list(dict.fromkeys(faults)))  # one model may be looked at several times
    check_output(loop.folder)


def _within(step: Step, where: str) -> str:
    return f"step {step.name}: {where}" if where else f"step {step.name}"


def make_loop(loop: Loop, steps: Sequence[Step], *, resume: bool, again: bool, command: str) -> Made:
    """Makes the steps that are not made yet.

    With `again`, steps that changed since they were made, and those that use them, are moved aside and made again.
    Raises BadInput before anything is made; CharterError where a step stops and can be resumed.
    """
    check_loop(loop, steps)
    changed = _changed(loop, steps)
    _check_folder(loop, changed, resume=resume or again, again=again)
    set_aside = []
    with locked(loop.folder):
        reporter = Reporter(EventLog(loop.folder))
        _note(loop, steps, command, changed)
        for number, step in enumerate(_reusing(loop, steps), start=1):
            said = f"step {number} of {len(steps)}, {step.name}"
            if _is_made(loop, step):
                reporter.say(f"{said}: made before")
                continue
            reporter.say(f"{said}: {KINDS[step.kind].command}")
            KINDS[step.kind].check(step.settings)
            if KINDS[step.kind].make(step.settings, resume=step.folder.exists(), command=command) != 0:
                set_aside.append(step.name)
            _note_made(loop, step)
        report = write_report(loop.folder)
    return Made(loop.folder, tuple(steps), tuple(set_aside), report)


def _reusing(loop: Loop, steps: Sequence[Step]) -> Iterator[Step]:
    """The steps; comparisons that are made again take over the answers and votes that nothing touched."""
    for step in steps:
        recipe = step.settings
        if (
            (name := _noted(loop, step)["replaced"])
            and isinstance(recipe, Recipe)
            and recipe.compare
            and recipe.compare.reuse is None
            and has_pairs(replaced := loop.folder.child(name))
        ):
            compare = recipe.compare.model_copy(update={"reuse": replaced.location})
            yield replace(step, settings=recipe.model_copy(update={"compare": compare}))
        else:
            yield step


def _noted(loop: Loop, step: Step) -> dict[str, Any]:
    """What loop.json says of a step."""
    found: dict[str, Any] = next(each for each in _state(loop)["steps"] if each["name"] == step.name)
    return found


def _state(loop: Loop) -> dict[str, Any]:
    found: dict[str, Any] = loop.folder.read_json(LOOP) if loop.folder.exists(LOOP) else {}
    return found


def _is_made(loop: Loop, step: Step) -> bool:
    noted = next((each for each in _state(loop).get("steps", ()) if each["name"] == step.name), None)
    return noted is not None and noted["key"] == step.key and noted["made"] is not None


def _changed(loop: Loop, steps: Sequence[Step]) -> list[str]:
    """The names of steps that were begun as something else than they are now."""
    begun = {each["name"]: each["key"] for each in _state(loop).get("steps", ())}
    return [step.name for step in steps if begun.get(step.name, step.key) != step.key and step.folder.exists()]


def _check_folder(loop: Loop, changed: Sequence[str], *, resume: bool, again: bool) -> None:
    where = f"folder {loop.folder.location}"
    strangers = [name for name in loop.folder.names() if not name.startswith(".")]
    if not loop.folder.exists(LOOP):
        if strangers:
            hint = "name an empty or new folder with --output"
            raise BadInput(Fault(f"it holds {strangers[0]!r} and no loop", where=where, hint=hint))
        return
    if not resume:
        hint = "go on with --resume, or name another folder with --output"
        raise BadInput(Fault("there is a loop in it already", where=where, hint=hint))
    if changed and not again:
        message = f"these steps changed since they were made, or use one that did: {', '.join(changed)}"
        hint = f"--again moves them to {REPLACED}/ and makes them again; --output begins another loop"
        raise BadInput(Fault(message, where=where, hint=hint))


def _note(loop: Loop, steps: Sequence[Step], command: str, changed: Sequence[str]) -> None:
    """Writes down what is about to be made, and moves aside what is made again."""
    state = _state(loop)
    before = {each["name"]: each for each in state.get("steps", ())}
    replaced = {name: each["replaced"] for name, each in before.items()}
    for name in changed:
        replaced[name] = _free(loop.folder, f"{REPLACED}/{name}")
        loop.folder.move(f"steps/{name}", replaced[name])
        del before[name]
    noted = [
        {
            "name": step.name,
            "kind": step.kind,
            "folder": f"steps/{step.name}",
            "uses": list(step.uses),
            "key": step.key,
            "made": before.get(step.name, {}).get("made"),
            "replaced": replaced.get(step.name),
        }
        for step in steps
    ]
    begun = state.get("created") or datetime.now(UTC).isoformat(timespec="seconds")
    loop.folder.write("loop.yaml", frozen(loop).encode())
    loop.folder.write_json(LOOP, {"name": loop.name, "created": begun, "command": command, "steps": noted})


def _free(folder: Folder, name: str) -> str:
    """The name with the first number that is not taken."""
    return next(f"{name}-{number}" for number in itertools.count(1) if not folder.exists(f"{name}-{number}"))


def _note_made(loop: Loop, step: Step) -> None:
    state = _state(loop)
    for each in state["steps"]:
        if each["name"] == step.name:
            each["made"] = datetime.now(UTC).isoformat(timespec="seconds")
    loop.folder.write_json(LOOP, state)
