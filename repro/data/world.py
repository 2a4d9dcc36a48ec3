"""The micro world: a made-up mathematics that is small enough to learn on a CPU and still has to be *searched*.

A problem is a polynomial congruence modulo a small prime with exactly one root: ``find x : D2 C5 B1 A3 =6`` asks for the x with
2x^3 + 5x^2 + x + 3 = 6 (mod 7). One *try* evaluates it by Horner's rule, two table look-ups a degree, and says by how much it misses. There is
no short cut from the coefficients to the root of a cubic, so a solver that does not search guesses (1/7). The degree is the difficulty.

Unlike the usual procedural generators, item ``i`` of a split is a pure function of ``(seed, split, i)``, and a problem belongs to the train
or to the test side by a hash of its coefficients, whatever seed drew it: splits are disjoint by construction.

    python -m repro.data.world            # one example of each problem kind and chain style
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

PRIME = 7
LABELS = "ABCDEF"  # A is the constant term, so LABELS[i] is the coefficient of x^i
OPTIONS = ("(a)", "(b)", "(c)", "(d)")
KINDS = ("root", "value", "choice")
TEST_SHARE = 16  # one polynomial in this many is on the test side


@dataclass(frozen=True)
class Problem:
    """One question. ``coefficients`` run from the highest degree down; ``answer`` is the text inside the box.

    kind: ``root`` find the x with P(x) = target; ``value`` compute P(x) at ``x``; ``choice`` as root, answered by an option letter.
    """

    kind: str
    coefficients: tuple[int, ...]
    target: int
    x: int
    options: tuple[int, ...] = ()

    @property
    def degree(self) -> int:
        return len(self.coefficients) - 1

    @property
    def answer(self) -> str:
        if self.kind == "value":
            return str(self.target)
        return OPTIONS[self.options.index(self.x)] if self.kind == "choice" else str(self.x)

    @property
    def id(self) -> str:
        """Stable name of the question: its kind and its numbers."""
        numbers = "".join(map(str, self.coefficients))
        options = "".join(map(str, self.options))
        return f"{self.kind}-{numbers}-{self.target if self.kind != 'value' else 'x'}-{self.x if self.kind == 'value' else options or 'x'}"

    @property
    def task(self) -> str:
        """Task name for ``repro.verifiers``."""
        return "letter" if self.kind == "choice" else "math"

    def prompt(self) -> str:
        names = [f"{LABELS[self.degree - i]}{c}" for i, c in enumerate(self.coefficients)]
        if self.kind == "value":
            return f"value at x{self.x} : " + " ".join(names)
        text = "find x : " + " ".join(names) + f" ={self.target}"
        if self.kind == "choice":
            text += " options " + " ".join(f"{o} {v}" for o, v in zip(OPTIONS, self.options, strict=True))
        return text


def evaluate(coefficients: tuple[int, ...], x: int) -> int:
    """P(x) mod PRIME by Horner's rule."""
    value = 0
    for c in coefficients:
        value = (value * x + c) % PRIME
    return value


def roots(coefficients: tuple[int, ...], target: int) -> list[int]:
    return [x for x in range(PRIME) if evaluate(coefficients, x) == target]


def is_test_side(coefficients: tuple[int, ...]) -> bool:
    """Side of a polynomial, from its coefficients without the constant term: shifting constant and target together gives the same
    congruence, so a problem equivalent to a test problem is on the test side too."""
    digest = hashlib.blake2b(bytes(coefficients[:-1]), digest_size=4).digest()
    return int.from_bytes(digest, "little") % TEST_SHARE == 0


def draw_problem(rng: random.Random, kind: str, degrees: tuple[int, ...], test_side: bool) -> Problem:
    """Draw one problem by rejection: right side of the split, exactly one root."""
    degree = rng.choice(degrees)
    while True:
        coefficients = (rng.randrange(1, PRIME), *(rng.randrange(PRIME) for _ in range(degree)))
        if is_test_side(coefficients) is not test_side:
            continue
        if kind == "value":
            x = rng.randrange(PRIME)
            return Problem(kind, coefficients, evaluate(coefficients, x), x)
        target = rng.randrange(PRIME)
        found = roots(coefficients, target)
        if len(found) != 1:
            continue
        options: tuple[int, ...] = ()
        if kind == "choice":
            wrong = rng.sample([v for v in range(PRIME) if v != found[0]], len(OPTIONS) - 1)
            drawn = [found[0], *wrong]
            rng.shuffle(drawn)
            options = tuple(drawn)
        return Problem(kind, coefficients, target, found[0], options)


def item_rng(seed: int, split: str, index: int) -> random.Random:
    """The random state of item ``index``: a pure function of its three names."""
    return random.Random(f"{seed}/{split}/{index}")


class SplitError(ValueError):
    """A split that does not exist or does not hold as many problems as asked for."""


@dataclass(frozen=True)
class Split:
    """What a named set of problems holds. ``counterpart`` is the published data set whose part it plays."""

    kind: str
    degrees: tuple[int, ...]
    test_side: bool
    counterpart: str


SPLITS = {
    "train": Split("root", (3, 4), False, "MATH train"),
    "math": Split("root", (3, 4), True, "MATH-500, in domain"),
    "aime": Split("root", (5,), True, "AIME 2024, harder"),
    "theoremqa": Split("value", (3, 4), True, "TheoremQA, other type"),
    "mmlu_pro": Split("choice", (3,), True, "MMLU-Pro, multiple choice"),
    "gpqa": Split("choice", (4, 5), True, "GPQA, harder multiple choice"),
}


def problems(split: str, size: int, seed: int = 0) -> list[Problem]:
    """The first ``size`` distinct problems of a split.

    Raises:
        SplitError: unknown split, or more distinct problems asked for than the split holds.
    """
    if split not in SPLITS:
        raise SplitError(f"data split {split!r} does not exist; choose one of {', '.join(SPLITS)}")
    spec, seen, index, repeats = SPLITS[split], {}, 0, 0
    while len(seen) < size:
        problem = draw_problem(item_rng(seed, split, index), spec.kind, spec.degrees, spec.test_side)
        repeats = repeats + 1 if problem.id in seen else 0
        seen.setdefault(problem.id, problem)
        index += 1
        if repeats > 200:  # this many in a row without a new one: nearly all have been drawn
            key = "eval.questions" if spec.test_side else "data.train_size"
            raise SplitError(f"{key}={size}: split {split!r} has only {len(seen)} distinct problems; ask for at most that many")
    return list(seen.values())


def main() -> None:
    """Print a problem of every split and a chain of every style."""
    from repro.data.chains import STYLES, chain

    for name, spec in SPLITS.items():
        print(f"{name:10s} ({spec.counterpart}): {problems(name, 1)[0].prompt()}  ->  {problems(name, 1)[0].answer}")
    for style in STYLES:
        print(f"\n[{style}] {chain(problems('train', 1)[0], style, item_rng(0, style, 0))}")


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main, usage=__doc__)
