"""Places and regions: near where texts are alike, and the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.map.layout import lay_out
from evaluation.map.regions import find_regions, name_regions
from evaluation.map.vectors import content_words, text_of_pair, word_vectors
from tests.evaluation.map.pairs_for_tests import SUBJECTS, pair, pairs_about_subjects

PAIRS = pairs_about_subjects(each=20)
TEXTS = [text_of_pair(each) for each in PAIRS]


def test_pairs_about_the_same_subject_lie_together() -> None:
    positions = lay_out(word_vectors(TEXTS, 0), 0)
    assert positions.min() >= 0
    assert positions.max() <= 1
    subjects = np.array([each.category for each in PAIRS])
    centres = np.array([positions[subjects == subject].mean(axis=0) for subject in SUBJECTS])
    nearest = np.linalg.norm(positions[:, None] - centres, axis=2).argmin(axis=1)
    assert (np.array(list(SUBJECTS))[nearest] == subjects).all()


def test_the_same_seed_draws_the_same_picture() -> None:
    first = lay_out(word_vectors(TEXTS, 3), 3)
    assert (lay_out(word_vectors(TEXTS, 3), 3) == first).all()
    assert (find_regions(first, TEXTS, 3).of == find_regions(first, TEXTS, 3).of).all()


@pytest.mark.parametrize("texts", [["one"], ["", ""], ["the same"] * 30, ["the", "and"] * 10, ["a b", "b c"]])
def test_texts_that_say_nothing_apart_have_places_too(texts: list[str]) -> None:
    positions = lay_out(word_vectors(texts, 0), 0)
    assert positions.shape == (len(texts), 2)
    assert np.isfinite(positions).all()
    regions = find_regions(positions, texts, 0)
    assert len(regions.of) == len(texts)
    assert all(regions.names)


def test_regions_are_named_by_words_that_set_them_apart() -> None:
    of = np.repeat([0, 1, 2], 20)
    names = name_regions(of, 3, TEXTS)
    for name, words in zip(names, SUBJECTS.values(), strict=True):
        assert len(name.split(", ")) == 3
        assert set(name.split(", ")) <= set(words.split())


def test_a_name_has_no_two_forms_of_one_word() -> None:
    texts = ["drug drugs drugged dealer"] * 10 + ["garden flowers rain"] * 10
    assert name_regions(np.repeat([0, 1], 10), 2, texts)[0].split(", ") == ["dealer", "drug"]


def test_content_words_leave_out_contractions_and_know_scripts_without_spaces() -> None:
    assert list(content_words("I don’t know the neighbour's bicycle, she'll see")) == ["know", "neighbour", "bicycle"]
    assert list(content_words("自転車 bike")) == ["自転", "転車", "bike"]


def test_a_megabyte_of_text_costs_no_more_than_its_beginning() -> None:
    assert len(text_of_pair(pair("a", "b" * 2**20, "c"))) < 50_000
