"""Re-scores saved samples with several verifiers and says where they part; nothing is generated.

    python -m repro.verifiers.agreement outputs/store --verifiers rule,legacy,math_verify,stored --examples 3 --csv verdicts.csv

Reads the harness's ``samples.parquet`` (folders are searched for Parquet and JSONL files) and JSONL lines with ``gold``, ``output`` (or
``response``) and, if wanted, ``task``, ``kind``, ``prompt``, ``correct`` and ``question_id``. Prints accuracy of each verifier, a matrix of equal verdicts with
Cohen's kappa, and for each pair of verifiers some samples they disagree on, as Markdown. A reference that a verifier refuses is left out of its
numbers and counted. math-verify runs unmodified on the last 8,000 characters, in a process that is killed after 5 s (then: wrong).
"""

from __future__ import annotations

import argparse
import csv
import logging
import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any

from repro.progress import Progress
from repro.verifiers.saved import SUFFIXES, AgreementError, Sample, read
from repro.verifiers.verdict import KINDS, GoldError, Verdict

NAMES = ("rule", "legacy", "legacy_prompt", "math_verify", "stored", "judge")
BATCH = 128


class Stored:
    """Not a verifier: hands back the verdicts of the records."""

    version = "stored"


def build(names: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """Name -> verifier. Raises AgreementError for an unknown name and for a judge that is not specified."""
    from repro.verifiers.legacy import LegacyVerifier
    from repro.verifiers.mathverify import MathVerify
    from repro.verifiers.rule import Verifier

    makers = {"rule": Verifier, "legacy": LegacyVerifier, "legacy_prompt": lambda: LegacyVerifier(True), "math_verify": MathVerify}
    return {name: Stored() if name == "stored" else _judge(args) if name == "judge" else makers[name]() for name in names}


def _judge(args: argparse.Namespace) -> Any:
    from repro.verifiers.judge import EndpointBackend, JudgeVerifier, TransformersBackend

    if args.judge_url:
        if not args.judge_model:
            raise AgreementError("--judge-url needs --judge-model, the name of the model that it serves")
        return JudgeVerifier(EndpointBackend(args.judge_url, args.judge_model, args.judge_key_env), parser=args.judge_parser)
    if not args.judge_model:
        raise AgreementError("verifier judge needs --judge-model FOLDER, or --judge-url with --judge-model NAME")
    return JudgeVerifier(TransformersBackend.load(args.judge_model), parser=args.judge_parser)


def score(verifiers: dict[str, Any], samples: Sequence[Sample]) -> dict[str, list[Verdict | None]]:
    """Verdicts of each verifier in the samples' order; None where it refuses the reference or the record has no verdict."""
    for name, column in (("stored", "correct"), ("legacy_prompt", "prompt")):
        if name in verifiers:
            missing = next((s for s in samples if (s.stored if name == "stored" else s.prompt) is None), None)
            none = name == "stored" and not any(s.stored for s in samples)
            if missing is not None and (none or name == "legacy_prompt"):
                raise AgreementError(f"{missing.where}: verifier {name} needs the column {column}, and it is not there")
    results: dict[str, list[Verdict | None]] = {}
    with Progress(len(samples) * len(verifiers), "re-scoring", "verdict") as bar:
        for name, verifier in verifiers.items():
            results[name] = [s.stored for s in samples] if name == "stored" else [None] * len(samples)
            for first in range(0, len(samples), BATCH):
                chunk = range(first, min(first + BATCH, len(samples)))
                for kind in KINDS if name != "stored" else ():
                    rows = [i for i in chunk if samples[i].kind == kind and _accepts(verifier, samples[i])]
                    if rows:
                        more = {"prompts": [samples[i].prompt for i in rows]} if name == "legacy_prompt" else {}
                        verdicts = verifier.verify_batch(
                            [samples[i].gold for i in rows],
                            [samples[i].output for i in rows],
                            task=[samples[i].task for i in rows],
                            kind=kind,
                            truncated=[samples[i].truncated for i in rows],
                            **more,
                        )
                        for i, verdict in zip(rows, verdicts, strict=True):
                            results[name][i] = verdict
                bar.update(len(chunk))
    return results


def _accepts(verifier: Any, sample: Sample) -> bool:
    try:
        verifier.check_gold(sample.gold, task=sample.task)
    except GoldError:
        return False
    return True


def kappa(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Cohen's kappa: agreement beyond what two graders with these accuracies would have by chance. nan where both are constant and equal."""
    if not a:
        return math.nan
    observed = sum(x == y for x, y in zip(a, b, strict=True)) / len(a)
    p, q = sum(a) / len(a), sum(b) / len(b)
    chance = p * q + (1 - p) * (1 - q)
    return math.nan if chance == 1 else (observed - chance) / (1 - chance)


def report(verifiers: dict[str, Any], samples: Sequence[Sample], results: dict[str, list[Verdict | None]], examples: int) -> str:
    """The Markdown that is printed."""
    names = list(results)
    lines = [f"# Agreement of {len(names)} verifiers on {len(samples):,} samples", ""]
    lines += ["| verifier | accuracy | scored | left out | version |", "|---|---|---|---|---|"]
    for name in names:
        said = [v.correct for v in results[name] if v is not None]
        accuracy = f"{sum(said) / len(said):z.2%}" if said else "–"
        lines.append(f"| {name} | {accuracy} | {len(said)} | {len(samples) - len(said)} | {verifiers[name].version} |")
    lines += ["", "Share of equal verdicts (Cohen's kappa):", "", f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for a in names:
        lines.append(f"| **{a}** | {' | '.join(_cell(results[a], results[b]) for b in names)} |")
    for a, b in combinations(names, 2) if examples else ():
        differ = [i for i, (v, w) in enumerate(zip(results[a], results[b], strict=True)) if v and w and v.correct != w.correct]
        if differ:
            lines += ["", f"## {a} and {b} part on {len(differ)}", ""]
            seen: set[tuple[str, str | None, str | None]] = set()
            for i in differ:
                v, w = results[a][i], results[b][i]
                key = (samples[i].gold, v.extracted, w.extracted)
                if key not in seen and len(seen) < examples:
                    seen.add(key)
                    lines.append(f"- {samples[i].where}: gold {_show(samples[i].gold)}")
                    lines += [f"    - {name}: {_said(verdict)}" for name, verdict in ((a, v), (b, w))]
    return "\n".join(lines)


def _cell(a: list[Verdict | None], b: list[Verdict | None]) -> str:
    both = [(v.correct, w.correct) for v, w in zip(a, b, strict=True) if v and w]
    if not both:
        return "–"
    value = kappa(*zip(*both, strict=True))
    return f"{sum(x == y for x, y in both) / len(both):z.2%}" + ("" if math.isnan(value) else f" ({value:z.3f})")


def _show(text: str | None) -> str:
    if text is None:
        return "nothing"
    short = " ".join(text.split()).replace("`", "'")
    return f"`{short[:77] + '...' if len(short) > 80 else short}`"


def _said(verdict: Verdict) -> str:
    why = f"{verdict.rule}: {verdict.reason}" if verdict.reason else verdict.rule
    return f"{'correct' if verdict.correct else 'wrong'}, read {_show(verdict.extracted)} ({why})"


def write_csv(path: str, samples: Sequence[Sample], results: dict[str, list[Verdict | None]]) -> None:
    """One line a sample: where it stands, gold, and 1, 0 or nothing with the extracted answer for each verifier."""
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["where", "question_id", "task", "gold", *(f"{name}{part}" for name in results for part in ("", "_extracted"))])
        for i, sample in enumerate(samples):
            cells = [(int(v.correct), v.extracted) if v else ("", "") for v in (verdicts[i] for verdicts in results.values())]
            writer.writerow([sample.where, sample.question_id, sample.task, sample.gold, *(value for cell in cells for value in cell)])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m repro.verifiers.agreement", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("records", nargs="+", help=f"files ({', '.join(SUFFIXES)}) or folders of saved samples")
    made.add_argument("--verifiers", help=f"some of {','.join(NAMES)}; default rule,legacy, and stored if the records have verdicts")
    made.add_argument("--examples", type=int, default=3, metavar="N", help="disagreeing samples shown for each pair of verifiers (3)")
    made.add_argument("--limit", type=int, metavar="N", help="only the first N samples, for slow verifiers")
    made.add_argument("--csv", metavar="FILE", help="also write every verdict, one line a sample")
    made.add_argument("--judge-model", metavar="FOLDER|NAME", help="checkpoint of the judge; with --judge-url the name it is served under")
    made.add_argument("--judge-url", metavar="URL", help="OpenAI-compatible endpoint, such as http://localhost:8000/v1")
    made.add_argument("--judge-key-env", metavar="VARIABLE", help="environment variable that holds the endpoint's key")
    made.add_argument("--judge-parser", choices=("fixed", "legacy"), default="fixed", help="how the judgement is read (fixed)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 after one line on stderr for input that cannot be re-scored."""
    from repro.config import ConfigError
    from repro.verifiers.judge import JudgeError

    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        names = list(dict.fromkeys(part.strip() for part in args.verifiers.split(",") if part.strip())) if args.verifiers else None
        for name in names or ():
            if name not in NAMES:
                raise AgreementError(f"verifier {name!r} does not exist; choose some of {', '.join(NAMES)}")
        if args.examples < 0 or (args.limit is not None and args.limit < 1):
            raise AgreementError("--examples must be 0 or more and --limit at least 1")
        if args.csv and not Path(args.csv).absolute().parent.is_dir():
            raise AgreementError(f"--csv {args.csv}: no such folder")
        samples = read(args.records)[: args.limit]
        if not samples:
            raise AgreementError(f"{', '.join(args.records)}: no samples")
        if names is None:
            names = ["rule", "legacy", *(["stored"] if any(s.stored for s in samples) else [])]
        if (args.judge_model or args.judge_url) and "judge" not in names:
            names.append("judge")
        verifiers = build(names, args)
        with ExitStack() as stack:
            for verifier in verifiers.values():
                stack.callback(getattr(verifier, "close", lambda: None))
            results = score(verifiers, samples)
        if args.csv:
            write_csv(args.csv, samples, results)
        text = report(verifiers, samples, results, args.examples)
    except (AgreementError, ConfigError, JudgeError, ValueError, OSError) as error:
        print(f"agreement: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
