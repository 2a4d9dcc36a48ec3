"""The parts of one W&B run on disk: each start of a stage leaves a folder of its own, and one upload must hold each step once.

`wandb sync` (0.31) gives a step that repeats, or falls behind what the service has, the next free number, which
shifts the x-axis of all that follows; and a part that a kill cut short ends the upload of every part in the same call. A stage
that resumes therefore logs all of its steps again (``metrics.jsonl`` has them) into its new part, and the parts before it go:
those that were uploaded stay, and their steps are left out of the new part.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

BLOCK = 32768  # a .wandb file is a LevelDB log: blocks of this size, in which no record's header is split
FILE_HEADER, RECORD_HEADER = 7, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def payloads(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the complete records of a .wandb file and where each ends, up to where a kill cut it."""
    position, record = FILE_HEADER, b""
    while True:
        left = BLOCK - position % BLOCK
        if left < RECORD_HEADER:
            position += left
        start = position + RECORD_HEADER
        if start > len(data):
            return
        _, size, kind = struct.unpack("<IHB", data[position:start])
        position = start + size
        if kind not in (FULL, FIRST, MIDDLE, LAST) or position > len(data):
            return
        chunk = data[start:position]
        record = chunk if kind in (FULL, FIRST) else record + chunk
        if kind in (FULL, LAST):
            yield record, position


def last_step(data: bytes) -> tuple[int | None, bool]:
    """Read a .wandb file.

    Returns:
        The highest step whose row it holds, None if it holds none; whether a kill cut it in a record.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    found, end = None, FILE_HEADER
    for payload, position in payloads(data):
        record, end = Record.FromString(payload), position
        if record.WhichOneof("record_type") == "history":
            found = max(found or 0, record.history.step.num)
    return found, end != len(data)


def continue_offline(folder: Path, run_id: str) -> int:
    """Remove the parts of a run that a new part replaces; return the first step that the new part has to log.

    Args:
        folder: what is given to ``wandb.init`` as ``dir``.
        run_id: the run's id.
    """
    first = 0
    for path in folder.glob(f"wandb/*run-*/run-{run_id}.wandb"):
        online = not path.parent.name.startswith("offline-")
        if online or path.with_name(f"{path.name}.syncstate").exists():  # an upload has begun
            last, cut = last_step(path.read_bytes())
            first = first if last is None else max(first, last + 1)
            if cut:  # W&B never calls it uploaded, and would add its rows again with each `wandb sync`
                path.with_name(f"{path.name}.synced").touch()
        else:
            shutil.rmtree(path.parent, ignore_errors=True)
    return first
