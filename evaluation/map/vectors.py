"""Texts as vectors, from the words in them: TF-IDF and a truncated singular value decomposition."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import normalize

from engine.pairs import Pair, text_of

Vectors = npt.NDArray[np.float32]

DIMENSIONS = 50
MOST_WORDS = 30_000
MOST_LETTERS = 20_000
"""Of a text that are read: what comes later changes no neighbourhood, and a megabyte of it would take the time of all
others."""
ENOUGH_TO_PRUNE = 100
"""Texts from which words that are in a single one, or in a third of all, are left out."""

# Thai to Khmer, Japanese, Chinese, Korean: written without spaces between words, so that two letters stand for one.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
TOKEN = re.compile(rf"[{UNSPACED}]+|(?:(?![{UNSPACED}])\w)+(?:['’]\w+)?")
IS_UNSPACED = re.compile(f"[{UNSPACED}]")
POSSESSIVE = re.compile(r"['’]s$")


def text_of_pair(pair: Pair) -> str:
    """All that a pair says: prompt and both answers."""
    texts = (text_of(messages)[:MOST_LETTERS] for messages in (pair.prompt, pair.chosen, pair.rejected))
    return "\n".join(texts)


def content_words(text: str) -> Iterator[str]:
    """Words that may tell what a text is about: no stop words, no contractions (don't, I'll), no possessive s."""
    for token in TOKEN.findall(text.casefold()):
        if IS_UNSPACED.match(token):
            yield from (a + b for a, b in pairwise(token)) if len(token) > 1 else (token,)
            continue
        word = POSSESSIVE.sub("", token)
        if len(word) > 1 and "'" not in word and "’" not in word and word not in ENGLISH_STOP_WORDS:
            yield word


def _vectorizer(kind: type[Any], texts: Sequence[str], **settings: Any) -> Any:
    many = len(texts) >= ENOUGH_TO_PRUNE
    return kind(
        analyzer=lambda text: list(content_words(text)),
        min_df=2 if many else 1,
        max_df=1 / 3 if many else 1.0,
        max_features=MOST_WORDS,
        **settings,
    )


def word_vectors(texts: Sequence[str], seed: int) -> Vectors:
    """One vector of unit length a text, [texts, up to 50]; zeros for a text without words that others share."""
    vectorizer = _vectorizer(TfidfVectorizer, texts, sublinear_tf=True, dtype=np.float32)
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError:  # no words at all, or none that is in two texts and not in most
        return np.zeros((len(texts), 1), dtype=np.float32)
    dimensions = min(DIMENSIONS, *(size - 1 for size in weights.shape))
    if dimensions < 1:
        return np.asarray(weights.todense(), dtype=np.float32)
    reduced = TruncatedSVD(dimensions, random_state=seed).fit_transform(weights)
    return np.asarray(normalize(reduced), dtype=np.float32)


def words_in(texts: Sequence[str]) -> tuple[Any, npt.NDArray[np.str_]]:
    """Which text holds which word, as a sparse 0/1 matrix [texts, words], and the words."""
    vectorizer = _vectorizer(CountVectorizer, texts, binary=True, dtype=np.float32)
    try:
        held = vectorizer.fit_transform(texts)
    except ValueError:
        return None, np.array([], dtype=str)
    return held, vectorizer.get_feature_names_out()
