"""Hydra's side of ``hydra/launcher=slurm``, ``hydra/launcher=local`` and the sweeper that leaves composing to them.

Found by Hydra because ``repro.__main__`` puts this folder's parent on ``sys.path``: Hydra takes plugins from the namespace package
``hydra_plugins`` only. The work is in ``repro.sweep``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf


class _Launcher(Launcher):
    """Plans the cells, submits them, and waits unless told to detach."""

    name = ""

    def __init__(self, **settings: Any) -> None:
        plain = {key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for key, value in settings.items()}
        self.detach = plain.pop("detach")
        self.settings = plain

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        self.loader, self.config = hydra_context.config_loader, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from repro.sweep.foreground import launch

        launch(self.name, self.settings, self.detach, self.loader, self.config, job_overrides)
        return []


class SlurmLauncher(_Launcher):
    name = "slurm"


class LocalLauncher(_Launcher):
    name = "local"


class Sweeper(BasicSweeper):
    """Hydra's basic sweeper, less the combinations of ``hydra.sweeper.skip`` and values that do not apply
    (``repro.sweep.overrides``). The basic one composes every cell beforehand to find errors; the
    launchers above do that themselves, much faster."""

    def __init__(self, max_batch_size: int | None, params: Any = None, skip: Sequence[str] = ()) -> None:
        super().__init__(max_batch_size=max_batch_size, params=params)
        self.skip = list(skip)

    def split_arguments(self, overrides: Any, max_batch_size: int | None) -> list[list[list[str]]]:
        from repro.plan.cells import product, without
        from repro.sweep.overrides import where_they_apply

        jobs = where_they_apply(without(product(overrides), self.skip), self._compose)
        return [jobs] if max_batch_size is None else list(self.split_overrides_to_chunks(jobs, max_batch_size))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        from repro.sweep.whole import check_cell

        if not isinstance(self.launcher, _Launcher):
            for job in batch:
                check_cell(self.config, self._compose(job))

    def _compose(self, job: Sequence[str]) -> DictConfig:
        return self.hydra_context.config_loader.load_sweep_config(self.config, list(job))
