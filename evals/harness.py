"""The harness: k samples a question -> score -> one record a sample, in Parquet.

Unlike lm-eval it keeps every sample with its length, finish reason and verdict, so that averages, pass@k, chain lengths and re-scoring are
functions of the file and nothing is generated twice. Samples are generated in batches of like length and every batch is kept at once, so a
killed evaluation goes on after its last batch, with the records that it would have had. Prompts of published benchmarks have the
instruction of a format (``evals/prompts.py``), the micro world's are bare. A stage of every cell of a sweep; alone it is a command:

    python -m evals.harness model=PATH benchmark=math500,aime2024 sampling=paper       # all keys: python -m evals.harness --help
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.benchmarks import BENCHMARKS, Benchmark, FileBenchmark, Question
from evals.engines import Completion, Engine, make
from evals.prompts import FORMATS, prompt_format, render
from repro import interrupt
from repro.config import ConfigError
from repro.models.load import encode_chat, load_tokenizer
from repro.models.positions import positions_of
from repro.progress import Progress
from repro.store import RESUME

log = logging.getLogger(__name__)
VERSION = 5  # of the stage; raise it when a change here makes other records
MOST = 10_000_000  # samples of a benchmark, all held in memory as plans


def schema():
    """Arrow types of the records; written out, since a benchmark without a single answer would have an untyped column."""
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    return pa.schema(
        {
            "benchmark": text,
            "benchmark_version": number,
            "question_id": text,
            "level": text,
            "subject": text,
            "order": text,  # of shuffled options, as in evals.benchmarks.Question
            "sample_index": number,
            "prompt_style": text,
            "prompt_hash": text,  # of the token ids, chat template included
            "gold": text,
            "response": text,
            "tokens": number,
            "finish_reason": text,  # stop | length
            "extracted": text,  # null where there is no answer
            "correct": pa.bool_(),
            "rule": text,
            "reason": text,
            "verifier_version": text,
        }
    )


@dataclass(frozen=True)
class Sample:
    """What is to be generated: ``key`` decides its random numbers, ``prompt`` are token ids."""

    question: Question
    index: int
    prompt: list[int]
    key: str
    facts: dict[str, Any]  # the columns that are known before


@dataclass(frozen=True)
class Plan:
    """All samples of a benchmark, and in which batches (indices, by length of the prompt) they are made. ``style``: of the prompts."""

    benchmark: Benchmark
    style: str
    samples: list[Sample]
    batches: list[list[int]]

    def part(self, work: Path, batch: int) -> Path:
        return work / RESUME / f"{self.benchmark.name}-{batch:05d}.parquet"


def samples_of(settings: dict[str, Any], name: str) -> int:
    """k of a benchmark: ``samples_by`` if it names it, else ``samples``."""
    return int((settings.get("samples_by") or {}).get(name, settings["samples"]))


def plan(settings: dict[str, Any], name: str, tokenizer) -> Plan:
    """Reads the questions and writes the prompts.

    Raises:
        ConfigError: unknown benchmark or prompt format. BenchmarkError: its file cannot be used.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"benchmark {name!r} does not exist: choose one of {', '.join(BENCHMARKS)}")
    benchmark = BENCHMARKS[name]
    style = benchmark.style
    if isinstance(benchmark, FileBenchmark):  # the micro world's vocabulary has no word of an instruction
        style = settings.get("prompt") or style
    if style not in FORMATS:
        raise ConfigError(f"prompt={style} does not exist: choose one of {', '.join(FORMATS)}")
    questions, count = benchmark.questions(settings["questions"], settings.get("data")), samples_of(settings, name)
    if len(questions) * count > MOST:
        raise ConfigError(f"samples={count}: {len(questions)} questions of {name} make more than {MOST:,} samples; choose fewer")
    samples = []
    for question in questions:
        prompt = encode_chat(tokenizer, render(style, question.prompt, question.task, question.options))
        facts = {
            "benchmark": name,
            "benchmark_version": benchmark.version,
            "question_id": question.id,
            "level": question.level,
            "subject": question.subject,
            "order": question.order,
            "prompt_style": style,
            "prompt_hash": hashlib.sha256(str(prompt).encode()).hexdigest()[:16],
            "gold": question.gold,
        }
        for index in range(count):
            # A sample's random numbers depend on what it is, so adding a benchmark, questions or samples leaves the others as they were.
            key = f"{settings['seed']}/{name}/{question.id}/{index}"
            samples.append(Sample(question, index, prompt, key, {**facts, "sample_index": index}))
    order, size = sorted(range(len(samples)), key=lambda i: len(samples[i].prompt)), settings["batch_size"]
    return Plan(benchmark, style, samples, [order[first : first + size] for first in range(0, len(order), size)])


def check_context(path: Path, plans: list[Plan], max_tokens: int) -> int:
    """Tokens of the longest prompt and its answer.

    Raises:
        ConfigError: they do not fit the context window; generation would go on beyond it and give noise.
    """
    window = positions_of(path)
    longest = max((s for p in plans for s in p.samples), key=lambda s: len(s.prompt))
    needed = len(longest.prompt) + max_tokens
    if window is not None and needed > window:
        raise ConfigError(
            f"the context window of {path} has {window} tokens, but the longest prompt (question {longest.question.id} of "
            f"{longest.facts['benchmark']}) has {len(longest.prompt)} and max_tokens={max_tokens}, together {needed}: "
            f"choose max_tokens of at most {max(0, window - len(longest.prompt))}"
        )
    return needed


def evaluate(config: dict[str, Any], verifier, model_path: Path, work: Path, label: str) -> dict[str, Any]:
    """Score the checkpoint on ``config['eval']['benchmarks']`` and write ``work/samples.parquet``. Returns facts for the manifest.

    Columns: ``schema()``; ``config['eval']``: ``repro.config.EvalConfig``.

    Raises:
        ConfigError: bad settings, a checkpoint that cannot be used, a context window that is too small. BenchmarkError: as ``plan``.
    """
    import pyarrow as pa

    settings = config["eval"]
    names = settings["benchmarks"]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"the benchmark {twice[0]} is asked for twice")
    tokenizer = load_tokenizer(model_path)
    plans = [plan(settings, name, tokenizer) for name in names]
    length = check_context(model_path, plans, settings["max_tokens"])
    (work / RESUME).mkdir(parents=True, exist_ok=True)
    found = {(p.benchmark.name, b): _read(p, b, work) for p in plans for b in range(len(p.batches))}
    done = sum(table.num_rows for table in found.values() if table is not None)
    engine: Engine | None = None
    with Progress(sum(len(p.samples) for p in plans), f"eval {label}", "sample", initial=done) as bar:
        for p in plans:
            for b, batch in enumerate(p.batches):
                if found[p.benchmark.name, b] is not None:
                    continue
                engine = engine or make(settings.get("engine") or "transformers", model_path, tokenizer, length)
                rows = _score(settings, p, [p.samples[i] for i in batch], verifier, engine, bar.update)
                table = found[p.benchmark.name, b] = pa.Table.from_pylist(rows, schema=schema())
                _write(table, p.part(work, b))
                if interrupt.wanted():
                    raise interrupt.Interrupted(f"after batch {b} of {p.benchmark.name}")
    tables = []
    for p in plans:  # from the order of batches back to that of questions
        rows = pa.concat_tables([found[p.benchmark.name, b] for b in range(len(p.batches))])
        places = [i for batch in p.batches for i in batch]
        tables.append(rows.take(pa.array(sorted(range(len(places)), key=places.__getitem__))))
    table = pa.concat_tables(tables).combine_chunks()
    _write(table, work / "samples.parquet")
    return {
        "tokens": int(sum(table["tokens"].to_pylist())),
        "samples": table.num_rows,
        "prompts": {p.benchmark.name: {"style": p.style, "stop": list(prompt_format(p.style).stop)} for p in plans},
        "chat_template": tokenizer.chat_template,
        "chat_template_hash": hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()[:16],
    }


def _write(table, path: Path) -> None:
    import pyarrow.parquet as pq

    draft = path.with_suffix(".tmp")
    pq.write_table(table, draft)
    os.replace(draft, path)


def _read(p: Plan, batch: int, work: Path):
    """The finished records of a batch, None if there are none, or if they are of other questions or prompts than are asked for now."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = p.part(work, batch)
    if not path.exists():
        return None
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        log.warning("%s cannot be read (%s); its samples are generated again", path, next(iter(str(error).splitlines()), "?"))
        return None
    facts = [p.samples[i].facts for i in p.batches[batch]]
    if table.schema.equals(schema()) and table.select(list(facts[0])).to_pylist() == facts:
        return table
    log.warning("%s is of other questions or prompts; its samples are generated again", path)
    return None


def _score(settings: dict[str, Any], p: Plan, samples: list[Sample], verifier, engine: Engine, progress) -> list[dict[str, Any]]:
    """The records of a batch."""
    completions: list[Completion] = engine.complete(
        [s.prompt for s in samples],
        [s.key for s in samples],
        max_tokens=settings["max_tokens"],
        temperature=settings["temperature"],
        top_p=settings["top_p"],
        stop=prompt_format(p.style).stop,
        progress=progress,
    )
    verdicts = verifier.verify_batch(
        [s.question.gold for s in samples],
        [c.text for c in completions],
        task=[s.question.task for s in samples],
        truncated=[c.finish == "length" for c in completions],
    )
    return [
        {
            **sample.facts,
            "response": completion.text,
            "tokens": len(completion.tokens),
            "finish_reason": completion.finish,
            "extracted": verdict.extracted,
            "correct": verdict.correct,
            "rule": verdict.rule,
            "reason": verdict.reason,
            "verifier_version": verdict.version,
        }
        for sample, completion, verdict in zip(samples, completions, verdicts, strict=True)
    ]


if __name__ == "__main__":
    from evals.command import main
    from repro.command import run as run_command

    run_command(main)
