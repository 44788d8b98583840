"""What a run folder holds, gathered into a report: of one run, one training, one evaluation, or a whole loop.

    loop.json ─► steps/NAME/ ─► Step: kind, folder ─► what each kind leaves behind ─► Report ─► report.html, report.json

Nothing is asked of a model here. In the sandbox the oracle judges revisions and labels, since it costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from pydantic import TypeAdapter

from charter import oracle_judge
from charter.oracle_judge import SandboxOracle
from charter.report_costs import costs_of
from charter.report_logs import log_lines
from charter.report_parts import ASKING, Part, drawn_steps, is_sandbox, name_of, parts_of, set_aside, short_name
from charter.report_provenance import provenance_of
from charter.run import prompts_store, stage_store
from constitution import BadInput, Fault
from engine.records import Comparison, Prompt, RevisedRow, from_row
from engine.storage import Folder
from evaluation import transcripts
from evaluation.answer_sets import watched_steps
from evaluation.calibration import Calibration, calibration
from evaluation.data_figures import labels_of, revisions_of
from evaluation.estimates import Estimate
from evaluation.policies import judged_answers
from evaluation.policy_figures import drift_of
from evaluation.report.content import (
    Bin,
    Curve,
    Drift,
    Evaluation,
    Labels,
    PreferenceModel,
    Report,
    Revisions,
    Selection,
    Training,
)
from evaluation.report.figures import figures
from evaluation.report.page import render
from evaluation.scorecard import Cell, Scorecard

PAGE, FIGURES = "report.html", "report.json"
CURVES = {
    "loss": "loss",
    "reward": "reward",
    "judge": "score of the judge that is not in the reward",
    "kl": "KL to the initial policy",
    "distinct": "distinct phrases",
    "phrase_share": "share of the most frequent phrase",
}
"""What of a training's log is drawn, and what it is called."""
FEWEST_POINTS = 3
STEPS_SHOWN = 4
"""Of a watched training, in the table of drift."""


def write_report(folder: Folder) -> Report:
    """Writes `report.html` and `report.json` into the folder of a run, a training, an evaluation or a loop.

    Raises BadInput where the folder is none of these, or nothing in it is finished.
    """
    report = gather(folder)
    folder.write_json(FIGURES, figures(report))
    folder.write(PAGE, render(report).encode())
    return report


def gather(folder: Folder) -> Report:
    """Everything that a folder holds. Raises BadInput as `write_report` does."""
    parts = [part for part in parts_of(folder) if part.is_finished]
    if not parts:
        hint = "go on with the run's command and --resume"
        raise BadInput(Fault("nothing in it is finished", where=f"run folder {folder.location}", hint=hint))
    sandbox = is_sandbox(parts)
    runs = [part for part in parts if part.kind == "run"]
    trained = [part for part in parts if part.kind not in ASKING]
    evaluated = [part for part in parts if part.kind == "evaluate"]
    evaluation = _evaluation(evaluated[-1]) if evaluated else None
    labels = _labels(runs, sandbox=sandbox)
    selections = [each for part in evaluated[-1:] for each in _policy_transcripts(part)]
    selections += [each for part in runs for each in _revision_transcripts(part, sandbox=sandbox)]
    return Report(
        name=name_of(folder, parts),
        sandbox=sandbox,
        steps=tuple(drawn_steps(folder, parts)),
        costs=costs_of(parts, labels, evaluation, single=len(parts) == 1),
        provenance=provenance_of(folder, parts),
        policies=evaluation.policies if evaluation else None,
        ratings=evaluation.ratings if evaluation else None,
        scorecards=_linked(evaluation, selections) if evaluation else (),
        robustness=evaluation.robustness if evaluation else (),
        revisions=tuple(each for part in runs for each in _revisions(part, sandbox=sandbox)),
        labels=labels,
        preference_models=tuple(each for part in trained if part.kind == "pm" for each in _preference_models(part)),
        trainings=tuple(each for part in trained for each in _trainings(part)),
        drift=(*(evaluation.drift if evaluation else ()), *(each for part in trained for each in _watched(part))),
        selections=tuple(selections),
        failed=set_aside(parts),
    )


# What the steps left behind -------------------------------------------------------------------------------------------


def _evaluation(part: Part) -> Evaluation:
    return TypeAdapter(Evaluation).validate_python(part.folder.read_json("evaluation.json"))


def _policy_transcripts(part: Part) -> tuple[Selection, ...]:
    settings = part.evaluation
    names = list(settings.policies)
    leading = [row for row in judged_answers(part.folder) if row.temperature == settings.temperatures[0]]
    rows = [row for row in leading if row.policy in names]
    rows.sort(key=lambda row: (names.index(row.policy), row.index))
    tables = prompts_store(part.folder).tables()
    messages = {row["item_id"]: from_row(Prompt, row).messages for table in tables for row in table.to_pylist()}
    return transcripts.of_policies(rows, messages, settings.seed)


def _linked(evaluation: Evaluation, selections: Sequence[Selection]) -> tuple[Scorecard, ...]:
    """The scorecards, with those examples only that are on the page."""
    shown = {each.id for selection in selections for each in selection.transcripts}

    def linked(cell: Cell) -> Cell:
        return replace(cell, examples=tuple(each for each in cell.examples if each in shown))

    return tuple(replace(card, cells=tuple(map(linked, card.cells))) for card in evaluation.scorecards)


def _revised_rows(part: Part) -> Iterator[RevisedRow]:
    for table in stage_store(part.folder, "02_revise").tables():
        for row in table.to_pylist():
            yield from_row(RevisedRow, row)


def _revisions(part: Part, *, sandbox: bool) -> list[Revisions]:
    if part.recipe.revise is None:
        return []
    judge = oracle_judge.judgement if sandbox else None
    name = SandboxOracle.name if sandbox else ""
    return [revisions_of(part.name, _revised_rows(part), part.recipe.revise.rounds, judge, name)]


def _revision_transcripts(part: Part, *, sandbox: bool) -> tuple[Selection, ...]:
    if part.recipe.revise is None:
        return ()
    judge = oracle_judge.judgement if sandbox else None
    return transcripts.of_revisions(part.name, _revised_rows(part), judge, part.recipe.seed)


def _labels(runs: Sequence[Part], *, sandbox: bool) -> tuple[Labels, ...]:
    """The labels of each compare stage; where there are several, of all together first."""
    truth = oracle_judge.true_label if sandbox else None
    found = []
    everything: list[Comparison] = []
    for part in runs:
        if part.recipe.compare is None:
            continue
        tables = stage_store(part.folder, "03_compare").tables()
        pairs = [from_row(Comparison, row) for table in tables for row in table.to_pylist()]
        judge = short_name(part.recipe.models_by_role(["judge"])["judge"].model)
        found.append(labels_of(part.name, judge, pairs, truth, part.recipe.seed))
        everything += pairs
    if len(found) > 1:
        judges = ", ".join(dict.fromkeys(each.judge for each in found))
        found.insert(0, labels_of("all", judges, everything, truth, 0))
    return tuple(found)


def _preference_models(part: Part) -> Iterator[PreferenceModel]:
    from trainers.pair_rows import EVALUATION  # torch comes with it, and data runs need none

    measured = part.folder.read_json(EVALUATION)
    if not measured:
        return  # nothing was held out
    name = "held out" if "held out" in measured else next(iter(measured))
    held_out = measured[name]
    axis = next((each for each in ("harmless", "helpful") if each in part.name), part.name)
    calibrated = _calibrated(part, name)
    yield PreferenceModel(
        step=part.name,
        axis=axis,
        pairs=held_out["pairs"],
        accuracy=_share(held_out["accuracy"]),
        ece=calibrated.error,
        reliability=tuple(Bin(each.predicted, each.held) for each in calibrated.bins if each.predicted is not None),
        longer=_share(held_out["longer_preferred"]) if held_out["longer_preferred"] else None,
        by_bin={name: _share(each) for name, each in held_out["accuracy_by_bin"].items() if each},
    )


def _calibrated(part: Part, name: str) -> Calibration:
    """The calibration on one set of held-out pairs, that of the answer which the model prefers."""
    from trainers.pair_rows import SCORES, measured_sets
    from trainers.preference_figures import BINS, surer

    rows = part.folder.read_table(SCORES).to_pylist()
    rows = [rows[place] for place in measured_sets(rows)[name]]
    rewards = np.array([(row["chosen_reward"], row["rejected_reward"]) for row in rows])
    predicted, held = surer(rewards[:, 0] - rewards[:, 1], np.array([row["probability"] for row in rows]))
    prompts = [row["item_id"] for row in rows]
    return calibration(predicted.tolist(), held.tolist(), 2 * BINS, part.manifest["seed"], prompts)


def _share(each: Mapping[str, float] | None) -> Estimate:
    if each is None:
        return Estimate(None, None, None, 0)
    return Estimate(each["value"], each["low"], each["high"], int(each["count"]))


def _trainings(part: Part) -> Iterator[Training]:
    """The curves that a training logged, those of watch.jsonl before those of the same name in metrics.jsonl."""
    points: dict[str, list[tuple[float, float]]] = {}
    for file in ("watch.jsonl", "metrics.jsonl"):
        entries = log_lines(part.folder, file)
        for key in CURVES:
            if key not in points:
                found = [(float(each["step"]), float(each[key])) for each in entries if _is_number(each.get(key))]
                if len(found) >= FEWEST_POINTS:
                    points[key] = found
    curves = tuple(Curve(name, tuple(points[key])) for key, name in CURVES.items() if key in points)
    if curves:
        yield Training(part.name, part.kind, curves)


def _watched(part: Part) -> Iterator[Drift]:
    """How a policy wrote while it was trained, where a watch kept its completions: at the first step, at the last, and
    at some between."""
    sets = list(watched_steps(part.folder).items())
    last = len(sets) - 1
    shown = {round(place * last / (STEPS_SHOWN - 1)) for place in range(STEPS_SHOWN)} if last > 0 else set()
    for place in sorted(shown):
        name, answers = sets[place]
        yield drift_of(f"{part.name}, {name}", [(answer.prompt, answer.text) for answer in answers])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
