"""What distillation leaves behind: Parquet rows with where each comes from, and counts by N.

writer = Writer(out / "kept.parquet", schema())
writer.add(row)                  # keys as in ``schema()``
writer.close(facts)              # only now the file is there; facts go into its metadata
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PUBLISHED_N = (32, 64, 128, 192, 256)
ROWS = 512  # held at once before they are written


def schema():
    """Of kept.parquet and rejected.parquet.

    ``prompt_messages``: JSON, where the prompt is a conversation; ``prompt`` is then what the user
    says in it. Token counts are null where an endpoint does not say; ``log``: JSON of the action
    method's steps.
    """
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    fields = {"prompt_id": text, "prompt": text, "prompt_messages": text, "response": text, "answer": text, "candidate": number}
    fields |= {"prompt_tokens": number, "completion_tokens": number, "finish_reason": text}
    fields |= {"correct": pa.bool_(), "rule": text, "reason": text, "extracted": text, "verifier_version": text, "log": text}
    fields |= {"teacher": text, "temperature": pa.float64(), "top_p": pa.float64(), "max_tokens": number, "seed": number}
    return pa.schema(list(fields.items()))


class Counts:
    """Counts by N: what distilling with only the first N candidates of every prompt would have given. All token counts are sums of exact ones."""

    NAMES = (
        "candidates",
        "kept",
        "solved_prompts",
        "prompt_tokens",
        "completion_tokens",
        "kept_tokens",
        "truncated",
        "without_token_counts",
    )

    def __init__(self, n: int) -> None:
        powers = {2**i for i in range(n.bit_length())}
        self.sizes = sorted({m for m in powers | set(PUBLISHED_N) if m < n} | {n})
        self.by_n = {m: dict.fromkeys(self.NAMES, 0) for m in self.sizes}
        self.prompts = self.alike = 0

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """The candidates of one prompt, in order; ``kept`` says whether a row is."""
        self.prompts += 1
        self.alike += len({row["response"] for row in rows}) == 1
        for size, found in self.by_n.items():
            part = rows[:size]
            found["candidates"] += len(part)
            found["kept"] += sum(row["kept"] for row in part)
            found["solved_prompts"] += any(row["kept"] for row in part)
            found["prompt_tokens"] += sum(row["prompt_tokens"] or 0 for row in part)
            found["completion_tokens"] += sum(row["completion_tokens"] or 0 for row in part)
            found["kept_tokens"] += sum(row["completion_tokens"] or 0 for row in part if row["kept"])
            found["truncated"] += sum(row["finish_reason"] == "length" for row in part)
            found["without_token_counts"] += sum(row["completion_tokens"] is None for row in part)

    def table(self) -> str:
        lines = [f"{'N':>5s} {'candidates':>11s} {'kept':>10s} {'share':>6s} {'solved':>8s} {'SFT tokens':>14s} {'sampled tokens':>15s}"]
        for size, c in self.by_n.items():
            share = c["kept"] / max(1, c["candidates"])
            lines.append(
                f"{size:5d} {c['candidates']:11,} {c['kept']:10,} {share:6.1%} {c['solved_prompts']:8,} {c['kept_tokens']:14,} {c['completion_tokens']:15,}"
            )
        if silent := self.by_n[self.sizes[-1]]["without_token_counts"]:
            lines.append(f"{silent:,} candidates have no token count: the endpoint did not send one; token sums are without them")
        return "\n".join(lines)


class Writer:
    """Rows to a Parquet file beside its place, by batches; ``close(facts)`` puts it there with the facts as metadata."""

    def __init__(self, path: Path, schema: Any) -> None:
        import pyarrow.parquet as pq

        self.path, self.draft, self.schema, self.rows = path, path.with_name(f".{path.name}.tmp"), schema, []
        self.file = pq.ParquetWriter(self.draft, schema, compression="zstd")

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if len(self.rows) >= ROWS:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa

        if self.rows:
            self.file.write_table(pa.Table.from_pylist(self.rows, schema=self.schema))
            self.rows = []

    def close(self, facts: dict[str, Any]) -> None:
        self._write()
        self.file.add_key_value_metadata({"provenance": json.dumps(facts)})
        self.file.close()
        os.replace(self.draft, self.path)
