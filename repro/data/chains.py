"""Chains of thought of the micro world: the teachers.

A try of candidate 3 reads ``x3 6 C 0 0 B 3 2 A 1 = 4``: for each lower coefficient the product of Horner's rule, the label and the sum, then
by how much the value misses the target; ``= 0`` is success. In this order every token needs one look-up in the prompt or the try. (With the
label before the product a model of three layers learned some sums and never others; with a bare yes or no in place of the miss it never
learned to compare.) Styles:

* ``long``         emergent: tries in cyclic order from a random start; *wait* after failures, *recheck* after success, slips that a recheck
                   catches, *alternatively* with another start (QwQ-32B-Preview's part in the paper);
* ``short``        the polished solution: only the successful candidate, as textbooks print it (Qwen2.5-Math-72B-Instruct's part);
* ``constructed``  a rigid clarify / decompose / step / reflect / answer template with three candidates (action prompting, section 3.3);
* ``direct``       the bare answer;
* ``give_up``      one to three tries, then a guess.

``direct`` and ``give_up`` only occur in the pre-training mixtures below. All answers are right, as in rejection-sampled data; a model that
imitates ``direct`` or ``short`` without searching guesses.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from repro.data.world import LABELS, OPTIONS, PRIME, Problem, draw_problem

STYLES = ("long", "short", "constructed", "direct", "give_up")
CONSTRUCTED_TRIES = 3
WAIT, RECHECK, ALTERNATIVELY, SLIP = 0.25, 0.15, 0.10, 0.02  # chance after a failure, after a success, after a failure, in a try

# Share of each kind of document in the pre-training corpora. Both models first learn the skills (SKILLS), then the habits of their corpus.
# `general` is text that has nothing to do with polynomials. A mixture sets habits; which style pays is left to RL.
SKILLS = {"long": 0.85, "value": 0.10, "general": 0.05}
MIXTURES = {
    "general": {"direct": 0.34, "give_up": 0.20, "long": 0.14, "short": 0.10, "value": 0.07, "general": 0.15},
    "mathematics": {"direct": 0.38, "give_up": 0.14, "long": 0.12, "short": 0.24, "value": 0.10, "general": 0.02},
}
PRETRAIN_DEGREES = (3, 3, 3, 4, 4, 5)
WORDS = ("red", "blue", "cat", "dog", "sun", "moon", "tree", "bird")


def horner_steps(coefficients: tuple[int, ...], x: int, slip: tuple[int, int] | None = None) -> tuple[list[str], int]:
    """Tokens of one evaluation after the candidate, and its value. ``slip`` = (step, error) adds an error to one product."""
    words, value = [], coefficients[0]
    degree = len(coefficients) - 1
    for i, c in enumerate(coefficients[1:]):
        product = value * x % PRIME
        if slip is not None and slip[0] == i:
            product = (product + slip[1]) % PRIME
        value = (product + c) % PRIME
        words += [str(product), LABELS[degree - 1 - i], str(value)]
    return words, value


def attempt(problem: Problem, x: int, slip: tuple[int, int] | None = None) -> list[str]:
    words, value = horner_steps(problem.coefficients, x, slip)
    return [f"x{x}", *words, "=", str((value - problem.target) % PRIME)]


def search(problem: Problem, rng: random.Random, give_up_after: int | None = None) -> list[str]:
    """Tries until the root is found, or ``give_up_after`` failures."""
    candidates = list(problem.options) if problem.kind == "choice" else list(range(PRIME))
    position, words, failures = rng.randrange(len(candidates)), [], 0
    while True:
        x = candidates[position % len(candidates)]
        if rng.random() < SLIP:
            slip = (rng.randrange(problem.degree), rng.randrange(1, PRIME))
            words += [*attempt(problem, x, slip), "wait", "recheck", *attempt(problem, x)]
        else:
            words += attempt(problem, x)
        if x == problem.x:
            if rng.random() < RECHECK:
                words += ["recheck", *attempt(problem, x)]
            return words
        failures += 1
        if give_up_after is not None and failures >= give_up_after:
            return words
        draw = rng.random()
        if draw < ALTERNATIVELY:
            words.append("alternatively")
            position += rng.randrange(1, len(candidates))
        else:
            position += 1
            if draw < ALTERNATIVELY + WAIT:
                words.append("wait")


def chain(problem: Problem, style: str, rng: random.Random) -> str:
    """The response of a teacher of that style; ends with ``\\boxed{ answer }``.

    Raises:
        ValueError: unknown style.
    """
    if style not in STYLES:
        raise ValueError(f"chain style {style!r} does not exist; choose one of {', '.join(STYLES)}")
    box = ["so", "\\boxed{", problem.answer, "}"]
    if problem.kind == "value":
        words, _ = horner_steps(problem.coefficients, problem.x)
        return " ".join([] if style == "direct" else [f"x{problem.x}", *words]) + " " * (style != "direct") + " ".join(box)
    if style == "direct":
        return " ".join(box)
    if style == "short":
        return " ".join([*attempt(problem, problem.x), *box])
    if style == "constructed":
        others = [v for v in (problem.options or range(PRIME)) if v != problem.x]
        candidates = [*rng.sample(others, CONSTRUCTED_TRIES - 1), problem.x]  # kept answers are right ones, so the root is among them
        rng.shuffle(candidates)
        words = ["clarify", f"={problem.target}", "decompose", *(f"x{x}" for x in candidates)]
        for x in candidates:
            words += ["step", *attempt(problem, x), "reflect"]
        return " ".join([*words, "answer", *box[1:]])
    limit = rng.choice((1, 1, 2, 3)) if style == "give_up" else None
    return " ".join([*search(problem, rng, limit), *box])


def mistaken(problem: Problem, style: str, answer: str, rng: random.Random) -> str:
    """A response that boxes the wrong ``answer``: its try is read as a success. Style ``long`` fails up to twice before.

    Raises:
        ValueError: ``answer`` is right.
    """
    if answer == problem.answer:
        raise ValueError(f"{answer} is the answer of {problem.id}")
    box = ["so", "\\boxed{", answer, "}"]
    if problem.kind == "value":
        words, _ = horner_steps(problem.coefficients, problem.x)
        return " ".join([f"x{problem.x}", *words[:-1], answer, *box])
    x = problem.options[OPTIONS.index(answer)] if problem.kind == "choice" else int(answer)
    others = [v for v in (problem.options or range(PRIME)) if v not in (x, problem.x)]
    before = rng.sample(others, rng.randrange(3)) if style == "long" else []
    words = [word for v in before for word in attempt(problem, v)]
    return " ".join([*words, *attempt(problem, x)[:-1], "0", *box])


def general_text(rng: random.Random) -> tuple[str, str]:
    """A (prompt, response) pair without mathematics: repeat, reverse or count."""
    words = [rng.choice(WORDS) for _ in range(rng.randrange(2, 7))]
    task = rng.choice(("repeat", "reverse", "count"))
    if task == "count":
        start = rng.randrange(PRIME)
        return f"count from {start}", " ".join(str((start + i) % PRIME) for i in range(PRIME))
    return f"{task} : {' '.join(words)}", " ".join(words if task == "repeat" else words[::-1])


def corpus(mixture: dict[str, float], seed: int, start: int = 0) -> Iterator[tuple[str, str]]:
    """Endless (prompt, response) documents of a mixture, from document ``start`` on; document i depends on (seed, i) only."""
    names, weights = list(mixture), list(mixture.values())
    index = start
    while True:
        rng = random.Random(f"{seed}/corpus/{index}")
        index += 1
        kind = rng.choices(names, weights)[0]
        if kind == "general":
            yield general_text(rng)
        elif kind == "value":
            problem = draw_problem(rng, "value", PRETRAIN_DEGREES, test_side=False)
            yield problem.prompt(), chain(problem, "long", rng)
        else:
            problem = draw_problem(rng, "choice" if rng.random() < 0.15 else "root", PRETRAIN_DEGREES, test_side=False)
            yield problem.prompt(), chain(problem, kind, rng)
