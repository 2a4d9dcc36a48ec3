"""A world with known truth for the statistics: seeds, shared questions and samples, and what each analysis makes of them.

Every question has a difficulty, shared by all arms; each arm finds some questions harder than others do; every training seed moves an arm's
true accuracy by a normal amount of stated size. An arm's *expected* accuracy on the question set is set exactly, by solving for the logit
shift, so that "no effect" means none on these questions and a rejection is an error.

    python -m tests.claims.simulation [--write]  # the tables, some minutes; --write keeps them as the README's
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from repro.claims import power
from repro.claims.comparison import permutation, tost, welch
from repro.claims.multiplicity import holm, holm_levels
from repro.claims.verdict import NAMES, directional

BASE, MARGIN, ALPHA = 50.0, 2.0, 0.05
ITEM_SD, ARM_ITEM_SD = 2.2, 0.7  # logits, as in the planning numbers of the notes


@dataclass(frozen=True)
class World:
    """One set of questions. ``draw`` gives per-question accuracies of many replications at once."""

    questions: int = 200
    samples: int = 4
    arms: int = 2
    entropy: int = 0
    arm_item_sd: float = ARM_ITEM_SD

    def logits(self) -> np.ndarray:
        """Difficulties [arms, questions]; the same at every call."""
        rng = np.random.default_rng([self.entropy, self.questions])
        shared = rng.normal(0, ITEM_SD, self.questions)
        return shared + rng.normal(0, self.arm_item_sd, (self.arms, self.questions))

    def draw(self, rng: np.random.Generator, effects: list[float], seed_sd: float, seeds: int, rounds: int) -> np.ndarray:
        """Accuracies in points [arms, rounds, seeds, questions]; arm i has expected accuracy ``BASE + effects[i]``."""
        grid, found = np.linspace(-12, 12, 2401), []
        for logits, effect in zip(self.logits(), effects, strict=True):
            curve = 100 * special.expit(logits[:, None] + grid).mean(axis=0)  # accuracy as a function of the shift
            shift = np.interp(BASE + effect + rng.normal(0, seed_sd, (rounds, seeds)), curve, grid)
            chance = special.expit(logits + shift[..., None])
            found.append(rng.binomial(self.samples, chance) * (100 / self.samples))
        return np.stack(found)

    def total_sd(self, effect: float, seed_sd: float, arm: int = 0) -> float:
        """Standard deviation of a seed's mean, points: between seeds, and from sampling answers."""
        grid, logits = np.linspace(-12, 12, 2401), self.logits()[arm]
        curve = 100 * special.expit(logits[:, None] + grid).mean(axis=0)
        chance = special.expit(logits + np.interp(BASE + effect, curve, grid))
        return math.sqrt(seed_sd**2 + 1e4 * float((chance * (1 - chance)).mean()) / (self.samples * self.questions))


def seed_level(a: np.ndarray, b: np.ndarray) -> float:
    """The right analysis: Welch on seed means. ``a``, ``b``: [seeds, questions]."""
    return welch(a.mean(axis=1), b.mean(axis=1)).p


def seed_permutation(a: np.ndarray, b: np.ndarray) -> float:
    """The exact permutation test on seed means."""
    return permutation(a.mean(axis=1), b.mean(axis=1)).p


def question_level(a: np.ndarray, b: np.ndarray) -> float:
    """The wrong analysis: seeds pooled, questions as units of a paired test."""
    return float(stats.ttest_rel(a.mean(axis=0), b.mean(axis=0)).pvalue)


def rejections(draws: np.ndarray, analysis) -> float:
    """Share of replications of [2, rounds, seeds, questions] in which ``analysis`` rejects at ``ALPHA``."""
    return float(np.mean([analysis(a, b) <= ALPHA for a, b in zip(*draws, strict=True)]))


def standard_error(rate: float, rounds: int) -> float:
    """Of a simulated share whose true value is ``rate``."""
    return math.sqrt(rate * (1 - rate) / rounds)


def family(world: World, rng: np.random.Generator, effects: list[float], seed_sd: float, seeds: int, rounds: int) -> dict[str, float]:
    """Claims that share one control arm (so they are dependent): share of rounds with any false rejection, with and without Holm."""
    draws = world.draw(rng, [0.0, *effects], seed_sd, seeds, rounds).mean(axis=3)
    null = np.array(effects) == 0
    any_plain = any_holm = 0
    for i in range(rounds):
        p = np.array([welch(arm, draws[0, i]).p for arm in draws[1:, i]])
        any_plain += bool((p[null] <= ALPHA).any())
        any_holm += bool((holm(p)[null] <= ALPHA).any())
    return {"unadjusted": any_plain / rounds, "Holm": any_holm / rounds}


def verdicts(world: World, rng: np.random.Generator, effect: float, seed_sd: float, seeds: int, rounds: int, claims: int = 1):
    """Share of each verdict on "A beats B by a margin of 2 points", the claim being the smallest p of a family of ``claims``."""
    counts = dict.fromkeys(NAMES, 0)
    for a, b in zip(*world.draw(rng, [effect, 0.0], seed_sd, seeds, rounds).mean(axis=3), strict=True):
        found = welch(a, b)
        level = float(holm_levels([found.p], family=claims)[0])
        counts[directional(found.estimate, found.interval(level), margin=MARGIN, seeds=seeds, min_seeds=3).name] += 1
    return {name: count / rounds for name, count in counts.items()}


def equivalences(world: World, rng: np.random.Generator, effect: float, seed_sd: float, seeds: int, rounds: int) -> float:
    """Share of replications in which two one-sided tests call the arms equivalent."""
    draws = world.draw(rng, [effect, 0.0], seed_sd, seeds, rounds).mean(axis=3)
    return float(np.mean([tost(welch(a, b).t, MARGIN, ALPHA).equivalent for a, b in zip(*draws, strict=True)]))


def tables(rounds: int = 1000) -> None:
    """Print every table as Markdown."""
    world, wide, rng = World(), World(questions=500), np.random.default_rng(2026)
    copy = World(questions=500, arm_item_sd=0.0)
    print(f"Type-I error at {ALPHA}, {wide.questions} questions x {wide.samples} samples, {rounds} rounds (standard error 0.007)\n")
    print("| seed SD, points | seeds | Welch over seeds | permutation over seeds | questions as units | same, arms of one recipe |")
    print("|---|---|---|---|---|---|")
    for sd in (0.0, 1.0, 2.0, 3.0):
        for seeds in (3, 5, 10):
            draws = wide.draw(rng, [0.0, 0.0], sd, seeds, rounds)
            cells = [rejections(draws, seed_level)]
            cells.append(rejections(draws, seed_permutation) if seeds < 10 else math.nan)  # 184,756 splits a round are too slow here
            cells += [rejections(draws, question_level), rejections(copy.draw(rng, [0.0, 0.0], sd, seeds, rounds), question_level)]
            print(f"| {sd:g} | {seeds} | " + " | ".join("-" if math.isnan(x) else f"{x:.3f}" for x in cells) + " |")
    print("\nPower at 0.05, effects of half and twice the margin of 2 points\n")
    print("| effect | seed SD | seeds | simulated | predicted | noncentral t |\n|---|---|---|---|---|---|")
    for effect in (MARGIN / 2, 2 * MARGIN):
        for sd in (0.0, 1.0, 2.0, 3.0):
            for seeds in (3, 5, 10):
                rate = rejections(world.draw(rng, [effect, 0.0], sd, seeds, rounds), seed_level)
                plan = power.independent(seeds, world.total_sd(effect, sd), sd_b=world.total_sd(0, sd, arm=1))
                plain = power.power(effect, plan, exact=False)
                print(f"| {effect:g} | {sd:g} | {seeds} | {rate:.3f} | {power.power(effect, plan):.3f} | {plain:.3f} |")
    print(
        "\nFamily-wise error of six claims against one control, seed SD 2, 5 seeds\n\n| true effects | unadjusted | Holm |\n|---|---|---|"
    )
    for effects in ([0.0] * 6, [6.0, 6.0, 6.0, 0.0, 0.0, 0.0]):
        found = family(World(arms=7), rng, effects, 2.0, 5, rounds)
        print(f"| {', '.join(f'{e:g}' for e in effects)} | {found['unadjusted']:.3f} | {found['Holm']:.3f} |")
    print("\nVerdicts, 5 seeds, margin 2 points, one claim\n\n| effect | seed SD | " + " | ".join(NAMES[:-1]) + " | TOST equivalent |")
    print("|---" * (len(NAMES) + 2) + "|")
    for effect in (-2 * MARGIN, 0.0, MARGIN / 2, MARGIN, 2 * MARGIN):
        for sd in (0.0, 1.0, 2.0, 3.0):
            found = verdicts(world, rng, effect, sd, 5, rounds)
            same = equivalences(world, rng, effect, sd, 5, rounds)
            print(f"| {effect:g} | {sd:g} | " + " | ".join(f"{found[name]:.3f}" for name in NAMES[:-1]) + f" | {same:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the tables in repro/report/results/simulation.md")
    write = parser.parse_args().write
    text = io.StringIO()
    with contextlib.redirect_stdout(text) if write else contextlib.nullcontext():
        tables()
    if write:
        from repro.manifest import environment
        from repro.report.readme import RESULTS

        made = f"\n1,000 rounds a row, fixed seed; commit {environment()['commit'][:10]}."
        (RESULTS / "simulation.md").write_text(text.getvalue() + made + "\n")


if __name__ == "__main__":
    main()
