"""Rows of a benchmark from the Hugging Face hub, at the commit that ``evals.benchmarks`` names.

Asked for by ``data=hub`` (or ``REPRO_DATA_DIR=hub``) and never by itself, so that an evaluation without network never waits for one. What was
downloaded once is read from the cache. A set without a known commit is read at the head of its main branch, and the commit is recorded.

    python -m evals.harness model=PATH benchmark=math500 data=hub
    REPRO_DATA_DIR=hub lm_eval run --include_path evals/tasks --tasks repro_math500 ...
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from evals.files import BenchmarkError

if TYPE_CHECKING:
    from evals.benchmarks import FileBenchmark

log = logging.getLogger(__name__)
PINNED = {  # commits under which others have published results with these sets
    "HuggingFaceH4/MATH-500": "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
    "TIGER-Lab/MMLU-Pro": "b189ec765aa7ed75c8acfea42df31fdae71f97be",
    "TIGER-Lab/TheoremQA": "a340b1782960a712843aae3ed25f1e013cc008a5",
    "math-ai/aime25": "563bb8404243c5f09de6ec262f2db674fe5bce9b",
    "openai/gsm8k": "cc7b047b6e5bb11b4f1af84efc572db110a51b3c",
}


@functools.cache
def commit(hub: str) -> str:
    """The commit that is read: the pinned one, or what main is now. Raises BenchmarkError if the hub cannot be asked."""
    if hub in PINNED:
        return PINNED[hub]
    from huggingface_hub import HfApi

    from repro.models.load import reach_hub

    try:
        reach_hub()
        found = HfApi().dataset_info(hub).sha
    except Exception as error:  # the client raises whatever its transport raises
        raise BenchmarkError(f"the hub cannot be asked for {hub} ({_line(error)})") from None
    log.info("%s: no commit is pinned; reading %s, the head of main", hub, found)
    return found


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
            loaded = load_dataset(benchmark.hub, config, split=benchmark.split, revision=commit(benchmark.hub))
            for name, kind in loaded.features.items():
                if isinstance(kind, Image):  # that there is one is all that is asked; decoding it would need one more library
                    loaded = loaded.cast_column(name, Image(decode=False))
            found += loaded.to_list()
    except BenchmarkError:
        raise
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
