"""The noisy web set: WebInstruct's part. Other problem types, and references that are wrong or written in prose no rule can parse.

Which reference is which is known (``noise``), so that what a filter or a verifier does to it can be measured. All problems are on the train
side of the world. Item i depends on (seed, i) only.

The teacher of this set errs, as the paper's does on web problems: ``web`` keeps whatever it says (section 5.1 trains on unfiltered responses),
``web_filtered`` keeps the problems where one of two responses agrees with the reference, and those responses (section 5.2). So the filter
loses problems that are too hard for the teacher, and lets a wrong reference through where the teacher makes the same mistake.

    python -m repro hydra.mode=RUN data=micro_web rl.steps=20
    python -m repro.data.web                        # what the filter does: precision and recall against the known noise
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from repro.config import ConfigError
from repro.data.chains import chain, mistaken
from repro.data.mixture import Mixture, listed
from repro.data.world import OPTIONS, PRIME, Problem, draw_problem, item_rng, problems

KINDS = {"root": 0.4, "value": 0.3, "choice": 0.3}
TEACHER_ACCURACY = 0.6  # the acceptance of QwQ-32B-Preview on MATH train, from the row counts of the released sets (59.4 %)
RESPONSES = 2  # a problem, for the filter
NOISE = {"clean": 0.6, "wrong": 0.2, "prose": 0.2}
PROSE = ("see the steps above", "it follows from the lemma", "left to the reader", "the value found in the last line")


@dataclass(frozen=True)
class Item:
    """A problem with the reference answer that training sees. ``noise``: clean | wrong | prose."""

    problem: Problem
    reference: str
    noise: str

    @property
    def task(self) -> str:
        """Kind of comparison. Web data have no types, so a reference in prose is compared as text, also where the question has options: nothing
        that a model boxes equals it, which is the noise that section 5.2 is about."""
        return "math" if self.noise == "prose" else self.problem.task


def draw_item(seed: int, index: int) -> Item:
    rng = item_rng(seed, "web", index)
    problem = draw_problem(rng, rng.choices(list(KINDS), list(KINDS.values()))[0], (3, 4), test_side=False)
    noise = rng.choices(list(NOISE), list(NOISE.values()))[0]
    if noise == "clean":
        return Item(problem, problem.answer, noise)
    if noise == "prose":
        return Item(problem, rng.choice(PROSE), noise)
    return Item(problem, rng.choice(wrong_answers(problem)), noise)


def wrong_answers(problem: Problem) -> list[str]:
    answers = OPTIONS if problem.kind == "choice" else tuple(map(str, range(PRIME)))
    return [a for a in answers if a != problem.answer]


def teacher_answer(problem: Problem, sample: int, seed: int) -> str:
    """What the erring teacher boxes in its response number ``sample``; a wrong answer is any of them with equal chance."""
    rng = item_rng(seed, f"web teacher/{problem.id}", sample)
    return problem.answer if rng.random() < TEACHER_ACCURACY else rng.choice(wrong_answers(problem))


def agreeing(item: Item, seed: int) -> list[str]:
    """The answers among the teacher's two that agree with the reference; empty: the filter drops the problem."""
    return [a for a in (teacher_answer(item.problem, i, seed) for i in range(RESPONSES)) if a == item.reference]


def response(item: Item, split: str, style: str, sample: int, seed: int) -> str:
    """Response number ``sample`` to imitate: right ones (rejection sampling), but for ``web`` unfiltered, for ``web_filtered`` filtered ones."""
    rng = item_rng(seed, f"{style}/{item.problem.id}", sample)
    if split not in ("web", "web_filtered"):
        return chain(item.problem, style, rng)
    answer = teacher_answer(item.problem, sample, seed)
    if split == "web_filtered":
        kept = agreeing(item, seed)
        answer = kept[sample % len(kept)]
    return chain(item.problem, style, rng) if answer == item.problem.answer else mistaken(item.problem, style, answer, rng)


def web_items(seed: int, filtered: bool, start: int = 0) -> Iterator[Item]:
    """The web set from its item ``start`` on, distinct problems, without end."""
    seen: set[str] = set()
    index = kept = 0
    while True:
        item = draw_item(seed, index)
        index += 1
        if item.problem.id in seen:
            continue
        seen.add(item.problem.id)
        if filtered and not agreeing(item, seed):
            continue
        kept += 1
        if kept > start:
            yield item


SPLITS = ("train", "web", "web_filtered")


def source_items(split: str, size: int, seed: int, file: str | None = None) -> list[Item]:
    """``size`` distinct problems: ``train`` (clean), ``web``, ``web_filtered``, or ``file``.

    Raises:
        SplitError: ``train`` does not hold ``size`` distinct problems. ConfigError: ``file`` cannot be used.
    """
    if split == "file":
        from repro.data.prompts import load_problems

        return [Item(p, p.answer, "file") for p in load_problems(file, size)]
    if split == "train":
        return [Item(p, p.answer, "clean") for p in problems("train", size, seed)]
    items = web_items(seed, split == "web_filtered")
    return [next(items) for _ in range(size)]


def mixed(data: dict[str, Any], size=None) -> Mixture:
    """The mixture that ``data`` describes, of (split, Item) by samples; sources are splits of the micro world or names of prompt files."""
    names = dict(data["mixture"])
    counts = {name: min(data["train_size"], round(data["train_size"] * weight) + 1) for name, weight in names.items()}
    return Mixture({name: listed(_source(name, counts[name], data["seed"])) for name in names}, names, size)


def _source(name: str, size: int, seed: int) -> list[Item]:
    return source_items(name, size, seed) if name in SPLITS else source_items("file", size, seed, name)


def train_items(data: dict[str, Any]) -> list[tuple[str, Item]]:
    """The train set that ``data`` describes, as (split it comes from, item).

    Raises:
        SplitError, ConfigError: as ``source_items``; a mixture that cannot be drawn.
    """
    size = data["train_size"]
    if data["split"] != "mixture":
        return [(data["split"], item) for item in source_items(data["split"], size, data["seed"], data["file"])]
    found = list(islice(mixed(data), size))
    if len(found) < size:
        raise ConfigError(f"data.train_size={size}: the mixture {dict(data['mixture'])} has only {len(found)} problems")
    return found


def prompt_id(split: str, item: Item, data: dict[str, Any]) -> str:
    """Return the name of a training prompt, distinct within the train set that ``data`` describes.

    It decides the random numbers of the prompt's completions. In a mixture two sources may hold
    problems of one name (two files that number their rows, one problem in two splits), so all but
    the micro world's own train set are named by their source too.

    Args:
        split: source of the item, as ``train_items`` gives it: a split, or a file's name.
    """
    if data["split"] != "mixture" or split == "train":
        return item.problem.id
    return f"{split}:{item.problem.id}"


def rl_data(data: dict[str, Any]) -> dict[str, Any]:
    """What RL trains on: ``data.rl`` if there is one, else what SFT trains on."""
    return {**data, **data["rl"]} if data["rl"] else data


def filter_quality(size: int, seed: int) -> dict[str, float]:
    """Counts and shares of the filter over the first ``size`` web problems; a *good* problem has a right reference."""
    items = source_items("web", size, seed)
    kept = [item for item in items if agreeing(item, seed)]
    right, good = sum(i.noise == "clean" for i in kept), sum(i.noise == "clean" for i in items)
    return {"problems": size, "kept": len(kept), "precision": right / len(kept), "recall": right / good}


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(lambda: print(filter_quality(20_000, 0)), usage=__doc__)
