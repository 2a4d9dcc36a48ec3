"""What the numbers of the configuration may be: declared beside every key in ``repro.schema``, checked in one walk.

A type says that ``rl.steps`` is a whole number; a bound, that it is at least 1. Bounds refuse slips of the pen (-1, nan, a zero too many that no
machine could hold), not unusual settings. Whatever has none must still be finite and below ``HUGE``.

    steps: int = whole(1)  # optimizer steps
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf

HUGE = 2**31 - 1  # of whole numbers: what libraries count steps and tokens in
LARGE = 1e9  # of others: float32 keeps squares of it


@dataclass(frozen=True)
class Bound:
    low: float
    high: float
    kind: str = "number"
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether ``value`` is inside; nan never is."""
        return (self.low < value if self.open_low else self.low <= value) and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.open_low else f"of at least {self.low:g}"
        if self.high in (HUGE, LARGE):
            return f"a {self.kind} {low}"
        if not (self.open_low or self.open_high):
            return f"a {self.kind} from {self.low:.10g} to {self.high:.10g}"
        return f"a {self.kind} {low} and {'below' if self.open_high else 'at most'} {self.high:g}"


def _key(bound: Bound, default: Any) -> Any:
    return field(default=default, metadata={"bound": bound})


def whole(least: int, most: int = HUGE, default: Any = MISSING) -> Any:
    return _key(Bound(least, most, "whole number"), default)


def real(low: float, high: float = LARGE, default: Any = MISSING) -> Any:
    """A number in [low, high]."""
    return _key(Bound(low, high), default)


def positive(high: float = LARGE, default: Any = MISSING) -> Any:
    """A number in (0, high]."""
    return _key(Bound(0, high, open_low=True), default)


def share() -> Any:
    return _key(Bound(0, 1, "share"), MISSING)


def below_one(default: Any = MISSING) -> Any:
    return _key(Bound(0, 1, open_high=True), default)


def seed() -> Any:
    return whole(0, 2**32 - 1)


WHOLE, REAL = Bound(-HUGE, HUGE, "whole number"), Bound(-LARGE, LARGE, "finite number")  # of keys without a bound of their own


def violations(node: DictConfig, kind: type, prefix: str = "") -> Iterator[tuple[str, Any, Bound]]:
    """(key, value, its bound) of every number below ``node`` that is outside; keys without a value are passed over. ``kind``: its dataclass."""
    bounds = {name: field.metadata.get("bound") for name, field in getattr(kind, "__dataclass_fields__", {}).items()}
    inner = []  # after the node's own keys, which theirs may be taken from
    for key in node:
        if OmegaConf.is_missing(node, key):
            continue
        value = node[key]
        if isinstance(value, DictConfig):
            inner.append((key, value))
            continue
        for number in value if isinstance(value, ListConfig) else [value]:
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                continue
            bound = bounds.get(key) or (WHOLE if isinstance(number, int) else REAL)
            if not bound.holds(number):
                yield f"{prefix}{key}", number, bound
    for key, value in inner:
        yield from violations(value, OmegaConf.get_type(value), f"{prefix}{key}.")
