"""All finished cells below some folders, and the choice of one group of them for each arm of a claim.

Differs from a results table in what it refuses: two evaluations of one arm and seed, and arms that differ in more than the claim says. An
evaluation that many cells share (the base, an SFT checkpoint) is one evaluation.

    records = Records.load([Path("outputs/sweeps/reward_design")])
    choice = records.choose("micro", {"cosine": ({"sft.name": "long", "reward.name": "cosine"}, "rl"), ...})
"""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.budget import describe
from repro.claims.declared import STAGES
from repro.claims.group import BENCHMARKS, Cell, Group, RecordError, check_schema

BUDGET = ("steps", "prompts_per_step", "group_size", "epochs", "max_completion_length")  # of rl: the same even where the algorithm differs
SHAPE = {  # of cell.json, as far as reports read it
    **dict.fromkeys(("arm", "arm_key", "store", "command", "config.scale", "config.experiment_name"), str),
    **dict.fromkeys(("seed", "config.seed"), int),
    **dict.fromkeys(("stages", "evaluations"), list),
    **dict.fromkeys(("config", "config.data", "config.eval"), dict),
    **dict.fromkeys((f"config.{part}.name" for part in ("model", "sft", "rl", "reward")), str),
}
SETUP = ("threads", "launch")  # may change rounding, never what a claim compares


class Records:
    """All cells below some folders, grouped by scale, stage and configuration."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = list(cells)
        self.groups: dict[tuple[str, str, str], Group] = {}
        for cell in self.cells:
            scale, seed = cell.config["scale"], int(cell.config["seed"])
            searched = [{"stage": "traces", "step": 0, **cell.facts["traces"]}] if cell.facts.get("traces") else []
            for evaluation in [*cell.facts["evaluations"], *searched]:
                key = (scale, evaluation["stage"], evaluation["arm_key"])
                group = self.groups.setdefault(key, Group(*key, config=cell.config))
                group.cells.setdefault(seed, cell)
                group.experiments.add(cell.config.get("experiment_name", ""))
                held = group.evaluations.setdefault(evaluation["step"], {}).setdefault(seed, (evaluation, cell))
                if held[0]["key"] != evaluation["key"]:
                    raise RecordError(
                        f"two different evaluations of {cell.facts['arm']} seed {seed} ({evaluation['stage']} step {evaluation['step']}): "
                        f"{held[1].folder} and {cell.folder}; report one of the folders, or run the older one again: {cell.command}"
                    )

    @classmethod
    def load(cls, paths: Sequence[Path]) -> Records:
        """Finished cells below ``paths``. Raises RecordError: no such folder, no finished cell, unreadable or other-schema files."""
        folders = sorted({file.parent.resolve() for path in paths for file in _existing(path).rglob("cell.json")})
        cells, failed = [], 0
        for folder in folders:
            try:
                facts = json.loads((folder / "cell.json").read_text())
            except (OSError, ValueError) as error:
                raise RecordError(f"{folder / 'cell.json'} cannot be read ({error}); delete it and run its cell again") from None
            if not isinstance(facts, dict):
                raise RecordError(f"{folder / 'cell.json'} holds no object; delete it and run its cell again")
            if facts.get("status") != "done":
                failed += 1
                continue
            odd = _unusable(facts)
            if odd:
                raise RecordError(f"{folder / 'cell.json'} is of another version (no usable {odd}); run its cell again")
            if not (folder / "records.parquet").exists():
                raise RecordError(f"{folder} has no records.parquet; run {facts.get('command', 'its cell')} again")
            check_schema(folder / "records.parquet")
            cells.append(Cell(folder, facts))
        if not cells:
            where = ", ".join(str(path) for path in paths)
            seen = f" ({failed} failed cell(s) there)" if failed else ""
            raise RecordError(f"no finished cell below {where}{seen}; run python -m repro +experiment=quickstart first")
        return cls(cells)

    @property
    def scales(self) -> list[str]:
        return sorted({cell.config["scale"] for cell in self.cells})

    def choose(self, scale: str, queries: Mapping[str, tuple[Mapping[str, Any], str]], experiment: str = "") -> dict[str, Group] | str:
        """One group an arm such that arms differ in nothing but what their queries name; otherwise the reason why there is none.

        Where several fit, those that ``experiment`` made.
        """
        candidates = {
            name: [g for (at, kind, _), g in self.groups.items() if at == scale and kind == stage and _matches(g.config, query)]
            for name, (query, stage) in queries.items()
        }
        absent = [name for name, found in candidates.items() if not found]
        if absent:
            unknown = [text for name in absent for text in self._unknown(scale, *queries[name])]
            return f"no records of {', '.join(absent)}" + (f" ({'; '.join(dict.fromkeys(unknown))})" if unknown else "")
        reasons, chosen = [], []
        for combination in itertools.islice(itertools.product(*candidates.values()), 4096):
            groups = dict(zip(candidates, combination, strict=True))
            differing = _undeclared(groups, queries)
            (reasons if differing else chosen).append(differing or groups)
        if len(chosen) > 1:
            own = [groups for groups in chosen if all(experiment in group.experiments for group in groups.values())]
            chosen = own or chosen
        if len(chosen) == 1:
            return chosen[0]
        if not chosen:
            return reasons[0]
        name = next(n for n in candidates if len({id(groups[n]) for groups in chosen}) > 1)
        which = sorted({f"#{groups[name].key[:4]}" for groups in chosen})
        return f"arm {name} matches {len(which)} configurations ({', '.join(which)}); report one sweep at a time"

    def _unknown(self, scale: str, query: Mapping[str, Any], stage: str) -> list[str]:
        """Keys of a query that no configuration of that stage has: a slip of the pen, most likely."""
        held = [g.config for (at, kind, _), g in self.groups.items() if at == scale and kind == stage]
        known = sorted({key for config in held for key in _flat(config, "")})
        # A part that is null (a reward without that term) may have keys elsewhere.
        odd = [key for key in query if held and not any(f"{name}.".startswith(f"{key}.") or key.startswith(f"{name}.") for name in known)]
        close = {key: difflib.get_close_matches(key, known, 1) for key in odd}
        return [f"no configuration has a key {key}" + (f", close is {close[key][0]}" if close[key] else "") for key in odd]


def _unusable(facts: Mapping[str, Any]) -> str | None:
    """The first key of a ``cell.json`` that is absent or not what ``repro.pipeline`` writes there."""
    for key, kind in SHAPE.items():
        if not isinstance(lookup(facts, key), kind):
            return key
    if facts["config"]["scale"] not in BENCHMARKS["math"]:
        return "config.scale"
    for key, wanted in (("stages", ("stage", "title", "key", "path")), ("evaluations", ("stage", "arm_key", "key"))):
        for held in facts[key]:
            if not isinstance(held, dict) or not all(isinstance(held.get(name), str) for name in wanted):
                return f"{key}: {', '.join(wanted)}"
    for held in facts["evaluations"]:
        known = isinstance(held.get("commit", 0), str | None) and isinstance(held.get("dirty", 0), bool | None)  # null: an installed wheel
        if not known or not isinstance(held.get("step"), int) or held["stage"] not in STAGES:
            return "evaluations: stage, step, commit, dirty"
    return None if isinstance(facts.get("traces"), dict | None) else "traces"


def _existing(path: Path) -> Path:
    if not path.is_dir():
        raise RecordError(f"{path} is no folder; give a folder of finished cells, or run python -m repro +experiment=quickstart first")
    return path


def lookup(config: Mapping[str, Any], dotted: str) -> Any:
    """``config["reward"]["name"]`` for ``reward.name``; None where a part is missing."""
    value: Any = config
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _matches(config: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    return all(lookup(config, key) == value for key, value in query.items())


def _flat(value: Any, prefix: str) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}.{key}" if prefix else key).items()}
    return {prefix: value}


def _undeclared(groups: Mapping[str, Group], queries: Mapping[str, tuple[Mapping[str, Any], str]]) -> str | None:
    """The first key in which arms differ though no query says so."""
    from repro.identity import READS, section

    keys = {key for query, _ in queries.values() for key in query}
    varied = {key for key in keys if len({json.dumps(query[key]) for query, _ in queries.values() if key in query}) > 1}
    # A choice varied by name varies all of its keys, except that RL's budget stays comparable.
    whole = {key.rpartition(".")[0] for key in varied if key.endswith((".name", ".role"))}

    def declared(key: str) -> bool:
        groups_of = {key.split(".", maxsplit=1)[0]}
        if key == "sft.file" or key.startswith("sft.teacher."):
            groups_of.add("data")  # a file of chains stands for a teacher that was asked about other problems
        budget = key.startswith("rl.") and key.rsplit(".", maxsplit=1)[-1] in BUDGET
        return key in varied or (bool(groups_of & whole) and not budget)

    for (first, a), (second, b) in itertools.combinations(groups.items(), 2):
        if a.stage == b.stage == "rl" and describe(a.config) != describe(b.config):
            return f"budget differs: {first} {describe(a.config)}, {second} {describe(b.config)}"
        shared = [part for part in READS[a.stage] if part in READS[b.stage] and part not in SETUP]
        left, right = ({k: v for part in shared for k, v in _flat(section(g.config, part), part).items()} for g in (a, b))
        for key in sorted({*left, *right}):
            if left.get(key) != right.get(key) and not declared(key):
                return f"arms differ in more than the claim says: {key} is {left.get(key)} in {first} and {right.get(key)} in {second}"
    return None
