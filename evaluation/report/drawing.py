"""The loop as a drawing: boxes in layers, and lines that do not run through boxes.

A box stands one layer below the last of those that it builds on. A line that skips layers takes a place of its own in
each (Sugiyama et al. 1981). Drawn twice, lying for wide pages and standing for narrow ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.report.content import Step

WIDE, TALL, LINE = 146.0, 72.0, 14.0
"""A box, and the place that a passing line takes."""
BETWEEN_LAYERS, BETWEEN_BOXES = 24.0, 14.0


@dataclass(frozen=True, slots=True)
class Box:
    """A step and its upper left corner."""

    step: Step
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """Boxes, and the paths of the arrows between them."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    arrows: tuple[str, ...]
    wide: float = WIDE
    tall: float = TALL


def draw(steps: Sequence[Step], *, lying: bool) -> Drawing:
    """The steps from left to right where `lying`, otherwise from top to bottom."""
    edges = needed_edges(steps)
    depth = depths(steps)
    layers = _layers(steps, edges, depth)
    along, across = (WIDE, TALL) if lying else (TALL, WIDE)
    sizes = [[LINE if "\0" in item else across for item in layer] for layer in layers]
    lengths = [sum(each) + BETWEEN_BOXES * (len(each) - 1) for each in sizes]
    most = max(lengths)
    places: dict[str, tuple[float, float, float]] = {}
    for number, (layer, size, length) in enumerate(zip(layers, sizes, lengths, strict=True)):
        at = (most - length) / 2
        for item, each in zip(layer, size, strict=True):
            places[item] = (number * (along + BETWEEN_LAYERS), at, each)
            at += each + BETWEEN_BOXES
    total = len(layers) * (along + BETWEEN_LAYERS) - BETWEEN_LAYERS
    boxes = []
    for step in steps:
        start, at, _ = places[step.name]
        x, y = (start, at) if lying else (at, start)
        boxes.append(Box(step, round(x + 1, 1), round(y + 1, 1)))
    arrows = tuple(_arrow(edge, depth, places, along, lying=lying) for edge in edges)
    width, height = (total, most) if lying else (most, total)
    return Drawing(round(width + 2, 1), round(height + 2, 1), tuple(boxes), arrows)


def depths(steps: Sequence[Step]) -> dict[str, int]:
    """The layer of each step. Steps come after those that they use."""
    found: dict[str, int] = {}
    for step in steps:
        found[step.name] = 1 + max((found[used] for used in step.uses if used in found), default=-1)
    return found


def needed_edges(steps: Sequence[Step]) -> list[tuple[str, str]]:
    """What each step builds on, without what follows from the rest: if c uses a and b, and b uses a, then b ► c."""
    reached: dict[str, set[str]] = {}
    edges = []
    for step in steps:
        used = [name for name in step.uses if name in reached]
        behind = set[str]().union(*(reached[name] for name in used))
        edges += [(name, step.name) for name in dict.fromkeys(used) if name not in behind]
        reached[step.name] = behind | set(used)
    return edges


def _layers(steps: Sequence[Step], edges: Sequence[tuple[str, str]], depth: Mapping[str, int]) -> list[list[str]]:
    """Names of steps, and of lines that pass: each layer in the order of what stands before it."""
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    before: dict[str, list[str]] = {}
    for step in steps:
        layers[depth[step.name]].append(step.name)
    for start, end in edges:
        last = start
        for number in range(depth[start] + 1, depth[end]):
            item = _passing(start, end, number)
            layers[number].append(item)
            before[item] = [last]
            last = item
        before.setdefault(end, []).append(last)
    for upper, layer in itertools.pairwise(layers):
        place = {item: number for number, item in enumerate(upper)}

        def middle(item: str, place: Mapping[str, int] = place) -> float:
            known = [place[each] for each in before.get(item, ()) if each in place]
            return sum(known) / len(known) if known else 0.0

        layer.sort(key=middle)
    return layers


def _passing(start: str, end: str, layer: int) -> str:
    return f"{start}\0{end}\0{layer}"


def _arrow(
    edge: tuple[str, str],
    depth: Mapping[str, int],
    places: Mapping[str, tuple[float, float, float]],
    along: float,
    *,
    lying: bool,
) -> str:
    start, end = edge
    stops = [start, *(_passing(start, end, layer) for layer in range(depth[start] + 1, depth[end])), end]

    def point(item: str, offset: float) -> tuple[float, float]:
        begin, at, size = places[item]
        x, y = begin + offset + 1, at + size / 2 + 1
        return (x, y) if lying else (y, x)

    drawn = "M{:.1f},{:.1f}".format(*point(start, along))
    for one, other in itertools.pairwise(stops):
        a, b = point(one, along), point(other, 0 if other != end else -4)
        if lying:
            middle = (a[0] + b[0]) / 2
            drawn += f"C{middle:.1f},{a[1]:.1f} {middle:.1f},{b[1]:.1f} {b[0]:.1f},{b[1]:.1f}"
        else:
            middle = (a[1] + b[1]) / 2
            drawn += f"C{a[0]:.1f},{middle:.1f} {b[0]:.1f},{middle:.1f} {b[0]:.1f},{b[1]:.1f}"
        if other != end:
            drawn += "L{:.1f},{:.1f}".format(*point(other, along))
    return drawn
