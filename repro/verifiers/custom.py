"""A verifier of the user's own: a class with ``verify_batch``, or a function (gold, response) -> bool.

What the code raises on a response is a wrong answer with the reason in its verdict, said once; what
it raises on a trial before the run stops the run. It runs in the trainer's own process, so a
verifier that hangs, hangs the run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from repro.config import ConfigError
from repro.parts import check_picklable, load, place_of, split
from repro.verifiers.verdict import Verdict

KEY = "verifier.path"
log = logging.getLogger(__name__)


class FunctionVerifier:
    """A function (gold, response) -> bool as a verifier.

    Args:
        path: its import path. arguments: given to it by name.
    """

    def __init__(self, path: str, function: Any, arguments: dict[str, Any]) -> None:
        self.path, self.function, self.arguments = path, function, arguments
        self.version, self._said = path, False

    def verify_batch(
        self,
        golds: Sequence[str],
        outputs: Sequence[str],
        task: str | Sequence[str] = "math",
        truncated: Sequence[bool] | None = None,
    ) -> list[Verdict]:
        """Return a verdict per response; a truncated one has given no answer."""
        cut = truncated or [False] * len(golds)
        return [self._verify(*row) for row in zip(golds, outputs, cut, strict=True)]

    def _verify(self, gold: str, output: str, cut: bool) -> Verdict:
        start = time.perf_counter()
        if cut:
            return Verdict(False, None, "no answer", "truncated", 0.0, self.version)
        try:
            right, reason = bool(self.function(gold, output, **self.arguments)), ""
        except Exception as error:  # of the user's own code
            right, reason = False, place_of(error, split(self.path, KEY)[0])
            if not self._said:
                log.warning("verifier %s failed on a response, which counts as wrong: %s", self.path, reason)
                self._said = True
        rule = "error" if reason else "custom"
        return Verdict(right, output, rule, reason, time.perf_counter() - start, self.version)

    def close(self) -> None:
        """Nothing to close."""


def make(path: str, arguments: dict[str, Any]) -> Any:
    """Return the verifier that an import path names, tried once.

    Args:
        path: of a class with ``verify_batch(golds, outputs, task=, truncated=)``, or of a function.
        arguments: for the class, or for the function beside gold and response.

    Raises:
        ConfigError: in one line, what cannot be imported, made or called.
    """
    found, module = load(path, KEY), split(path, KEY)[0]
    if not callable(found):
        raise ConfigError(f"{KEY}={path!r} is neither a class nor a function")
    check_picklable(found, path, KEY)
    try:
        if not isinstance(found, type):
            found("1", "\\boxed{1}", **arguments)
            return FunctionVerifier(path, found, arguments)
        made = found(**arguments)
        (verdict,) = made.verify_batch(["1"], ["\\boxed{1}"], task=["math"], truncated=[False])
    except Exception as error:  # of the user's own code
        raise ConfigError(f"{KEY}={path!r} with verifier.arguments={arguments} failed on a trial: {place_of(error, module)}") from None
    if not isinstance(verdict, Verdict):
        raise ConfigError(f"{KEY}={path!r}: verify_batch must give a repro.verifiers.Verdict per response, not {type(verdict).__name__}")
    return made
