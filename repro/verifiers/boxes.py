"""The part of an output that may carry the answer, and the boxes in it. Linear time whatever the output.

Only text after the last ``</think>`` counts (an unclosed one is no answer), up to a turn token or to where a base model invents the next
problem.

    >>> from repro.verifiers.boxes import boxes
    >>> boxes("so \\\\boxed{\\\\frac{1}{2}}")
    [(3, 22, '\\\\frac{1}{2}')]
"""

from __future__ import annotations

import re

MAX_OUTPUT = 65_536  # characters from the end of an output that are looked at
HEAD = 1_000_000  # characters searched for the start of an invented next problem
# Blanks are bounded in every pattern, so that a run of a million of them costs no more than a run of nine.
_BOX = re.compile(r"(?:\\{1,4}|\x08)(?:boxed|fbox)(?![a-zA-Z])\s{0,9}")
_BRACES = re.compile(r"\\\\|\\[{}]|[{}]")
_THINK_OPEN = re.compile(r"<(?:think|thinking|thought)>", re.I)
_THINK_CLOSE = re.compile(r"</(?:think|thinking|thought)>", re.I)
_TURN = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>", "<|start_header_id|>")
_NEXT_PROBLEM = re.compile(
    r"\n[ \t]{0,9}(?:#+\s{0,9}|\*\*)?(?:Problem|Question|Q|Exercise|Instruction|Human|User)(?:\s{0,9}\d+)?\s{0,9}(?:\*\*)?\s{0,9}[:.](?!\s{0,9}\\boxed)"
    r"|\n[ \t]{0,9}(?:#+\s{0,9})(?:Problem|Question|Instruction)\b"
)
_ANSWERED = re.compile(r"boxed\s{0,9}\{|answer is|answer:|####|\nA:", re.I)
_RETRACTED = re.compile(r"\b(?:wrong|wait|actually|instead|no|not|incorrect|mistake|rather|correction|hmm|but)\b", re.I)


def visible(output: str) -> tuple[str, int] | None:
    """(the part of an output that may carry the answer, its offset), or None for thinking that never closed."""
    text, offset = output, 0
    closes = [m.end() for m in _THINK_CLOSE.finditer(text[-8 * MAX_OUTPUT :])] if "</" in text else []
    if closes:
        offset = max(0, len(text) - 8 * MAX_OUTPUT) + closes[-1]
        text = text[offset:]
    if _THINK_OPEN.search(text[: 8 * MAX_OUTPUT]):
        return None
    cut = _cut(text)
    text = text[:cut]
    if len(text) > MAX_OUTPUT:
        offset += len(text) - MAX_OUTPUT
        text = text[-MAX_OUTPUT:]
    return text, offset


def _cut(text: str) -> int:
    """Where the response ends: at a turn token, or where a new problem starts after an answer was given."""
    end = len(text)
    for token in _TURN:
        at = text.find(token)
        if 0 < at < end:
            end = at
    head = text[: min(end, HEAD)]
    first = _ANSWERED.search(head)
    if first:
        problem = _NEXT_PROBLEM.search(head, first.end())
        if problem:
            end = problem.start()
    return end


def boxes(text: str) -> list[tuple[int, int, str]]:
    """(start, end, content) of every balanced box, in order; one pass over the braces."""
    starts = {m.end(): m.start() for m in _BOX.finditer(text)}
    found: list[tuple[int, int, str]] = []
    stack: list[tuple[int, int]] = []
    for match in _BRACES.finditer(text, min(starts, default=len(text))):
        token, at = match.group(), match.start()
        if token == "{":
            stack.append((at, starts.get(at, -1)))
        elif token == "}" and stack:
            opened, begin = stack.pop()
            if begin >= 0:
                found.append((begin, at + 1, text[opened + 1 : at]))
    for after, begin in starts.items():  # \boxed 5
        if text[after : after + 1] not in ("{", "") and (match := re.compile(r"-?[\w.]+|\\frac\d\d").match(text, after)):
            found.append((begin, match.end(), match.group()))
    found.sort()
    return [box for i, box in enumerate(found) if not any(other[0] < box[0] and box[1] <= other[1] for other in found[max(0, i - 3) : i])]


def boxed(text: str) -> list[tuple[int, int, str]]:
    """Boxes of the end of the text where the last one is, of all of it where that has none."""
    last = max(text.rfind("\\boxed"), text.rfind("\\fbox"), text.rfind("\x08oxed"))
    if last < 0:
        return []
    begin = max(0, last - 3_000)
    return (boxes(text[begin:]) and [(s + begin, e + begin, c) for s, e, c in boxes(text[begin:])]) or boxes(text)


def joined(text: str, found: list[tuple[int, int, str]]) -> tuple[str, ...]:
    """Contents of the boxes that one sentence joins to the last one, without a word that takes one back."""
    chain = [found[-1]]
    for box in reversed(found[:-1]):
        between = text[box[1] : chain[0][0]]
        if len(between) > 200 or "\n\n" in between or re.search(r"[.!?]\s", between) or _RETRACTED.search(between):
            break
        if len(re.findall(r"[a-z]{2,}", re.sub(r"\\[a-zA-Z]+", " ", between))) > 4:
            break
        if re.search(r"(?:\b(?:and|or|thus|so)\b\s{0,9}){2,}", between):
            break
        chain.insert(0, box)
        if len(chain) >= 20:
            break
    return tuple(box[2].strip() for box in chain) if len(chain) > 1 else ()
