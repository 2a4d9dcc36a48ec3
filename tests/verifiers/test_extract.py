"""Extraction apart from comparison: what counts as the answer of an output, and that it costs linear time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.verifiers.extract import extract

CASES = [
    ("so \\boxed{7}", "7"),
    ("\\boxed{8} no wait, \\boxed{9}", "9"),  # the last one, self-corrections included
    ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
    ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
    ("\\boxed 5", "5"),
    ("\\fbox{3}", "3"),
    ("\\boxed{o}", "o"),
    ("\\boxed{ 4 }", "4"),
    ("\\boxed{7", None),  # never closed
    ("\\boxed{}", None),
    ("<think> maybe \\boxed{3}", None),  # thinking that never ended
    ("<think> \\boxed{3} </think> \\boxed{4}", "4"),
    ("<think> \\boxed{3} </think> and so nothing else follows from this here", None),
    ("work\n#### 42", "42"),
    ("Final Answer: The final answer is $\\frac{3}{4}$. I hope it is correct.", "\\frac{3}{4}"),
    ("The answer is 12.", "12"),
    ("The answer is \\boxed{5}.\n\nProblem: What is 2+2? The answer is 4.", "5"),  # a base model goes on with a problem of its own
    ("The answer is \\boxed{5}.<|im_end|>\n\\boxed{6}", "5"),
    ("<answer> 13 </answer>", "13"),
    ("I think that there are many ways to see this, and 5 of them are nice", None),  # no last number for rewards
    ("", None),
]


@pytest.mark.parametrize(("output", "answer"), CASES)
def test_what_the_answer_is(output: str, answer: str | None) -> None:
    found = extract(output)
    got = found.answer
    assert (got.strip("$ ") if got else got) == answer, found
    if answer is not None:
        assert output[found.start : found.end] == got and found.committed


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        ("The answer is (C).", "C"),
        ("Answer: B", "B"),
        ("\\boxed{D}", "D"),
        ("the answer is (A). No, the answer is (E).", "E"),
        ("The answer is (B) and (H).", None),
        ("A good question.", None),
        ("C", "C"),
    ],
)
def test_letters(output: str, letter: str | None) -> None:
    assert extract(output, task="letter").answer == letter


def test_boxes_of_one_sentence_are_parts_unless_one_is_taken_back() -> None:
    assert extract("so \\boxed{3} and \\boxed{5}").parts == ("3", "5")
    assert extract("\\boxed{3}, wait, \\boxed{5}").parts == ()
    assert extract("\\boxed{3}. Then we find \\boxed{5}").parts == ()


def test_a_guess_is_marked_as_one() -> None:
    found = extract("there are 5 of them or so", fallback=True)
    assert found.answer == "5" and not found.committed and found.rule == "last number"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([*"abc 157.,\\{}()$<>/#:\n", "\\boxed{", "answer is ", "<think>", "</think>", "####"]), max_size=200).map(
        "".join
    )
)
def test_any_text_gives_a_span_of_itself(text: str) -> None:
    for task in ("math", "letter"):
        found = extract(text, task=task, fallback=True)
        assert found.answer is None or text[found.start : found.end] == found.answer


HOSTILE = {
    "spaces": " " * 1_000_000,
    "boxed spaces": "\\boxed" + " " * 500_000 + "{5}",
    "open boxes": "\\boxed{" * 50_000,
    "nested boxes": "\\boxed{" * 20_000 + "}" * 20_000,
    "braces": "{" * 300_000,
    "backslashes": "\\" * 300_000,
    "answers": "answer is " * 50_000,
    "newlines": "\n" * 500_000,
    "tags": "<answer>" * 100_000,
    "hashes": "####" * 200_000,
    "letters": "Answer " * 100_000,
    "ten megabytes": "the answer is 5. " * 600_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(120)  # a quadratic pattern would take minutes
def test_hostile_output_takes_linear_time(name: str) -> None:
    for task in ("math", "letter"):
        found = extract(HOSTILE[name], task=task)
        assert found.answer is None or HOSTILE[name][found.start : found.end] == found.answer
