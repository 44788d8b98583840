"""Sets of answers to compare: files, the values of a column in a file, or the rounds of a run's revisions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from constitution.faults import BadInput, Fault, did_you_mean
from engine.pairs import is_run_folder
from engine.records import RevisedRow, from_row
from engine.storage import Folder, StageStore
from evaluation.answers import Answer, read_answers, set_name
from trainers.demonstrations import REVISE_STAGE


def read_answer_sets(
    paths: Sequence[str],
    by: str | None = None,
    prompt_column: str | None = None,
    completion_column: str | None = None,
    limit: int | None = None,
) -> dict[str, list[Answer]]:
    """Answers by the name of their set, in the order in which they were given. `by` names a column whose values tell
    sets apart within a file. Raises BadInput."""
    sets: dict[str, list[Answer]] = {}
    for path in paths:
        if Path(path).is_dir() and is_run_folder(Folder(path)):
            found = revision_rounds(Folder(path), limit)
        else:
            answers = read_answers(path, prompt_column, completion_column, limit)
            found = {set_name(path): answers} if by is None else _by_column(answers, by, path)
        for name, answers in found.items():
            unused = name if len(paths) == 1 or name not in sets else f"{name} ({path})"
            sets.setdefault(unused, []).extend(answers)
    return sets


def _by_column(answers: Sequence[Answer], column: str, path: str) -> dict[str, list[Answer]]:
    sets: dict[str, list[Answer]] = {}
    for answer in answers:
        if column not in answer.columns:
            hint = did_you_mean(column, answer.columns)
            raise BadInput(Fault(f"there is no column '{column}'", file=path, where="--by", hint=hint))
        sets.setdefault(str(answer.columns[column]), []).append(answer)
    return sets


def revision_rounds(run: Folder, limit: int | None = None) -> dict[str, list[Answer]]:
    """A run's first answers and what each round made of them: `first answer`, `round 1`, …"""
    sets: dict[str, list[Answer]] = {}
    count = 0
    for table in StageStore(run, REVISE_STAGE, RevisedRow).tables():
        for values in table.to_pylist():
            if limit is not None and count >= limit:
                return sets
            count += 1
            row = from_row(RevisedRow, values)
            texts = {"first answer": row.response.text} | {f"round {each.round}": each.text for each in row.revisions}
            for name, text in texts.items():
                sets.setdefault(name, []).append(Answer(row.messages, text, row.source))
    if not sets:
        raise BadInput(Fault("this run has no revised answers", where=f"run folder {run.location}"))
    return sets
