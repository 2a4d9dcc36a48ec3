"""Distillation by rejection sampling (section 2.4, appendix E.2): a teacher answers every prompt N times, a verifier keeps the right answers.

Every completion goes to a journal at once (``repro.data.journal``): killed, the same line continues and asks only for what it lacks; with a larger N
it adds to what it has. Scores are made from the journal afterwards, so another verifier generates nothing. Results, each whole or not there:

    OUT/kept.parquet       what SFT imitates: prompt, response, and where it comes from (teacher, sampling, candidate, tokens, verdict, rule)
    OUT/rejected.parquet   the other candidates, same columns
    OUT/counts.json        settings, and counts by N: candidates, kept, solved prompts, tokens; read for any N up to the one sampled
    OUT/overlaps.parquet   what the prompts share with the benchmarks (``repro.data.decontaminate``)

    python -m repro.data.distill prompts=math_train_prompts.jsonl.gz url=http://localhost:8000/v1 model=Qwen/QwQ-32B-Preview n=32 out=qwq-n32
    python -m repro sft=long sft.teacher.url=http://localhost:8000/v1 sft.teacher.model=NAME      # as a stage of a cell
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.client import ChatClient, EndpointError
from repro.config import ConfigError
from repro.data.decontaminate import Report, check
from repro.data.journal import Journal
from repro.data.teacher import Completion, EndpointTeacher, EngineTeacher, Teacher
from repro.progress import Progress

log = logging.getLogger(__name__)
VERSION = 1  # of what is written; part of the stage's key
METHODS = ("answer", "actions")
KEEP = ("correct", "all")
PUBLISHED_N = (32, 64, 128, 192, 256)
ROWS = 512  # held at once before they are written


@dataclass(frozen=True)
class Task:
    """A prompt for the teacher and the reference its answers are held against; ``task``: kind of comparison (``repro.verifiers``)."""

    id: str
    prompt: str
    gold: str
    task: str = "math"


def sampling_of(teacher: dict[str, Any]) -> dict[str, Any]:
    return {key: teacher[key] for key in ("temperature", "top_p", "max_tokens")}


def teacher_name(teacher: dict[str, Any]) -> str:
    """What tells a teacher (plain values of ``repro.config.TeacherConfig``) from others: the model, wherever it is served; a folder by its files."""
    from repro.store import fingerprint

    if teacher["url"]:
        name = teacher["model"]
    elif (folder := Path(teacher["path"]).expanduser()).is_dir():
        name = f"{folder.name}@{hashlib.sha256(json.dumps(fingerprint(folder)).encode()).hexdigest()[:12]}"
    else:
        name = f"{teacher['path']}@{teacher['revision'] or 'main'}"
    if teacher["method"] == "answer":
        return name
    from repro.data.actions import VERSION as ACTIONS

    return f"actions-{ACTIONS}({name}{', ' + teacher['reflector'] if teacher['reflector'] else ''})"


def identity(teacher: dict[str, Any]) -> dict[str, Any]:
    """What of a teacher's settings decides what it says; not where it is served or how fast it is asked."""
    return {"name": teacher_name(teacher), **sampling_of(teacher), "keep": teacher["keep"]}


def make_teacher(teacher: dict[str, Any]) -> Teacher:
    """The teacher that the settings describe; loads a checkpoint.

    Raises:
        ConfigError: a checkpoint or a setting that cannot be used.
    """
    found: Teacher
    reflector: Teacher | None = None
    if teacher["url"]:
        options = {"timeout": teacher["timeout"], "retries": teacher["retries"], "concurrency": teacher["concurrency"]}
        try:
            found, reflector = (
                EndpointTeacher(ChatClient(teacher["url"], model, teacher["api_key_env"], **options)) if model else None
                for model in (teacher["model"], teacher["reflector"])
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None
    else:
        from repro.models.load import resolve

        room = teacher["max_tokens"] + teacher["max_prompt"]
        if teacher["method"] == "actions":  # its prompts show the thoughts so far; a token has at least a character
            from repro.data.actions import SHOWN

            room += SHOWN
        found = EngineTeacher(resolve(teacher["path"], teacher["revision"]), teacher["engine"], room)
    if teacher["method"] == "actions":
        from repro.data.actions import ActionTeacher

        found = ActionTeacher(found, reflector, concurrency=teacher["concurrency"] if teacher["url"] else 1)
    found.name = teacher_name(teacher)
    return found


def schema():
    """Of kept.parquet and rejected.parquet. Token counts are null where an endpoint does not say; ``log``: JSON of the action method's steps."""
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    fields = {"prompt_id": text, "prompt": text, "response": text, "answer": text, "candidate": number}
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
        tasks: ids are distinct. n: candidates a prompt. sampling: temperature, top_p, max_tokens.
        keep: ``correct``, or ``all`` (unfiltered sets, section 5.1: nothing is scored).
        journal: where completions are kept; OUT/journal.jsonl by default. facts: more for counts.json and the Parquet metadata.

    Raises:
        ConfigError: no tasks, an id twice, a prompt without a usable answer. EndpointError: the endpoint; what came is kept.
    """
    _check_tasks(tasks, verifier, keep)
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
        writers = {name: Writer(out / f"{name}.parquet") for name in ("kept", "rejected")}
        with Progress(len(tasks), "score", "prompt") as bar:
            for task in tasks:
                rows = _scored(task, [said.read(teacher.name, task.prompt, i, sampling, seed) for i in range(n)], verifier, keep)
                counts.add(rows)
                for row in rows:
                    writers["kept" if row.pop("kept") else "rejected"].add({**row, **origin})
                bar.update(1)
    found |= {"prompts": counts.prompts, "counts": {str(size): c for size, c in counts.by_n.items()}}
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


class Writer:
    """Rows to a Parquet file beside its place, by batches; ``close(facts)`` puts it there with the facts as metadata."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self.path, self.draft, self.rows = path, path.with_name(f".{path.name}.tmp"), []
        self.file = pq.ParquetWriter(self.draft, schema(), compression="zstd")

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if len(self.rows) >= ROWS:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa

        if self.rows:
            self.file.write_table(pa.Table.from_pylist(self.rows, schema=schema()))
            self.rows = []

    def close(self, facts: dict[str, Any]) -> None:
        self._write()
        self.file.add_key_value_metadata({"provenance": json.dumps(facts)})
        self.file.close()
        os.replace(self.draft, self.path)


def _check_tasks(tasks: Sequence[Task], verifier: Any, keep: str) -> None:
    from repro.verifiers import GoldError

    if not tasks:
        raise ConfigError("there are no prompts to distil: the file is empty, or all of them contain benchmark questions")
    seen: set[str] = set()
    for task in tasks:
        if task.id in seen:
            raise ConfigError(f"prompt id {task.id} occurs twice; a result could not say which one it means")
        seen.add(task.id)
        if not task.prompt.strip():
            raise ConfigError(f"prompt {task.id} is empty")
        if keep == "correct":
            try:
                verifier.check_gold(task.gold, task=task.task, question_id=task.id)
            except GoldError as error:
                raise ConfigError(f"{error}; give every prompt an answer, or keep=all for an unfiltered set") from None


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
            "prompt": task.prompt,
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


HELP = f"""python -m repro.data.distill prompts=FILE out=DIR (url=URL model=NAME | path=CHECKPOINT) [key=value ...]

Samples N answers a prompt from a teacher, keeps the right ones, writes DIR/kept.parquet with where every row comes from. Run the same line again
to continue what was killed. Prompts that contain a question of a benchmark that can be read (REPRO_DATA_DIR) are left out.

  prompts      JSONL or Parquet with the columns problem (or prompt, taken as it stands) and answer; id and level if there are
  limit        the first ones only
  out          folder of the results and of the journal
  url, model   OpenAI-compatible endpoint, such as http://localhost:8000/v1, and the model it serves
  api_key_env  environment variable with the endpoint's key
  concurrency  requests at a time; 16
  timeout      seconds for one answer; 600. retries: after a failure; 4
  path         folder or hub name of a checkpoint instead of an endpoint. revision: commit of the hub's
  engine       transformers, vllm; transformers
  max_prompt   tokens of the longest prompt, for a checkpoint; 2048
  method       {", ".join(METHODS)}; answer. actions: action prompting (python -m repro.data.actions --help)
  reflector    model that reflects, with method=actions; the same one
  n            candidates a prompt; 32
  temperature  1. top_p: 0.95. max_tokens: 8192 (QwQ-32B-Preview in the paper; Qwen2.5-Math-72B-Instruct: 0.7, 0.95, 4096)
  seed         of sampling; 0
  keep         {", ".join(KEEP)}; correct
  allow_contaminated  true: keep prompts that contain benchmark questions; every result then says so; false

Exit code: 0, or 2 for input that has to be mended or an endpoint that failed, with one line that says how; 130 interrupted."""


def read(arguments: Sequence[str]) -> dict[str, Any]:
    """The settings of the command. Raises ConfigError."""
    from evals.__main__ import choice, pairs, real, whole
    from evals.engines import ENGINES

    plain = lambda key, text: text  # noqa: E731
    keys: dict[str, tuple[Any, Any]] = {
        "prompts": (None, plain),
        "limit": (None, whole),
        "out": (None, plain),
        "url": (None, plain),
        "model": (None, plain),
        "api_key_env": (None, plain),
        "concurrency": (16, whole),
        "timeout": (600.0, lambda key, text: real(key, text, 1e-3, 1e6)),
        "retries": (4, lambda key, text: whole(key, text, 0)),
        "path": (None, plain),
        "revision": (None, plain),
        "engine": ("transformers", lambda key, text: choice(key, text, list(ENGINES))),
        "max_prompt": (2048, whole),
        "method": ("answer", lambda key, text: choice(key, text, METHODS)),
        "reflector": (None, plain),
        "n": (32, whole),
        "temperature": (1.0, lambda key, text: real(key, text, 0, 100)),
        "top_p": (0.95, lambda key, text: real(key, text, 1e-6, 1)),
        "max_tokens": (8192, whole),
        "seed": (0, lambda key, text: whole(key, text, 0)),
        "keep": ("correct", lambda key, text: choice(key, text, KEEP)),
        "allow_contaminated": (False, lambda key, text: choice(key, text, ("true", "false")) == "true"),
    }
    given = pairs(arguments, list(keys))
    settings = {key: reader(key, given[key]) if key in given else default for key, (default, reader) in keys.items()}
    for key in ("prompts", "out"):
        if settings[key] is None:
            raise ConfigError(f"{key} is needed (--help)")
    if bool(settings["url"]) == bool(settings["path"]):
        raise ConfigError("give a teacher: either url and model of an endpoint, or path of a checkpoint (--help)")
    if settings["url"] and not settings["model"]:
        raise ConfigError("model is needed: the name of the model that the endpoint serves")
    if settings["reflector"] and (settings["method"] != "actions" or not settings["url"]):
        raise ConfigError("reflector needs method=actions and an endpoint")
    return settings


def clean(tasks: Sequence[Task], texts: Sequence[str], allow: bool, out: Path) -> tuple[list[Task], Report]:
    """The tasks without those that contain benchmark questions (all, with ``allow``), and the report, also as OUT/overlaps.parquet."""
    report = check(zip((task.id for task in tasks), texts, strict=True))
    out.mkdir(parents=True, exist_ok=True)
    report.write(out / "overlaps.parquet")
    dirty = set() if allow else report.dirty
    return [task for task in tasks if task.id not in dirty], report


def _tasks(settings: dict[str, Any]) -> Iterator[tuple[Task, str]]:
    from repro.data.prompts import load_problems

    problems = load_problems(settings["prompts"], settings["limit"], key="prompts", answers=settings["keep"] == "correct")
    for problem in problems:
        yield Task(problem.id, problem.prompt(), problem.answer, problem.task), problem.prompt()


def main(arguments: Sequence[str]) -> int:
    from evals.files import BenchmarkError
    from repro.errors import explain
    from repro.verifiers import Verifier

    if not arguments or "--help" in arguments or "-h" in arguments:
        print(HELP)
        return 0
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "evals.benchmarks", "evals.files"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        settings = read(arguments)
        found = list(_tasks(settings))
        out = Path(settings["out"])
        tasks, report = clean([task for task, _ in found], [text for _, text in found], settings["allow_contaminated"], out)
        for line in report.table().splitlines():
            log.info("  %s", line)
        dropped = len(found) - len(tasks)
        facts = {"prompts_from": settings["prompts"], "prompts_dropped": dropped, "allow_contaminated": settings["allow_contaminated"]}
        facts["contamination"] = report.facts(settings["allow_contaminated"], dropped)
        with Verifier() as verifier:
            done = distill(
                tasks,
                make_teacher(settings),
                settings["n"],
                sampling_of(settings),
                settings["seed"],
                out,
                verifier=verifier,
                keep=settings["keep"],
                facts=facts,
            )
    except KeyboardInterrupt:
        print("repro.data.distill: interrupted; the same line continues where it was", file=sys.stderr)
        return 130
    except (ConfigError, EndpointError, BenchmarkError, OSError) as error:
        print(f"repro.data.distill: {explain(error) or error}", file=sys.stderr)
        return 2
    last = done["counts"][str(settings["n"])]
    print(f"{last['kept']:,} of {last['candidates']:,} candidates kept, {last['kept_tokens']:,} tokens: {out / 'kept.parquet'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
