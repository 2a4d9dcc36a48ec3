"""What teachers said, on disk: an append-only file of one JSON line a completion, so that a killed run asks only for what it lacks.

A line is keyed by everything its completion depends on (teacher, prompt, sampling, seed, sample), so one journal serves runs of other settings
too, and more samples of the same prompt are added to the ones it has. Texts stay on disk; only keys and places are held. A line that a kill
cut short is dropped, one that a disk damaged is skipped and asked for again.

    with Journal(folder / "journal.jsonl") as journal:
        journal.ask(teacher, prompts, 32, sampling, seed=0)
        journal.read(teacher, prompts[0], 5, sampling, seed=0).text
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from repro.data.teacher import Completion, Prompt, Teacher, messages
from repro.lock import Lock

log = logging.getLogger(__name__)
FIELDS = {"text": str, "prompt_tokens": (int, type(None)), "completion_tokens": (int, type(None)), "finish_reason": str}


def entry_key(teacher: str, prompt: Prompt, sample: int, sampling: dict[str, Any], seed: int) -> str:
    """Name of a completion in a journal."""
    return hashlib.sha256(json.dumps([teacher, messages(prompt), sample, sampling, seed], sort_keys=True).encode()).hexdigest()[:32]


class Journal:
    """The journal at ``path``; one process at a time, others wait. ``places``: key -> where its line starts, in bytes."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.places = path, {}
        self.lock = Lock(path.with_name(f".{path.name}.lock"), what=str(path))
        self.lock.__enter__()
        self.file = open(path, "a+b")  # noqa: SIM115  closed by close()
        damaged = place = 0
        self.file.seek(0)
        for line in self.file:
            if not line.endswith(b"\n"):  # cut by a kill
                os.truncate(path, place)
                break
            key = _key_of(line)
            if key is None:
                damaged += 1
            else:
                self.places.setdefault(key, place)
            place += len(line)
        if damaged:
            log.warning("%s: %d damaged lines are skipped, what they held is asked for again", path, damaged)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        self.lock.__exit__()

    def ask(
        self,
        teacher: Teacher,
        prompts: Sequence[Prompt],
        n: int,
        sampling: dict[str, Any],
        seed: int,
        progress: Callable[[Completion | None, int], None] = lambda completion, count: None,
    ) -> None:
        """Has the teacher say what the journal lacks; each completion is on disk before the next is taken.

        Args:
            sampling: ``temperature``, ``top_p``, ``max_tokens``. progress: called with (None, how many were there), then with each (completion, 1).

        Raises:
            what ``teacher.generate`` raises; what came before stays in the journal.
        """
        lacks, first = [], {}
        for index, prompt in enumerate(prompts):
            keys = {sample: entry_key(teacher.name, prompt, sample, sampling, seed) for sample in range(n)}
            # A prompt that occurs twice is asked once.
            lacks.append([sample for sample, key in keys.items() if key not in self.places and first.setdefault(key, index) == index])
        missing = sum(map(len, lacks))
        progress(None, len(prompts) * n - missing)
        if not missing:
            return
        for completion in teacher.generate(prompts, n, **sampling, seed=seed, samples=lacks):
            key = entry_key(teacher.name, prompts[completion.prompt], completion.sample, sampling, seed)
            facts = asdict(completion)
            kept = {name: facts[name] for name in (*FIELDS, *(("log",) if completion.log is not None else ()))}
            place = self.file.seek(0, os.SEEK_END)
            self.file.write(json.dumps([key, kept]).encode() + b"\n")
            self.file.flush()
            self.places[key] = place
            progress(completion, 1)

    def read(self, teacher: str, prompt: Prompt, sample: int, sampling: dict[str, Any], seed: int) -> Completion:
        """A completion that is there (KeyError else). ``prompt`` of what is returned is -1: it has no place among others."""
        self.file.seek(self.places[entry_key(teacher, prompt, sample, sampling, seed)])
        return Completion(prompt=-1, sample=sample, **json.loads(self.file.readline())[1])


def _key_of(line: bytes) -> str | None:
    try:
        key, facts = json.loads(line)
        good = isinstance(key, str) and all(isinstance(facts[name], kind) for name, kind in FIELDS.items())
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return key if good else None
