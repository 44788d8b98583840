"""Which pairs come onto the map."""

from __future__ import annotations

from engine.pairs import Pair
from evaluation.map.sampling import take_sample
from tests.evaluation.map.pairs_for_tests import pairs_about_subjects

PAIRS = pairs_about_subjects(each=40)
FLAGS = {pair.pair_id: {"both_bad"} for pair in PAIRS[::7]}


def test_all_pairs_are_taken_where_there_is_room() -> None:
    sample = take_sample(PAIRS, FLAGS, most=120, seed=0)
    assert list(sample.pairs) == PAIRS
    assert sample.sentence() == "all 120 pairs, 18 of them flagged"


def test_every_flagged_pair_is_taken_and_the_sentence_says_what_is_missing() -> None:
    sample = take_sample(PAIRS, FLAGS, most=50, seed=0)
    taken = {pair.pair_id for pair in sample.pairs}
    assert len(sample.pairs) == 50
    assert FLAGS.keys() <= taken
    assert [pair.index for pair in sample.pairs] == sorted(pair.index for pair in sample.pairs)
    assert sample.sentence() == "50 of 120 pairs: all 18 flagged ones, and 32 of the 102 others, drawn at random"


def test_flagged_pairs_are_taken_even_beyond_the_room() -> None:
    sample = take_sample(PAIRS, FLAGS, most=5, seed=0)
    assert {pair.pair_id for pair in sample.pairs} == FLAGS.keys()


def test_the_draw_depends_on_the_seed_and_not_on_the_order() -> None:
    def drawn(pairs: list[Pair], seed: int) -> set[str]:
        return {pair.pair_id for pair in take_sample(pairs, FLAGS, most=50, seed=seed).pairs}

    assert drawn(PAIRS, 1) == drawn(PAIRS[::-1], 1)
    assert drawn(PAIRS, 1) != drawn(PAIRS, 2)
