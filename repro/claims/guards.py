"""What makes a comparison meaningless, whatever its p-value: each guard returns the reason, or None.

Differs from warnings in a log in that a reason forces the verdict "not tested". Guards look at arms as they were recorded and never raise
about their content; ``check`` runs those that a claim needs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from repro.claims.arms import Arm


def different_decoding(arms: Sequence[Arm]) -> str | None:
    """Arms were sampled with other settings, or some did not record a setting that others did."""
    first = arms[0]
    for arm in arms[1:]:
        for key in sorted({*first.decoding, *arm.decoding}):
            left, right = first.decoding.get(key, "unset"), arm.decoding.get(key, "unset")
            if left != right:
                return f"decoding differs: {key} is {left} in {first.name} and {right} in {arm.name}"
    return None


def different_verifier(arms: Sequence[Arm]) -> str | None:
    """Arms were scored by other verifier versions, or some seeds of an arm by another than the rest."""
    versions = {arm.verifier_version for arm in arms}
    if len(versions) == 1 and " " not in next(iter(versions)):  # an arm of several versions names them all
        return None
    return "verifier differs: " + ", ".join(f"{arm.name} {arm.verifier_version or 'unset'}" for arm in arms) + "; score them again with one"


def different_budget(arms: Sequence[Arm]) -> str | None:
    """Policies were trained with budgets of other kinds or amounts. Arms that RL did not make (a base, an SFT checkpoint) have none."""
    budgets = {arm.name: arm.budget for arm in arms if arm.budget}
    if len(set(budgets.values())) <= 1:
        return None
    return "budget differs: " + ", ".join(f"{name} {budget}" for name, budget in budgets.items())


def different_questions(arms: Sequence[Arm]) -> str | None:
    """Arms were asked other questions."""
    first = arms[0]
    for arm in arms[1:]:
        differing = set(first.question_ids) ^ set(arm.question_ids)
        if differing:
            return f"{len(differing)} question(s) asked of only one of {first.name} and {arm.name}, for instance {min(differing)}"
    return None


def missing_samples(arms: Sequence[Arm], k: int) -> str | None:
    """Some question of some seed has another number of samples than ``k``, too many included."""
    for arm in arms:
        for seed, array in arm.scores.items():
            counts = (~np.isnan(array)).sum(axis=1)
            wrong = np.flatnonzero(counts != k)
            if wrong.size:
                example = f"{arm.question_ids[wrong[0]]} has {counts[wrong[0]]}"
                return f"{arm.name}, seed {seed}: {wrong.size} question(s) without exactly {k} samples ({example})"
    return None


def too_few_seeds(arms: Sequence[Arm], min_seeds: int) -> str | None:
    """An arm has fewer training seeds than the claim declared."""
    short = [f"{arm.name} has {len(arm.seeds)}" for arm in arms if len(arm.seeds) < min_seeds]
    return f"needs {min_seeds} training seeds an arm: {', '.join(short)}" if short else None


def too_truncated(arms: Sequence[Arm], cap: float = 0.05) -> str | None:
    """Some seed's share of truncated samples is above ``cap`` (0 to 1), or unknown, in an arm without exceed handling."""
    for arm in arms:
        if arm.exceed_handling:
            continue
        for seed in arm.seeds:
            share = arm.truncated.get(seed, math.nan)
            if math.isnan(share):
                return f"{arm.name}, seed {seed}: truncated share not recorded"
            if share > cap:
                return f"{arm.name}, seed {seed}: {100 * share:z.1f} % of samples truncated, at most {100 * cap:z.1f} % without exceed handling"
    return None


def not_decontaminated(arms: Sequence[Arm]) -> str | None:
    """Some arm's training data were not checked against the benchmark."""
    names = [arm.name for arm in arms if not arm.decontaminated]
    return f"decontamination was not run for {', '.join(names)}" if names else None


def broken_pairing(arms: Sequence[Arm]) -> str | None:
    """Pairing is claimed, but seeds or the order of training data differ between arms, or the order was not recorded."""
    first = arms[0]
    for arm in arms[1:]:
        if arm.seeds != first.seeds:
            return f"pairing claimed, but seeds differ: {first.name} {list(first.seeds)}, {arm.name} {list(arm.seeds)}"
    for seed in first.seeds:
        orders = {arm.data_order.get(seed) for arm in arms}
        if None in orders:
            return f"pairing claimed, but data order of seed {seed} was not recorded in every arm"
        if len(orders) > 1:
            return f"pairing claimed, but arms saw training data of seed {seed} in different orders"
    return None


def nan_accuracies(arms: Sequence[Arm]) -> str | None:
    """Some seed has no accuracy: all its samples are missing on some question."""
    for arm in arms:
        for seed, array in arm.scores.items():
            empty = int(np.isnan(array).all(axis=1).sum())
            if empty:
                return f"{arm.name}, seed {seed}: accuracy is NaN on {empty} question(s)"
    return None


def no_spread(arms: Sequence[Arm]) -> str | None:
    """Two seeds of an arm agree on every sample: the seed probably did not reach the run.

    Only where 64 or more scores are mixed enough (10 to 90 % correct) for that to be no accident; on a benchmark that a model nearly
    always passes or fails, two honest seeds can agree.
    """
    for arm in arms:
        seen: dict[bytes, int] = {}
        for seed, array in arm.scores.items():
            if array.size < 64 or not 0.1 <= array.mean() <= 0.9:  # a NaN mean is another guard's business
                continue
            twin = seen.setdefault(array.tobytes(), seed)
            if twin != seed:
                return f"{arm.name}: seeds {twin} and {seed} have identical scores on all {array.size} samples"
    return None


def check(
    arms: Sequence[Arm],
    *,
    k: int,
    min_seeds: int,
    fixed: Collection[str] = (),
    paired: bool = False,
    accuracy: bool = True,
    truncation_cap: float = 0.05,
    decontamination: bool = True,
) -> tuple[str, ...]:
    """Every reason why these arms cannot be compared; empty when they can.

    Args:
        arms: of one claim, at least 1.
        k: samples a question that the claim declared.
        min_seeds: training seeds an arm that the claim declared.
        fixed: names of arms without a training seed (the base model), which are one evaluation.
        paired: the claim pairs arms by seed.
        accuracy: the claim is about the scores, not about training curves of the same cells.
        truncation_cap: share of truncated samples, 0 to 1.
        decontamination: whether the benchmark asks for it (generated questions held out by construction do not).

    Raises:
        ValueError: no arm, or arms of one name.
    """
    if not arms or len({arm.name for arm in arms}) < len(arms):
        raise ValueError(f"expected arms of different names, got {[arm.name for arm in arms]}")
    seeded = [arm for arm in arms if arm.name not in fixed]
    found = [
        different_decoding(arms),
        different_verifier(arms),
        different_budget(arms),
        different_questions(arms),
        nan_accuracies(arms),
        missing_samples(arms, k),
        too_few_seeds(seeded, min_seeds),
        too_truncated(arms, truncation_cap),
        not_decontaminated(arms) if decontamination else None,
        broken_pairing(seeded) if paired else None,
        no_spread(seeded) if accuracy else None,
    ]
    return tuple(reason for reason in found if reason)
