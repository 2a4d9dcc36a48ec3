"""Rejection sampling (section 2.4): ask a teacher N times a prompt, score from the journal, write what is right and what is not.

Every completion goes to a journal at once (``repro.data.journal``): killed, the same call continues and asks only for what it lacks; with a larger N
it adds to what it has. Scores are made from the journal afterwards, so another verifier generates nothing. Results, each whole or not there:

    OUT/kept.parquet       what SFT imitates: prompt, response, and where it comes from (teacher, sampling, candidate, tokens, verdict, rule)
    OUT/rejected.parquet   the other candidates, same columns
    OUT/counts.json        settings, and counts by N: candidates, kept, solved prompts, tokens; read for any N up to the one sampled

Run as ``python -m repro.data.distill``, or as the stage ``sft_data`` of a cell.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.config import ConfigError
from repro.data.candidates import Counts, Writer, schema
from repro.data.journal import Journal
from repro.data.teacher import Completion, Prompt, Teacher, user_text
from repro.progress import Progress

log = logging.getLogger(__name__)
VERSION = 3  # of what is written; part of the stage's key
KEEP = ("correct", "all")


@dataclass(frozen=True)
class Task:
    """A prompt for the teacher and the reference its answers are held against; ``task``: kind of comparison (``repro.verifiers``)."""

    id: str
    prompt: Prompt
    gold: str
    task: str = "math"


def distill(
    tasks: Sequence[Task],
    teacher: Teacher,
    n: int,
    sampling: dict[str, Any],
    seed: int,
    out: Path,
    *,
    verifier: Any,
    keep: str = "correct",
    journal: Path | None = None,
    facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Ask, score, write; returns the facts of counts.json.

    Args:
        tasks: ids are distinct; of equal prompts the first one counts, else its candidates were trained on and counted twice.
        n: candidates a prompt. sampling: temperature, top_p, max_tokens.
        keep: ``correct``, or ``all`` (unfiltered sets, section 5.1: nothing is scored).
        journal: where completions are kept; OUT/journal.jsonl by default. facts: more for counts.json and the Parquet metadata.

    Raises:
        ConfigError: no tasks, an id twice, a prompt without a usable answer. EndpointError: the endpoint; what came is kept.
    """
    _check_tasks(tasks, verifier, keep)
    tasks, repeated = _distinct(tasks)
    out.mkdir(parents=True, exist_ok=True)
    counts = Counts(n)
    with Journal(journal or out / "journal.jsonl") as said:
        with Progress(len(tasks) * n, "distill", "candidate") as bar:
            total = tokens = 0

            def progress(completion: Completion | None, count: int) -> None:
                nonlocal total, tokens
                if completion is None:
                    bar.initial = count
                    bar.update(count)
                    return
                total, tokens = total + 1, tokens + (completion.completion_tokens or 0)
                bar.update(1, tokens_each=tokens / total)

            said.ask(teacher, [task.prompt for task in tasks], n, sampling, seed, progress)
        origin = {"teacher": teacher.name, **sampling, "seed": seed}
        found = {
            "version": VERSION,
            **origin,
            "n": n,
            "keep": keep,
            "verifier": verifier.version if keep == "correct" else None,
            **(facts or {}),
        }
        writers = {name: Writer(out / f"{name}.parquet", schema()) for name in ("kept", "rejected")}
        with Progress(len(tasks), "score", "prompt") as bar:
            for task in tasks:
                rows = _scored(task, [said.read(teacher.name, task.prompt, i, sampling, seed) for i in range(n)], verifier, keep)
                counts.add(rows)
                for row in rows:
                    writers["kept" if row.pop("kept") else "rejected"].add({**row, **origin})
                bar.update(1)
    found |= {"prompts": counts.prompts, "prompts_repeated": repeated, "counts": {str(size): c for size, c in counts.by_n.items()}}
    if n > 1 and sampling["temperature"] > 0 and counts.alike == counts.prompts:
        found["warning"] = (
            f"all {n} candidates of every prompt are alike although temperature={sampling['temperature']:g}: "
            "the server may ignore it (transformers serve does unless generation_config.json says do_sample)"
        )
        log.warning("distill: %s", found["warning"])
    for writer in writers.values():
        writer.close(found)
    draft = out / f".counts.{os.getpid()}.tmp"
    draft.write_text(json.dumps(found, indent=1))
    os.replace(draft, out / "counts.json")
    for line in counts.table().splitlines():
        log.info("  %s", line)
    return found


def _check_tasks(tasks: Sequence[Task], verifier: Any, keep: str) -> None:
    from repro.verifiers import GoldError

    if not tasks:
        raise ConfigError("there are no prompts to distil: the file is empty, or all of them contain benchmark questions")
    seen: set[str] = set()
    for task in tasks:
        if task.id in seen:
            raise ConfigError(f"prompt id {task.id} occurs twice; a result could not say which one it means")
        seen.add(task.id)
        if not user_text(task.prompt).strip():
            raise ConfigError(f"prompt {task.id} is empty")
        if keep == "correct":
            try:
                verifier.check_gold(task.gold, task=task.task, question_id=task.id)
            except GoldError as error:
                raise ConfigError(f"{error}; give every prompt an answer, or keep=all for an unfiltered set") from None


def _distinct(tasks: Sequence[Task]) -> tuple[list[Task], int]:
    """The first task of every prompt, and how many were left out."""
    first: dict[str, Task] = {}
    other = 0
    for task in tasks:
        other += first.setdefault(json.dumps(task.prompt), task).gold != task.gold
    if repeated := len(tasks) - len(first):
        log.warning("distill: %d prompts occur before and are left out, %d of them with another answer", repeated, other)
    return list(first.values()), repeated


def _scored(task: Task, completions: Sequence[Completion], verifier: Any, keep: str) -> list[dict[str, Any]]:
    """One row a candidate, with ``kept``."""
    cut = [c.finish_reason == "length" for c in completions]
    verdicts: Sequence[Any] = [None] * len(completions)
    if keep == "correct":
        verdicts = verifier.verify_batch([task.gold] * len(cut), [c.text for c in completions], task=task.task, truncated=cut)
    rows = []
    for completion, verdict in zip(completions, verdicts, strict=True):
        row = {
            "prompt_id": task.id,
            "prompt": user_text(task.prompt),
            "prompt_messages": None if isinstance(task.prompt, str) else json.dumps(task.prompt),
            "response": completion.text,
            "answer": task.gold,
            "candidate": completion.sample,
        }
        row |= {"prompt_tokens": completion.prompt_tokens, "completion_tokens": completion.completion_tokens}
        row |= {"finish_reason": completion.finish_reason, "log": json.dumps(completion.log) if completion.log is not None else None}
        if verdict is None:  # an empty response teaches nothing, filtered or not
            row |= {"correct": None, "rule": None, "reason": None, "extracted": None, "verifier_version": None}
            row["kept"] = bool(completion.text.strip())
        else:
            row |= {"correct": verdict.correct, "rule": verdict.rule, "reason": verdict.reason, "extracted": verdict.extracted}
            row |= {"verifier_version": verdict.version, "kept": verdict.correct}
        rows.append(row)
    return rows
