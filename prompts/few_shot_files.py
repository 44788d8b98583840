"""Reading the few-shot examples: ours, or those in a user's folder.

A folder holds any of our YAML files (prompts/examples.py), or the CAI paper's JSON files in their place
(prompts/paper_examples.py). A kind that the folder does not hold is ours, so that a user may replace one and keep the
others. Unknown YAML files are faults, since a misspelt name would silently change nothing; other files are let be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from constitution.faults import BadInput, Fault, did_you_mean
from constitution.yaml_files import load_yaml
from prompts.examples import CompareFile, CritiqueReviseFile, FewShots, PropositionFile, ReasonFile
from prompts.paper_examples import PAPER_FILES, read_paper

FEW_SHOTS_FOLDER = Path(__file__).parent / "few_shots"

Model = type[CritiqueReviseFile] | type[CompareFile] | type[ReasonFile] | type[PropositionFile]
MODELS: dict[str, Model] = {
    "critique_revise": CritiqueReviseFile,
    "compare": CompareFile,
    "reason": ReasonFile,
    "proposition": PropositionFile,
}
"""The kinds of few-shots: `<kind>.yaml` holds what the model describes."""


def read_few_shots(folder: Path | None = None) -> FewShots:
    """The examples in `folder`, and ours of the kinds it does not hold; all ours where `folder` is None.

    Raises BadInput with every fault found: the folder is missing or holds no few-shots, a file has an unknown name,
    a kind is there twice, or a file is wrong inside (file, line, what was found).
    """
    files = {kind: FEW_SHOTS_FOLDER / f"{kind}.yaml" for kind in MODELS}
    questions = [example.question for example in load_yaml(files["compare"], CompareFile).examples]
    if folder is not None:
        files |= _find(folder)
    read: dict[str, Any] = {}
    faults: list[Fault] = []
    for kind, path in files.items():
        try:
            read[kind] = _read(kind, path, questions)
        except BadInput as error:
            faults.extend(error.faults)
    if faults:
        raise BadInput(faults)
    return FewShots(**read)


def _read(kind: str, path: Path, questions: Sequence[str]) -> tuple[Any, ...]:
    if path.suffix == ".json":
        return read_paper(kind, path, questions)
    return load_yaml(path, MODELS[kind]).examples


def _find(folder: Path) -> dict[str, Path]:
    """The file of each kind that the folder holds."""
    if not folder.is_dir():
        raise BadInput(Fault("there is no such folder of few-shots", str(folder), hint="check the path"))
    kinds = {f"{kind}.yaml": kind for kind in MODELS} | {name: kind for kind, name in PAPER_FILES.items()}
    found: dict[str, Path] = {}
    faults: list[Fault] = []
    for path in sorted(folder.iterdir()):
        kind = kinds.get(path.name)
        if kind is None:
            if path.suffix in {".yaml", ".yml"}:
                faults.append(Fault("no few-shots have this name", str(path), hint=did_you_mean(path.name, kinds)))
        elif kind in found:
            faults.append(Fault(f"the same few-shots are in {found[kind].name}", str(path), hint="keep one of the two"))
        else:
            found[kind] = path
    if not found and not faults:
        faults.append(Fault("the folder holds no few-shots", str(folder), hint=did_you_mean("", kinds)))
    if faults:
        raise BadInput(faults)
    return found
