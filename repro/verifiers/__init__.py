"""Answer verifiers: one object for RL reward and evaluation, exact, bounded and killable.

    >>> from repro.verifiers import Verifier
    >>> Verifier().verify("4", "x4 ... so \\\\boxed{ 4 }").correct
    True

``python -m repro.verifiers --help`` scores JSONL lines. Importing this costs milliseconds: no torch, no sympy, no transformers.
Other arms with the same two methods: ``legacy.LegacyVerifier``, ``judge.JudgeVerifier``, ``noise.NoisyVerifier``, ``noise.RandomVerifier``.
"""

from repro.verifiers.rule import Verifier
from repro.verifiers.verdict import KINDS, TASKS, VERSION, GoldError, Verdict

__all__ = ["KINDS", "TASKS", "VERSION", "GoldError", "Verdict", "Verifier"]
