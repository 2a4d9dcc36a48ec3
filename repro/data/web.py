"""The noisy web set: WebInstruct's part. Other problem types, and references that are wrong or written in prose no rule can parse.

Which reference is which is known (``noise``), so that what a filter or a verifier does to it can be measured. All problems are on the train
side of the world. Item i depends on (seed, i) only.

    python -m repro hydra.mode=RUN data=micro/web rl.steps=20
"""

from __future__ import annotations

from dataclasses import dataclass

from repro.data.world import OPTIONS, PRIME, Problem, draw_problem, item_rng, problems

KINDS = {"root": 0.4, "value": 0.3, "choice": 0.3}
NOISE = {"clean": 0.6, "wrong": 0.2, "prose": 0.2}
PROSE = ("see the steps above", "it follows from the lemma", "left to the reader", "the value found in the last line")


@dataclass(frozen=True)
class Item:
    """A problem with the reference answer that training sees. ``noise``: clean | wrong | prose."""

    problem: Problem
    reference: str
    noise: str


def draw_item(seed: int, index: int) -> Item:
    rng = item_rng(seed, "web", index)
    problem = draw_problem(rng, rng.choices(list(KINDS), list(KINDS.values()))[0], (3, 4), test_side=False)
    noise = rng.choices(list(NOISE), list(NOISE.values()))[0]
    if noise == "clean":
        return Item(problem, problem.answer, noise)
    if noise == "prose":
        return Item(problem, rng.choice(PROSE), noise)
    answers = OPTIONS if problem.kind == "choice" else tuple(map(str, range(PRIME)))
    return Item(problem, rng.choice([a for a in answers if a != problem.answer]), noise)


def train_items(split: str, size: int, seed: int, file: str | None = None) -> list[Item]:
    """The train set that a configuration names: ``train`` (clean) or ``web``, distinct problems; or the prompts of ``file``.

    Raises:
        SplitError: ``train`` does not hold ``size`` distinct problems. ConfigError: ``file`` cannot be used.
    """
    if split == "file":
        from repro.data.prompts import load_problems

        return [Item(p, p.answer, "file") for p in load_problems(file, size)]
    if split == "train":
        return [Item(p, p.answer, "clean") for p in problems("train", size, seed)]
    found: dict[str, Item] = {}
    index = 0
    while len(found) < size:
        item = draw_item(seed, index)
        found.setdefault(item.problem.id, item)
        index += 1
    return list(found.values())
