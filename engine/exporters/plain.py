"""Our own columns in plain files, for whatever reads Parquet or JSON lines, and in the layout of the Hugging Face hub.

The columns are TRL's, which are the nearest to a common form that there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine.exporters import trl
from engine.exporters.form import Form, Format, Kind, Stored

USE: dict[Stored, str] = {
    "parquet": 'pyarrow.parquet.read_table("{train}")',
    "jsonl": '[json.loads(line) for line in open("{train}")]',
}
NOTE = "Nothing is lost but the votes and the calls behind a label, which stay in the run folder."


def _forms(stored: Stored, use: str) -> Mapping[Kind, Form]:
    forms = trl.FORMAT.forms
    return {kind: replace(form, stored=stored, use=use, notes=(NOTE,)) for kind, form in forms.items()}


PARQUET = Format(title="plain Parquet", forms=_forms("parquet", USE["parquet"]))
JSON_LINES = Format(title="plain JSON lines", forms=_forms("jsonl", USE["jsonl"]))
HUGGING_FACE = Format(
    title="Hugging Face data set",
    forms={
        kind: replace(form, file="{kind}/{split}-00000-of-00001")
        for kind, form in _forms("parquet", 'load_dataset("{folder}", "{kind}")').items()
    },
)
