"""From ``conf/claim/*.yaml`` and records to one result a claim: guards, estimate over training seeds, Holm over the family, verdict.

Differs from a notebook that tests what looked interesting in three ways: what is tested, and how large an effect must be, stands in a
committed file; a claim whose file was not the same when its records were made is marked exploratory; untested members of a family count
in its correction.

    from repro.claims import declared, engine
    results = engine.evaluate(declared.load(), Records.load([Path("outputs/sweeps")]))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from evals.harness import samples_of
from repro.claims import guards, power, robustness, verdict
from repro.claims.comparison import tost
from repro.claims.declared import FOLDER, Claim, Registration, registration
from repro.claims.group import BENCHMARKS, Group, RecordError
from repro.claims.intervals import Estimate, Interval, contrast, prediction_interval
from repro.claims.multiplicity import holm, holm_levels
from repro.claims.records import Records

ALPHA = 0.05


@dataclass
class Result:
    """What became of a claim at one scale. ``values``: arm -> seed -> number; ``estimate`` None where it could not be made."""

    claim: Claim
    scale: str
    registration: Registration
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    estimate: Estimate | None = None
    groups: tuple[list[list[float]], list[float]] = ((), ())
    reasons: list[str] = field(default_factory=list)
    p: float | None = None
    p_holm: float | None = None
    interval: Interval | None = None
    detectable: float | None = None
    seeds: int = 0
    resolution: float | None = None  # smallest step of a seed's number, where it is a share of samples
    free: robustness.Robustness | None = None  # the same contrast without the t distribution
    verdict: verdict.Verdict | None = None


def evaluate(claims: Sequence[Claim], records: Records) -> list[Result]:
    """One result a claim and scale, in the order of claims. Raises RecordError for records that cannot be used at all."""
    results = [_measure(claim.at(scale), records, scale) for scale in records.scales for claim in claims]
    for scale in records.scales:
        for family in dict.fromkeys(claim.family for claim in claims):
            members = [r for r in results if r.scale == scale and r.claim.family == family]
            _judge(members)
    return results


def _measure(claim: Claim, records: Records, scale: str) -> Result:
    """Arms, guards and estimate; whatever stops it is a reason."""
    found = records.choose(scale, claim.arms, claim.experiment)
    if isinstance(found, str):
        hint = (
            f"; python -m repro +experiment={claim.experiment} makes them"
            if _exists(claim.experiment)
            else "; no experiment makes them yet"
        )
        return Result(claim, scale, registration(claim.path, []), reasons=[found + (hint if found.startswith("no records") else "")])
    made = [e for g in found.values() for held in g.evaluations.values() for e, _ in held.values()]
    commits = sorted({str(e["commit"]) for e in made})
    result = Result(claim, scale, registration(claim.path, commits, dirty=sorted({str(e["commit"]) for e in made if e.get("dirty")})))
    if claim.scale == "magnitude" and scale != "paper":
        result.reasons.append(f"tests a magnitude, and {scale} is below the paper's scale")
    # The base model has no training seed: one evaluation, a constant beside which the seeds of the others vary.
    fixed = {name for name, group in found.items() if group.stage == "base"}
    result.seeds = min((len(group.evaluations[group.last]) for name, group in found.items() if name not in fixed), default=0)
    result.reasons += _guards(claim, found, fixed)
    try:
        result.values = {name: group.values(claim.metric, name) for name, group in found.items()}
        result.groups = _groups(claim, result.values, fixed)
        result.reasons += indistinguishable(result.values)
        result.resolution = _resolution(claim, found)
        result.estimate = contrast(*result.groups, result.resolution)
        result.free = robustness.of(claim, result.values, result.groups, fixed)
    except (RecordError, ValueError) as error:
        if not any("training seeds" in reason or "missing" in reason for reason in result.reasons):
            result.reasons.append(str(error))
    return result


def _exists(experiment: str) -> bool:
    return (FOLDER.parent / "experiment" / f"{experiment}.yaml").exists()


def _guards(claim: Claim, found: Mapping[str, Group], fixed: set[str]) -> list[str]:
    """Reasons of ``repro.claims.guards`` over every benchmark that the metric reads; for curves over MATH, what all RL cells are asked."""
    reasons: list[str] = []
    groups = list(found.values())
    if claim.metric["kind"] == "traces":  # documents are counted, there are no samples
        few = next((f"{name} has {len(g.cells)}" for name, g in found.items() if len(g.cells) < claim.min_seeds), None)
        return [_with_command(f"needs {claim.min_seeds} parts of the corpus: {few}", claim)] if few else []
    for role in claim.metric.get("benchmarks", ["math"]):
        benchmark = BENCHMARKS[role][groups[0].scale]
        try:
            arms = [group.arm(name, benchmark) for name, group in found.items()]
        except RecordError as error:
            if claim.metric["kind"] == "curve" and "no records of" in str(error):
                continue
            raise
        checked = guards.check(
            arms,
            k=samples_of(groups[0].config["eval"], benchmark),
            min_seeds=claim.min_seeds,
            fixed=fixed,
            paired=claim.test == "paired" and _same_stage(found, fixed),
            accuracy=claim.metric["kind"] == "accuracy",
        )
        reasons += [reason for reason in checked if reason not in reasons]
    return [_with_command(reason, claim) if reason.startswith("needs ") else reason for reason in reasons]


def _with_command(reason: str, claim: Claim) -> str:
    """The reason with the line that adds what is missing."""
    seeds = f"'seed=range({claim.min_seeds})'"
    return f"{reason}; python -m repro +experiment={claim.experiment} {seeds} adds them" if _exists(claim.experiment) else reason


def indistinguishable(values: Mapping[str, Mapping[int, float]]) -> list[str]:
    """The reason why there is nothing to compare where every seed of every arm has the same number: a benchmark that all solve, a word that
    nobody writes."""
    numbers = [value for seeds in values.values() for value in seeds.values()]
    if len(numbers) > 1 and np.ptp(numbers) == 0:
        return [
            f"every seed of {', '.join(values)} has {numbers[0]:z.4g}: nothing that could differ; a benchmark or metric with room for it is needed"
        ]
    return []


def _resolution(claim: Claim, found: Mapping[str, Group]) -> float | None:
    """The smallest step of a seed's number, of the coarsest arm; None where it is no share of samples."""
    if claim.metric["kind"] == "accuracy":
        benchmarks = [BENCHMARKS[role] for role in claim.metric["benchmarks"]]
        counts = [next(iter(g.arm(name, b[g.scale]).scores.values())).size for name, g in found.items() for b in benchmarks]
        return 100 / min(counts) / len(benchmarks)
    rl = next(iter(found.values())).config["rl"]
    if claim.metric.get("unit") == "share" and "prompts_per_step" in rl:
        return 100 / (rl["prompts_per_step"] * rl["group_size"])
    return None


def _same_stage(found: Mapping[str, Group], fixed: set[str]) -> bool:
    """Pairs within one stage need one start; an arm paired with the checkpoint it was trained from is a pair already."""
    return len({group.stage for name, group in found.items() if name not in fixed}) == 1


def _groups(claim: Claim, values: Mapping[str, Mapping[int, float]], fixed: set[str]) -> tuple[list[list[float]], list[float]]:
    """(independent groups of seed numbers, their weights) such that the weighted sum of means is the effect."""
    names = list(claim.arms)
    weights = [float(claim.contrast[name]) for name in names]

    def linked(members: Sequence[int]) -> list[float]:
        seeds = [set(values[names[i]]) for i in members if names[i] not in fixed]
        if any(s != seeds[0] for s in seeds):
            raise ValueError(f"{' and '.join(names[i] for i in members)}: pairing needs the same training seeds")
        # A fixed arm has one evaluation, whichever cell it is read from.
        return [
            sum(weights[i] * values[names[i]].get(seed, next(iter(values[names[i]].values()))) for i in members)
            for seed in sorted(seeds[0])
        ]

    if claim.test == "paired":
        return [linked([0, 1])], [1.0]
    if claim.test == "interaction":
        return [linked([0, 1]), linked([2, 3])], [1.0, 1.0]
    arms = [[values[name][seed] for seed in sorted(values[name])] for name in names]
    if claim.test == "trend":
        centred = np.asarray(weights) - np.mean(weights)
        return arms, (centred / (centred @ centred)).tolist()
    return arms, weights


def _judge(members: Sequence[Result]) -> None:
    """p-values, Holm over the family with its untested members, verdicts."""
    for result in members:
        if result.estimate is not None:
            equivalence = result.claim.direction == "none"
            result.p = tost(result.estimate, result.claim.margin, ALPHA).p if equivalence else result.estimate.p_value()
    tested = [r for r in members if r.p is not None and not r.reasons]
    levels: list[float] = []
    if tested:
        adjusted = holm([r.p for r in tested], family=len(members))
        levels = holm_levels([r.p for r in tested], ALPHA, family=len(members)).tolist()
        for result, value in zip(tested, adjusted.tolist(), strict=True):
            result.p_holm = value
    widest = 1 - ALPHA / len(members)
    for result in members:
        claim = result.claim
        level = next((level for r, level in zip(tested, levels, strict=True) if r is result), widest)
        if result.estimate is not None:
            result.interval = result.estimate.interval(level)
            result.detectable = power.minimum_detectable_effect(result.estimate, 1 - level)
        proxy = result.scale != "paper"
        # Without arms the reason is that, and not their zero seeds.
        seeds = result.seeds or claim.min_seeds
        common = {"margin": claim.margin, "seeds": seeds, "min_seeds": claim.min_seeds, "guards": result.reasons, "proxy": proxy}
        if claim.direction == "none":
            result.verdict = verdict.no_effect(result.estimate, alpha=1 - level, **common)
            continue
        published = claim.published["effect"]
        known = published is not None and result.estimate is not None
        prediction = prediction_interval(*result.groups, resolution=result.resolution) if known else None
        found = verdict.judge(
            result.estimate,
            level,
            direction=claim.direction,
            published=None if prediction is None else float(published),
            prediction=prediction,
            **common,
        )
        result.verdict = replace(found, reason=found.reason + _room(result)) if found.name not in ("reproduced", "not tested") else found


def _room(result: Result) -> str:
    """A remark where the arm to be beaten is so near to the end of the scale that an effect of the margin had no room."""
    claim = result.claim
    if claim.metric["kind"] != "accuracy" or claim.test not in ("welch", "paired", "interaction"):
        return ""
    name = list(claim.arms)[1]  # in an interaction: what the first arm was before
    mean = float(np.mean(list(result.values[name].values())))
    left = 100 - mean if claim.direction == "increase" else mean
    return f"; {name} is at {mean:z.1f}, which leaves {left:z.1f} of room" if left < claim.margin else ""
