"""From ``conf/claim/*.yaml`` and records to one result a claim: guards, estimate over training seeds, Holm over the family, verdict.

Differs from a notebook that tests what looked interesting in three ways: what is tested, and how large an effect must be, stands in a
committed file; a claim whose file was not the same when its records were made is marked exploratory; untested members of a family count
in its correction.

    from repro.claims import declared, engine
    results = engine.evaluate(declared.load(), Records.load([Path("outputs/sweeps")]))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from evals.harness import samples_of
from repro.claims import guards, power, verdict
from repro.claims.arms import Arm
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
    commits = {e["commit"] for g in found.values() for held in g.evaluations.values() for e, _ in held.values()}
    result = Result(claim, scale, registration(claim.path, sorted(str(commit) for commit in commits)))
    if claim.scale == "magnitude" and scale != "paper":
        result.reasons.append(f"tests a magnitude, and {scale} is below the paper's scale")
    # The base model has no training seed: one evaluation, a constant beside which the seeds of the others vary.
    fixed = {name for name, group in found.items() if group.stage == "base"}
    result.seeds = min((len(group.evaluations[group.last]) for name, group in found.items() if name not in fixed), default=0)
    result.reasons += _guards(claim, found, fixed)
    try:
        result.values = {name: group.values(claim.metric, name) for name, group in found.items()}
        result.groups = _groups(claim, result.values, fixed)
        result.estimate = contrast(*result.groups)
    except (RecordError, ValueError) as error:
        if not any("training seeds" in reason or "missing" in reason for reason in result.reasons):
            result.reasons.append(str(error))
    return result


def _exists(experiment: str) -> bool:
    return (FOLDER.parent / "experiment" / f"{experiment}.yaml").exists()


def _guards(claim: Claim, found: Mapping[str, Group], fixed: set[str]) -> list[str]:
    """Reasons of ``repro.claims.guards`` over every benchmark that the metric reads; for curves over MATH, what all RL cells are asked."""
    reasons: list[str] = []
    scale = next(iter(found.values())).scale
    if claim.metric["kind"] == "traces":  # documents are counted, there are no samples
        few = next((f"{name} has {len(g.cells)}" for name, g in found.items() if len(g.cells) < claim.min_seeds), None)
        return [str(_with_command(f"needs {claim.min_seeds} parts of the corpus: {few}", claim))] if few else []
    for role in claim.metric.get("benchmarks", ["math"]):
        benchmark = BENCHMARKS[role][scale]
        try:
            arms = {name: group.arm(name, benchmark) for name, group in found.items()}
        except RecordError as error:
            if claim.metric["kind"] == "curve" and "no records of" in str(error):
                continue
            raise
        seeded: list[Arm] = [arm for name, arm in arms.items() if name not in fixed]
        everyone = list(arms.values())
        group = next(iter(found.values()))
        checks = [
            guards.different_decoding(everyone),
            guards.different_verifier(everyone),
            guards.different_budget(everyone),
            guards.different_questions(everyone),
            guards.nan_accuracies(everyone),
            guards.missing_samples(everyone, samples_of(group.config["eval"], benchmark)),
            _with_command(guards.too_few_seeds(seeded, claim.min_seeds), claim),
            guards.too_truncated(everyone),
            guards.not_decontaminated(everyone),
            guards.broken_pairing(seeded) if claim.test == "paired" and _same_stage(found, fixed) else None,
            guards.no_spread(seeded) if claim.metric["kind"] == "accuracy" else None,
        ]
        reasons += [reason for reason in checks if reason and reason not in reasons]
    return reasons


def _with_command(reason: str | None, claim: Claim) -> str | None:
    """The reason with the line that adds what is missing."""
    seeds = f"'seed=range({claim.min_seeds})'"
    return f"{reason}; python -m repro +experiment={claim.experiment} {seeds} adds them" if reason and _exists(claim.experiment) else reason


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
        prediction = prediction_interval(*result.groups) if published is not None and result.estimate is not None else None
        result.verdict = verdict.judge(
            result.estimate,
            level,
            direction=claim.direction,
            published=None if prediction is None else float(published),
            prediction=prediction,
            **common,
        )
