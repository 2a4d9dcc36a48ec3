"""What the store already has of a plan: the keys of its stages, as the pipeline itself would ask for them.

A store key needs the checksums of a stage's inputs and the machine; it is not computed here again: the pipeline's own ``Cell`` runs over a store
that builds nothing and writes down what it was asked for. A key cannot be known while the base model is a hub checkpoint that this machine has
not got; the plan then says so.

    look_up(expand(["+experiment=quickstart"]))
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repro.plan.cells import BEGUN, NEW, STORED, Plan, Planned, kept_steps
from repro.store import RESUME, Built, Stage, Store
from repro.tracking import searches


def look_up(plan: Plan) -> Plan:
    """The plan with store keys and what the store has, as far as the keys can be known. Imports torch where they can; writes nothing.

    Raises:
        ConfigError: a shipped base checkpoint is damaged.
    """
    cells = []
    for cell in plan.cells:
        why = unresolved(cell.config)
        cells.append(replace(cell, stages=cell.stages if why else _with_keys(cell.config, cell.stages), why_unknown=why))
    return replace(plan, cells=cells)


def unresolved(config: dict[str, Any]) -> str | None:
    """Why the store keys of a cell cannot be known, or None."""
    path, revision = config["model"]["path"], config["model"]["revision"]
    if searches(config) or path is None or Path(path).expanduser().is_dir():
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        snapshot_download(path, revision=revision, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return f"the commit of {path} is known only once it is on this machine"
    return None


UNPLANNED = ("sft_data",)  # stages of a cell that the figures leave out; the assumptions say so


class _DryStore(Store):
    """A store that neither makes its folder nor builds: it notes what it is asked for."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().resolve()
        self.asked: list[tuple[Stage, str]] = []

    def get_or_build(self, stage: Stage, build: Any) -> Built:
        found = self.get(stage)
        begun = (self.root / stage.name / f".{stage.key}.work" / RESUME).is_dir()
        self.asked.append((stage, STORED if found else BEGUN if begun else NEW))
        nowhere = {"environment": {"commit": None, "dirty": None}}
        return found or Built(stage, self.path(stage), False, 0.0, nowhere)


@dataclass(frozen=True)
class _Folder:
    """Stands for the folder of an RL stage that is not there yet: it has the policies that the stage will keep."""

    path: Path
    steps: list[int]

    def __truediv__(self, name: str) -> Any:
        return _Folder(self.path / name, self.steps) if name == "policies" else self.path / name

    def glob(self, _: str) -> list[Path]:
        return [self.path / f"step-{step:06d}" for step in self.steps]


def _with_keys(config: dict[str, Any], stages: list[Planned]) -> list[Planned]:
    """The same stages with store keys and status, as the pipeline itself would ask the store for them."""
    from repro.pipeline import Cell
    from repro.verifiers import Verifier

    class DryCell(Cell):
        def __init__(self) -> None:
            self.config, self.store = config, _DryStore(config["paths"]["store"])
            self.done, self.evaluations, self.warnings, self.contamination = [], [], [], {}
            self.found = self.spent = None
            self.verifier = Verifier()

        def rl(self, *inputs: Any) -> Built:
            built = super().rl(*inputs)
            return replace(built, path=_Folder(built.path, kept_steps(self.config)[:-1]))

    cell = DryCell()
    cell.run()
    asked = [(stage, status) for stage, status in cell.store.asked if stage.name not in UNPLANNED]
    if config["model"]["path"] is not None and not searches(config):  # a checkpoint from outside is no stage of the store
        stages, first = stages[1:], [replace(stages[0], status=STORED)]
    else:
        first = []
    if len(asked) != len(stages):
        raise RuntimeError(f"the pipeline has {len(asked)} stages where the plan expects {len(stages)}")
    return [*first, *(replace(s, key=stage.key, status=status) for s, (stage, status) in zip(stages, asked, strict=True))]
