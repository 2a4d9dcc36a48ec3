"""Checkpoints of a trainer: which are whole, marking them so, stopping at one.

A checkpoint counts only once it carries a marker, which is written after everything else and holds the sizes of its files: a kill while saving
leaves a checkpoint without one, a damaged disk one of other sizes, and both are removed. They live in the work folder's ``.resume``, which the
store removes only once the stage has its manifest. For ``repro.training``, which trains from the newest one.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from repro import interrupt
from repro.launch import main_process
from repro.store import RESUME

MARKER = "COMPLETE"
log = logging.getLogger(__name__)


def last_checkpoint(work: Path) -> Path | None:
    """The newest trainer checkpoint that is whole; others are removed, and a damaged one is said."""
    found = sorted((work / RESUME / "trainer").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    kept = []
    for path in found:
        if _whole(path):
            kept.append(path)
        elif main_process():
            if (path / MARKER).exists():
                log.warning("%s is damaged; it is removed", path)
            shutil.rmtree(path)
    return kept[-1] if kept else None


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def _whole(checkpoint: Path) -> bool:
    try:
        marked = json.loads((checkpoint / MARKER).read_text())
    except (OSError, ValueError):
        return False
    return marked == _sizes(checkpoint)


def start_step(work: Path, updates: int = 1) -> int:
    """Step of the newest complete checkpoint, 0 if there is none. ``updates``: optimizer steps that make one step."""
    checkpoint = last_checkpoint(work)
    return int(checkpoint.name.split("-")[1]) // updates if checkpoint else 0


class Marker(TrainerCallback):
    """Marks a checkpoint complete after all processes have written their part. Belongs in every process, after callbacks that save."""

    def on_save(self, args, state, control, **_: Any) -> None:
        args.distributed_state.wait_for_everyone()
        if not main_process():
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        draft = folder / f".{MARKER}"
        draft.write_text(json.dumps(_sizes(folder)))
        os.replace(draft, folder / MARKER)


class OrderOfEpoch(TrainerCallback):
    """Sets the number of the pass on the innermost sampler before every pass over the data.

    The libraries set it too, but not on every path: where several processes resume inside a pass,
    the sampler lies one wrapper deeper than they look, and the pass would have another's order.
    """

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **_: Any) -> None:
        sampler = train_dataloader
        while (inner := getattr(sampler, "batch_sampler", getattr(sampler, "sampler", None))) is not None:
            sampler = inner
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(int(state.epoch or 0))


class StopOnRequest(TrainerCallback):
    """Asked to stop (``repro.interrupt``): a checkpoint after the current step, then the end of training; all processes after the same step.

    ``updates``: optimizer steps that make one step; a checkpoint inside of one would lose its rollouts.
    """

    def __init__(self, work: Path, updates: int = 1) -> None:
        self.folder, self.updates, self.stopped = work / RESUME, updates, False

    def on_step_end(self, args, state, control, **_: Any) -> None:
        if state.global_step % self.updates or state.global_step == state.max_steps or control.should_training_stop:
            return
        wanted = interrupt.wanted(self.folder) if main_process() else False
        if args.world_size > 1:
            from accelerate.utils import broadcast_object_list

            (wanted,) = broadcast_object_list([wanted])
        if wanted:
            self.stopped = control.should_save = control.should_training_stop = True
