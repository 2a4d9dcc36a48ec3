"""The harness as a command: one checkpoint, some benchmarks, one table, outside of any sweep.

Differs from lm_eval's command in that every sample is kept (OUT/samples.parquet) and the same line run again continues a killed evaluation,
or prints the table of a finished one. A folder holds one evaluation: with other settings, another checkpoint or other questions it is
refused rather than mixed. Bad input is one line and exit code 2.

    python -m evals.harness model=PATH benchmark=math500,aime2024 samples=4          # or python -m evals ...
    python -m evals.harness score=recorded.jsonl benchmark=math500
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evals.benchmarks import BENCHMARKS, FileBenchmark
from evals.engines import ENGINES, INSTALL
from evals.prompts import FORMATS
from repro.config import ConfigError
from repro.store import RESUME

MICRO_QUESTIONS = 200  # of a micro benchmark, which has no end, unless the user says
HELP = f"""python -m evals.harness model=PATH benchmark=NAME[,NAME...] [key=value ...]
python -m evals.harness score=FILE benchmark=NAME [key=value ...]

Samples a checkpoint's answers, scores them, writes OUT/samples.parquet (one row a sample) and prints a table. Run the same line again to
continue a killed evaluation.

  model        folder or hub name of a checkpoint with a tokenizer that has a chat template
  benchmark    {", ".join(list(BENCHMARKS)[:9])},
               {", ".join(list(BENCHMARKS)[9:])}
  samples      a question; 4, or 1 with temperature=0 (16 in the paper for AIME)
  temperature  0.7; 0 is greedy and needs samples=1
  top_p        0.95
  max_tokens   of an answer; 16384 (4096 in the paper for greedy runs of base models)
  questions    the first N of every benchmark; all ({MICRO_QUESTIONS} of a micro one)
  prompt       {", ".join(FORMATS)}; the usual one of every benchmark. Micro benchmarks are always plain
  engine       {", ".join(ENGINES)}; transformers. vllm needs a GPU and {INSTALL}
  batch_size   samples handed to the engine at once, which is what a kill can lose; 32, with vllm 2048
  seed         of decoding; 0. Several, such as 0,1,2: an evaluation each, and what they differ by
  data         folder of the benchmarks' files, or hub to download them; REPRO_DATA_DIR. `python -m evals.benchmarks` says what is there
  out          folder; outputs/evals/NAME-HASH, the same for the same line

With score=FILE nothing is generated: the recorded responses are scored, by evals.score (its --help lists the columns).
  benchmark    whose questions they answer; not needed if every row has its gold
  task, by     kind of comparison of rows without one; column to report by
  data, out    as above; out=DIR gets records.parquet

Exit code: 0, or 2 for input that has to be mended, with one line that says how."""


def whole(key: str, text: str, least: int = 1) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise ConfigError(f"{key}={text}: a whole number of at least {least} is needed")
    return value


def real(key: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise ConfigError(f"{key}={text}: a number from {low:g} to {high:g} is needed")
    return value


def choice(key: str, text: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        near = difflib.get_close_matches(text, allowed, 1)
        raise ConfigError(f"{key}={text} does not exist{f' (did you mean {near[0]}?)' if near else ''}: choose one of {', '.join(allowed)}")
    return text


def several(key: str, text: str, allowed: Sequence[str]) -> list[str]:
    names = [choice(key, name.strip(), allowed) for name in text.split(",")]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{key}={text}: {twice} stands there twice")
    return names


def seeds(key: str, text: str) -> list[int]:
    found = [whole(key, part.strip(), 0) for part in text.split(",")]
    if len(set(found)) < len(found):
        raise ConfigError(f"{key}={text}: every seed once; the same one gives the same samples")
    return found


KEYS: dict[str, tuple[Any, Callable[[str, str], Any]]] = {  # key -> (default, reader)
    "model": (None, lambda key, text: text),
    "benchmark": (None, lambda key, text: several(key, text, list(BENCHMARKS))),
    "samples": (None, whole),
    "temperature": (0.7, lambda key, text: real(key, text, 0, 100)),
    "top_p": (0.95, lambda key, text: real(key, text, 1e-6, 1)),
    "max_tokens": (16_384, whole),
    "questions": (None, whole),
    "prompt": (None, lambda key, text: choice(key, text, list(FORMATS))),
    "engine": ("transformers", lambda key, text: choice(key, text, list(ENGINES))),
    "batch_size": (None, whole),
    "seed": ([0], seeds),
    "data": (None, lambda key, text: text),
    "out": (None, lambda key, text: text),
}
SCORE_KEYS = ("score", "benchmark", "task", "by", "data", "out")


def pairs(arguments: Sequence[str], allowed: Sequence[str]) -> dict[str, str]:
    """key -> text of ``key=value`` arguments.

    Raises:
        ConfigError: another form, an unknown key, one that is given twice or empty.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        key, sign, text = argument.partition("=")
        if not sign:
            raise ConfigError(f"cannot read {argument!r}: write key=value (--help lists the keys)")
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1)
            raise ConfigError(f"unknown key {key}{f', did you mean {near[0]}?' if near else ''} (keys: {', '.join(allowed)})")
        if key in found:
            raise ConfigError(f"{key} is given twice")
        if not text.strip():
            raise ConfigError(f"{key} is empty; leave it out for its default")
        found[key] = text.strip()
    return found


def read(arguments: Sequence[str]) -> dict[str, Any]:
    """The settings of an evaluation. Raises ConfigError for what cannot be one."""
    given = pairs(arguments, list(KEYS))
    settings = {key: reader(key, given[key]) if key in given else default for key, (default, reader) in KEYS.items()}
    for key, example in (("model", "the folder of a checkpoint"), ("benchmark", "e.g. benchmark=math500")):
        if settings[key] is None:
            raise ConfigError(f"{key}=... is missing: {example} (--help lists the keys)")
    greedy = settings["temperature"] == 0
    if greedy and (settings["samples"] or 1) > 1:
        raise ConfigError(f"samples={settings['samples']} with temperature=0: greedy samples are all the same; choose samples=1")
    settings["samples"] = settings["samples"] or (1 if greedy else 4)
    settings["batch_size"] = settings["batch_size"] or ENGINES[settings["engine"]].batch
    micro = [name for name in settings["benchmark"] if not isinstance(BENCHMARKS[name], FileBenchmark)]
    if settings["questions"] is None and micro:
        if len(micro) < len(settings["benchmark"]):
            raise ConfigError(f"questions=... is missing: {micro[0]} has no end, so say how many, or run it by itself")
        settings["questions"] = MICRO_QUESTIONS
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
        questions[name] = [benchmark.version]
        if isinstance(benchmark, FileBenchmark):
            questions[name].append(benchmark.contents(settings["data"]))
    kept = {key: value for key, value in settings.items() if key not in ("model", "out", "data", "benchmark")}
    weights = hashlib.sha256(json.dumps(fingerprint(model), sort_keys=True).encode()).hexdigest()[:16]
    return {"model": weights, "benchmark": questions, **kept, "harness": harness.VERSION, "verifier": version}


def evaluate(settings: dict[str, Any]) -> Path:
    """Evaluate, or continue, or only print what is finished; returns the file of samples."""
    from evals import harness
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
                facts = harness.evaluate(config, verifier, model, out, model.name)
                write(out / "evaluation.json", {"identity": known, "model": str(model), "settings": settings, **facts})
            shutil.rmtree(out / RESUME, ignore_errors=True)
    print(table(out / "samples.parquet", settings["samples"]), f"\n{out / 'samples.parquet'}", sep="\n")
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


def table(path: Path, samples: int) -> str:
    """One line a benchmark from the records alone; every number is that of ``evals.metrics``."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from evals import metrics

    records = pq.read_table(path)
    head = ["benchmark", "questions", f"avg@{samples} %", "95 % interval", *([f"pass@{samples} %"] if samples > 1 else [])]
    lines = [[*head, "mean tokens", "truncated %", "no answer %"]]
    for name in dict.fromkeys(records["benchmark"].to_pylist()):
        rows = records.filter(pc.equal(records["benchmark"], name))
        average, size = metrics.avg_at_k(rows), metrics.lengths(rows)
        line = [name, str(average.questions), f"{100 * average.mean:.2f}", f"[{100 * max(0.0, average.low):.2f}, {100 * average.high:.2f}]"]
        line += [f"{100 * metrics.pass_at_k(rows, samples).mean:.2f}"] if samples > 1 else []
        lines.append([*line, f"{size['mean']:.1f}", f"{100 * size['truncated']:.2f}", f"{100 * metrics.no_answer_share(rows):.2f}"])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))) for line in lines
    )


def spread(files: Sequence[Path], chosen: Sequence[int]) -> str:
    """Mean over the seeds of decoding, and the standard deviation between them, in points; of one checkpoint, so not what training seeds vary by."""
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from evals import metrics

    scores: dict[str, list[float]] = {}
    for file in files:
        records = pq.read_table(file)
        for name in dict.fromkeys(records["benchmark"].to_pylist()):
            rows = records.filter(pc.equal(records["benchmark"], name))
            scores.setdefault(name, []).append(100 * metrics.avg_at_k(rows).mean)
    lines = [
        f"{name}: {np.mean(found):.2f} % over decoding seeds {', '.join(map(str, chosen))}, sd {np.std(found, ddof=1):.2f}"
        for name, found in scores.items()
    ]
    return "\n".join(["", *lines])


def score(arguments: Sequence[str]) -> int:
    """Responses of somebody else: the same keys, handed over to ``evals.score``."""
    from evals.score import main as score_main
    from repro.verifiers import TASKS

    given = pairs(arguments, SCORE_KEYS)
    handed = [given["score"]]
    if "benchmark" in given:
        handed += ["--benchmark", choice("benchmark", given["benchmark"], list(BENCHMARKS))]
    if "task" in given:
        handed += ["--task", choice("task", given["task"], TASKS)]
    handed += ["--by", given["by"]] if "by" in given else []
    handed += ["--root", given["data"]] if "data" in given else []
    handed += ["--out", str(folder(given["out"]) / "records.parquet")] if "out" in given else []
    return score_main(handed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code; 2 with one line on stderr for input that has to be mended."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for name in ("evals", "repro"):
        logging.getLogger(name).setLevel(logging.INFO)  # progress where there is no terminal
    try:
        if any(argument.startswith("score=") for argument in arguments):
            return score(arguments)
        settings = read(arguments)
        chosen = settings.pop("seed")
        done = []
        for seed in chosen:
            out = f"{settings['out']}/seed={seed}" if settings["out"] and len(chosen) > 1 else settings["out"]
            done.append(evaluate({**settings, "seed": seed, "out": out}))
        if len(done) > 1:
            print(spread(done, chosen))
    except KeyboardInterrupt:
        print("evals: interrupted; the same command continues where it was", file=sys.stderr)
        return 130
    except Exception as error:
        from repro.errors import explain

        line = explain(error)
        if line is None:
            raise
        print(f"evals: {line.replace('model.path=', 'model=').replace('paths.outputs=', 'out=')}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
