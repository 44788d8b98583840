"""What is exported comes back as it was: the same conversations, the same probabilities, in every form that can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.exporters.examples import Example, read_examples
from engine.exporters.export import FORMATS, ExportSettings, export
from engine.exporters.form import Kind
from engine.pairs import Pair, read_pairs
from engine.storage import Folder
from tests.engine.exporters.made_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return make_run(tmp_path_factory.mktemp("exported") / "run")


def turns(pair: Pair) -> tuple[Any, ...]:
    return pair.prompt, pair.chosen, pair.rejected


def carried(pair: Pair) -> tuple[Any, ...]:
    """What goes along with a pair in every form that has columns of ours."""
    known = (pair.probability, pair.order_consistent, pair.status, pair.both_bad, pair.weight, pair.chosen_bad)
    return (pair.pair_id, *known, pair.principle_ids, pair.constitution_hash, pair.source, pair.category, pair.vector)


def exportable(run: Folder, name: str, kind: Kind) -> list[Example]:
    form = FORMATS[name].forms[kind]
    found = [each for each in read_examples(run.location, kind) if not isinstance(each, str)]
    return [each for each in found if not form.refuses(each)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in FORMATS for kind in ("preference", "reward") if kind in FORMATS[name].forms],
)
def test_pairs_come_back(name: str, kind: Kind, run: Folder, tmp_path: Path) -> None:
    report = export(run.location, ExportSettings(name, (kind,)), tmp_path / "out")
    (file,) = report.kinds[kind].files
    read = list(read_pairs(tmp_path / "out" / file.name))
    made = [pair for pair in exportable(run, name, kind) if isinstance(pair, Pair)]
    assert [turns(pair) for pair in read] == [turns(pair) for pair in made]
    if FORMATS[name].forms[kind].carries:
        assert [carried(pair) for pair in read] == [carried(pair) for pair in made]
    known = [(pair.pair_id, pair.probability, pair.status, pair.category) for pair in made]
    assert [(pair.pair_id, pair.probability, pair.status, pair.category) for pair in read] == known
    assert len(made) == (9 if name == "verl" else 8 if (name, kind) == ("axolotl", "reward") else 10)


def test_an_export_is_exported_again_without_change(run: Folder, tmp_path: Path) -> None:
    export(run.location, ExportSettings("llama-factory", test=0.5, seed=2), tmp_path / "first")
    again = export(str(tmp_path / "first"), ExportSettings("trl"), tmp_path / "second")
    assert again.kinds["preference"].rows == 10
    second = {pair.pair_id: turns(pair) for pair in read_pairs(tmp_path / "second" / "preference")}
    assert second == {pair.pair_id: turns(pair) for pair in read_pairs(run.location)}


def test_annotated_pairs_say_what_each_principle_prefers(run: Folder, tmp_path: Path) -> None:
    export(run.location, ExportSettings("annotated-pairs"), tmp_path / "out")
    value = json.loads((tmp_path / "out" / "preference" / "train.json").read_text())
    assert value["metadata"]["version"] == "2.0"
    pairs = {pair.pair_id: pair for pair in read_pairs(run.location)}
    sides = set()
    for comparison in value["comparisons"]:
        pair = pairs[comparison["id"]]
        label = comparison["annotations"][value["metadata"]["default_annotator"]]["pref"]
        sides.add(label)
        assert comparison[f"response_{label}"]["text"] == pair.chosen[0]["content"]
        assert float(comparison["metadata"]["probability"]) == pair.probability
        assert json.loads(comparison["metadata"]["messages"]) == list(pair.prompt)
        for principle in pair.principle_ids:
            assert comparison["annotations"][f"principle {principle}"] == {"pref": label}
            assert value["annotators"][f"principle {principle}"]["description"] == f"Which is better by {principle}?"
    assert sides == {"a", "b"}, "the place of the chosen answer says nothing"


def test_argilla_suggests_the_label_with_its_probability(run: Folder, tmp_path: Path) -> None:
    export(run.location, ExportSettings("argilla"), tmp_path / "out")
    folder = tmp_path / "out" / "preference-train"
    pairs = {pair.pair_id: pair for pair in read_pairs(run.location)}
    fields = {field["name"] for field in json.loads((folder / ".argilla" / "settings.json").read_text())["fields"]}
    for record in json.loads((folder / "records.json").read_text()):
        pair, suggested = pairs[record["id"]], record["suggestions"]["preference"]
        assert set(record["fields"]) == fields
        assert record["fields"]["prompt"] == list(pair.prompt)
        assert record["fields"][f"response_{suggested['value']}"] == pair.chosen[0]["content"]
        assert suggested["score"] == pair.probability


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["a", "a", "b"], ("A.", "given", None)),
        (["b"], ("B.", "given", None)),
        (["a", "b"], ("A.", "undecided", None)),
        (["tie"], ("A.", "tie", None)),
        (["both_bad", "both_bad", "a"], ("A.", "undecided", True)),
        ([], ("B.", "decided", None)),
    ],
)
def test_what_people_said_in_argilla_counts_before_the_suggestion(
    answers: list[str], expected: tuple[str, str, bool | None], tmp_path: Path
) -> None:
    record = {
        "id": "one",
        "fields": {"prompt": [{"role": "user", "content": "Hi?"}], "response_a": "A.", "response_b": "B."},
        "metadata": {},
        "suggestions": {"preference": {"value": "b", "score": 0.75, "agent": "charter"}},
        "responses": {"preference": [{"value": each, "user_id": "u"} for each in answers]},
    }
    path = tmp_path / "records.json"
    path.write_text(json.dumps([record]))
    (pair,) = read_pairs(path)
    assert (pair.chosen[0]["content"], pair.status, pair.both_bad) == expected
    assert pair.probability == (None if answers else 0.75)
