"""Labels held against preference models: who learnt from a pair has no say about it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from engine.records import as_table
from engine.storage import Folder
from tests.engine.test_flags import asked, pair, said
from trainers.label_scores import label_scores
from trainers.pair_rows import TRAIN, EncodedPairRow
from trainers.scoring import open_scorer


def trained_on(model: Path, folder: Path, *item_ids: str) -> str:
    """The folder of a training that learnt from these prompts."""
    shutil.copytree(model, folder / "model")
    row = EncodedPairRow("", "", "", "", (), (), (), (), (), 0, 1.0, 1.0, 0.0, ())
    Folder(str(folder)).write_table(TRAIN, as_table([replace(row, item_id=each) for each in item_ids], EncodedPairRow))
    return str(folder)


def test_pairs_are_scored_by_the_models_that_did_not_learn_from_them(
    tiny_preference_model: Path, tmp_path: Path
) -> None:
    pairs = [replace(pair(n), item_id=f"prompt {n}", prompt=asked(f"Why {n}?")) for n in range(3)]
    too_long = replace(pair(3), chosen=said("word " * 5_000))
    tie = replace(pair(4), status="tie")
    models = [
        trained_on(tiny_preference_model, tmp_path / "one", "prompt 0", "prompt 1"),
        trained_on(tiny_preference_model, tmp_path / "two", "prompt 0"),
    ]
    heard: list[str] = []
    found = label_scores([*pairs, too_long, tie], models, heard.append)
    assert found.scores.keys() == {pairs[1].pair_id, pairs[2].pair_id}
    assert (found.learnt, found.unscored) == (1, 1)
    scorer = open_scorer(models[0])
    chosen, rejected = scorer.score([[*pairs[1].prompt, *answer] for answer in (pairs[1].chosen, pairs[1].rejected)])
    assert chosen is not None
    assert rejected is not None
    assert found.scores[pairs[1].pair_id] == pytest.approx(chosen - rejected, abs=1e-5)
    assert "scores 2 pairs; 2 have prompts that it learnt from" in heard[0]
