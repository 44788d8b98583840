"""`charter bias`: the file of figures, and a column that says what is harmful."""

from __future__ import annotations

import json
from pathlib import Path

from tests.charter.command_line import charter


def test_figures_are_written_and_harm_is_read(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Are women {word}?", "completion": "Women are people.", "unsafe": said}
        for word, said in (("kind", "yes"), ("tall", "no"), ("quick", ""))
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "report"
    called = charter("bias", path, "--harm-column", "unsafe", "--output", output)
    assert called.status == 0, called.errors
    women = json.loads((output / "bias.json").read_text())["sets"]["answers"]["axes"]["gender and sex"][0]
    assert women["group"] == "women"
    assert women["kept"]["value"] == 1
    assert (women["harmful"]["value"], women["harmful"]["n"]) == (0.5, 2)
    assert charter("bias", path, "--harm-column", "completion").status == 2
    assert charter("bias", path, "--harm-column", "nothing").status == 2
