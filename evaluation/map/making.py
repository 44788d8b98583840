"""The map, from pairs to page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evaluation.map.facets import Flags, facets_of
from evaluation.map.layout import lay_out
from evaluation.map.page import render_page
from evaluation.map.payload import payload_of
from evaluation.map.regions import find_regions
from evaluation.map.sampling import Sample
from evaluation.map.vectors import Vectors, text_of_pair, word_vectors

LONG_LAYOUT = 5_000
"""Pairs from which the layout takes more than a few seconds."""


@dataclass(frozen=True, slots=True)
class Nearness:
    """What makes pairs near: one vector a pair of the sample, and what the vectors are, for people."""

    vectors: Vectors
    description: str


def make_map(
    title: str,
    source: str,
    sample: Sample,
    flags: Flags,
    meanings: Mapping[str, str],
    *,
    seed: int,
    tell: Callable[[str], None],
    nearness: Nearness | None = None,
) -> str:
    """The page of a sample of the pairs of `source`. Without `nearness`, pairs are near where their words are alike.

    `meanings` say what the flags mean. `tell` hears of each step before it is taken.
    """
    pairs = sample.pairs
    texts = [text_of_pair(pair) for pair in pairs]
    if nearness is None:
        tell("weighing words")
        nearness = Nearness(word_vectors(texts, seed), "TF-IDF of the words of prompt and answers")
    tell(f"laying out {len(pairs):,} pairs" + (": this takes a minute or more" if len(pairs) >= LONG_LAYOUT else ""))
    positions = lay_out(nearness.vectors, seed)
    tell("finding regions")
    regions = find_regions(positions, texts, seed)
    payload = payload_of(
        title,
        pairs,
        positions,
        regions,
        facets_of(pairs, flags, meanings),
        flags,
        counts=sample.sentence(),
        about=[
            ("From", source),
            ("On the map", sample.sentence()),
            ("Near each other", f"{nearness.description}; t-SNE with seed {seed}"),
            ("Regions", f"{len(regions.names)}, by k-means over places; named by words that set their pairs apart"),
        ],
    )
    return render_page(payload)
