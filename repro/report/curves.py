"""Training curves with a band over seeds, as SVG text: for the page, and as files for report.md.

Written by hand instead of with matplotlib so that a chart follows the reader's light or dark scheme, stays sharp and costs kilobytes. The
band is the 95 % t interval of the mean over training seeds at each step; one seed has a line and no band. Nothing is smoothed.

    >>> from repro.report.curves import chart
    >>> svg = chart("accuracy", "%", {"cosine": (steps, values)})        # values [seeds, steps]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

import numpy as np

from repro.claims.records import Records
from repro.rl.metrics import WORDS

SHOWN = (  # column of metrics.parquet, title, unit, factor
    ("accuracy", "Training accuracy", "%", 100.0),
    ("length/mean", "CoT length", "tokens", 1.0),
    ("truncated", "Truncated", "%", 100.0),
    ("kl", "KL to the reference (k3)", "nats a token", 1.0),
    *((f"keyword/{word}_per_1k", f'"{word}"', "per 1,000 tokens", 1.0) for word in WORDS),
    ("branching_per_1k", '"alternatively,"', "per 1,000 tokens", 1.0),
    ("repetition/40gram", "Tokens in repeated 40-grams", "%", 100.0),
)
COLUMNS = ("scale", "experiment", "arm", "metric", "step", "seeds", "mean", "low", "high")  # of curves.csv
Series = dict[str, tuple[np.ndarray, np.ndarray]]  # arm -> (steps, values [seeds, steps]), in the shown unit
Curves = dict[str, dict[str, Series]]  # experiment -> column -> series
LIGHT = ("#0b62a4", "#b8480a", "#12735a", "#9b3f86", "#6b5b00", "#4a4a4a", "#7a1f1f", "#3f51b5")
DARK = ("#6db3f2", "#ff9d66", "#4fd0ac", "#e294cf", "#d9c34a", "#c4c4c4", "#f28b82", "#9fa8ff")
DASHES = ("", "6 3", "2 2", "8 3 2 3")  # so that arms differ without colour, too
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 260, 48, 12, 30, 34


def style() -> str:
    """Rules that every chart needs; in each file once, in the page once."""
    light = "".join(f".s{i}{{--c:{c}}}" for i, c in enumerate(LIGHT))
    dark = "".join(f".s{i}{{--c:{c}}}" for i, c in enumerate(DARK))
    return (
        "svg.chart{--ink:#1f2328;--grid:#d8dee4;--paper:#fff;font:12px system-ui,sans-serif}"
        f".chart text{{fill:var(--ink)}}.grid{{stroke:var(--grid)}}.line{{fill:none;stroke:var(--c);stroke-width:1.8}}"
        f".band{{fill:var(--c);opacity:.16}}.dot{{fill:var(--c)}}{light}"
        f"@media(prefers-color-scheme:dark){{svg.chart{{--ink:#e6edf3;--grid:#373e47;--paper:#14181d}}.band{{opacity:.22}}{dark}}}"
    )


def collect(records: Records, scale: str, names: Mapping[str, str]) -> Curves:
    """Curves of every RL configuration at a scale whose metrics can be read, below each experiment that holds it.

    ``names``: key of a configuration -> its row's name in the leaderboard, so that an arm is called the same everywhere.
    """
    found: Curves = {}
    groups = [group for (at, stage, _), group in records.groups.items() if at == scale and stage == "rl"]
    for name, group in sorted(((names[group.key], group) for group in groups), key=lambda item: item[0]):
        for column, _, _, factor in SHOWN:
            series = list(group.curve(column).values())
            steps = sorted(set.intersection(*(set(s.tolist()) for s, _ in series))) if series else []
            if not steps:
                continue
            rows = [factor * values[np.isin(at, steps)] for at, values in series]  # a seed that stopped early cuts the others
            for experiment in sorted(group.experiments):
                at = found.setdefault(experiment or "other", {}).setdefault(column, {})
                at[name] = (np.array(steps, dtype=float), np.stack(rows))
    return found


def charts(held: Mapping[str, Series], *, alone: bool = False) -> tuple[dict[str, str], list[str]]:
    """(file name stem -> SVG, titles of what is 0 throughout and not drawn) of one experiment; at most eight arms a chart.

    An arm has one colour in all charts of the experiment. ``alone``: files of their own, each with a legend; otherwise ``legend`` has it.
    """
    made, silent, order = {}, [], arms(held)
    for column, title, unit, _ in SHOWN:
        series = held.get(column, {})
        if series and not any(values.any() for _, values in series.values()):
            silent.append(title)
            continue
        for first in range(0, len(order), len(LIGHT)):
            part = {name: series[name] for name in order[first : first + len(LIGHT)] if name in series}
            end = f"-{first // len(LIGHT) + 1}" if first else ""
            if part:
                looks = {name: order.index(name) for name in part}
                made[column.replace("/", "-") + end] = chart(title, unit, part, looks, alone=alone)
    return made, silent


def arms(held: Mapping[str, Series]) -> list[str]:
    """Arms of an experiment in the order of their colours."""
    return sorted({name for series in held.values() for name in series})


def legend(held: Mapping[str, Series]) -> str:
    """HTML list of an experiment's arms with their lines and numbers of seeds."""
    seeds = {name: values.shape[0] for series in held.values() for name, (_, values) in series.items()}
    items = []
    for i, name in enumerate(arms(held)):
        line = f'<line class="line s{i % len(LIGHT)}"{_dash(i)} x1="0" y1="6" x2="30" y2="6"/>'
        swatch = f'<svg class="chart" viewBox="0 0 30 12" aria-hidden="true">{line}</svg>'
        items.append(f"<li>{swatch}{escape(_seeded(name, seeds[name]))}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _seeded(name: str, seeds: int) -> str:
    return f"{name}, {seeds} seed{'s' if seeds > 1 else ''}"


def _dash(i: int) -> str:
    return f' stroke-dasharray="{DASHES[i % len(DASHES)]}"' if DASHES[i % len(DASHES)] else ""


def lines(scale: str, found: Curves) -> list[list[str]]:
    """Rows of curves.csv, as ``COLUMNS``; low and high (95 % t interval over seeds) are empty with one seed. Units as in ``SHOWN``."""
    made = []
    for experiment, columns in found.items():
        for column, series in columns.items():
            for arm, (steps, values) in series.items():
                for step, *ends in zip(steps, *band(values), strict=True):
                    shown = ends if values.shape[0] > 1 else ends[:1]
                    cells = [f"{end:z.6g}" for end in shown] + [""] * (3 - len(shown))
                    made.append([scale, experiment, arm, column, f"{step:g}", str(values.shape[0]), *cells])
    return made


def chart(
    title: str,
    unit: str,
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    looks: Mapping[str, int] | None = None,
    *,
    alone: bool = False,
) -> str:
    """One panel of up to eight arms.

    ``looks``: number of an arm's colour and dashes, in the order of the arms by default. ``alone``: a file of its own, with style, background and
    legend.
    """
    looks = looks or {name: i for i, name in enumerate(series)}
    drawn = {name: (steps, *band(values)) for name, (steps, values) in series.items()}
    xs = np.concatenate([steps for steps, *_ in drawn.values()])
    ys = np.concatenate([np.concatenate([low, high]) for _, _, low, high in drawn.values()])
    ys = ys[np.isfinite(ys)]
    bottom, top = (0.0, (float(ys.max()) or 1.0)) if ys.size else (0.0, 1.0)
    top = min(top, 100.0) if unit == "%" else top  # a t interval knows no bounds, a share does
    left, right = float(xs.min()), max(float(xs.max()), float(xs.min()) + 1)
    height = HEIGHT + (16 * len(drawn) if alone else 0)

    def at(x: float, y: float) -> str:
        u = LEFT + (WIDTH - LEFT - RIGHT) * (x - left) / (right - left)
        v = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - bottom) / (top - bottom)
        return f"{u:z.1f},{v:z.1f}"

    label = f"{title} ({unit}) against training step, {len(drawn)} arm(s)"
    parts = [
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'
    ]
    if alone:
        parts.append(f'<style>{style()}</style><rect width="100%" height="100%" fill="var(--paper)"/>')
    parts.append(f'<text x="{LEFT}" y="18" font-weight="600">{escape(title)}, {escape(unit)}</text>')
    for tick in ticks(bottom, top):
        u, v = at(left, tick).split(",")
        parts.append(f'<line class="grid" x1="{u}" y1="{v}" x2="{WIDTH - RIGHT}" y2="{v}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{float(v) + 4:z.1f}" text-anchor="end">{tick:g}</text>')
    for tick in ticks(left, right):
        u = at(tick, bottom).split(",")[0]
        parts.append(f'<text x="{u}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">step</text>')
    for row, (name, (steps, mean, low, high)) in enumerate(drawn.items()):
        kind, dash, said = f"s{looks[name] % len(LIGHT)}", _dash(looks[name]), escape(_seeded(name, series[name][1].shape[0]))
        if not np.array_equal(low, high):
            path = [at(x, min(max(y, bottom), top)) for x, y in zip(steps, high, strict=True)]
            path += [at(x, min(max(y, bottom), top)) for x, y in zip(steps[::-1], low[::-1], strict=True)]
            parts.append(f'<polygon class="band {kind}" points="{" ".join(path)}"/>')
        points = " ".join(at(x, y) for x, y in zip(steps, mean, strict=True))
        parts.append(f'<polyline class="line {kind}"{dash} points="{points}"><title>{said}</title></polyline>')
        if alone:
            y = HEIGHT + 16 * row + 8
            parts.append(f'<line class="line {kind}"{dash} x1="{LEFT}" y1="{y}" x2="{LEFT + 26}" y2="{y}"/>')
            parts.append(f'<text x="{LEFT + 32}" y="{y + 4}">{said}</text>')
    return "".join([*parts, "</svg>"])


def band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean, low, high) over seeds at each step; low and high are the mean where there is one seed."""
    from scipy.stats import t

    mean, seeds = values.mean(axis=0), values.shape[0]
    if seeds < 2:
        return mean, mean, mean
    half = t.ppf(0.975, seeds - 1) * values.std(axis=0, ddof=1) / math.sqrt(seeds)
    return mean, np.maximum(mean - half, 0.0), mean + half  # none of the shown quantities is negative


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``."""
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    return [round(step * i, 10) for i in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]
