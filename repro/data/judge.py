"""Judge-format data of the micro world: a reference, a response, and whether the response's answer is the reference.

The world's responses have no lines, so the judge sees the last 20 words where the paper's sees the last 20 lines. Made by the code that
asks the judge (``repro.verifiers.judge.judge_example``), so training data and prompt cannot drift apart. A third of the examples each: right
answers, wrong ones, and responses cut before their answer.

    python -m repro verifier=judge      # trains the micro judge by the SFT stage, then rewards by it
"""

from __future__ import annotations

import random

from repro.data.chains import chain
from repro.data.world import PRIME, Problem
from repro.verifiers.judge import judge_example

# The micro world's vocabulary is words; the judge's own words are added to its tokenizer.
MICRO_TEMPLATE = "reference {reference} response {response}"
WORDS = ("reference", "response", "Judgement:", "correct", "wrong", "not_found")
LABELS_SHOWN = ("correct", "wrong", "not_found")
STYLES = ("short", "long", "constructed", "direct")
EPOCHS = 8  # passes over the judge's data: comparing two words is learned late


def example(problem: Problem, rng: random.Random) -> tuple[str, str]:
    """(prompt, completion) on one problem of the world."""
    response = chain(problem, rng.choice(STYLES), rng)
    label = rng.choice(LABELS_SHOWN)
    gold = problem.answer
    if label == "wrong":
        gold = rng.choice([str(d) for d in range(PRIME) if str(d) != problem.answer])
    elif label == "not_found":
        words = response.split(" ")
        response = " ".join(words[: rng.randrange(1, words.index("\\boxed{") + 1)])
    return judge_example(gold, response, label, template=MICRO_TEMPLATE, separator=" ")
