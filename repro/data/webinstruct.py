"""The WebInstruct pipeline (sections 5.1 and 5.2, appendix E.7): question and web solution -> short reference -> filtered prompts.

1. load (local JSONL or Parquet, or the hub by streaming) and drop near duplicates of a question (``repro.data.minhash``);
2. a model turns the web solution into a short boxed answer, or an empty box where there is none (paper: Llama-3.1-8B-Instruct, greedy, 512 tokens);
3. a teacher answers every question twice (paper: QwQ-32B-Preview); a question stays if at least one response agrees with the short answer, and
   the agreeing responses are the SFT data. The rule verifier of this project stands in for the paper's SymEval.

Models sit behind OpenAI-compatible endpoints. Every reply goes to ``journal.jsonl`` at once and is keyed by model, prompt and sampling, so a killed
run asks only what it lacks. The corpus is read twice, as a stream, so it need not fit into memory. Written whole or not at all:
``webinstruct.parquet`` (unfiltered), ``webinstruct_filtered.parquet`` (columns problem, answer, responses, ...; what ``data=web_filtered`` and
``sft.file=`` read) and ``counts.json``.

    python -m repro.data.webinstruct hub:TIGER-Lab/WebInstructSub --out web/ --extractor URL MODEL --teacher URL MODEL
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from repro.client import ChatClient, EndpointError
from repro.config import ConfigError
from repro.data.candidates import Writer
from repro.data.corpus import rows
from repro.data.journal import Journal
from repro.data.prompts import INSTRUCTION
from repro.data.teacher import EndpointTeacher, Teacher
from repro.verifiers import GoldError, Verifier

CHUNK = 64  # questions between two progress lines
EXTRACTION = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 512, "n": 1}
TEACHING = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 8192, "n": 2}  # appendix E.2; section 5.2 does not print its own
EXTRACT = """Below are a question and a solution found on the web. Give the solution's final answer in a short form that is easy to check: a number, \
an expression in LaTeX, a choice, a name, True or False. If the solution has no such short answer, leave the box empty. Do not solve the question.

[Question]
{question}

[Solution]
{solution}

Reply with one line: The final answer is \\boxed{{...}}"""


def said(journal: Journal, model: Teacher, prompts: Sequence[str], settings: dict[str, Any], seed: int) -> list[list[str]]:
    """What the model says to every prompt, ``settings["n"]`` times; asks only what the journal lacks."""
    sampling = {key: value for key, value in settings.items() if key != "n"}
    journal.ask(model, prompts, settings["n"], sampling, seed)
    return [[journal.read(model.name, prompt, i, sampling, seed).text for i in range(settings["n"])] for prompt in prompts]


def load(source: str, question: str, solution: str, limit: int | None) -> Iterator[dict[str, Any]]:
    """Raises ConfigError for a column that is missing or no text, and for an empty corpus."""
    row = None
    for index, row in enumerate(islice(rows(source), limit)):
        for column in (question, solution):
            if not isinstance(row.get(column), str):
                raise ConfigError(
                    f"corpus {source!r}, row {index + 1}: no text column {column!r}; it has {', '.join(row)}; name it with --question or --solution"
                )
        yield {"row": index, "problem": row[question], "solution": row[solution]}
    if row is None:
        raise ConfigError(f"corpus {source!r} is empty: give one with questions and solutions")


def boxed(verifier: Verifier, reply: str) -> str:
    """What the reply boxes; empty where it boxes nothing."""
    found = verifier.extract(reply)
    return (found.answer or "").strip() if found.rule == "box" else ""


def usable(verifier: Verifier, answer: str | None, index: int) -> bool:
    """Whether the rule verifier can compare with this reference."""
    try:
        verifier.check_gold(answer or "", question_id=str(index))
    except GoldError:
        return False
    return True


def schema():
    """Of both sets. ``row``: of the source. ``usable``: whether the rule verifier can compare with ``answer``. ``responses``: those that agree."""
    import pyarrow as pa

    text = pa.string()
    fields = [("row", pa.int64()), ("problem", text), ("solution", text), ("answer", text), ("usable", pa.bool_())]
    return pa.schema([*fields, ("responses", pa.list_(text))])


def run(
    read: Callable[[], Iterator[dict[str, Any]]],
    extractor: Teacher,
    teacher: Teacher,
    out: Path,
    seed: int = 0,
    source: str = "",
    extract_tokens: int = EXTRACTION["max_tokens"],
    max_tokens: int = TEACHING["max_tokens"],
) -> dict[str, Any]:
    """All steps; writes the sets below ``out`` and returns the counts.

    Args:
        read: gives rows with ``row``, ``problem`` and ``solution``, each time the same ones in the same order.
        extract_tokens, max_tokens: of a reply of the extractor and of a response of the teacher.
    """
    from repro.data.minhash import THRESHOLD, duplicates, write_signatures
    from repro.progress import Progress

    extraction, teaching = {**EXTRACTION, "max_tokens": extract_tokens}, {**TEACHING, "max_tokens": max_tokens}
    out.mkdir(parents=True, exist_ok=True)
    signatures = out / ".signatures"
    signatures.unlink(missing_ok=True)
    loaded = write_signatures((item["problem"] for item in read()), signatures)
    twin = duplicates(signatures)
    signatures.unlink()
    distinct = (item for item, again in zip(read(), twin, strict=True) if not again)
    counts = {"loaded": loaded, "distinct": int((~twin).sum())}
    counts |= dict.fromkeys(("with_short_answer", "comparable", "filtered", "responses"), 0)
    journal, verifier = Journal(out / "journal.jsonl"), Verifier()
    writers = [Writer(out / f"{name}.parquet", schema()) for name in ("webinstruct", "webinstruct_filtered")]
    try:
        with Progress(counts["distinct"], "webinstruct", "question") as bar:
            while chunk := list(islice(distinct, CHUNK)):
                asked = [EXTRACT.format(question=i["problem"], solution=i["solution"]) for i in chunk]
                for item, (reply,) in zip(chunk, said(journal, extractor, asked, extraction, seed), strict=True):
                    item["answer"] = boxed(verifier, reply)
                    item |= {"usable": usable(verifier, item["answer"], item["row"]), "responses": []}
                todo = [item for item in chunk if item["usable"]]
                asked = [f"{item['problem']}\n{INSTRUCTION}" for item in todo]
                for item, replies in zip(todo, said(journal, teacher, asked, teaching, seed), strict=True):
                    verdicts = verifier.verify_batch([item["answer"]] * len(replies), replies)
                    item["responses"] = [r for r, v in zip(replies, verdicts, strict=True) if v.correct]
                for item in chunk:
                    counts["with_short_answer"] += item["answer"] != ""
                    counts["comparable"] += item["usable"]
                    counts["filtered"] += bool(item["responses"])
                    counts["responses"] += len(item["responses"])
                    for writer in writers[: 2 if item["responses"] else 1]:
                        writer.add(item)
                bar.update(len(chunk))
        facts = {"source": source, "extractor": extractor.name, "teacher": teacher.name, "seed": seed, "threshold": THRESHOLD}
        facts |= {"extraction": extraction, "teaching": teaching, "verifier": verifier.version, "counts": counts}
        for writer in writers:
            writer.close(facts)
    finally:
        journal.close()
        verifier.close()
        for writer in writers:
            writer.draft.unlink(missing_ok=True)
    (out / "counts.json").write_text(json.dumps(facts, indent=1))
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="repro.data.webinstruct", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="JSONL or Parquet file, a folder of them, or hub:OWNER/NAME")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; the same one resumes")
    parser.add_argument("--extractor", nargs=2, metavar=("URL", "MODEL"), required=True, help="endpoint of the short-answer extractor")
    parser.add_argument("--teacher", nargs=2, metavar=("URL", "MODEL"), required=True, help="endpoint of the teacher")
    parser.add_argument("--question", default="question", help="column")
    parser.add_argument("--solution", default="answer", help="column")
    parser.add_argument("--limit", type=int, help="rows to read; all")
    parser.add_argument("--extract-tokens", type=int, default=EXTRACTION["max_tokens"], help="of a reply of the extractor; %(default)s")
    parser.add_argument("--max-tokens", type=int, default=TEACHING["max_tokens"], help="of a response of the teacher; %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the teacher's sampling")
    parser.add_argument("--key-env", help="environment variable with the endpoints' key")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one response")
    options = parser.parse_args()
    from repro.errors import explain

    try:
        for name in ("limit", "extract_tokens", "max_tokens"):
            if (value := getattr(options, name)) is not None and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: at least 1")
        asked = (options.extractor, options.teacher)
        models = [EndpointTeacher(ChatClient(url, name, options.key_env, timeout=options.timeout)) for url, name in asked]
        read = lambda: load(options.source, options.question, options.solution, options.limit)  # noqa: E731
        limits = {"extract_tokens": options.extract_tokens, "max_tokens": options.max_tokens}
        counts = run(read, *models, options.out, options.seed, options.source, **limits)
    except (ConfigError, EndpointError, OSError, ValueError) as error:
        print(f"repro.data.webinstruct: {explain(error, '--out') or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("repro.data.webinstruct: interrupted; the same command continues where it was", file=sys.stderr)
        sys.exit(130)
    print("\n".join(f"{name:18s} {count:9,}" for name, count in counts.items()))


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
