"""Steps of a chain: paragraphs, sentences, and steps (a paragraph, cut again where a sentence opens a new thought).

Rules, not a model: linear time, no language data, and the same cut on every machine. Unlike sentence splitters made for prose, a line end
ends a sentence (chains put one equation a line), ``1.`` at the start of a line does not, nor do decimals and ``e.g.``, and a fenced code
block stays in the step that opens it.

    >>> from repro.cot import steps
    >>> text = "So x = 3.5. Wait, x is whole. Try again.\\n\\nNow x = 3."
    >>> [text[a:b] for a, b in steps(text)]
    ['So x = 3.5.', 'Wait, x is whole. Try again.', 'Now x = 3.']
"""

from __future__ import annotations

import re

from repro.cot.text import fold

Span = tuple[int, int]

# End of a sentence, for folded text. The first item is one character class and nothing before it is optional, so the search jumps from one
# candidate to the next and each costs a bounded number of steps: linear on any input, a run of a million dots included.
SENTENCE_END = re.compile(
    r"[.!?\n。！？]"
    r"(?:(?<=[\n。！？])"  # a line end, or a full stop of a language that puts no space after it
    r"|(?<!\n\d\.)(?<!\n\d\d\.)(?<!^\d\.)"  # not the number of a list item
    r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bvs\.)(?<!\bcf\.)(?<!\beq\.)(?<!\bfig\.)"  # not an abbreviation that goes on
    r"[\"'”)\]*$]{0,3}(?=\s))"  # closing signs belong to the sentence; a decimal point has no space after it
)
_PARAGRAPH_END = re.compile(r"\n[ \t\r]*\n")

# Words that open a new thought at the start of a sentence. "so" and "then" are left out: they carry the old thought on.
_MARKER = re.compile(
    r"(?:wait|hmm+|alternatively|however|actually|hold on|first|second|third|next|now|finally|step \d+|case \d+|let me|let's"
    r"|another (?:way|approach|method)|on the other hand|to (?:check|verify|confirm)|check|verification|therefore)\b"
)


def _spans(text: str, ends: list[int]) -> list[Span]:
    """The stretches between ``ends``, without white space around them and without empty ones."""
    spans, start = [], 0
    for end in [*ends, len(text)]:
        piece = text[start:end]
        left = start + len(piece) - len(piece.lstrip())
        right = start + len(piece.rstrip())
        if left < right:
            spans.append((left, right))
        start = end
    return spans


def paragraphs(text: str) -> list[Span]:
    """(start, end) of every paragraph: what blank lines separate. In order, disjoint, only white space outside."""
    return _spans(text, [match.end() for match in _PARAGRAPH_END.finditer(text)])


def sentences(text: str) -> list[Span]:
    """(start, end) of every sentence. In order, disjoint, only white space outside."""
    return _sentences(fold(text))


def _sentences(folded: str) -> list[Span]:
    return _spans(folded, [match.end() for match in SENTENCE_END.finditer(folded)])


def steps(text: str) -> list[Span]:
    """(start, end) of every step: sentences joined until a blank line or a sentence that opens a new thought.

    In order, disjoint, only white space outside. Inside a fenced code block nothing opens a step.
    """
    return folded_steps(fold(text))


def folded_steps(folded: str) -> list[Span]:
    """``steps`` of a folded text."""
    joined: list[Span] = []
    fences, scanned, last = 0, 0, 0
    for start, end in _sentences(folded):
        fences += folded.count("```", scanned, start)
        scanned = start
        opens = folded.count("\n", last, start) > 1 or _MARKER.match(folded, start)
        if joined and (fences % 2 or not opens):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
        last = end
    return joined
