"""Claim files (``conf/claim/*.yaml``): what a claim must say, and whether it said so before its records were made.

Differs from a list of hypotheses in prose in that a file which leaves something open (margin, direction, test, smallest number of seeds) is
refused. conf/claim/H4.2a.yaml explains each key; they are the fields of ``Claim``.

    from repro.claims import declared
    claims = declared.load()
"""

from __future__ import annotations

import functools
import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from repro.claims.group import BENCHMARKS

FOLDER = Path(__file__).parents[2] / "conf" / "claim"
TESTS = ("welch", "paired", "interaction", "trend", "one_sample")
DIRECTIONS = ("increase", "decrease", "none")
KINDS = ("accuracy", "tokens", "truncated", "curve", "traces")
SUMMARIES = ("final", "change", "slope", "area", "spread", "collapse", "correlation")
UNITS = {"share": "points", "window": "% of the window", "raw": "as logged"}
STAGES = ("base", "sft", "rl", "traces")
SCALES = ("mechanism", "magnitude")
TAGS = ("P", "D")  # printed; difference of printed numbers


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
        return {"tokens": "% of the window", "traces": "doublings"}.get(self.metric["kind"], "points")

    @property
    def measured(self) -> str:
        """The metric in words."""
        if self.metric["kind"] == "curve":
            beside = f" and {self.metric['beside']}" if "beside" in self.metric else ""
            off = f" - {self.metric['reference']:g}" if "reference" in self.metric else ""
            return f"{self.metric['summary']} of training {self.metric['column']}{beside}{off} ({self.unit})"
        if self.metric["kind"] == "traces":
            return "matches per sentence, forum over other documents (log2)"
        names = "+".join(self.metric["benchmarks"])
        return {"accuracy": f"accuracy {names}", "tokens": f"CoT length {names} ({self.unit})", "truncated": f"truncated {names}"}[
            self.metric["kind"]
        ]


@dataclass(frozen=True)
class Registration:
    """``hash``: last commit of the claim file, or "uncommitted"; ``exploratory``: why it does not count as declared beforehand, or ""."""

    hash: str
    exploratory: str


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
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
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
        for name, query in changes.get("arms", {}).items():
            if not isinstance(query, Mapping):
                raise ClaimError(f"{path}: at.{scale}.arms.{name} must be a mapping, got {query!r}")
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
    if not _number(given["margin"]) or not given["margin"] > 0:
        raise ClaimError(f"{path}: margin must be a number above 0, got {given['margin']!r}")
    if not isinstance(given["min_seeds"], int) or isinstance(given["min_seeds"], bool) or given["min_seeds"] < 2:
        raise ClaimError(f"{path}: min_seeds must be a whole number from 2 on, got {given['min_seeds']!r}")
    arms = _arms(path, given)
    published = given["published"]
    _keys(path, "published.", published, ("effect", "tag", "source"), ("effect", "tag", "source"))
    if published["effect"] is not None and not _number(published["effect"]):
        raise ClaimError(f"{path}: published.effect must be a number or null, got {published['effect']!r}")
    _one_of(path, "published.tag", published["tag"], TAGS)
    if not isinstance(published["source"], str) or not published["source"]:
        raise ClaimError(f"{path}: published.source must be a text, got {published['source']!r}")
    return Claim(**{**given, "arms": arms, "metric": _metric(path, given["metric"]), "margin": float(given["margin"]), "path": path})


def _arms(path: Path, given: dict[str, Any]) -> dict[str, tuple[dict[str, Any], str]]:
    arms, weights = given["arms"], given["contrast"]
    for key, value in (("arms", arms), ("contrast", weights)):
        if not isinstance(value, Mapping) or not value or not all(isinstance(name, str) for name in value):
            raise ClaimError(f"{path}: {key} must be a mapping from names of arms, got {value!r}")
    for name in weights:
        if name not in arms:
            raise ClaimError(f"{path}: contrast names an arm {name!r} that is not among the arms {', '.join(arms)}")
    for name, query in arms.items():
        if name not in weights:
            raise ClaimError(f"{path}: arm {name!r} is not in the contrast")
        if not isinstance(query, Mapping) or query.get("stage") not in STAGES:
            raise ClaimError(f"{path}: arm {name!r} needs a stage, one of {', '.join(STAGES)}")
        if not _number(weights[name]):
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
        needed = ("column", "summary", "window", "unit", *(["beside"] if metric.get("summary") == "correlation" else []))
        _keys(path, "metric.", metric, ("kind", "reference", *needed), needed)
        _one_of(path, "metric.summary", metric["summary"], SUMMARIES)
        _one_of(path, "metric.unit", metric["unit"], tuple(UNITS))
        if not isinstance(metric["window"], float) or not 0 < metric["window"] <= 1:
            raise ClaimError(f"{path}: metric.window must be a share of the steps, above 0 and at most 1, got {metric['window']!r}")
        if "reference" in metric and not _number(metric["reference"]):
            raise ClaimError(f"{path}: metric.reference must be a number, got {metric['reference']!r}")
        return dict(metric)
    if metric["kind"] == "traces":
        _keys(path, "metric.", metric, ("kind",), ())
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


def _number(value: Any) -> bool:
    """A finite number; YAML's true and .nan are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _one_of(path: Path, key: str, given: Any, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise ClaimError(f"{path}: {key} must be one of {', '.join(allowed)}, got {given!r}")


def registration(path: Path, commits: Sequence[str], dirty: Sequence[str] = ()) -> Registration:
    """Was the claim already in the code that made the records, saying the same?

    Compares what the file says now with what it said at each commit that evaluated; comments may change, and so may the file's history.
    ``dirty``: those of the commits on which something was not committed when records were made; what a file said then is not known.
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
    if dirty:
        return Registration(last, f"records were made with uncommitted changes on commit {dirty[0][:7]}")
    return Registration(last, "")


@functools.cache
def _git(path: Path, *arguments: str) -> str | None:
    """Output of git in the file's folder, or None where it fails."""
    try:
        done = subprocess.run(["git", "-C", str(path.parent), *arguments], capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return None
    return done.stdout.strip() if done.returncode == 0 else None
