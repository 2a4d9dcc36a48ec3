"""Prompt formats: problem -> text of the user's turn, with the strings at which a model without a chat template is to be stopped.

The format alone moves the base Qwen2.5-Math models by tens of points on MATH-500 (arXiv 2503.20783), so it is chosen by name, is a pure
function, and its name and stop strings belong into every record. Where a published format's instruction is known word for word it is used
as it is (``QWEN_MATH``, ``SIMPLE_EVALS_LETTER``, the sentence of ``LLAMA``); the words around it are our own, so a score is comparable with
the published ones to within the spread between harnesses, not to the digit.

    >>> from evals.prompts import render
    >>> render("qwen_math", "What is 1+1?")
    'What is 1+1?\\nPlease reason step by step, and put your final answer within \\\\boxed{}.'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_uppercase

QWEN_MATH = "Please reason step by step, and put your final answer within \\boxed{}."
LLAMA = "Therefore, the final answer is: $\\boxed{ANSWER}$. I hope it is correct"
SIMPLE_EVALS_LETTER = (
    "The last line of your response should be of the following format: 'Answer: $LETTER' (without quotes) "
    "where LETTER is one of {letters}. Think step by step before answering."
)


@dataclass(frozen=True)
class Format:
    """``text`` takes (problem, task, number of options); ``stop``: strings that end a response, for models that do not end it themselves."""

    text: Callable[[str, str, int], str]
    stop: tuple[str, ...]


def _plain(problem: str, task: str, options: int) -> str:
    return problem


def _qwen_math(problem: str, task: str, options: int) -> str:
    return f"{problem}\n{QWEN_MATH}"


def _llama(problem: str, task: str, options: int) -> str:
    what = "the letter of the right option" if task == "letter" else "your answer"
    return f"Solve this problem step by step. End your response with the sentence: {LLAMA}\nANSWER stands for {what}.\n\nProblem: {problem}"


def _simple_evals(problem: str, task: str, options: int) -> str:
    if task == "letter":
        return f"{SIMPLE_EVALS_LETTER.format(letters=ascii_uppercase[: options or 4])}\n\n{problem}"
    return f'Solve the problem below step by step. Put your answer on the last line, in the form "Answer: $ANSWER".\n\n{problem}'


FORMATS = {
    "plain": Format(_plain, ()),
    "qwen_math": Format(_qwen_math, ("</s>", "<|im_end|>", "<|endoftext|>")),
    "llama": Format(_llama, ("<|eot_id|>", "<|end_of_text|>", "\nProblem:")),
    "simple_evals": Format(_simple_evals, ()),
}


def prompt_format(name: str) -> Format:
    """The format of that name. Raises ValueError naming the choices."""
    if name not in FORMATS:
        raise ValueError(f"prompt format {name!r} does not exist; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def render(name: str, problem: str, task: str = "math", options: int = 0) -> str:
    """The text of the user's turn.

    Args:
        name: of the format.
        problem: with its options, if it has any.
        task: kind of comparison (``repro.verifiers``); ``letter`` asks for a letter.
        options: how many options there are, 0 for 4.

    Raises ValueError for an unknown format.
    """
    return prompt_format(name).text(problem, task, options)
