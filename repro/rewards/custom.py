"""A reward of the user's own, held to what every reward term must give."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from repro.config import ConfigError
from repro.parts import check_picklable, load, place_of, split

if TYPE_CHECKING:
    from repro.rewards.terms import RewardBatch

KEY = "reward.custom.path"


@lru_cache
def _part(path: str, arguments: str) -> Any:
    """Return the function that gives a batch's rewards, made once per process."""
    found, given = load(path, KEY), json.loads(arguments)
    if not callable(found):
        raise ConfigError(f"{KEY}={path!r} is neither a class nor a function")
    if isinstance(found, type):
        try:
            made = found(**given)
        except Exception as error:  # of the user's own code
            raise ConfigError(
                f"{KEY}={path!r} does not take reward.custom.arguments={given}: {place_of(error, split(path, KEY)[0])}"
            ) from None
        if not callable(getattr(made, "compute", None)):
            raise ConfigError(f"{KEY}={path!r} has no method compute(batch)")
        check_picklable(made, path, KEY)
        return made.compute
    check_picklable(found, path, KEY)
    return lambda batch: found(batch, **given)


def compute(path: str, arguments: dict[str, Any], batch: RewardBatch) -> np.ndarray | list[np.ndarray]:
    """Return the rewards of a batch by the user's class or function.

    Args:
        path: of a class with ``compute(batch)``, or of a function of a batch.
        arguments: for the class, or for the function beside the batch.

    Returns:
        float64 ``[batch]``, or one float64 array per completion with a reward for each token.

    Raises:
        ConfigError: in one line, code that fails, a wrong shape, a number that is not finite.
    """
    reward, where = _part(path, json.dumps(arguments, sort_keys=True)), f"reward.custom ({path})"
    try:
        values = reward(batch)
        dense = len(values) > 0 and np.ndim(values[0]) > 0
        rows = [np.asarray(row, dtype=np.float64) for row in values] if dense else np.asarray(values, dtype=np.float64)
    except Exception as error:  # of the user's own code
        raise ConfigError(f"{where} failed: {place_of(error, split(path, KEY)[0])}") from None
    count = len(batch.lengths)
    if (not dense and rows.shape != (count,)) or (dense and len(rows) != count):
        got = f"shape {rows.shape}" if not dense else f"{len(rows)} rows"
        raise ConfigError(f"{where} must give one number (or one array) per completion, {count}; it gave {got}")
    for index, row in enumerate(rows):
        length = int(batch.lengths[index])
        if dense and row.shape != (length,):
            raise ConfigError(f"{where} must give one number per token: completion {index} has {length} tokens, it gave shape {row.shape}")
        if not np.isfinite(row).all():
            raise ConfigError(
                f"{where} gave a number that is not finite for completion {index} (question {batch.question_ids[index]}): {row}"
            )
    return rows
