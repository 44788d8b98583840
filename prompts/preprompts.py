"""Preprompts: the system messages under which a model answers more safely, a template for each risk category.

They are `respond` templates (docs/prompts.md), so that the conversation's own system message is theirs to place. The
answers are learnt without them: safety context distillation (Touvron et al. 2023, section 4.2.4).
"""

from __future__ import annotations

from pathlib import Path

from constitution.faults import BadInput, Fault
from constitution.yaml_files import read_text
from prompts.examples import FewShots
from prompts.rendering import PromptSet
from prompts.template_files import Source, read_sources

PREPROMPTS_FOLDER = Path(__file__).parent / "preprompts"


def read_preprompts(folder: Path | None = None) -> dict[str, PromptSet]:
    """By risk category, which is the file's name; `any` is for prompts of other categories. Ours without a folder.

    Raises BadInput where the folder holds no template, or with the faults of all of them.
    """
    place = folder or PREPROMPTS_FOLDER
    files = sorted(place.glob("*.jinja"))
    if not files:
        hint = "name the templates after risk categories: illicit.jinja, any.jinja"
        raise BadInput(Fault("the folder holds no preprompt", file=str(place), hint=hint))
    faults: list[Fault] = []
    found: dict[str, PromptSet] = {}
    for file in files:
        try:
            source = Source(str(file), read_text(file))
            found[file.stem] = PromptSet(read_sources() | {"respond": source}, FewShots())
        except BadInput as error:
            faults.extend(error.faults)
    if faults:
        raise BadInput(faults)
    return found
