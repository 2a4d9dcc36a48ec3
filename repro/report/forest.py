"""Forest plots of the page: effects with their intervals in units of each claim's margin, the published effect as a tick.

One axis for all claims of a section, whatever their units: differs from a forest plot of one outcome in that the unit is the smallest effect
of interest, so that "large enough" is the same place in every line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from repro.claims.engine import Result

REACH = 3.0  # margins to both sides
WIDTH, LEFT, RIGHT, ROW = 440, 54, 136, 24  # narrow, so that a phone shrinks no text


def tone(verdict: str) -> str:
    """Class of a verdict in page.css."""
    return {"reproduced smaller": "smaller", "not reproduced": "not", "not tested": "un"}.get(verdict, verdict)


@dataclass(frozen=True)
class Line:
    """One claim: effect, ends of its interval and published effect (None where not printed) in margins, positive what the paper claims."""

    name: str
    effect: float
    low: float
    high: float
    published: float | None
    verdict: str


def line(result: Result) -> Line | None:
    """Of a claim with an estimate; None without."""
    if result.estimate is None or result.interval is None:
        return None
    unit = (-1 if result.claim.direction == "decrease" else 1) * result.claim.margin
    low, high = sorted((result.interval.low / unit, result.interval.high / unit))
    published = result.claim.published["effect"]
    return Line(
        result.claim.id, result.estimate.value / unit, low, high, None if published is None else published / unit, result.verdict.name
    )


def plot(lines: Sequence[Line]) -> str:
    """SVG of the claims of one section. 0 and the margins are drawn; an effect beyond ``REACH`` is an arrow at the edge."""
    height = ROW * len(lines) + 40

    def at(value: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (min(max(value, -REACH), REACH) + REACH) / (2 * REACH), 1)

    said = "; ".join(f"{one.name} {one.effect:z.2f} from {one.low:z.2f} to {one.high:z.2f}, {one.verdict}" for one in lines)
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(f"Effects in margins: {said}")}">']
    for value, text in ((-1, "-margin"), (0, "0"), (1, "margin")):
        dash = "" if value == 0 else ' stroke-dasharray="3 3"'
        parts.append(f'<line class="grid"{dash} x1="{at(value)}" x2="{at(value)}" y1="6" y2="{height - 30}"/>')
        parts.append(f'<text x="{at(value)}" y="{height - 14}" text-anchor="middle">{text}</text>')
    for i, one in enumerate(lines):
        y, kind = 18 + ROW * i, tone(one.verdict)
        x, tip = at(one.effect), 7 if one.effect > 0 else -7
        parts.append(f'<text x="4" y="{y + 4}">{escape(one.name)}</text>')
        parts.append(f'<line class="line {kind}" x1="{at(one.low)}" x2="{at(one.high)}" y1="{y}" y2="{y}"/>')
        arrow = f'<polygon class="dot {kind}" points="{x},{y - 6} {x + tip},{y} {x},{y + 6}"/>'  # further out than is drawn
        parts.append(arrow if abs(one.effect) > REACH else f'<circle class="dot {kind}" cx="{x}" cy="{y}" r="4"/>')
        if one.published is not None:
            parts.append(f'<line class="tick" x1="{at(one.published)}" x2="{at(one.published)}" y1="{y - 8}" y2="{y + 8}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 10}" y="{y + 4}">{escape(one.verdict)}</text>')
    return "".join([*parts, "</svg>"])
