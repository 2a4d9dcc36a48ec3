"""Segmentation, keywords, repetition, coding and the table's numbers: definitions, properties on any text, refusals, large responses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.cot import (
    branching_counts,
    coding_output,
    keyword_counts,
    paragraphs,
    profile,
    repeated_tokens,
    repeated_words,
    sentences,
    steps,
    summarise,
)
from repro.cot.text import fold

# Text of the pieces that the rules look at, and anything else.
TEXTS = st.lists(
    st.sampled_from(
        ["wait", "Wait,", " alternatively, ", "\n\n", "\n", ". ", "e.g. ", "1. ", "```python\n", "```", "İ", "\u2019", "3.5", "。", "x = 2"]
    )
    | st.text(max_size=8)
).map("".join)


def cut(function, text):
    return [text[start:end] for start, end in function(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is 3.5. Then 4! Is it? Yes", ["It is 3.5.", "Then 4!", "Is it?", "Yes"]),
        ("Use e.g. Bayes. See eq. 3 vs. 4.", ["Use e.g. Bayes.", "See eq. 3 vs. 4."]),
        ("1. Add.\n2. Halve.\n12. Stop.", ["1. Add.", "2. Halve.", "12. Stop."]),
        ("x = 1\ny = 2", ["x = 1", "y = 2"]),
        ('He said "no." (Really.) So $x$. Done', ['He said "no."', "(Really.)", "So $x$.", "Done"]),
        ("先算。再查", ["先算。", "再查"]),
        (" \n \n", []),
        ("", []),
    ],
)
def test_sentences(text, expected):
    assert cut(sentences, text) == expected


def test_paragraphs_and_steps():
    text = "We add. So 4.\n \nWait, 2 + 3 is 5. Right.\nAlternatively, count.\n\n```python\nfirst = 1\n\nnow = 2\n```\nNow done."
    assert cut(paragraphs, text)[0] == "We add. So 4."
    assert len(cut(paragraphs, text)) == 4
    fence = "```python\nfirst = 1\n\nnow = 2\n```"
    assert cut(steps, text) == ["We add. So 4.", "Wait, 2 + 3 is 5. Right.", "Alternatively, count.", fence, "Now done."]


@pytest.mark.parametrize("function", [paragraphs, sentences, steps])
@given(text=TEXTS)
@settings(max_examples=100, deadline=None)
def test_spans_hold_all_but_white_space(function, text):
    spans = function(text)
    bounds = [0, *(position for span in spans for position in span), len(text)]
    assert bounds == sorted(bounds)
    assert all(text[a:b] and text[a:b] == text[a:b].strip() for a, b in spans)
    assert "".join("".join(cut(function, text)).split()) == "".join(text.split())


@given(text=TEXTS)
@settings(max_examples=100, deadline=None)
def test_folding_keeps_positions(text):
    assert len(fold(text)) == len(text)
    assert fold(fold(text)) == fold(text)


def test_keywords_are_whole_words():
    texts = [
        "Wait, WAIT! wait-and-see",
        "waiting awaits re-check wait_for 3wait",
        "Recheck. retry; however: alternatively",
        "等wait然后",
        "",
    ]
    assert keyword_counts(texts).tolist() == [[3, 0, 0, 0, 0], [0] * 5, [0, 1, 1, 1, 1], [1, 0, 0, 0, 0], [0] * 5]


def test_branching_needs_its_comma():
    assert branching_counts(["Alternatively, x. alternatively y, ALTERNATIVELY,z", "analternatively,"]).tolist() == [2, 0]


@given(texts=st.lists(TEXTS, max_size=4))
@settings(max_examples=100, deadline=None)
def test_keywords_equal_a_plain_count(texts):
    def plain(text, word):
        inside = "abcdefghijklmnopqrstuvwxyz0123456789_"
        starts = [i for i in range(len(text)) if text.startswith(word, i)]
        return sum((i == 0 or text[i - 1] not in inside) and text[i + len(word) : i + len(word) + 1] not in [*inside] for i in starts)

    assert keyword_counts(texts)[:, 0].tolist() == [plain(fold(text), "wait") for text in texts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```python\nprint(1)\n```", True),
        ("Code: ```Python3\n1", True),
        ("``` py\n1", True),
        ("````python\n1", True),
        ("```\nprint(1)\n```", False),
        ("```pytorch", False),
        ("```cpp\n1```", False),
        ("python without a fence", False),
    ],
)
def test_coding_is_an_opening_python_fence(text, expected):
    assert coding_output([text]).tolist() == [expected]


def by_definition(items, size):
    """Share of items inside an n-gram that occurred before."""
    seen, inside = set(), set()
    for start in range(len(items) - size + 1):
        gram = tuple(items[start : start + size])
        if gram in seen:
            inside |= set(range(start, start + size))
        seen.add(gram)
    return len(inside) / len(items) if items else 0.0


@given(ids=st.lists(st.integers(0, 2), max_size=40), size=st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_repetition_is_its_definition(ids, size):
    assert repeated_tokens([ids], ngram_size=size)[0] == by_definition(ids, size)
    assert repeated_words([" ".join("abc"[i] for i in ids)], ngram_size=size)[0] == by_definition(ids, size)


def test_repetition_of_known_chains():
    half = list(range(200))
    assert repeated_tokens([half, half * 2, [7] * 400, []]).tolist() == [0.0, 0.5, 399 / 400, 0.0]
    assert repeated_words(["One two. " * 30, "ONE\u2019S TWO one's two"], ngram_size=2).tolist() == [58 / 60, 0.5]


def test_profile_agrees_with_its_parts_and_summary_with_hand_counts():
    texts = ["Wait. Alternatively, let me check that.\n\n```python\n1```", "However, it is 4."]
    found = profile(iter(texts), tokens=[30, 10])
    assert np.array_equal(
        np.stack([found[word] for word in ("wait", "recheck", "alternatively", "retry", "however")], 1), keyword_counts(texts)
    )
    assert found["steps"].tolist() == [3, 1]
    means = summarise(found)
    assert means["wait_share"] == means["coding"] == 0.5
    assert means["branching_per_1k"] == 1000 / 40
    assert means["verification_per_response"] == 0.5
    assert means["mean_length"] == 20


def test_order_of_responses_does_not_matter():
    texts = ["Wait, no. " * 5, "Let me verify this.", "", "Case 1: x."]
    assert summarise(profile(texts)) == summarise(profile(texts[::-1]))
    assert np.isnan(summarise(profile([""]))["wait_per_1k"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: keyword_counts("one text"), "list of texts"),
        (lambda: profile(["a", None]), r"responses\[1\]: must be text, not NoneType"),
        (lambda: profile(["a"], tokens=[1, 2]), "one entry a response"),
        (lambda: profile(["a"], tokens=[-1]), "at least 0"),
        (lambda: profile(["a"], tokens=[float("nan")]), "whole numbers"),
        (lambda: summarise(profile([])), "no responses"),
        (lambda: repeated_words(["a"], ngram_size=0), "ngram_size=0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("unit", ["Wait, let me check n = 3. ", "wait", "\n", "é"])
@pytest.mark.timeout(180)  # what is not linear in the response would need hours
def test_a_response_of_ten_megabytes(unit):
    found = profile([unit * (10_000_000 // len(unit.encode()))])
    assert all(len(column) == 1 for column in found.values())
