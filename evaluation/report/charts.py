"""Where everything in a chart goes. Pure geometry: the template draws it, so every text is escaped there.

Lengths are in the units of the drawing's own coordinates, which are those of the screen on a phone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from evaluation.estimates import Estimate
from evaluation.report.content import Bin, Round

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    label: str = ""
    percent: bool = False
    whole: bool = False
    """Marks at whole numbers alone."""

    def at(self, value: float) -> float:
        """Where a value is drawn; one that is outside stands at the end."""
        share = (min(max(value, self.low), self.high) - self.low) / ((self.high - self.low) or 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[Tick]:
        """About five round numbers."""
        step = max(round_step((self.high - self.low) / 5), 1.0 if self.whole else 0.0)
        first = math.ceil(self.low / step - 1e-9)
        values = [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [Tick(self.at(value), self._written(value, step)) for value in values]

    def _written(self, value: float, step: float) -> str:
        shown = 100 * value if self.percent else value
        return f"{shown:,.{decimals(100 * step if self.percent else step)}f}".replace("-", "−")


def round_step(size: float) -> float:
    """The next larger of 1, 2 and 5 times a power of ten."""
    if size <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(size))
    return next((power * each for each in (1, 2, 5) if power * each >= size * (1 - 1e-9)), 10 * power)


def decimals(step: float) -> int:
    """Digits behind the point that a step needs."""
    return max(0, -math.floor(math.log10(step) + 1e-9))


def spread(values: Sequence[float], room: float = 0.06) -> tuple[float, float]:
    """The ends of an axis for these values, with some room."""
    low, high = min(values), max(values)
    size = (high - low) or abs(high) or 1.0
    return low - room * size, high + room * size


# Helpful against harmless ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """A policy with its intervals in both directions, and where its name stands."""

    name: str
    hue: int
    x: float
    y: float
    across: tuple[float, float]
    along: tuple[float, float]
    told: str
    label: Place = (0.0, 0.0)
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Frontier:
    """Policies by how helpful and how harmless they are, joined in the order in which they were made."""

    width: float
    height: float
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    arrows: tuple[tuple[Place, Place], ...]


def frontier(
    names: Sequence[str],
    helpful: Sequence[Estimate],
    harmless: Sequence[Estimate],
    labels: tuple[str, str],
    *,
    percent: bool,
) -> Frontier:
    """Up and to the right is better. Policies without one of the two figures are left out."""
    width, height, left, top, right, bottom = 360.0, 300.0, 56.0, 14.0, 14.0, 42.0
    known = [
        (hue, name, a, b)
        for hue, (name, a, b) in enumerate(zip(names, helpful, harmless, strict=True))
        if a.value is not None and b.value is not None
    ]
    x_ends = _ends([a for _, _, a, _ in known], percent=percent)
    y_ends = _ends([b for _, _, _, b in known], percent=percent)
    x = Axis(*x_ends, left, width - right, labels[0], percent)
    y = Axis(*y_ends, height - bottom, top, labels[1], percent)
    marks: list[Mark] = []
    for hue, name, a, b in known:
        assert a.value is not None
        assert b.value is not None
        place = x.at(a.value), y.at(b.value)
        told = (
            f"{name}: {labels[0]} {told_estimate(a, percent=percent)}; {labels[1]} {told_estimate(b, percent=percent)}"
        )
        marks.append(Mark(name, hue, *place, _interval(x, a), _interval(y, b), told))
    joined = itertools.pairwise(marks)
    arrows = [line for one, other in joined if (line := _shortened((one.x, one.y), (other.x, other.y)))]
    return Frontier(width, height, x, y, tuple(_place_labels(marks, arrows, width)), tuple(arrows))


def _ends(estimates: Sequence[Estimate], *, percent: bool) -> tuple[float, float]:
    values = [end for each in estimates for end in (each.value, each.low, each.high) if end is not None]
    if not values:
        return 0.0, 1.0
    if percent:
        low = min(values)
        return (0.0 if low < 0.5 else max(0.0, math.floor(20 * low - 0.5) / 20)), 1.0
    return spread(values, 0.12)


def _interval(axis: Axis, estimate: Estimate) -> tuple[float, float]:
    assert estimate.value is not None
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    return axis.at(low), axis.at(high)


LETTER, LINE = 7.5, 14.0
"""About how wide a letter of a label is, and how tall a line."""


def _place_labels(marks: Sequence[Mark], arrows: Sequence[tuple[Place, Place]], right: float) -> Iterator[Mark]:
    """The marks with their labels beside them, where they cover least: other marks and labels, arrows, the edge."""
    taken: list[Place] = [(mark.x, mark.y) for mark in marks]
    for one, other in arrows:
        taken += [(one[0] + (other[0] - one[0]) * n / 12, one[1] + (other[1] - one[1]) * n / 12) for n in range(13)]
    labels: list[tuple[float, float, float, float]] = []
    for mark in marks:
        wide = LETTER * len(mark.name)
        candidates = [
            (mark.x + dx, mark.y + dy, anchor)
            for dx, dy, anchor in ((11, -8, "start"), (11, 18, "start"), (-11, -8, "end"), (-11, 18, "end"))
        ]

        def covered(place: tuple[float, float, str], wide: float = wide) -> float:
            left = place[0] if place[2] == "start" else place[0] - wide
            box = (left, place[1] - LINE, left + wide, place[1] + 2)
            inside = sum(box[0] - 4 <= x <= box[2] + 4 and box[1] - 4 <= y <= box[3] + 4 for x, y in taken)
            crossed = sum(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in labels)
            return inside + 10 * crossed + 5 * (left < 0 or box[2] > right)

        x, y, anchor = min(candidates, key=covered)
        left = x if anchor == "start" else x - wide
        labels.append((left, y - LINE, left + wide, y + 2))
        yield replace(mark, label=(round(x, 1), round(y, 1)), anchor=anchor)


def _shortened(one: Place, other: Place) -> tuple[Place, Place] | None:
    """The line between two marks, without what they cover; None where they are too close for one."""
    length = math.dist(one, other)
    if length < 26:
        return None
    share = 9 / length
    dx, dy = (other[0] - one[0]) * share, (other[1] - one[1]) * share
    return (round(one[0] + dx, 1), round(one[1] + dy, 1)), (round(other[0] - dx, 1), round(other[1] - dy, 1))


def told_estimate(estimate: Estimate, *, percent: bool) -> str:
    """An estimate in words for a title."""
    if estimate.value is None:
        return "not known"

    def write(value: float) -> str:
        return f"{100 * value:.1f} %" if percent else f"{value:,.0f}"

    if estimate.low is None or estimate.high is None:
        return f"{write(estimate.value)} (n = {estimate.n:,})"
    return f"{write(estimate.value)} ({write(estimate.low)} to {write(estimate.high)}, n = {estimate.n:,})"


# Bars and lines -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a bar."""

    kind: str
    x: float
    width: float
    count: int
    label: str
    """What stands in it, where there is room."""


def stacked(counts: Mapping[str, int], order: Sequence[str], width: float) -> list[Piece]:
    """One bar cut into shares, in this order. Kinds that do not come up have no piece."""
    total = sum(counts.get(kind, 0) for kind in order)
    pieces = []
    x = 0.0
    for kind in order:
        count = counts.get(kind, 0)
        if not count:
            continue
        length = width * count / total
        label = f"{100 * count / total:.0f} %" if length >= 34 else ""
        pieces.append(Piece(kind, round(x, 2), round(max(length - 1, 0.5), 2), count, label))
        x += length
    return pieces


@dataclass(frozen=True, slots=True)
class Line:
    """A polyline, the band of its intervals, and its points with what they say."""

    path: str
    band: str
    points: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """One line over steps or rounds."""

    width: float
    height: float
    x: Axis
    y: Axis
    line: Line


def rounds_chart(rounds: Sequence[Round], label: str) -> Lines:
    """The harmful share by round, with its interval, on an axis that begins at zero."""
    known = [(each.round, each.harmful) for each in rounds if each.harmful is not None]
    top = max((each.high or each.value or 0.0) for _, each in known)
    x = Axis(0, max(number for number, _ in known) or 1, 52, 344, whole=True)
    y = Axis(0, min(1.0, max(round_step(top / 5) * 5, 0.01)), 190, 14, label, percent=True)
    points = tuple((x.at(number), y.at(each.value or 0.0), told_estimate(each, percent=True)) for number, each in known)
    upper = [(x.at(number), y.at(each.high or 0.0)) for number, each in known if each.high is not None]
    lower = [(x.at(number), y.at(each.low or 0.0)) for number, each in known if each.low is not None]
    band = path([*upper, *reversed(lower)]) + "Z" if upper else ""
    return Lines(360, 232, x, y, Line(path([point[:2] for point in points]), band, points))


def curve_chart(points: Sequence[tuple[float, float]], label: str) -> Lines:
    """What a training logged, by step."""
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    x = Axis(min(xs), max(xs), 52, 344)
    y = Axis(*spread(ys), 150, 12, label)
    drawn = thinned([(x.at(a), y.at(b)) for a, b in points], 300)
    return Lines(360, 186, x, y, Line(path(drawn), "", ()))


def thinned(points: Sequence[Place], most: int) -> list[Place]:
    """At most so many of the points, evenly chosen, the last one included."""
    if len(points) <= most:
        return list(points)
    return [points[round(number * (len(points) - 1) / (most - 1))] for number in range(most)]


def path(points: Sequence[Place]) -> str:
    """An SVG path through the points."""
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in points) if points else ""


# Calibration ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dot:
    """A bin of predictions: where it is, how large, its interval, and what it says."""

    x: float
    y: float
    size: float
    low: float
    high: float
    told: str


@dataclass(frozen=True, slots=True)
class Reliability:
    """Predicted against held, from one half to one; the diagonal is perfect."""

    width: float
    height: float
    x: Axis
    y: Axis
    dots: tuple[Dot, ...]


def reliability_chart(bins: Sequence[Bin], held: str) -> Reliability:
    """What was said against what held; `held` is the axis's title."""
    known = [(each.predicted, each.held) for each in bins if each.held.value is not None]
    low = 0.5 if all((each.value or 0) >= 0.5 for _, each in known) else 0.0
    x = Axis(0.5, 1, 52, 344, "the model says", percent=True)
    y = Axis(low, 1, 250, 14, held, percent=True)
    most = max((each.n for _, each in known), default=1)
    dots = []
    for predicted, each in known:
        assert each.value is not None
        ends = _interval(y, each)
        told = f"says {100 * predicted:.0f} %, holds {told_estimate(each, percent=True)}"
        size = round(3 + 5 * math.sqrt(each.n / most), 1)
        dots.append(Dot(x.at(predicted), y.at(each.value), size, *ends, told))
    return Reliability(360, 296, x, y, tuple(dots))


@dataclass(frozen=True, slots=True)
class Columns:
    """A histogram: a column for each step, with its count."""

    width: float
    height: float
    x: Axis
    columns: tuple[tuple[float, float, float, float, int], ...]
    """x, y, width, height, count."""


def histogram_chart(counts: Sequence[int]) -> Columns:
    """Labels by their probability, from one half to one."""
    x = Axis(0.5, 1, 16, 344, "probability of the better answer", percent=True)
    wide = (344 - 16) / len(counts)
    most = max(*counts, 1)
    columns = []
    for place, count in enumerate(counts):
        tall = round(96 * count / most, 1)
        columns.append((round(16 + place * wide, 1), 112 - tall, round(wide - 2, 1), tall, count))
    return Columns(360, 152, x, tuple(columns))


# Small intervals in tables --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Whisker:
    """An estimate as a dot on its interval."""

    x: float
    low: float
    high: float


def whisker(estimate: Estimate, low: float, high: float, width: float) -> Whisker | None:
    """The estimate on an axis from `low` to `high`; None where there is none."""
    if estimate.value is None:
        return None
    axis = Axis(low, high, 3, width - 3)
    return Whisker(axis.at(estimate.value), *_interval(axis, estimate))
