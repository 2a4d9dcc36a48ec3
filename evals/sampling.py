"""Named sampling settings of an evaluation. They decide scores as much as the model does, so they are chosen by name and stand in every record's
evaluation; a key on the command line wins over them.

    python -m evals.harness model=PATH benchmark=aime2024 sampling=paper_base
"""

from __future__ import annotations

from typing import Any

SAMPLING: dict[str, dict[str, Any]] = {
    # The paper (arXiv 2502.03373, section 2.5): at least 4 seeds, 16 samples a question of AIME.
    "paper": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 16_384, "samples": 4, "samples_by": {"aime2024": 16, "aime2025": 16}},
    # The same paper for RL from base models (section 6): greedy, zero-shot.
    "paper_base": {"temperature": 0.0, "top_p": 1.0, "max_tokens": 4_096, "samples": 1, "samples_by": {}},
    # DeepSeek-R1's protocol as open-r1 reports it (commit 1416fa04).
    "open_r1": {
        "temperature": 0.6,
        "top_p": 0.95,
        "max_tokens": 32_768,
        "samples": 4,
        "samples_by": {"aime2024": 64, "aime2025": 64, "gpqa_diamond": 8},
    },
}
