"""A plan as data: plain dictionaries and lists of numbers with their units in the names, which ``--json`` prints as they are.

summary(expand(["+experiment=reward_design"]), Request(Assumptions(), Lengths()))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from repro.budget import amount_of, kind_of
from repro.config import adapters
from repro.plan import calibrate, detect, gpus
from repro.plan.calibrate import Speeds
from repro.plan.cells import STORED, Plan, Planned, PlannedCell
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
        lines.append(f"completions have {request.lengths.completion:z,.0f} tokens on average (given)")
    elif micro:
        lines.append("lengths of prompts and chains are those of a draw of the micro world; --tokens for other completions")
    else:
        lines.append(
            "completions are as long as the paper's distilled ones: tokens over released rows, 3,070 for long, 980 for short chains; --tokens"
        )
    if not micro and not request.lengths.prompt:
        lines.append("100 tokens a prompt; --prompt-tokens")
    lines += dict.fromkeys(line for cell in plan.cells for line in left_out(cell.config))
    if any(adapters(cell.config, "sft", "rl") for cell in plan.cells):
        lines.append(
            "a step with adapters takes as long as one without: so it was on a CPU at 0.2M parameters, to 20 %"
            if request.speeds
            else "adapters: no gradients of frozen weights are computed; policy, critic and reference hold one base"
        )
    if request.speeds is None and shape_of(config["model"]).parameters < SMALL:
        lines.append(
            "models below 100M parameters wait for kernel launches on a GPU: times are a bound from below, measure on the machine itself"
        )
    return lines
