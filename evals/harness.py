"""The harness: k samples a question -> score -> one record a sample, in Parquet.

Unlike lm-eval it keeps every sample with its length, finish reason and verdict, so that averages, pass@k, chain lengths and re-scoring are
functions of the file and nothing is generated twice. Each benchmark is written when it is done; a killed evaluation goes on with the next.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from evals.benchmarks import BENCHMARKS
from repro.models.generate import generate
from repro.models.load import encode_chat, load_model, load_tokenizer
from repro.progress import Progress
from repro.store import RESUME

VERSION = 2  # of the stage; raise it when a change here makes other records


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
            "sample_index": number,
            "prompt_hash": text,
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


def evaluate(config: dict[str, Any], verifier, model_path: Path, work: Path, label: str) -> dict[str, Any]:
    """Score the checkpoint on ``config['eval']['benchmarks']`` and write ``work/samples.parquet``. Returns facts for the manifest.

    Columns: ``schema()``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    settings = config["eval"]
    tokenizer = load_tokenizer(model_path)
    model = load_model(model_path)
    (work / RESUME).mkdir(parents=True, exist_ok=True)
    parts = [work / RESUME / f"{name}.parquet" for name in settings["benchmarks"]]
    total = settings["questions"] * settings["samples"] * len(parts)
    with Progress(total, f"eval {label}", "sample") as bar:
        for name, part in zip(settings["benchmarks"], parts, strict=True):
            if part.exists():
                bar.update(settings["questions"] * settings["samples"])
                continue
            draft = part.with_suffix(".tmp")
            rows = _score(settings, name, verifier, model, tokenizer, bar.update)
            pq.write_table(pa.Table.from_pylist(rows, schema=schema()), draft)
            os.replace(draft, part)
    table = pa.concat_tables([pq.read_table(part) for part in parts])
    pq.write_table(table, work / "samples.parquet")
    return {"tokens": int(sum(table["tokens"].to_pylist())), "samples": table.num_rows}


def _score(settings: dict[str, Any], name: str, verifier, model, tokenizer, progress) -> list[dict[str, Any]]:
    """The records of one benchmark."""
    benchmark = BENCHMARKS[name]
    questions = [q for q in benchmark.questions(settings["questions"]) for _ in range(settings["samples"])]
    prompts = [encode_chat(tokenizer, q.prompt) for q in questions]
    # A sample's random numbers depend on what it is, so adding a benchmark, questions or samples leaves the others as they were.
    keys = [f"{settings['seed']}/{name}/{q.id}/{i % settings['samples']}" for i, q in enumerate(questions)]
    completions = generate(
        model,
        tokenizer,
        prompts,
        max_tokens=settings["max_tokens"],
        temperature=settings["temperature"],
        top_p=settings["top_p"],
        keys=keys,
        batch_size=settings["batch_size"],
        progress=progress,
    )
    texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
    truncated = [c[-1:] != [tokenizer.eos_token_id] for c in completions]
    verdicts = verifier.verify_batch([q.gold for q in questions], texts, task=[q.task for q in questions], truncated=truncated)
    return [
        {
            "benchmark": name,
            "benchmark_version": benchmark.version,
            "question_id": question.id,
            "level": question.level,
            "sample_index": i % settings["samples"],
            "prompt_hash": hashlib.sha256(str(prompts[i]).encode()).hexdigest()[:16],
            "gold": question.gold,
            "response": texts[i],
            "tokens": len(completions[i]),
            "finish_reason": "length" if truncated[i] else "stop",
            "extracted": verdicts[i].extracted,
            "correct": verdicts[i].correct,
            "rule": verdicts[i].rule,
            "reason": verdicts[i].reason,
            "verifier_version": verdicts[i].version,
        }
        for i, question in enumerate(questions)
    ]
