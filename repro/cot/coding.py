"""Coding outputs: responses with an opening Python fence (paper section 5.3, Fig. 8; the code is never run).

A hit is three backticks, directly followed by ``python``, ``python3`` or ``py`` in any case and then no letter, digit, ``_``, ``+`` or
``-``. It may stand anywhere in a line, because models open fences behind text. A bare fence, or one of another language, is no hit.

    >>> from repro.cot import coding_output
    >>> coding_output(["```python\\nprint(1)\\n```", "```\\n1\\n```"]).tolist()
    [True, False]
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from repro.cot.text import fold, responses

_FENCE = re.compile(r"```[ \t]?py(?:thon3?)?(?![\w+-])")


def has_fence(folded: str) -> bool:
    """Whether a folded text opens a Python fence."""
    return "```" in folded and _FENCE.search(folded) is not None


def coding_output(texts: Sequence[str]) -> np.ndarray:
    """Whether each response opens a Python fence (paper section 5.3); its mean is the coding rate.

    Returns:
        bool array [responses].

    Raises:
        ValueError: an entry that is not text.
    """
    return np.array([has_fence(fold(text)) for text in responses(texts)], dtype=bool)
