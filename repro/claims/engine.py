"""From ``conf/claim/*.yaml`` and records to one result a claim: guards, estimate over training seeds, Holm over the family, verdict.

Differs from a notebook that tests what looked interesting in three ways: what is tested, and how large an effect must be, stands in a
committed file; a claim whose file was not the same when its records were made is marked exploratory; untested members of a family count
in its correction.

    from repro.claims import engine
    results = engine.evaluate(engine.load(), Records.load([Path("outputs/sweeps")]))

A claim file has the keys of ``Claim``; conf/claim/H4.2a.yaml explains each of them.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from repro.claims import guards, power, verdict
from repro.claims.arms import Arm
from repro.claims.comparison import tost
from repro.claims.intervals import Estimate, Interval, contrast, prediction_interval
from repro.claims.multiplicity import holm, holm_levels
from repro.claims.records import BENCHMARKS, Group, RecordError, Records

FOLDER = Path(__file__).parents[2] / "conf" / "claim"
ALPHA = 0.05
TESTS = ("welch", "paired", "interaction", "trend", "one_sample")
DIRECTIONS = ("increase", "decrease", "none")
KINDS = ("accuracy", "tokens", "truncated", "curve")
SUMMARIES = ("final", "change", "slope", "area", "spread", "collapse")
UNITS = {"share": "points", "window": "% of the window", "raw": "as logged"}
STAGES = ("base", "sft", "rl")
SCALES = ("mechanism", "magnitude")


class ClaimError(ValueError):
    """A claim file that must not be evaluated. One line: file, key, what is allowed."""


@dataclass(frozen=True)
class Claim:
    """One claim file, checked. ``arms``: name -> (query over a cell's configuration, stage)."""

    id: str
    section: str
    statement: str
    experiment: str
    family: str
    arms: dict[str, tuple[dict[str, Any], str]]
    contrast: dict[str, float]
    metric: dict[str, Any]
    test: str
    direction: str
    margin: float
    margin_reason: str
    min_seeds: int
    scale: str
    published: dict[str, Any]
    path: Path = field(default=Path())
    variants: dict[str, Claim] = field(default_factory=dict)  # scale -> the claim with what its file's `at` says of that scale

    def at(self, scale: str) -> Claim:
        """The claim as its file states it for a scale."""
        return self.variants.get(scale, self)

    @property
    def unit(self) -> str:
        if self.metric["kind"] == "curve":
            return UNITS[self.metric["unit"]]
        return "% of the window" if self.metric["kind"] == "tokens" else "points"

    @property
    def measured(self) -> str:
        """The metric in words."""
        if self.metric["kind"] == "curve":
            return f"{self.metric['summary']} of training {self.metric['column']} ({self.unit})"
        names = "+".join(self.metric["benchmarks"])
        return {"accuracy": f"accuracy {names}", "tokens": f"CoT length {names} ({self.unit})", "truncated": f"truncated {names}"}[
            self.metric["kind"]
        ]


@dataclass(frozen=True)
class Registration:
    """``hash``: last commit of the claim file, or "uncommitted"; ``exploratory``: why it does not count as declared beforehand, or ""."""

    hash: str
    exploratory: str


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


def load(folder: Path = FOLDER) -> list[Claim]:
    """Every claim file of a folder, by id. Raises ClaimError for a file that does not say what a claim must say, or an empty folder."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise ClaimError(f"no claim file (*.yaml) in {folder}")
    return [read(path) for path in paths]


def read(path: Path) -> Claim:
    """One claim file. Raises ClaimError."""
    import yaml

    try:
        given = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ClaimError(f"{path}: {' '.join(str(error).split())}") from None
    names = [f.name for f in fields(Claim) if f.name not in ("path", "variants")]
    _keys(path, "", given, [*names, "at"], names)
    at = given.pop("at", {})
    claim = _checked(path, given)
    return replace(claim, variants={scale: _checked(path, changed) for scale, changed in _variants(path, given, at).items()})


def _variants(path: Path, given: dict[str, Any], at: Any) -> dict[str, dict[str, Any]]:
    """What the file says at each scale that ``at`` names: keys of arms added or changed, other places in the contrast, another metric."""
    found = {}
    _keys(path, "at.", at, tuple(BENCHMARKS["math"]), ())
    for scale, changes in at.items():
        _keys(path, f"at.{scale}.", changes, ("arms", "contrast", "metric"), ())
        _keys(path, f"at.{scale}.arms.", changes.get("arms", {}), tuple(given["arms"]), ())
        arms = {name: {**query, **changes.get("arms", {}).get(name, {})} for name, query in given["arms"].items()}
        found[scale] = {**given, **changes, "arms": arms}
    return found


def _checked(path: Path, given: dict[str, Any]) -> Claim:
    for key, kind in (("id", str), ("section", str), ("statement", str), ("experiment", str), ("family", str), ("margin_reason", str)):
        if not isinstance(given[key], kind) or not given[key]:
            raise ClaimError(f"{path}: {key} must be a text, got {given[key]!r}")
    if given["id"] != path.stem:
        raise ClaimError(f"{path}: id is {given['id']}, the file is called {path.stem}")
    _one_of(path, "test", given["test"], TESTS)
    _one_of(path, "direction", given["direction"], DIRECTIONS)
    _one_of(path, "scale", given["scale"], SCALES)
    if isinstance(given["margin"], bool) or not isinstance(given["margin"], (int, float)) or not given["margin"] > 0:
        raise ClaimError(f"{path}: margin must be a number above 0, got {given['margin']!r}")
    if not isinstance(given["min_seeds"], int) or given["min_seeds"] < 2:
        raise ClaimError(f"{path}: min_seeds must be a whole number from 2 on, got {given['min_seeds']!r}")
    arms = _arms(path, given)
    published = given["published"]
    _keys(path, "published.", published, ("effect", "tag", "source"), ("effect", "tag", "source"))
    if published["effect"] is not None and not isinstance(published["effect"], (int, float)):
        raise ClaimError(f"{path}: published.effect must be a number or null, got {published['effect']!r}")
    return Claim(**{**given, "arms": arms, "metric": _metric(path, given["metric"]), "margin": float(given["margin"]), "path": path})


def _arms(path: Path, given: dict[str, Any]) -> dict[str, tuple[dict[str, Any], str]]:
    arms, weights = given["arms"], given["contrast"]
    for key, value in (("arms", arms), ("contrast", weights)):
        if not isinstance(value, Mapping) or not value:
            raise ClaimError(f"{path}: {key} must be a mapping, got {value!r}")
    for name in weights:
        if name not in arms:
            raise ClaimError(f"{path}: contrast names an arm {name!r} that is not among the arms {', '.join(arms)}")
    for name, query in arms.items():
        if name not in weights:
            raise ClaimError(f"{path}: arm {name!r} is not in the contrast")
        if not isinstance(query, Mapping) or query.get("stage") not in STAGES:
            raise ClaimError(f"{path}: arm {name!r} needs a stage, one of {', '.join(STAGES)}")
        if isinstance(weights[name], bool) or not isinstance(weights[name], (int, float)):
            raise ClaimError(f"{path}: contrast.{name} must be a number, got {weights[name]!r}")
    wanted = {"welch": 2, "paired": 2, "interaction": 4, "one_sample": 1}.get(given["test"])
    if wanted is not None and len(arms) != wanted:
        raise ClaimError(f"{path}: test {given['test']} needs {wanted} arm(s), got {len(arms)}")
    order = [weights[name] for name in arms]
    if given["test"] == "trend" and len(set(order)) < 2:
        raise ClaimError(f"{path}: a trend needs 2 or more different places in contrast, got {order}")
    if given["test"] == "interaction" and order != [1, -1, -1, 1]:
        raise ClaimError(f"{path}: an interaction lists a after, a before, b after, b before with contrast 1, -1, -1, 1, got {order}")
    return {name: ({key: value for key, value in query.items() if key != "stage"}, query["stage"]) for name, query in arms.items()}


def _metric(path: Path, metric: Any) -> dict[str, Any]:
    if not isinstance(metric, Mapping) or "kind" not in metric:
        raise ClaimError(f"{path}: metric needs a kind, one of {', '.join(KINDS)}")
    _one_of(path, "metric.kind", metric["kind"], KINDS)
    if metric["kind"] == "curve":
        _keys(path, "metric.", metric, ("kind", "column", "summary", "window", "unit"), ("column", "summary", "window", "unit"))
        _one_of(path, "metric.summary", metric["summary"], SUMMARIES)
        _one_of(path, "metric.unit", metric["unit"], tuple(UNITS))
        if not isinstance(metric["window"], float) or not 0 < metric["window"] <= 1:
            raise ClaimError(f"{path}: metric.window must be a share of the steps, above 0 and at most 1, got {metric['window']!r}")
        return dict(metric)
    _keys(path, "metric.", metric, ("kind", "benchmarks"), ("benchmarks",))
    if not isinstance(metric["benchmarks"], list) or not metric["benchmarks"]:
        raise ClaimError(f"{path}: metric.benchmarks must be a list of {', '.join(BENCHMARKS)}")
    for name in metric["benchmarks"]:
        _one_of(path, "metric.benchmarks", name, tuple(BENCHMARKS))
    return dict(metric)


def _keys(path: Path, where: str, given: Any, allowed: Sequence[str], needed: Sequence[str]) -> None:
    if not isinstance(given, Mapping):
        raise ClaimError(f"{path}: expected keys {', '.join(allowed)}{f' under {where[:-1]}' if where else ''}")
    for key in given:
        if key not in allowed:
            raise ClaimError(f"{path}: unknown key {where}{key}; the keys are {', '.join(allowed)}")
    for key in needed:
        if key not in given:
            raise ClaimError(f"{path}: {where}{key} is missing")


def _one_of(path: Path, key: str, given: Any, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise ClaimError(f"{path}: {key} must be one of {', '.join(allowed)}, got {given!r}")


def registration(path: Path, commits: Sequence[str]) -> Registration:
    """Was the claim already in the code that made the records, saying the same?

    Compares what the file says now with what it said at each commit that evaluated; comments may change, and so may the file's history.
    """
    import yaml

    last = _git(path, "log", "-1", "--format=%h", "--", path.name)
    if not last or _git(path, "status", "--porcelain", "--", path.name):
        return Registration("uncommitted", "the claim file is not committed")
    now = yaml.safe_load(path.read_text())
    for commit in commits:
        then = _git(path, "show", f"{commit}:./{path.name}")
        if then is None:
            known = _git(path, "cat-file", "-e", f"{commit}^{{commit}}") is not None
            why = "did not hold the claim yet" if known else "is not in this repository"
            return Registration(last, f"records were made by commit {commit[:7]}, which {why}")
        if yaml.safe_load(then) != now:
            return Registration(last, f"the claim was edited after commit {commit[:7]} made records")
    return Registration(last, "")


@functools.cache
def _git(path: Path, *arguments: str) -> str | None:
    """Output of git in the file's folder, or None where it fails."""
    try:
        done = subprocess.run(["git", "-C", str(path.parent), *arguments], capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return None
    return done.stdout.strip() if done.returncode == 0 else None


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
            guards.missing_samples(everyone, int(group.config["eval"]["samples"])),
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
