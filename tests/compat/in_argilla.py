"""Argilla's own client reads our export and checks every record against its settings. Run by check.py.

No server: what the client would send is made and checked, and not sent.
"""

from __future__ import annotations

import json
from unittest.mock import MagicMock

import argilla
from argilla._models import DatasetModel
from argilla.records import DatasetRecords
from argilla.records._io import JsonIO
from readings import compare, given, told


def main() -> None:
    exported, _ = given()
    argilla.Argilla._get_default = classmethod(lambda cls: MagicMock())  # a client asks its server who it is
    for kind in ("preference", "sft"):
        folder = exported / f"{kind}-train"
        settings = argilla.Settings.from_json(folder / ".argilla" / "settings.json")
        settings.validate()
        DatasetModel(**json.loads((folder / ".argilla" / "dataset.json").read_text()))
        records = DatasetRecords(client=MagicMock(), dataset=MagicMock(settings=settings))
        read = JsonIO._records_from_json(folder / "records.json")
        expected = told(exported, kind)
        compare(kind, len(read), len(expected))
        for record, of in zip(records._ingest_records(read), expected, strict=True):
            sent = record.model_dump()
            assert sent["fields"]["prompt"] == of["prompt"]
            if kind == "preference":
                (suggestion,) = sent["suggestions"]
                assert sent["fields"][f"response_{suggestion['value']}"] == of["chosen"][0]["content"]
                assert suggestion["score"] == of["probability"]


if __name__ == "__main__":
    main()
