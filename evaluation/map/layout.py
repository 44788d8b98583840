"""From vectors to places on the map: t-SNE (van der Maaten and Hinton 2008) as scikit-learn has it."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from evaluation.map.vectors import Vectors

Positions = npt.NDArray[np.float64]

PERPLEXITY = 30
ITERATIONS = 500
ANGLE = 0.7
"""Barnes-Hut's trade of exactness for speed: 0.5 takes a third longer and looks the same."""
DIMENSIONS = 50
FEWEST = 8
"""Pairs from which there are neighbourhoods to lay out."""


def lay_out(vectors: Vectors, seed: int) -> Positions:
    """A place in the unit square for each vector, [vectors, 2], near where the vectors are near.

    The same vectors and seed give the same places: one thread, since the order in which several add their shares up
    differs from run to run, and t-SNE makes a different picture of the last digit.
    """
    if len(vectors) < FEWEST or float(vectors.std(axis=0).max()) < 1e-6:
        return _on_a_spiral(len(vectors))
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning)  # vectors on a line have no second component
        if vectors.shape[1] > DIMENSIONS:
            vectors = PCA(min(DIMENSIONS, len(vectors) - 1), random_state=seed).fit_transform(vectors)
        perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
        layout = TSNE(
            init="pca" if vectors.shape[1] > 1 else "random",
            perplexity=perplexity,
            max_iter=ITERATIONS,
            angle=ANGLE,
            random_state=seed,
            n_jobs=1,
        )
        return in_unit_square(layout.fit_transform(vectors))


def in_unit_square(positions: npt.NDArray[np.floating]) -> Positions:
    """The positions moved and scaled, alike in both directions, to lie in [0, 1]."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    size = float((high - low).max()) or 1.0
    placed: Positions = (positions - (low + high) / 2).astype(np.float64) / size + 0.5
    return np.clip(placed, 0.0, 1.0)


def _on_a_spiral(count: int) -> Positions:
    """Evenly spread places in the order of the data, where there is nothing to go by."""
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt((np.arange(count) + 0.5) / max(count, 1)) / 2
    return np.column_stack([0.5 + radius * np.cos(turn), 0.5 + radius * np.sin(turn)])
