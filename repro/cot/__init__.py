"""What a chain of thought looks like: steps, keywords, behaviours, repetition and coding, as functions of the response's text.

    >>> from repro.cot import profile
    >>> profile(["Wait, that's not right. Let me double-check."], tokens=[12])["backtracking"]
    array([1])

    python -m repro.cot records.parquet --by arm        a table of all of it by group

Every rate comes in two forms, because the paper does not say which it plots (section 5.2): share of responses with at least one hit, and
hits per 1,000 tokens. All rules read English; text in another language counts nothing, which is not the same as having no behaviour.
Files: ``text`` (folding), ``segment`` (steps), ``keywords``, ``behaviours``, ``repetition``, ``coding``, ``summary`` (all of it, by group).
"""

from repro.cot.behaviours import BEHAVIOURS, behaviour_counts, behaviour_hits
from repro.cot.coding import coding_output
from repro.cot.keywords import BRANCHING, SELF_VALIDATION, branching_counts, keyword_counts
from repro.cot.repetition import repeated_tokens, repeated_words
from repro.cot.segment import paragraphs, sentences, steps
from repro.cot.summary import profile, summarise

__all__ = [
    "BEHAVIOURS",
    "BRANCHING",
    "SELF_VALIDATION",
    "behaviour_counts",
    "behaviour_hits",
    "branching_counts",
    "coding_output",
    "keyword_counts",
    "paragraphs",
    "profile",
    "repeated_tokens",
    "repeated_words",
    "sentences",
    "steps",
    "summarise",
]
