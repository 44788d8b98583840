"""Sets of answers to compare: files, the values of a column in a file, or what a run folder holds.

a run              its first answers, and each round of revision
a training         the completions of each step that was watched
an evaluation      the answers of each policy
a loop             those of all its steps
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from constitution.faults import BadInput, Fault, did_you_mean
from engine.pairs import is_run_folder
from engine.records import Prompt, RevisedRow, from_row
from engine.storage import Folder, StageStore
from evaluation.answers import Answer, read_answers, set_name
from evaluation.policies import judged_store
from prompts.messages import Message
from trainers.demonstrations import REVISE_STAGE
from trainers.watched import Observation, read_observations, read_samples

LOOP, MANIFEST, PROMPTS_STAGE = "loop.json", "manifest.json", "01_prompts"
"""What run folders hold."""


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
        made = folder_sets(Folder(path), limit) if Path(path).is_dir() else None
        if made is not None:
            found = made
        else:
            answers = read_answers(path, prompt_column, completion_column, limit)
            found = {set_name(path): answers} if by is None else _by_column(answers, by, path)
        for name, answers in found.items():
            unused = name if len(paths) == 1 or name not in sets else f"{name} ({path})"
            sets.setdefault(unused, []).extend(answers)
    return sets


def folder_sets(folder: Folder, limit: int | None = None) -> dict[str, list[Answer]] | None:
    """The sets that a run folder holds; None where it is no run folder. Raises BadInput where it holds no answers."""
    if folder.exists(LOOP):
        steps = [(each["name"], folder.child(each["folder"])) for each in folder.read_json(LOOP)["steps"]]
        begun = [(name, step) for name, step in steps if step.exists(MANIFEST)]
        found = {
            f"{name}, {inner}": answers for name, step in begun for inner, answers in _own_sets(step, limit).items()
        }
    elif is_run_folder(folder) or folder.exists(MANIFEST):
        found = _own_sets(folder, limit)
    else:
        return None
    if not found:
        hint = "name a run that revises, a training that was watched, or an evaluation"
        raise BadInput(Fault("there are no answers in it", where=f"run folder {folder.location}", hint=hint))
    return found


def _own_sets(folder: Folder, limit: int | None) -> dict[str, list[Answer]]:
    if is_run_folder(folder):
        return revision_rounds(folder, limit)
    return watched_steps(folder, limit) | evaluated_policies(folder, limit)


def watched_steps(training: Folder, limit: int | None = None) -> dict[str, list[Answer]]:
    """The completions of each step that was looked at: `step 0`, `step 20`, …"""
    place = Path(training.path())
    return {
        f"step {seen.step}": [
            Answer((Message(role="user", content=each.prompt),), each.completion, training.location)
            for each in read_samples(place, seen.step)[:limit]
        ]
        for seen in read_observations(place)
    }


def evaluated_policies(evaluation: Folder, limit: int | None = None) -> dict[str, list[Answer]]:
    """The answers of each policy, at the temperature that leads, with what they were judged to be."""
    rows = [row for table in judged_store(evaluation).tables() for row in table.to_pylist()]
    asked = {
        row["item_id"]: from_row(Prompt, row)
        for table in StageStore(evaluation, PROMPTS_STAGE, Prompt).tables()
        for row in table.to_pylist()
    }
    sets: dict[str, list[Answer]] = {}
    for row in rows:
        if row["temperature"] != rows[0]["temperature"]:
            continue
        prompt = asked[row["item_id"]]
        columns = {name: row[name] for name in ("category", "vector", "harmful", "refusal")}
        parent = json.loads(prompt.extra).get("parent") if prompt.extra else None
        answer = Answer(prompt.messages, row["text"], prompt.source, {**columns, "parent": parent})
        sets.setdefault(row["policy"], []).append(answer)
    return {policy: answers[:limit] for policy, answers in sets.items()}


def observations_of(path: str) -> dict[str, list[Observation]]:
    """What was seen of a training, or of each training of a loop, by its name; nothing where nothing was watched."""
    folder = Folder(path)
    if not Path(path).is_dir():
        return {}
    steps = folder.read_json(LOOP)["steps"] if folder.exists(LOOP) else [{"name": Path(path).name, "folder": "."}]
    found = {each["name"]: read_observations(Path(path, each["folder"])) for each in steps}
    return {name: seen for name, seen in found.items() if seen}


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
    return sets
