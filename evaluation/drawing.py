"""Plots as SVG text, without a library: they are read in Markdown and in HTML, in light and in dark."""

from __future__ import annotations

from evaluation.calibration import Calibration

SIZE, MARGIN = 320, 48
STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#333}.axis{stroke:#999;fill:none}.even{stroke:#999;"
    "stroke-dasharray:4}.mark{fill:#2563a8}.range{stroke:#2563a8}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.mark{fill:#7db4ee}.range{stroke:#7db4ee}}</style>"
)


def reliability_plot(found: Calibration, low: float = 0.0) -> str:
    """What was predicted, from `low` to 1, against what held: a dot a bin, larger for more cases, with its interval.

    What held is drawn from `low` as well, but from 0 where some bin held less often than that.
    """
    side = SIZE - 2 * MARGIN
    least = low if all(each.held.value is None or each.held.value >= low for each in found.bins) else 0.0

    def across(value: float) -> float:
        return MARGIN + side * (value - low) / (1 - low)

    def up(value: float) -> float:
        return SIZE - MARGIN - side * max(value - least, 0) / (1 - least)

    most = max((each.held.n for each in found.bins), default=1) or 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" width="{SIZE}" role="img">',
        "<title>Reliability: how often a predicted probability held</title>",
        STYLE,
        f'<rect class="axis" x="{MARGIN}" y="{MARGIN}" width="{side}" height="{side}"/>',
        f'<line class="even" x1="{across(low):.1f}" y1="{up(low):.1f}" x2="{across(1):.1f}" y2="{up(1):.1f}"/>',
        f'<text x="{SIZE / 2}" y="{SIZE - 8}" text-anchor="middle">predicted</text>',
        f'<text x="12" y="{SIZE / 2}" text-anchor="middle" transform="rotate(-90 12 {SIZE / 2})">held</text>',
    ]
    parts += [
        f'<text x="{across(tick):.1f}" y="{SIZE - MARGIN + 16}" text-anchor="middle">{tick:g}</text>'
        for tick in (low, (1 + low) / 2, 1.0)
    ]
    parts += [
        f'<text x="{MARGIN - 6}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in (least, (1 + least) / 2, 1.0)
    ]
    for each in found.bins:
        held = each.held
        if each.predicted is None or held.value is None or held.low is None or held.high is None:
            continue
        x, radius = across(each.predicted), 2 + 6 * (held.n / most) ** 0.5
        parts.append(
            f'<line class="range" x1="{x:.1f}" y1="{up(held.low):.1f}" x2="{x:.1f}" y2="{up(held.high):.1f}"/>'
        )
        parts.append(
            f'<circle class="mark" cx="{x:.1f}" cy="{up(held.value):.1f}" r="{radius:.1f}">'
            f"<title>{each.predicted:.2f} predicted, {held.value:.2f} held, n = {held.n}</title></circle>"
        )
    return "\n".join([*parts, "</svg>\n"])
