"""What the lm-eval tasks of this folder share: questions from local files, our verifier as the scorer, limits that fit the model.

lm-eval's own mathematics tasks compare strings or need the hub and a second antlr. Here the questions, the prompt formats and the verdicts
are those of ``evals/`` and ``repro.verifiers``, so lm-eval and our harness agree on the same responses. From the repository's root:

    REPRO_DATA_DIR=... lm_eval run --include_path evals/tasks --tasks repro_math500 --model hf --model_args pretrained=...
    ... --metadata '{"prompt": "llama"}'        # another prompt format (evals/prompts.py); it is recorded with the results

With ``repeats`` and a ``take_first_k`` filter the metrics are means over the samples of a question. Whether a response was cut at its token
limit is not known to lm-eval; one cut inside its thinking or before its answer counts under ``no_answer``.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # lm_eval loads this file by its path; another installed `evals` must not be meant
    sys.path.insert(0, str(ROOT))

from lm_eval.api.task import ConfigurableTask  # noqa: E402

from evals.benchmarks import BENCHMARKS, Question  # noqa: E402
from evals.prompts import prompt_format, render  # noqa: E402
from repro.verifiers import Verifier  # noqa: E402

log = logging.getLogger(__name__)
_VERIFIER = Verifier()


def documents(benchmark: str, prompt: str | None = None, data_root: str | None = None) -> list[dict[str, Any]]:
    """One document a question: ``id``, ``prompt`` (formatted), ``gold``, ``task``, ``level``, ``subject``, ``order``.

    Args:
        benchmark: a name of ``evals.benchmarks.BENCHMARKS``.
        prompt: prompt format, None for the benchmark's usual one.
        data_root: folder of the files, None for ``REPRO_DATA_DIR``.

    Raises:
        BenchmarkError: as ``FileBenchmark.read``. ValueError: unknown prompt format.
    """
    chosen = BENCHMARKS[benchmark]
    return [_document(q, prompt or chosen.style) for q in chosen.questions(None, data_root)]


def _document(question: Question, style: str) -> dict[str, Any]:
    return {
        "id": question.id,
        "prompt": render(style, question.prompt, question.task, question.options),
        "gold": question.gold,
        "task": question.task,
        "level": question.level,
        "subject": question.subject,
        "order": question.order,
    }


def load(benchmark: str, prompt: str | None = None, data_root: str | None = None, **_: Any):
    """``custom_dataset`` of the YAML files. lm-eval also passes the metadata, among it the model's arguments, which are ignored."""
    from datasets import Dataset

    return {"test": Dataset.from_list(documents(benchmark, prompt, data_root))}


def score(document: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """``process_results`` of the YAML files: share of right responses, share of responses without an answer."""
    outputs = results[0] if isinstance(results[0], list) else results
    golds = [document["gold"]] * len(outputs)
    verdicts = _VERIFIER.verify_batch(golds, outputs, task=document["task"])
    return {
        "acc": sum(v.correct for v in verdicts) / len(verdicts),
        "no_answer": sum(v.extracted is None for v in verdicts) / len(verdicts),
    }


class VerifiedTask(ConfigurableTask):
    """A YAML task whose limits fit the model and the prompt format.

    The YAML asks for the paper's 16,384 tokens. lm-eval's ``hf`` stops with an assertion where the model's context is not longer than that,
    and without a limit it would silently generate 256; here the limit is lowered to what the context leaves, with a warning. The stop strings
    are those of the prompt format. ``--gen_kwargs`` still overrides both.
    """

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        config = dict(config or {})
        config.pop("class", None)
        metadata = config.get("metadata") or {}
        limits = dict(config.get("generation_kwargs") or {})
        style = metadata.get("prompt") or BENCHMARKS[config["dataset_kwargs"]["benchmark"]].style
        limits["until"] = [*limits.get("until", []), *prompt_format(style).stop]
        context = _context(metadata)
        asked = limits["max_gen_toks"]
        if context and context <= asked:
            limits["max_gen_toks"] = context - min(1024, context // 2)  # what is left is the prompt's
            log.warning("%s: %d tokens do not fit a context of %d; at most %d", config["task"], asked, context, limits["max_gen_toks"])
        config["generation_kwargs"] = limits
        config["metadata"] = {**metadata, "prompt": style, "verifier_version": _VERIFIER.version}
        super().__init__(config=config)


def _context(metadata: dict[str, Any]) -> int | None:
    """Context of the model, from the arguments that lm-eval puts into the metadata or the checkpoint's own configuration."""
    for name in ("max_length", "max_model_len"):
        if metadata.get(name):
            return int(metadata[name])
    file = Path(str(metadata.get("pretrained", ""))) / "config.json"
    if metadata.get("pretrained") and file.is_file():
        return json.loads(file.read_text()).get("max_position_embeddings")
    return None
