"""Rows of a benchmark from the Hugging Face hub, at the commit that the benchmark's file names: one under which others published results.

Asked for by ``data=hub`` (or ``REPRO_DATA_DIR=hub``) and never by itself, so that an evaluation without network never waits for one. What was
downloaded once is read from the cache.

    python -m evals.harness model=PATH benchmark=math500 data=hub
    REPRO_DATA_DIR=hub lm_eval run --include_path evals/tasks --tasks repro_math500 ...
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from evals.files import BenchmarkError

if TYPE_CHECKING:
    from evals.questions import FileBenchmark

log = logging.getLogger(__name__)


def rows(benchmark: FileBenchmark) -> list[dict[str, Any]]:
    """All rows of the split, of every configuration of the set that the benchmark names.

    Raises:
        BenchmarkError: no network and not in the cache, a gate that is not accepted, no such commit, configuration or split.
    """
    from datasets import Image, load_dataset

    from repro.models.load import reach_hub

    found: list[dict[str, Any]] = []
    try:
        reach_hub()
    except OSError as error:  # what was downloaded before is in the cache
        log.info("%s: the hub cannot be reached (%s); looking in the cache", benchmark.hub, error)
        _offline()
    try:
        for config in benchmark.configs or (None,):
            loaded = load_dataset(benchmark.hub, config, split=benchmark.split, revision=benchmark.revision)
            for name, kind in loaded.features.items():
                if isinstance(kind, Image):  # that there is one is all that is asked; decoding it would need one more library
                    loaded = loaded.cast_column(name, Image(decode=False))
            found += loaded.to_list()
    except Exception as error:  # the library raises whatever its transport and its readers raise
        raise BenchmarkError(f"{benchmark.hub} cannot be read from the hub ({_line(error)})") from None
    return found


def _offline() -> None:
    """For the rest of the process: both libraries read it when they are asked, and would retry for half a minute otherwise."""
    import datasets
    from huggingface_hub import constants

    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '?')}"
