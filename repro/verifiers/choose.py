"""The verifier that a configuration names: what RL is rewarded by. (Evaluation always uses the rule verifier.)

verifier=rule            extraction, rules, bounded algebra
verifier=legacy          the paper code's string matcher; legacy_prompt reads the prompt too, as the original does
verifier=judge           a language model: a checkpoint, an endpoint, or the micro judge that the run trains itself
verifier=random          a coin; the control
verifier=custom          one of the user's own, by import path (conf/README.md)
verifier=noisy           rule with dialled errors; `verifier.noise` works on any of the others too
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

CHOICES = ("rule", "legacy", "judge", "random", "custom")
COLUMNS = ("prompts", "question_ids", "samples", "difficulties")


def make_verifier(settings: Mapping[str, Any], judge_path: str | None = None):
    """The verifier of ``settings`` (plain values of ``repro.config.VerifierConfig``).

    Args:
        judge_path: checkpoint of the judge where ``settings["judge"]`` names neither a path nor an endpoint.

    Raises:
        ValueError: a parameter out of range. ConfigError: a judge that cannot be loaded.
    """
    inner = _inner(settings, judge_path)
    noise = settings["noise"]
    if noise is None:
        return inner
    from repro.verifiers.noise import NoisyVerifier

    return NoisyVerifier(
        inner,
        false_positive=noise["false_positive"],
        false_negative=noise["false_negative"],
        by_difficulty=noise["by_difficulty"] or None,
        seed=noise["seed"],
    )


def _inner(settings: Mapping[str, Any], judge_path: str | None):
    kind = settings["kind"]
    if kind == "rule":
        from repro.verifiers import Verifier

        return Verifier(tolerance=settings["tolerance"])
    if kind == "legacy":
        from repro.verifiers.legacy import LegacyVerifier

        return LegacyVerifier(legacy_prompt=settings["legacy_prompt"])
    if kind == "random":
        from repro.verifiers.noise import RandomVerifier

        return RandomVerifier(probability=settings["probability"], seed=settings["seed"])
    if kind == "custom":
        from repro.verifiers import custom

        return custom.make(settings["path"], dict(settings["arguments"]))
    from repro.data.judge import MICRO_TEMPLATE
    from repro.verifiers.judge import TEMPLATE, EndpointBackend, JudgeVerifier, TransformersBackend

    judge = settings["judge"]
    if judge["url"]:
        backend = EndpointBackend(judge["url"], judge["model"], judge["api_key_env"], judge["timeout"], judge["retries"])
    else:
        backend = TransformersBackend.load(judge["path"] or judge_path, batch_size=256, max_new_tokens=judge["max_tokens"])
    micro = not (judge["url"] or judge["path"])
    form = {"template": MICRO_TEMPLATE, "separator": " "} if micro else {"template": TEMPLATE}
    return JudgeVerifier(backend, parser=judge["parser"], last_lines=judge["last_lines"], **form)


def needs_micro_judge(settings: Mapping[str, Any]) -> bool:
    """Whether the judge is the micro judge, which the run has to train."""
    return settings["kind"] == "judge" and not settings["judge"]["path"] and not settings["judge"]["url"]


def wanted(verifier) -> set[str]:
    """Which of ``COLUMNS`` a verifier's ``verify_batch`` reads; those of the verifier inside a noisy one too."""
    names = set(inspect.signature(verifier.verify_batch).parameters) & set(COLUMNS)
    return names | (wanted(verifier.inner) if hasattr(verifier, "inner") else set())
