"""`charter estimate`: what a recipe takes on a number of GPUs of a kind, before anything is loaded.

    recipe ─► rows (charter/known_sizes.py) ─► calls and tokens (charter/expected_calls.py) ┐
    GPU kind, model sizes ─► rates (charter/gpus.py) ────────────────────────────────────────┴─► time, GPU hours, money

Unlike `--dry-run` (charter/estimate.py) it needs no model and no GPU. Calls and prompt layouts are exact; lengths and
rates are assumed, unless a finished run gives them (`--measured`). Stages run one after another, as they do in a run.

A data stage takes: engines' start + the slowest of (engines + tail, driver, workers, storage) + sealing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from charter.estimate_lines import Line, Machine, Open, rows_missing, size_missing
from charter.expected_calls import (
    CHARACTERS_A_TOKEN,
    Asked,
    asked_a_prompt,
    calibrated,
    counting_models,
    judging_calls,
    rows_of,
)
from charter.gpus import SEQUENCES, Rates, expected_rates
from charter.known_sizes import Prompts, Sizes, mixed, pairs_a_prompt, prompts_of, step_folder
from charter.loop import Step
from charter.recipe import Recipe
from charter.run import STAGES, plan_of, stages_of
from charter.training_estimate import training_line
from constitution.faults import BadInput, Fault
from constitution.loading import load_constitution
from engine.backends.spec import ModelSpec, Price
from engine.cost import Usage
from engine.hosting import has_engine
from engine.settings import SampleSettings, StageSettings
from engine.stages import rows_an_order
from engine.storage import Folder
from evaluation.policies import (
    EvaluationSettings,
    answer_stage,
    sample_settings,
)

# The driver's are measured; the others are set near one measurement of benchmarks/row_cost.py on a loaded machine
# (docs/scaling.md).
DRIVER_SECONDS_AN_ORDER, DRIVER_SECONDS_A_ROW = 5e-3, 0.09e-3
"""Processor time of the driver while a stage runs."""
SEALING_SECONDS_A_ROW = 0.25e-3
"""Processor time of the driver to put a row in order when a stage ends."""
WORKER_SECONDS_A_CALL = 0.1e-3
"""Processor time of a worker for a call, beside its engine."""
BYTES_A_CALL, BYTES_A_TOKEN = 70, 2
"""On disk, compressed: what is kept of a call beside its text, and the text."""

TAIL_SHARE = 0.9
"""Of the time of a row, lost at the end of a stage: simulated with benchmarks/scaling_simulation.py."""
STORAGE_BYTES_A_SECOND = 100e6
ANSWER_TOKENS = 200
"""Of a training row where nothing says how long answers are."""


@dataclass
class ClusterEstimate:
    """Estimates of the steps of a recipe, in their order."""

    machine: Machine
    sizes: Sizes
    rows: Mapping[str, int]
    """Rows of steps that the user gave."""
    measured: Folder | None = None
    """A finished run, or a loop of them."""
    answer_tokens: dict[str, float] = field(default_factory=dict)
    """By the folder of a step that answered prompts."""

    def lines(self, steps: Sequence[Step]) -> Iterator[Line | Open]:
        """A line for each stage and training."""
        for step in steps:
            if isinstance(step.settings, Recipe):
                yield from self._run(step.name, step.settings)
            elif step.kind == "evaluate":
                yield from self._evaluation(step.name, step.settings)
            else:
                yield from self._training(step)

    # Data ---------------------------------------------------------------------------------------------------------

    def _prompts(self, step: str, sources: Sequence[Any], limit: int | None) -> Prompts:
        found = prompts_of(sources, limit, self.machine.prompt_tokens, CHARACTERS_A_TOKEN)
        return Prompts(self.rows.get(step, found.count), found.some)

    def _run(self, step: str, recipe: Recipe) -> Iterator[Line | Open]:
        prompts = self._prompts(step, recipe.prompts, recipe.limit)
        folder = step_folder(recipe)
        self.sizes.prompts_of[folder] = prompts.count
        self.sizes.pairs_of[folder] = None if prompts.count is None else prompts.count * pairs_a_prompt(recipe)
        constitution, asking = load_constitution(recipe.constitution), recipe.prompt_set()
        for stage, settings in stages_of(recipe).items():
            plan = plan_of(recipe, stage, constitution, asking)
            counting = counting_models(plan.models.values(), self.machine.answer_share)
            chain = plan.chain({role: counting[spec.model] for role, spec in plan.models.items()})
            asked = asked_a_prompt(rows_of(chain, prompts.some), STAGES[stage][0])
            asked, measured = self._calibrated(step, stage, asked, settings)
            answers = [each.completion_tokens / each.calls for each in asked if each.step in ("respond", "revise")]
            self.answer_tokens[folder] = answers[-1]
            if prompts.count is None:
                yield rows_missing(step, stage)
                continue
            parallel = recipe.compare.samples if stage == "03_compare" and recipe.compare else 1
            specs = [plan.own_model, *(spec for spec in plan.models.values() if spec != plan.own_model)]
            yield self._stage(step, stage, prompts.count, asked, _distinct(specs), parallel, measured=measured)

    def _calibrated(self, step: str, stage: str, asked: list[Asked], settings: Any) -> tuple[list[Asked], bool]:
        """The calls with the tokens of the measured run, where it has the stage."""
        run = _measured_run(self.measured, step)
        bill = run.read_json("cost.json").get(stage) if run else None
        if run is None or bill is None:
            return asked, False
        from charter.run import frozen_recipe

        before = stages_of(frozen_recipe(run))[stage]
        prompts = int(run.read_json("manifest.json")["stages"][stage]["items"])
        return calibrated(asked, bill, prompts, same_settings=before == settings), True

    def _stage(
        self,
        step: str,
        stage: str,
        rows: int,
        asked: Sequence[Asked],
        specs: Sequence[ModelSpec],
        parallel: int,
        *,
        measured: bool = False,
    ) -> Line | Open:
        """One data stage. `specs` are its models, that of the workers first; answers to a prompt run `parallel`."""
        caching = {spec.model for spec in specs if spec.backend != "transformers"}
        asked = [each if each.model in caching else replace(each, cached_tokens=0.0) for each in asked]
        total = {
            name: rows * sum(getattr(each, name) for each in asked)
            for name in ("calls", "prompt_tokens", "cached_tokens", "completion_tokens")
        }
        prices = {spec.model: spec.price for spec in specs}
        money = sum(_money(each, prices.get(each.model)) * rows for each in asked)
        engines = [spec for spec in specs if has_engine(spec)]
        rates: dict[str, Rates] = {}
        for spec in engines:
            found = self._rates(spec)
            if found is None:
                return size_missing(step, stage, spec.model)
            rates[spec.model] = found
        known = {"step": step, "work": stage, "rows": rows, "token_money": money, "measured": measured, **total}
        if len(engines) < len(specs):
            return Line(**known, note="a server's speed is not known")
        work = {spec.model: rows * _engine_seconds(asked, spec, rates[spec.model]) for spec in engines}
        copies = _copies(engines, work, self.machine)
        if copies is None:
            need = sum(_gpus_a_copy(spec) for spec in engines)
            return Open(step, stage, f"a copy of each model takes {need:g} GPUs")
        held = {spec.model: copies[spec.model] * _gpus_a_copy(spec) for spec in engines}
        engine = max(work[model] / held[model] for model in work)
        workers = copies[engines[0].model]
        written = total["calls"] * BYTES_A_CALL + total["completion_tokens"] * BYTES_A_TOKEN
        orders = rows / rows_an_order(rows, StageSettings().rows_per_batch, workers)
        competing = {
            "engines": engine,
            "driver": orders * DRIVER_SECONDS_AN_ORDER + rows * DRIVER_SECONDS_A_ROW,
            "workers": total["calls"] * WORKER_SECONDS_A_CALL / workers,
            "storage": written / STORAGE_BYTES_A_SECOND,
        }
        slowest = max(competing, key=lambda name: competing[name])
        parts = {
            "start": self.machine.start,
            slowest: competing[slowest],
            # A row takes as long as the batch it is in; at the end of a stage the batches run empty.
            "tail of rounds": TAIL_SHARE * min(SEQUENCES / parallel, rows / workers) * engine * workers / rows,
            "sealing": rows * SEALING_SECONDS_A_ROW,
        }
        return Line(
            **known, gpus=sum(held.values()), parts=parts, note=_idle(sum(held.values()), self.machine, engines)
        )

    def _rates(self, spec: ModelSpec) -> Rates | None:
        base = self.sizes.base_of(spec.model)
        if base in self.machine.rates:
            return self.machine.rates[base]
        parameters = self.sizes.parameters_of(spec.model)
        if parameters is None:
            return None
        sequences = spec.batch_size if spec.backend == "transformers" else SEQUENCES
        return expected_rates(self.machine.gpu, parameters, sequences)

    # Trainings ----------------------------------------------------------------------------------------------------

    def _training(self, step: Step) -> Iterator[Line | Open]:
        settings = step.settings
        self.sizes.made_of[step_folder(settings)] = settings.model
        parameters = self.sizes.parameters_of(settings.model)
        if parameters is None:
            yield size_missing(step.name, "training", settings.model)
            return
        rows, answer = self.rows.get(step.name), float(ANSWER_TOKENS)
        if step.kind == "sft":
            answering, learnt = self._answers(step.name, settings)
            yield from answering
            rows = learnt if rows is None else rows
            answer = self.answer_tokens.get(settings.revisions.run, answer) if settings.revisions else answer
        elif step.kind == "rl":
            answer = settings.sampling.max_tokens * self.machine.answer_share
            parts = [(self._prompts("", part.sources, None).count, part.share) for part in settings.prompts.values()]
            rows = mixed(*zip(*parts, strict=True)) if rows is None else rows
        else:
            counts = [self.sizes.pairs(each.path, each.limit) for each in settings.data]
            rows = mixed(counts, [each.share for each in settings.data]) if rows is None else rows
            answer = next((self.answer_tokens[e.path] for e in settings.data if e.path in self.answer_tokens), answer)
        if rows is None and settings.optimization.max_steps is None:
            yield rows_missing(step.name, "training")
            return
        others = {name: self.sizes.parameters_of(name) for name in settings.held_models}
        yield training_line(step.name, step.kind, settings, parameters, others, rows or 0, answer, self.machine)

    def _answers(self, step: str, settings: Any) -> tuple[list[Line | Open], int | None]:
        """What the policy answers before it is trained, and how many rows it is trained on."""
        lines: list[Line | Open] = []

        def answers(source: Any, count: int | None, samples: int) -> int | None:
            if count is None:
                return None
            how = SampleSettings(samples=samples, respond=source.respond)
            lines.append(self._sampled(step, settings.sampler.spec(settings.spec), count, how))
            return count

        learnt: list[int | None] = []
        if settings.revisions:
            learnt.append(self.sizes.prompts_of.get(settings.revisions.run))
        if settings.demonstrations:
            learnt.append(self._prompts("", settings.demonstrations, None).count)
        for source in (settings.distillation, settings.rejection_sampling):
            if source:
                count = answers(source, self._prompts("", source.prompts, None).count, source.samples)
                learnt.append(count)
        others = None if None in learnt else sum(each or 0 for each in learnt)
        if settings.helpful is None:
            return lines, others
        return lines, self._with_helpful(settings.helpful, others, answers)

    def _with_helpful(
        self, helpful: Any, others: int | None, answers: Callable[[Any, int | None, int], int | None]
    ) -> int | None:
        """Rows with the helpful ones that are mixed in. Where it is not known how many prompts there are to answer,
        those are answered that the ratio asks for."""
        wanted: int | None = None if helpful.ratio is None or others is None else round(helpful.ratio * others)
        found = self._prompts("", helpful.answers, None).count if helpful.answers else 0
        if helpful.sampled:
            source = helpful.sampled
            prompts = self._prompts("", source.prompts, None).count
            if prompts is None and wanted is not None:
                prompts = math.ceil(wanted / source.samples)
            answered = answers(source, prompts, source.samples)
            found = None if answered is None or found is None else found + answered * int(source.samples)
        if others is None:
            return None
        if wanted is None:
            return None if found is None else others + found
        return others + (wanted if found is None else min(wanted, found))

    def _sampled(
        self, step: str, spec: ModelSpec, prompts: int, how: SampleSettings, work: str = "answers"
    ) -> Line | Open:
        """Answers to prompts, each drawn several times."""
        tokens, samples = self.machine.prompt_tokens, how.samples
        asked = Asked(
            step="respond",
            model=spec.model,
            calls=samples,
            prompt_tokens=tokens * samples,
            cached_tokens=tokens * (samples - 1),
            completion_tokens=how.respond.max_tokens * self.machine.answer_share * samples,
        )
        return self._stage(step, work, prompts, [asked], [spec], samples)

    # Evaluations --------------------------------------------------------------------------------------------------

    def _evaluation(self, step: str, settings: EvaluationSettings) -> Iterator[Line | Open]:
        """Answers of every policy, then what the judge is asked of them. Robustness under stress is left out."""
        prompts = self._prompts(step, settings.prompts, settings.limit)
        if prompts.count is None:
            yield rows_missing(step, "evaluation")
            return
        for name, spec in settings.policies.items():
            for temperature in settings.temperatures:
                how = sample_settings(settings, temperature)
                yield self._sampled(step, spec, prompts.count, how, answer_stage(name, temperature))
        judge = settings.model_that_judges
        if judge is None:
            return
        answers = len(settings.policies) * len(settings.temperatures)
        asked = judging_calls(settings, prompts.some, self.machine.answer_share)
        for stage, each in asked.items():
            if each:
                yield self._stage(step, stage, prompts.count, each, [judge], answers)


# Arithmetic -----------------------------------------------------------------------------------------------------------


def _engine_seconds(asked: Sequence[Asked], spec: ModelSpec, rates: Rates) -> float:
    """GPU seconds of a model for a prompt."""
    return sum(
        (each.prompt_tokens - each.cached_tokens) / rates.prefill + each.completion_tokens / rates.decode
        for each in asked
        if each.model == spec.model
    )


def _gpus_a_copy(spec: ModelSpec) -> float:
    return spec.tensor_parallel if spec.gpus is None else spec.gpus


def _copies(engines: Sequence[ModelSpec], work: Mapping[str, float], machine: Machine) -> dict[str, int] | None:
    """Copies of each model, the workers' first; None where there is no room for one of each.

    As the recipe says, models outside the workers take theirs first, as in a run. Filled, GPUs are shared out by work.
    """
    each = {spec.model: _gpus_a_copy(spec) or 1.0 for spec in engines}
    if sum(each.values()) > machine.gpus:
        return None
    if machine.fill:
        total = sum(work.values()) or 1.0
        return {name: max(1, int(machine.gpus * work[name] / total / each[name])) for name in each}
    found, left = {}, float(machine.gpus)
    for spec in [*engines[1:], engines[0]]:
        most = spec.replicas if isinstance(spec.replicas, int) else spec.replicas[1]
        found[spec.model] = max(1, min(most, int(left / each[spec.model])))
        left -= found[spec.model] * each[spec.model]
    return None if left < 0 else found


def _idle(held: float, machine: Machine, engines: Sequence[ModelSpec]) -> str:
    if held >= machine.gpus - max(_gpus_a_copy(spec) for spec in engines) + 1:
        return ""
    return f"{held:g} of {machine.gpus} GPUs: replicas"


def _money(asked: Asked, price: Price | None) -> float:
    if price is None:
        return 0.0
    usage = Usage(0, round(asked.prompt_tokens), round(asked.cached_tokens), round(asked.completion_tokens))
    return usage.money(price) or 0.0


def _distinct(specs: Sequence[ModelSpec]) -> list[ModelSpec]:
    return [spec for place, spec in enumerate(specs) if spec not in specs[:place]]


def _measured_run(measured: Folder | None, step: str) -> Folder | None:
    """The run folder with a step's bill: the step's own in a loop's folder, or the folder that was given."""
    if measured is None:
        return None
    own = measured.child(f"steps/{step}")
    found = own if own.exists("cost.json") else measured
    return found if found.exists("cost.json") and found.exists("recipe.yaml") else None


def check_measured(measured: Folder) -> None:
    """Raises BadInput where the folder holds no finished run."""
    if not measured.exists("cost.json") and not measured.exists("loop.json"):
        hint = "name the folder of a run that ended, or of a loop"
        raise BadInput(Fault("there is no finished run in it", where=f"--measured {measured.location}", hint=hint))
