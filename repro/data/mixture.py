"""Weighted mixtures of data sources, by samples or by tokens.

The next item comes from the source that lags most behind its weight, so every prefix has the wanted shares (to within one item a source)
without a random number: deterministic, and resumable from what ``state()`` returns. Sources are functions from a start position to an
iterator, so sets that do not fit into memory stream. A finite source that runs out ends the mixture: going on would change the shares.

    mixture = Mixture({"math": rows, "web": lines}, {"math": 0.5, "web": 0.5})
    name, item = next(iter(mixture))
    python -m repro.data.mixture math/kept.parquet=0.5 web/kept.parquet=0.5 out=mixed.parquet      # of sets for SFT; --help
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
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


HELP = """python -m repro.data.mixture SET=WEIGHT [SET=WEIGHT ...] out=FILE.parquet [key=value ...]

Mixes sets of prompts with responses (JSONL, Parquet, hub:OWNER/NAME), one row after the other, by weights that sum to 1, and writes what
sft.file reads. Ends where a set runs out. Sets stream, so they need not fit into memory.

  out        Parquet file: messages, source; the weights and counts in its metadata
  by         samples, tokens (of the responses); samples
  tokenizer  folder or hub name of the checkpoint whose tokens count, with by=tokens
  size       rows at most; as many as there are

Exit code: 0, or 2 for input that has to be mended, with one line that says how."""


def write(weights: Mapping[str, float], out: Path, size: int | None = None, count: Callable[[str], int] | None = None) -> dict[str, int]:
    """Mix the sets (``repro.data.sets``) that ``weights`` names into a Parquet file, there whole or not at all; returns rows by set.

    Args:
        count: tokens of a response, to mix by tokens; None: by samples.

    Raises:
        ConfigError: weights that do not sum to 1, a set that cannot be read.
    """
    import pyarrow as pa

    from repro.data.candidates import Writer
    from repro.data.sets import located, pairs
    from repro.data.teacher import messages

    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    schema = pa.schema([("messages", pa.list_(turn)), ("source", pa.string())])
    sources = {name: (lambda start, name=name: islice(pairs(name), start, None)) for name in weights if located(name)}
    mixture = Mixture(sources, weights, None if count is None else lambda pair: count(pair.response))
    mixed = iter(mixture) if size is None else islice(mixture, size)
    writer = Writer(out, schema)
    try:
        for name, pair in mixed:
            writer.add({"messages": [*messages(pair.prompt), {"role": "assistant", "content": pair.response}], "source": name})
        writer.close({"weights": dict(weights), "by": MEASURES[count is not None], **mixture.state()})
    finally:
        writer.draft.unlink(missing_ok=True)
    return mixture.positions


def main(arguments: Sequence[str]) -> int:
    from repro.errors import explain
    from repro.keys import choice, pairs, real, whole
    from repro.models.load import load_tokenizer, resolve

    if not arguments or "--help" in arguments or "-h" in arguments:
        print(HELP)
        return 0
    keys = ("out", "by", "tokenizer", "size")
    try:
        given = pairs([a for a in arguments if a.split("=", 1)[0] in keys], keys)
        weights: dict[str, float] = {}
        for name, _, weight in (a.rpartition("=") for a in arguments if a.split("=", 1)[0] not in keys):
            if not name or name in weights:
                raise ConfigError(f"{name or weight!r}: give every set once, as SET=WEIGHT (--help)")
            weights[name] = real(name, weight, 0, 1)
        check_weights(weights, "the sets")
        if "out" not in given or (choice("by", given.get("by", "samples"), MEASURES) == "tokens") != ("tokenizer" in given):
            raise ConfigError("out is needed, and tokenizer with by=tokens and only then (--help)")
        count = None
        if "tokenizer" in given:
            tokenizer = load_tokenizer(resolve(given["tokenizer"], None, "tokenizer"))
            count = lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])  # noqa: E731
        made = write(weights, Path(given["out"]), whole("size", given["size"]) if "size" in given else None, count)
    except (ConfigError, OSError) as error:
        print(f"repro.data.mixture: {explain(error, 'out') or error}", file=sys.stderr)
        return 2
    print(f"{', '.join(f'{n:,} of {name}' for name, n in made.items())}: {given['out']}")
    return 0


if __name__ == "__main__":
    from repro.command import run as run_command

    logging.basicConfig(level=logging.ERROR)
    run_command(lambda: main(sys.argv[1:]))
