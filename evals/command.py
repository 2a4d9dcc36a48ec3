"""``python -m evals.harness``: one checkpoint, some benchmarks, one table, outside of any sweep; or responses that somebody else generated.

Differs from lm_eval's command in that every sample is kept (OUT/samples.parquet) and the same line run again continues a killed evaluation,
or prints the table of a finished one. A folder holds one evaluation: with other settings, another checkpoint or other questions it is
refused rather than mixed. Bad input is one line and exit code 2.

    python -m evals.harness model=PATH benchmark=math500,aime2024 sampling=paper
    python -m evals.harness score=recorded.jsonl benchmark=math500
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evals import micro
from evals.benchmarks import BENCHMARKS, FileBenchmark, state_of
from evals.engines import ENGINES, INSTALL
from evals.prompts import FORMATS
from evals.sampling import SAMPLING
from repro.config import ConfigError
from repro.keys import choice, numbers, pairs, real, several, whole
from repro.store import RESUME

MOST_SAMPLES = 100_000  # a question
HELP = f"""python -m evals.harness model=PATH benchmark=NAME[,NAME...] [key=value ...]
python -m evals.harness score=FILE benchmark=NAME [key=value ...]

Samples a checkpoint's answers, scores them, writes OUT/samples.parquet (one row a sample) and prints a table. Run the same line again to
continue a killed evaluation. `python -m evals.metrics records=OUT/samples.parquet` prints every other metric.

  model        folder or hub name of a checkpoint with a tokenizer that has a chat template
  benchmark    {", ".join(list(BENCHMARKS)[:9])},
               {", ".join(list(BENCHMARKS)[9:])}
  sampling     {", ".join(SAMPLING)}; paper: the next four keys' defaults, of which any can be given
  samples      a question; paper: 4, and 16 of AIME. Given, it is that of every benchmark
  temperature  paper: 0.7; 0 is greedy and needs samples=1
  top_p        paper: 0.95
  max_tokens   of an answer; paper: 16384
  questions    the first N of every benchmark; all ({micro.SIZE} of a micro one)
  prompt       {", ".join(FORMATS)}; the usual one of every benchmark. Micro benchmarks are always plain
  engine       {", ".join(ENGINES)}; transformers. vllm needs a GPU and {INSTALL}
  batch_size   samples handed to the engine at once, which is what a kill can lose; 32, with vllm 2048
  seed         of decoding; 0. Several, such as 0,1,2: an evaluation each, and what they differ by
  data         folder of the benchmarks' files, or hub to download them; REPRO_DATA_DIR. `python -m evals.benchmarks` says what is there
  out          folder; outputs/evals/NAME-HASH, the same for the same line

With score=FILE nothing is generated: recorded responses are scored. FILE is JSONL, Parquet or CSV (.gz too), one response a row:
  question_id or id    of the question in the benchmark; samples of one question have the same
  response or output   the whole text that the model generated; required
  gold                 reference answer; without it, that of the benchmark's question
  task                 math, letter, numeric or text; without it, that of the benchmark's question, else of the key task
  truncated            true where the response was cut at its token limit (or finish_reason = length): it then has no answer
  tokens               of the response; only for metrics of length
  label                a verdict somebody else gave (true or false); the agreement with it is reported
and the keys are
  benchmark    whose questions they answer; not needed if every row has its gold
  task         kind of comparison of rows without one; then the benchmark's file is not needed for rows with a gold
  by           column to report by, e.g. model
  fallback     true: take the last number of responses that commit to no answer, and say so in the column rule; false
  data         as above
  out          file for one record a response: .parquet, .jsonl or .jsonl.gz

Exit code: 0; 2 for input that has to be mended, 1 where an engine failed, each with one line that says how to go on; 130 interrupted."""

KEYS: dict[str, tuple[Any, Callable[[str, str], Any]]] = {  # key -> (default, reader)
    "model": (None, lambda key, text: text),
    "benchmark": (None, lambda key, text: several(key, text, BENCHMARKS)),
    "sampling": ("paper", lambda key, text: choice(key, text, list(SAMPLING))),
    "samples": (None, lambda key, text: whole(key, text, most=MOST_SAMPLES)),
    "temperature": (None, lambda key, text: real(key, text, 0, 100)),
    "top_p": (None, lambda key, text: real(key, text, 1e-6, 1)),
    "max_tokens": (None, whole),
    "questions": (None, whole),
    "prompt": (None, lambda key, text: choice(key, text, list(FORMATS))),
    "engine": ("transformers", lambda key, text: choice(key, text, list(ENGINES))),
    "batch_size": (None, whole),
    "seed": ([0], numbers),
    "data": (None, lambda key, text: text),
    "out": (None, lambda key, text: text),
}
SCORE_KEYS = ("score", "benchmark", "task", "by", "fallback", "data", "out")


class EngineFailure(Exception):
    """An engine that died; one line that says what is kept."""


def read(arguments: Sequence[str]) -> dict[str, Any]:
    """The settings of an evaluation. Raises ConfigError for what cannot be one."""
    given = pairs(arguments, list(KEYS))
    settings = {key: reader(key, given[key]) if key in given else default for key, (default, reader) in KEYS.items()}
    for key, example in (("model", "the folder of a checkpoint"), ("benchmark", "e.g. benchmark=math500")):
        if settings[key] is None:
            raise ConfigError(f"{key}=... is missing: {example} (--help lists the keys)")
    usual = SAMPLING[settings.pop("sampling")]
    settings |= {key: usual[key] for key in ("temperature", "top_p", "max_tokens") if settings[key] is None}
    if settings["temperature"] == 0:
        if (settings["samples"] or 1) > 1:
            raise ConfigError(f"samples={settings['samples']} with temperature=0: greedy samples are all the same; choose samples=1")
        settings |= {"samples": 1, "samples_by": {}}
    else:
        by = {name: k for name, k in usual["samples_by"].items() if name in settings["benchmark"]}
        settings |= {"samples_by": {}} if settings["samples"] else {"samples": usual["samples"], "samples_by": by}
    settings["batch_size"] = settings["batch_size"] or ENGINES[settings["engine"]].batch
    micros = [name for name in settings["benchmark"] if not isinstance(BENCHMARKS[name], FileBenchmark)]
    if settings["questions"] is None and micros:
        if len(micros) < len(settings["benchmark"]):
            raise ConfigError(f"questions=... is missing: {micros[0]} has no end, so say how many, or run it by itself")
        settings["questions"] = micro.SIZE
    return settings


def folder(text: str | Path) -> Path:
    """The folder, made if it is not there. Raises ConfigError if it cannot be written."""
    path = Path(text).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"out={path} cannot be written ({error.strerror or error}): choose another folder") from None
    return path


def identity(settings: dict[str, Any], model: Path, version: str) -> dict[str, Any]:
    """What tells two evaluations apart: settings, contents of checkpoint and questions, versions. Raises BenchmarkError for a missing file."""
    from evals import harness
    from repro.store import fingerprint

    questions = {}
    for name in settings["benchmark"]:
        benchmark = BENCHMARKS[name]
        state = state_of(name, benchmark, settings["data"])
        questions[name] = state if isinstance(state, list) else [state]
    kept = {key: value for key, value in settings.items() if key not in ("model", "out", "data", "benchmark")}
    weights = hashlib.sha256(json.dumps(fingerprint(model), sort_keys=True).encode()).hexdigest()[:16]
    return {"model": weights, "benchmark": questions, **kept, "harness": harness.VERSION, "verifier": version}


def evaluate(settings: dict[str, Any]) -> Path:
    """Evaluate, or continue, or only print what is finished; returns the file of samples. Raises EngineFailure, ConfigError and others."""
    from evals import harness, summary
    from repro.errors import explain
    from repro.lock import Lock
    from repro.models.load import resolve
    from repro.verifiers import Verifier

    model = resolve(settings["model"], None)
    with Verifier() as verifier:
        known = identity(settings, model, verifier.version)
        named = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:8]
        out = folder(settings["out"] or Path("outputs") / "evals" / f"{model.resolve().name}-{named}")
        with Lock(out / ".lock", what=f"the evaluation in {out}"):
            claim(out, known)
            if not (out / "samples.parquet").exists():
                config = {"eval": {**settings, "benchmarks": settings["benchmark"]}}
                try:
                    facts = harness.evaluate(config, verifier, model, out, model.name)
                except Exception as error:
                    if explain(error) is not None:
                        raise
                    (out / "error.log").write_text(traceback.format_exc())
                    line = next(iter(str(error).strip().splitlines()), "no message")
                    raise EngineFailure(
                        f"failed ({type(error).__name__}: {line}); finished batches are kept and the same command continues after them; "
                        f"the traceback is in {out / 'error.log'}"
                    ) from error
                write(out / "evaluation.json", {"identity": known, "model": str(model), "settings": settings, **facts})
                (out / "error.log").unlink(missing_ok=True)
            shutil.rmtree(out / RESUME, ignore_errors=True)
    print(summary.table(out / "samples.parquet"), f"\n{out / 'samples.parquet'}", sep="\n")
    return out / "samples.parquet"


def claim(out: Path, known: dict[str, Any]) -> None:
    """Writes down which evaluation a folder is for. Raises ConfigError where it has samples of another one."""
    path, empty = out / "evaluation.json", not [*out.glob("samples.parquet"), *(out / RESUME).glob("*.parquet")]
    if empty:  # also after a refusal: the mended line may then go on in the same folder
        return write(path, {"identity": known})
    try:
        before = json.loads(path.read_text())["identity"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        why = f"evaluation.json cannot be read ({type(error).__name__})"
        raise ConfigError(f"out={out} has samples, but {why}: choose another folder, or remove it to start again") from None
    differ = [key for key in {**before, **known} if before.get(key) != known.get(key)] if isinstance(before, dict) else ["everything"]
    if differ:
        shown = ", ".join(differ)
        raise ConfigError(f"out={out} has an evaluation with another {shown}: choose another folder, or remove it to start again")
    return None


def write(path: Path, value: dict[str, Any]) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(value, indent=1))
    os.replace(draft, path)


def score(arguments: Sequence[str]) -> None:
    """Scores the responses of a file and prints the summary. Raises ConfigError, BenchmarkError."""
    from evals import score as scoring
    from evals.files import read_rows
    from repro.verifiers import TASKS, Verifier

    given = pairs(arguments, SCORE_KEYS)
    benchmark = BENCHMARKS[choice("benchmark", given["benchmark"], list(BENCHMARKS))] if "benchmark" in given else None
    task = choice("task", given["task"], TASKS) if "task" in given else None
    fallback = choice("fallback", given.get("fallback", "false"), ("true", "false")) == "true"
    out = scoring.target(given["out"]) if "out" in given else None
    where = Path(given["score"]).expanduser()
    with Verifier(fallback=fallback) as verifier:
        rows = read_rows(where)
        records = scoring.score(rows, benchmark, verifier, task=task, by=given.get("by"), root=given.get("data"), where=str(where))
    if out is not None:
        scoring.write(records, out)
    print(scoring.summary(records))


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code; 1 and 2 with one line on stderr."""
    from evals import summary

    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for name in ("evals", "repro"):
        logging.getLogger(name).setLevel(logging.INFO)  # progress where there is no terminal
    try:
        if any(argument.startswith("score=") for argument in arguments):
            score(arguments)
            return 0
        settings = read(arguments)
        chosen = settings.pop("seed")
        done = []
        for seed in chosen:
            out = f"{settings['out']}/seed={seed}" if settings["out"] and len(chosen) > 1 else settings["out"]
            done.append(evaluate({**settings, "seed": seed, "out": out}))
        if len(done) > 1:
            print(summary.spread(done, chosen))
    except KeyboardInterrupt:
        print("evals: interrupted; the same command continues where it was", file=sys.stderr)
        return 130
    except EngineFailure as error:
        print(f"evals: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        from repro.errors import explain

        line = explain(error)
        if line is None:
            raise
        for ours, theirs in (("model=", "model.path="), ("out=", "paths.outputs="), ("questions=", "eval.questions=")):
            line = line.replace(theirs, ours)
        print(f"evals: {line}", file=sys.stderr)
        return 2
    return 0
