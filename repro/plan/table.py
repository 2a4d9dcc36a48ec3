"""What a plan says, as data (``summary``), and as terminal tables or Markdown.

``summary`` is plain dictionaries and lists of numbers with their units in the names, which ``--json`` prints as they are; the tables show the
same rows, so nothing is in one and not in the other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from repro.budget import amount_of, kind_of
from repro.plan import calibrate, detect, gpus
from repro.plan.calibrate import Speeds
from repro.plan.cells import BEGUN, NEW, STORED, UNKNOWN, Plan, Planned, PlannedCell
from repro.plan.flops import shape_of
from repro.plan.gpus import Assumptions, Cost
from repro.plan.memory import GIB
from repro.plan.workload import Lengths, Work, left_out, of_stage, scaled

SMALL = 100_000_000  # parameters below which a GPU waits for kernel launches, and the estimate from data sheets is a bound from below


@dataclass(frozen=True)
class Request:
    """What the command line asks for. speeds: of this machine by ``calibrate.model_of``, None to estimate for GPUs. parallel: cells side by side."""

    assumed: Assumptions
    lengths: Lengths
    speeds: dict[str, Speeds] | None = None
    parallel: int = 1
    sd: float = 1.0
    effect: float | None = None


def _stage(cell: PlannedCell, stage: Planned, request: Request, lengths: Lengths) -> tuple[Work, float, Cost | None]:
    """(tokens, seconds of wall time, cost on GPUs). Under budget=wall as many steps as fit into it."""
    work = of_stage(cell.config, stage, lengths)
    found = _cost(cell, stage, request, lengths, work)
    if stage.kind == "rl" and kind_of(cell.config) == "wall":
        steps = max(1, round(work.steps * amount_of(cell.config["budget"]) / found[1]))
        found = _cost(cell, stage, request, lengths, scaled(work, steps))
    return found


def _cost(cell: PlannedCell, stage: Planned, request: Request, lengths: Lengths, work: Work) -> tuple[Work, float, Cost | None]:
    if request.speeds is not None:
        speeds = request.speeds[calibrate.model_of(cell.config)]
        work = work if lengths.completion else calibrate.adjusted(cell.config, stage, work, speeds)
        return work, calibrate.seconds(cell.config, stage, work, speeds), None
    found = gpus.cost(cell.config, stage, work, shape_of(cell.config["model"]), request.assumed)
    return work, found.seconds if found else 0.0, found


def summary(plan: Plan, request: Request) -> dict[str, Any]:
    """The whole plan. ``stages``: one row for the stages of a title that cost the same; ``memory``: of one card, by part."""
    rows: dict[Any, dict[str, Any]] = {}
    users: dict[str, list[PlannedCell]] = {}
    for cell in plan.cells:
        for stage in cell.stages:
            users.setdefault(stage.identity, []).append(cell)
    bound = 0.0
    for cell, stage in plan.unique():
        work, seconds, cost = _stage(cell, stage, request, request.lengths)
        at = (stage.kind, stage.of, cell.config["model"]["name"], work, seconds, repr(cost))
        row = rows.setdefault(
            at,
            {
                "stage": f"eval {stage.of}" if stage.kind == "eval" else stage.kind,
                "kind": stage.kind,
                "rl_steps": [],
                "model": cell.config["model"]["name"],
                "arms": [],
                "stages": 0,
                "cells": set(),
                "statuses": {},
                "sampled_tokens_each": work.sampled,
                "prompt_tokens_each": work.prompts,
                "trained_tokens_each": work.trained,
                "completion_tokens_mean": work.length if work.samples else None,
                "seconds_each": seconds,
                "gpus": cost.gpus if cost else None,
                "gpu_hours_each": cost.gpu_hours if cost else None,
                "seconds_each_by_activity": cost.parts if cost else None,
                "memory_gib": {k: v / GIB for k, v in cost.memory.items()} if cost else None,
                "peak_gib": cost.peak / GIB if cost else None,
                "fits": cost.fits if cost else None,
                "peak_gib_instead": {k: v / GIB for k, v in cost.instead.items()} if cost else None,
                "decoding_together": cost.together if cost and work.samples else None,
            },
        )
        row["stages"] += 1
        row["cells"] |= {id(user) for user in users[stage.identity]}
        row["statuses"][stage.status] = row["statuses"].get(stage.status, 0) + 1
        row["arms"] = list(dict.fromkeys([*row["arms"], *(user.arm for user in users[stage.identity])]))
        if stage.of == "rl" and stage.step not in row["rl_steps"]:
            row["rl_steps"].append(stage.step)
        if stage.status != STORED and cost is not None:
            full = _stage(cell, stage, request, Lengths(request.lengths.prompt, float("inf")))[2]
            bound += full.gpu_hours if full else 0.0
    listed = list(rows.values())
    for row in listed:
        row["cells"] = len(row["cells"])
        row["to_do"] = row["stages"] - row["statuses"].get(STORED, 0)
        row["seconds"] = row["to_do"] * row["seconds_each"]
    startup = max(s.startup for s in request.speeds.values()) if request.speeds and any(row["to_do"] for row in listed) else 0.0
    seconds = (sum(row["seconds"] for row in listed) + startup) / max(1, min(request.parallel, len(plan.cells)))
    on_gpus = request.speeds is None
    seeds = {arm: len(set(found)) for arm, found in plan.arms.items()}
    fewest = min(seeds.values())
    return {
        "scale": plan.cells[0].config["scale"],
        "experiment": plan.cells[0].config["experiment_name"],
        "cells": len(plan.cells),
        "arms": seeds,
        "stages": listed,
        "store": plan.cells[0].config["paths"]["store"],
        "why_store_unknown": plan.cells[0].why_unknown,
        "total": {
            "stages": sum(row["stages"] for row in listed),
            "to_do": sum(row["to_do"] for row in listed),
            "sampled_tokens": sum(row["to_do"] * row["sampled_tokens_each"] for row in listed),
            "trained_tokens": sum(row["to_do"] * row["trained_tokens_each"] for row in listed),
            "seconds": seconds,
            "startup_seconds": startup,
            "cells_side_by_side": request.parallel,
            "gpu_hours": sum(row["to_do"] * (row["gpu_hours_each"] or 0.0) for row in listed) if on_gpus else None,
            "gpu_hours_full_windows": bound if on_gpus else None,
        },
        "detect": {
            "seeds": fewest,
            "sd_points": request.sd,
            "alpha": detect.ALPHA,
            "power": detect.POWER,
            "smallest_effect_points": detect.smallest_effect(fewest, request.sd),
            "effect_points": request.effect,
            "seeds_needed": detect.seeds_needed(request.effect, request.sd) if request.effect else None,
        },
        "assumptions": _assumptions(plan, request),
    }


def _assumptions(plan: Plan, request: Request) -> list[str]:
    config = plan.cells[0].config
    lines = [*(s.line() for s in request.speeds.values()), calibrate.LINE] if request.speeds else request.assumed.lines()
    micro = config["model"]["path"] is None
    if request.lengths.completion:
        lines.append(f"completions have {request.lengths.completion:,.0f} tokens on average (given)")
    elif micro:
        lines.append("lengths of prompts and chains are those of a draw of the micro world; --tokens for other completions")
    else:
        lines.append(
            "completions are as long as the paper's distilled ones: tokens over released rows, 3,070 for long, 980 for short chains; --tokens"
        )
    if not micro and not request.lengths.prompt:
        lines.append("100 tokens a prompt; --prompt-tokens")
    lines += dict.fromkeys(line for cell in plan.cells for line in left_out(cell.config))
    if request.speeds is None and shape_of(config["model"]).parameters < SMALL:
        lines.append(
            "models below 100M parameters wait for kernel launches on a GPU: times are a bound from below, measure on the machine itself"
        )
    return lines


def count(amount: float) -> str:
    """Tokens for a table: 1.2k, 3.4M, 5.6B."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if amount >= size:
            return f"{amount / size:.{1 if amount < 100 * size else 0}f}{letter}"
    return f"{amount:.0f}" if amount else "-"


def duration(seconds: float) -> str:
    """Wall time for a table."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"


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
            cells += [str(row["gpus"] or "-"), f"{row['to_do'] * (row['gpu_hours_each'] or 0):,.1f}"]
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
        together = "-" if row["decoding_together"] is None else f"{row['decoding_together']:.0f}"
        rows.append([row["stage"], *numbers, _gib(row["peak_gib"]), "yes" if row["fits"] else "NO", together])
    return ["GiB on one card", *parts, "peak", "fits", "sequences together"], rows


def _gib(amount: float) -> str:
    return f"{amount:,.1f}" if amount >= 0.1 else f"{amount:.2g}"


def closing(found: dict[str, Any]) -> list[str]:
    """The lines below the tables."""
    total, power = found["total"], found["detect"]
    side = f"{total['cells_side_by_side']} cells side by side" if total["cells_side_by_side"] > 1 else "one cell after the other"
    lines = [f"To do: {total['to_do']} of {total['stages']} stages, {duration(total['seconds'])} with {side}"]
    if total["gpu_hours"] is not None:
        lines[0] += (
            f", {total['gpu_hours']:,.0f} GPU-hours; at most {total['gpu_hours_full_windows']:,.0f} if every completion fills its window"
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
            f"With {power['seeds']} seeds an arm a difference of {power['smallest_effect_points']:.1f} points is found in {power['power']:.0%} "
            f"of cases (two-sided, alpha {power['alpha']:g}), if the standard deviation is {unit}; --sd"
        )
    if power["effect_points"]:
        needed = power["seeds_needed"] or f"more than {detect.MOST}"
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
