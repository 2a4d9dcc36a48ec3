"""A plan as terminal tables or Markdown: the rows of ``repro.plan.summary``, so that nothing is in one output and not in another."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from repro.plan.cells import BEGUN, NEW, STORED, UNKNOWN


def count(amount: float) -> str:
    """Tokens for a table: 1.2k, 3.4M, 5.6B."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if amount >= size:
            return f"{amount / size:.{1 if amount < 100 * size else 0}f}{letter}"
    return f"{amount:z.0f}" if amount else "-"


def duration(seconds: float) -> str:
    """Wall time for a table."""
    if seconds < 90:
        return f"{seconds:z.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:z.0f} min"
    return f"{seconds / 3600:z.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:z.1f} days"


def _status(row: dict[str, Any]) -> str:
    return ", ".join(f"{row['statuses'][s]} {s}" for s in (NEW, BEGUN, STORED, UNKNOWN) if s in row["statuses"])


def stage_rows(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table of stages."""
    on_gpus = found["total"]["gpu_hours"] is not None
    several = len({row["model"] for row in found["stages"]}) > 1
    header = ["stage", "stages", "used by", "status", "sampled each", "trained each", "tokens/completion", "time each", "time to do"]
    rows = []
    for row in found["stages"]:
        fewer = row["kind"] in ("sft", "rl", "judge") and len(row["arms"]) < len({a.split(" ")[0] for a in found["arms"]})
        name = row["stage"] + (f" ({', '.join(row['arms'])})" if fewer else f" ({row['model']})" if several else "")
        if row["rl_steps"]:
            name += f", step{'s' * (len(row['rl_steps']) > 1)} {' '.join(map(str, row['rl_steps']))}"
        cells = [
            name,
            str(row["stages"]),
            f"{row['cells']} cell{'s' * (row['cells'] > 1)}",
            _status(row),
            count(row["sampled_tokens_each"]),
        ]
        cells += [count(row["trained_tokens_each"]), count(row["completion_tokens_mean"] or 0)]
        cells += [duration(row["seconds_each"]), duration(row["seconds"])]
        if on_gpus:
            cells += [str(row["gpus"] or "-"), f"{row['to_do'] * (row['gpu_hours_each'] or 0):z,.1f}"]
        rows.append(cells)
    return [*header, *(["GPUs", "GPU-hours to do"] if on_gpus else [])], rows


def memory_rows(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table of memory; evaluations of one kind share a row."""
    rows, parts, seen = [], [], set()
    for row in found["stages"]:
        parts += [part for part in row["memory_gib"] or () if part not in parts]
    for row in found["stages"]:
        if row["memory_gib"] is None or (key := (row["kind"], row["model"], repr(row["memory_gib"]))) in seen:
            continue
        seen.add(key)
        numbers = [_gib(row["memory_gib"][p]) if p in row["memory_gib"] else "-" for p in parts]
        together = "-" if row["decoding_together"] is None else f"{row['decoding_together']:z.0f}"
        rows.append([row["stage"], *numbers, _gib(row["peak_gib"]), "yes" if row["fits"] else "NO", together])
    return ["GiB on one card", *parts, "peak", "fits", "sequences together"], rows


def _gib(amount: float) -> str:
    return f"{amount:z,.1f}" if amount >= 0.1 else f"{amount:z.2g}"


def closing(found: dict[str, Any]) -> list[str]:
    """The lines below the tables."""
    total, power = found["total"], found["detect"]
    side = f"{total['cells_side_by_side']} cells side by side" if total["cells_side_by_side"] > 1 else "one cell after the other"
    lines = [f"To do: {total['to_do']} of {total['stages']} stages, {duration(total['seconds'])} with {side}"]
    if total["gpu_hours"] is not None:
        lines[0] += (
            f", {total['gpu_hours']:z,.0f} GPU-hours; at most {total['gpu_hours_full_windows']:z,.0f} if every completion fills its window"
        )
    for row in found["stages"]:
        if row["fits"] is False:
            others = ", ".join(f"launch={name} {_gib(peak)} GiB" for name, peak in row["peak_gib_instead"].items())
            line = f"{row['stage']} does not fit on a card: it needs {_gib(row['peak_gib'])} GiB" + (f"; with {others}" if others else "")
            alone = "; its hours assume that an engine has the card to itself while it samples"
            lines.append(line + (alone if row["sampled_tokens_each"] else ""))
    if found["why_store_unknown"]:
        lines.append(f"Store keys are not known: {found['why_store_unknown']}")
    unit = f"{power['sd_points']:g} points between the seeds of an arm"
    if power["smallest_effect_points"] is None:
        lines.append("One seed an arm: no difference between arms can be tested; give at least 2, e.g. seed=range(5)")
    else:
        lines.append(
            f"With {power['seeds']} seeds an arm a difference of {power['smallest_effect_points']:z.1f} points is found in {power['power']:z.0%} "
            f"of cases (two-sided, alpha {power['alpha']:g}), if the standard deviation is {unit}; --sd"
        )
    if power["effect_points"]:
        needed = power["seeds_needed"] or "more than 1,000"
        lines.append(f"A difference of {power['effect_points']:g} points needs {needed} seeds an arm, at {unit}")
    return lines


def tables(found: dict[str, Any]) -> Iterable[tuple[list[str], list[list[str]]]]:
    """The tables that have rows."""
    return [table for table in (stage_rows(found), memory_rows(found)) if table[1]]


def heading(found: dict[str, Any]) -> list[str]:
    """The lines above the tables."""
    seeds = sorted(set(found["arms"].values()))
    spread = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]}-{seeds[-1]}"
    arms = ", ".join(arm.split(" ")[0] for arm in found["arms"])
    return [
        f"{found['experiment']} at scale {found['scale']}: {found['cells']} cells = {len(found['arms'])} arms x {spread} seeds, "
        f"{found['total']['stages']} different stages",
        f"Arms: {arms}",
    ]


def markdown(found: dict[str, Any]) -> str:
    """The plan as Markdown."""
    lines = [*heading(found), ""]
    for header, rows in tables(found):
        lines += ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
        lines += ["| " + " | ".join(row) + " |" for row in rows] + [""]
    lines += [f"- {line}" for line in closing(found)]
    return "\n".join([*lines, "", "Assumptions:", "", *(f"- {line}" for line in found["assumptions"])])


def show(found: dict[str, Any]) -> None:
    """Print the plan to the terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(*heading(found), sep="\n", markup=False)
    for header, rows in tables(found):
        table = Table()
        for i, name in enumerate(header):
            table.add_column(name, justify="left" if i == 0 or name == "status" else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for line in closing(found):
        console.print(line, markup=False, soft_wrap=True)
    for line in ("Assumptions:", *(f"  - {line}" for line in found["assumptions"])):
        console.print(line, markup=False, soft_wrap=True)
