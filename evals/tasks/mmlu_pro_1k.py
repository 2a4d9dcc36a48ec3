"""Draws MMLU-Pro-1k: 1,000 of the 12,032 questions of MMLU-Pro, stratified by category, and writes their ids beside this file.

The paper's own 1,000 were drawn i.i.d. and never published, so this is a declared set of ours and not theirs. Each category gets its share
of the 1,000 (largest remainders), so that the mean over the subset estimates the mean over all of it with less noise. Within a category the
questions with the smallest SHA-256 of ``SEED/question_id`` are taken: no random state, and the order of the file does not matter. The ids
stand in the order of that hash over all categories: the first n of the file are a fair draw for any n.

    REPRO_DATA_DIR=... python -m evals.tasks.mmlu_pro_1k            # writes mmlu_pro_1k.txt; a test asserts that it is the committed one
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

SEED = "mmlu_pro_1k/0"
SIZE = 1_000


def key(question_id: str) -> str:
    return hashlib.sha256(f"{SEED}/{question_id}".encode()).hexdigest()


def draw(questions: Iterable[tuple[str, str]], size: int = SIZE) -> list[str]:
    """Ids of the subset.

    Args:
        questions: (id, category) of every question.
        size: how many to draw.

    Raises ValueError where there are fewer questions than that.
    """
    strata: dict[str, list[str]] = defaultdict(list)
    for question_id, category in questions:
        strata[category].append(question_id)
    total = sum(map(len, strata.values()))
    if total < size:
        raise ValueError(f"size={size}: there are only {total} questions")
    quota = {name: len(ids) * size // total for name, ids in strata.items()}
    by_remainder = sorted(strata, key=lambda name: (-(len(strata[name]) * size % total), name))
    for name in by_remainder[: size - sum(quota.values())]:
        quota[name] += 1
    return sorted((i for name, ids in strata.items() for i in sorted(ids, key=key)[: quota[name]]), key=key)


def main() -> None:
    """Draw the subset again and write its ids."""
    from evals.mmlu_pro import MMLU_PRO, SUBSET_IDS

    chosen = draw((q.id, q.subject) for q in MMLU_PRO.questions())
    SUBSET_IDS.write_text("\n".join(chosen) + "\n")
    print(f"{len(chosen)} ids in {SUBSET_IDS.name}")


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main, usage=__doc__)
