"""Weighted mixtures of data sources, by samples or by tokens.

The next item comes from the source that lags most behind its weight, so every prefix has the wanted shares (to within one item a source)
without a random number: deterministic, and resumable from what ``state()`` returns. Sources are functions from a start position to an
iterator, so sets that do not fit into memory stream. A finite source that runs out ends the mixture: going on would change the shares.

    mixture = Mixture({"math": rows, "web": lines}, {"math": 0.5, "web": 0.5})
    name, item = next(iter(mixture))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from repro.config import ConfigError

MEASURES = ("samples", "tokens")
Source = Callable[[int], Iterator[Any]]  # start position -> items from there on


def listed(items: list[Any]) -> Source:
    """A source over items in memory."""
    return lambda start: islice(iter(items), start, None)


def check_weights(weights: Mapping[str, float], key: str = "data.mixture") -> None:
    """Raises ConfigError unless there are weights, each above 0, that sum to 1 (to 1e-6)."""
    if not weights:
        raise ConfigError(f"{key}={{}} is empty: give sources and weights, e.g. {key}={{train: 0.5, web: 0.5}}")
    for name, weight in weights.items():
        if not (isinstance(weight, (int, float)) and math.isfinite(weight) and weight > 0):
            raise ConfigError(f"{key}.{name}={weight!r} is not possible: a weight is a number above 0; leave the source out instead of 0")
    total = math.fsum(weights.values())
    if abs(total - 1) > 1e-6:
        raise ConfigError(f"{key}: the weights of {', '.join(weights)} sum to {total:g}, not to 1")


class Mixture:
    """Iterates over (source name, item).

    Args:
        sources: name -> source; may hold more than ``weights`` names.
        weights: name -> share, above 0, summing to 1.
        size: tokens of an item, to mix by tokens; None: by samples.
        state: what ``state()`` of an earlier mixture of the same sources and weights returned, to go on from there.

    Raises:
        ConfigError: weights that do not sum to 1, an unknown source, an empty source (when reached), a state of other sources.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        weights: Mapping[str, float],
        size: Callable[[Any], int] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        check_weights(weights)
        unknown = [name for name in weights if name not in sources]
        if unknown:
            raise ConfigError(f"data.mixture names the source {unknown[0]!r}, which does not exist; there are {', '.join(sources)}")
        if state is not None and set(state["positions"]) != set(weights):
            raise ConfigError("the saved state of a mixture is of other sources; start afresh, or with the mixture that wrote it")
        self.sources, self.weights, self.size = sources, dict(weights), size
        self.positions = {name: 0 for name in weights} if state is None else dict(state["positions"])
        self.drawn = {name: 0 for name in weights} if state is None else dict(state["drawn"])

    def state(self) -> dict[str, dict[str, int]]:
        """Items taken, and samples or tokens drawn, of every source: JSON, enough to go on exactly where this is."""
        return {"positions": dict(self.positions), "drawn": dict(self.drawn)}

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        streams = {name: self.sources[name](self.positions[name]) for name in self.weights}
        while True:
            name = min(self.weights, key=lambda n: self.drawn[n] / self.weights[n])  # the first one wins a tie
            try:
                item = next(streams[name])
            except StopIteration:
                if self.positions[name] == 0:
                    raise ConfigError(f"data.mixture: the source {name!r} is empty") from None
                return
            self.positions[name] += 1
            self.drawn[name] += 1 if self.size is None else max(1, self.size(item))
            yield name, item
