"""Refusals of bad input, one clear line each: the key, the value, what is allowed. Shared by the reward functions and their settings."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np


def finite(**values: Any) -> None:
    """Every value is a finite number."""
    for name, value in values.items():
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ValueError(f"{name}={value!r}: must be a finite number")


def at_most_zero(**values: Any) -> None:
    """Every value is finite and not above zero: a wrong answer must never earn a reward."""
    finite(**values)
    for name, value in values.items():
        if value > 0:
            raise ValueError(f"{name}={value!r}: must be at most 0, a wrong answer never earns a reward")


def negative(name: str, value: Any) -> None:
    """The value is finite and below zero."""
    finite(**{name: value})
    if value >= 0:
        raise ValueError(f"{name}={value!r}: must be below 0, it is a penalty")


def between(name: str, value: Any, low: float, high: float, *, open_low: bool = False) -> None:
    """The value is a number in [low, high], or in (low, high]."""
    finite(**{name: value})
    if not (low <= value <= high) or (open_low and value == low):
        raise ValueError(f"{name}={value!r}: must be in {'(' if open_low else '['}{low:g}, {high:g}]")


def whole(name: str, value: Any, *, at_least: int) -> None:
    """The value is a whole number, not below ``at_least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < at_least:
        raise ValueError(f"{name}={value!r}: must be a whole number, at least {at_least}")


def lengths_array(lengths: Any, max_length: int) -> np.ndarray:
    """``lengths`` as an int64 array [batch], every one in 0..max_length (tokens, EOS included)."""
    whole("max_length", max_length, at_least=1)
    array_ = np.asarray(lengths)
    if array_.ndim != 1 or (array_.size and array_.dtype.kind not in "iu"):
        raise ValueError(f"lengths: must be whole numbers of tokens, one a response, not {array_.dtype} of shape {list(array_.shape)}")
    array_ = array_.astype(np.int64)
    for bad, allowed in ((array_ > max_length, f"at most max_length={max_length}"), (array_ < 0, "at least 0")):
        if bad.any():
            at = int(bad.argmax())
            raise ValueError(f"lengths[{at}]={array_[at]}: must be {allowed} (tokens of the response, EOS included)")
    return array_


def flags_array(name: str, flags: Any, size: int) -> np.ndarray:
    """``flags`` as a bool array [size]; 0 and 1 count as flags, nothing else does."""
    array_ = np.asarray(flags)
    if array_.shape != (size,):
        raise ValueError(f"{name}: must have one entry a response ({size}), not shape {list(array_.shape)}")
    if array_.dtype.kind not in "biuf" or not ((array_ == 0) | (array_ == 1)).all():
        raise ValueError(f"{name}: must be true or false (or 1 and 0) for every response")
    return array_.astype(bool)


def token_row(ids: Sequence[int] | np.ndarray, index: int) -> np.ndarray:
    """One response's token ids as a contiguous int64 array. Packing a list takes less than half the time of ``np.array``."""
    if isinstance(ids, (list, tuple)):
        try:
            return np.frombuffer(struct.pack(f"={len(ids)}q", *ids), dtype=np.int64)
        except struct.error:
            raise ValueError(f"token_ids[{index}]: must be whole token ids (64 bits)") from None
    row = np.asarray(ids)
    if row.ndim != 1 or (row.size and row.dtype.kind not in "iu"):
        what = f"{row.dtype} of shape {list(row.shape)}" if row.ndim else repr(ids)
        raise ValueError(f"token_ids[{index}]: must be a sequence of whole token ids, not {what}")
    return np.ascontiguousarray(row, dtype=np.int64)
