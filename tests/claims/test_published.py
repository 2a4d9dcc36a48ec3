"""The published numbers of the claim files against the paper's tables, cell by cell, and the margins that follow from them."""

from __future__ import annotations

import numpy as np
import pytest

from repro.claims import declared

BENCHMARKS = ("math", "aime", "theoremqa", "mmlu_pro")  # MATH-500, AIME 2024, TheoremQA, MMLU-Pro-1k
TABLES = {  # arXiv 2502.03373v1
    1: {
        "SFT constructed": (48.2, 2.9, 21.0, 18.1),
        "SFT emergent": (54.1, 3.5, 21.8, 32.0),
        "SFT+RL constructed": (52.4, 2.7, 21.0, 19.2),
        "SFT+RL emergent": (59.4, 4.0, 25.2, 34.6),
    },
    2: {
        "MATH SFT": (54.1, 3.5, 21.8, 32.0),
        "MATH SFT+RL": (59.4, 4.0, 25.2, 34.6),
        "half SFT": (53.6, 4.4, 23.5, 41.7),
        "half SFT+RL": (57.3, 3.8, 25.1, 42.0),
    },
    3: {
        "unfiltered rule": (45.4, 3.3, 25.9, 35.1),
        "unfiltered model": (47.9, 3.5, 26.2, 40.4),
        "filtered rule": (48.6, 3.3, 28.1, 41.4),
        "filtered model": (47.9, 3.8, 26.9, 41.4),
    },
    4: {
        "base": (52.0, 13.3, 17.1, 2.4),
        "RL": (77.4, 23.3, 43.5, 19.7),
        "SFT": (84.0, 24.4, 42.2, 38.5),
        "SFT+RL": (85.9, 26.9, 45.4, 40.6),
    },
    5: {
        "1, 1": (55.7, 5.0, 25.7, 34.5),
        "1, 0.999": (58.0, 4.6, 26.0, 36.5),
        "1, 0.99": (57.8, 3.8, 24.5, 33.3),
        "0.999, 0.99": (55.2, 1.7, 18.5, 32.0),
        "0.99, 0.99": (47.9, 0.2, 15.6, 25.5),
    },
}
CELLS = {  # claim -> table, and the row of each arm
    "H3.3a": (1, {"emergent": "SFT emergent", "constructed": "SFT constructed"}),
    "H3.3b": (1, {"emergent": "SFT+RL emergent", "constructed": "SFT+RL constructed"}),
    "H3.3c": (
        1,
        {
            "emergent_rl": "SFT+RL emergent",
            "emergent_sft": "SFT emergent",
            "constructed_rl": "SFT+RL constructed",
            "constructed_sft": "SFT constructed",
        },
    ),
    "H3.3d": (1, {"emergent": "SFT emergent", "constructed": "SFT constructed"}),
    "H3.3e": (1, {"emergent": "SFT+RL emergent", "constructed": "SFT+RL constructed"}),
    "H4.6a": (5, {"g0.99": "0.99, 0.99", "g0.999": "0.999, 0.99", "g1": "1, 0.99"}),
    "H4.6b": (5, {"p0.999": "1, 0.999", "p1": "1, 1"}),
    "H5.1a": (2, {"mixed": "half SFT", "math": "MATH SFT"}),
    "H5.1b": (2, {"mixed": "half SFT", "math": "MATH SFT"}),
    "H5.1c": (2, {"mixed": "half SFT+RL", "math": "MATH SFT+RL"}),
    "H5.1d": (2, {"mixed": "half SFT+RL", "math": "MATH SFT+RL"}),
    "H5.2a": (3, {"filtered": "filtered rule", "unfiltered": "unfiltered rule"}),
    "H5.2b": (
        3,
        {
            "rule_filtered": "filtered rule",
            "rule_unfiltered": "unfiltered rule",
            "judge_filtered": "filtered model",
            "judge_unfiltered": "unfiltered model",
        },
    ),
    "H5.2c": (3, {"rule": "filtered rule", "judge": "filtered model"}),
    "H5.2d": (3, {"judge": "unfiltered model", "rule": "unfiltered rule"}),
    "H6.1a": (4, {"rl": "RL", "base": "base"}),
    "H6.4a": (4, {"sft_rl": "SFT+RL", "rl": "RL"}),
    "H6.4b": (4, {"sft_rl": "SFT+RL", "sft": "SFT"}),
}
CLAIMS = {claim.id: claim for claim in declared.load()}


def test_every_printed_effect_is_of_these_tables_and_no_figure_was_read() -> None:
    assert {name for name, claim in CLAIMS.items() if claim.published["effect"] is not None} == set(CELLS)


@pytest.mark.parametrize("name", CELLS)
def test_effect_is_the_contrast_of_the_printed_cells(name: str) -> None:
    claim, (table, rows) = CLAIMS[name], CELLS[name]
    assert f"Table {table}," in claim.published["source"] and set(rows) == set(claim.arms) and claim.published["tag"] == "D"
    columns = [BENCHMARKS.index(benchmark) for benchmark in claim.metric["benchmarks"]]
    means = np.array([np.mean([TABLES[table][rows[arm]][i] for i in columns]) for arm in claim.arms])
    weights = np.array([claim.contrast[arm] for arm in claim.arms], dtype=float)
    if claim.test == "trend":  # a slope over the arms' places
        weights = (weights - weights.mean()) / ((weights - weights.mean()) ** 2).sum()
    rounding = 0.06 if " AVG" in claim.published["source"] else 1e-9  # the printed averages are rounded to a tenth
    assert claim.published["effect"] == pytest.approx(weights @ means, abs=rounding)
    assert claim.margin == pytest.approx(claim.published["effect"] / 2), "half of the printed difference, in all files alike"
