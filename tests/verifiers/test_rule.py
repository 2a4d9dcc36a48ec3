"""The rule verifier: what is equal, what is not, what is refused; properties over generated answers; bombs."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.verifiers import GoldError, Verifier
from repro.verifiers.normalise import normalise

VERIFIER = Verifier(deadline=20)  # a busy machine must not decide what is equal

EQUAL = [
    ("4", "4"),
    ("4", "04"),
    ("4", "4.0"),
    ("\\frac{1}{2}", "0.5"),
    ("\\frac12", "1/2"),
    ("\\dfrac{1}{2}", "\\frac{1}{2}"),
    ("10080", "10,080"),
    ("10{,}080", "10080"),
    ("36", "\\$36"),
    ("15\\mbox{ cm}^2", "15"),
    ("30^\\circ", "30"),
    ("10\\%", "10"),
    ("2\\sqrt{3}", "\\sqrt{12}"),
    ("(x+1)^2", "x^2+2x+1"),
    ("x^2-1", "(x-1)(x+1)"),
    ("5", "x = 5"),
    ("x=5", "5"),
    ("(1,2)", "(1, 2)"),
    ("1,2,3", "3, 1, 2"),
    ("\\{1,2\\}", "\\{2,1\\}"),
    ("[0,9)", "0 \\le x < 9"),
    ("(-\\infty, 2)", "x<2"),
    ("1 \\pm \\sqrt{2}", "1+\\sqrt{2}, 1-\\sqrt{2}"),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{bmatrix} 1 \\\\ 2 \\end{bmatrix}"),
    ("y = 2x + 1", "2x - y + 1 = 0"),
    ("\\text{east}", "east"),
    ("\\text{(C)}", "C"),
    ("1\\frac{4}{5}", "\\frac{9}{5}"),
    ("e^{i\\pi}", "-1"),
    ("\\int_0^1 x dx", "\\frac{1}{2}"),
    ("\\text{4:30 p.m.}", "4:30 \\text{ p.m.}"),
    ("6", "2+4"),
    ("-2\\frac{1}{4}", "-\\frac{9}{4}"),  # the sign belongs to all of a mixed number
    ("33\\frac{1}{3}\\%", "\\frac{100}{3}"),  # and so does the percent sign
    ("(-\\infty,3)\\cup(3,\\infty)", "x\\neq 3"),
    ("\\emptyset", "\\text{no solution}"),
    ("\\text{no solution}", "\\emptyset"),
    ("\\text{Alice, Bob}", "Bob and Alice"),
    ("red", "Red"),
    ("4", "\\approx 4"),
    ("\\$5", "5 dollars"),
    ("50\\text{ mph}", "50 miles per hour"),
    ("15\\text{ cm}^2", "15 \\text{ cm squared}"),
    ("5\\text{ or }6", "6, 5"),
]
DIFFERENT = [
    ("5", "6=5"),
    ("5", "500"),
    ("5", "0.05"),
    ("\\sqrt{2}", "1.41421356"),
    ("(1,2)", "(2,1)"),
    ("[0,9)", "[0,9]"),
    ("(0,9)", "[0,9]"),
    ("1,2,3", "1,2"),
    ("x=5", "y=5"),
    ("101_2", "101"),
    ("(x+1)^{2000}", "(x+1)^{2000}+1"),
    ("|x|", "x"),
    ("\\frac{1}{3}", "0.333"),
    ("10", "ten thousand and ten"),
    ("\\text{phenol}", "\\text{ethanol}"),
    ("x<2", "x>2"),
    ("5", ""),
    ("C", "A, B, C or D"),
    ("-2\\frac{1}{4}", "-1.75"),
    ("x+y=3", "3"),  # the equation is the answer
    ("\\text{True, False}", "False, True"),  # two questions, in order
    ("\\$5", "5 cents"),
    ("10\\text{ m/s}", "10 \\text{ km/h}"),
    ("5", "5\\text{ or 6}"),  # a text that changes the value is no unit
    ("5", "5\\text{ or more}"),
    ("5", "5\\text{ squared}"),
    ("5", "5\\text{ (mod 7)}"),
    ("\\pi", "\\approx 3.14159"),
]


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal(gold: str, answer: str) -> None:
    for kind, output in (("answer", answer), ("full", f"... so the answer is \\boxed{{{answer}}}.")):
        verdict = VERIFIER.verify(gold, output, kind=kind)
        assert verdict.correct and verdict.reason == "", verdict


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different(gold: str, answer: str) -> None:
    verdict = VERIFIER.verify(gold, f"\\boxed{{{answer}}}")
    assert not verdict.correct and verdict.reason, verdict


@pytest.mark.parametrize(
    ("gold", "answer", "correct"),
    [
        ("3.14", "3.15", True),  # one per cent
        ("3.14", "3.2", False),
        ("100", "101", False),  # whole numbers exactly
        ("[1.0, 2.0]", "[1.001, 2.0]", True),
        ("[1, 2]", "[2, 1]", False),
        ("True", "yes", True),
        ("True", "False", False),
        ("0.5", "\\frac{1}{2}", True),
        ("(a)", "a", True),
    ],
)
def test_numeric_has_a_stated_tolerance(gold: str, answer: str, correct: bool) -> None:
    assert VERIFIER.verify(gold, f"\\boxed{{{answer}}}", task="numeric").correct == correct


def test_no_tolerance_where_the_reference_is_exact() -> None:
    assert not VERIFIER.verify("3.14", "\\boxed{3.15}").correct
    assert Verifier(tolerance=0.0).verify("3.14", "\\boxed{3.14}", task="numeric").correct


@pytest.mark.parametrize(
    ("gold", "words"),
    [("", "empty"), ("  ", "empty"), ("$$", "empty"), ("\\frac{1}{2", "do not close"), ("3+", "operator"), ("x" * 3000, "longer")],
)
def test_a_reference_that_nothing_can_equal_is_refused_with_its_question(gold: str, words: str) -> None:
    with pytest.raises(GoldError, match="question q-17") as caught:
        VERIFIER.check_gold(gold, question_id="q-17")
    assert words in str(caught.value)
    with pytest.raises(GoldError):
        VERIFIER.verify(gold, "\\boxed{5}")


def test_a_letter_in_its_wrapper_is_a_letter() -> None:
    assert VERIFIER.verify("B", "\\text{B}", task="letter", kind="answer").correct
    assert not VERIFIER.verify("B", "A or B", task="letter", kind="answer").correct


def test_truncated_output_has_no_answer() -> None:
    verdict = VERIFIER.verify("5", "\\boxed{5}", truncated=True)
    assert not verdict.correct and verdict.extracted is None and verdict.reason == "truncated"


@pytest.mark.parametrize("settings_", [{"tolerance": -1}, {"tolerance": float("nan")}, {"deadline": 0}, {"workers": 0}])
def test_bad_parameters(settings_: dict) -> None:
    with pytest.raises(ValueError):
        Verifier(**settings_)
    with pytest.raises(ValueError, match="task"):
        VERIFIER.verify("5", "5", task="poetry")
    with pytest.raises(ValueError, match="kind"):
        VERIFIER.verify("5", "5", kind="half")
    with pytest.raises(ValueError, match="one of each"):
        VERIFIER.verify_batch(["5"], ["5", "6"])


def test_pickles_and_remembers() -> None:
    copy = pickle.loads(pickle.dumps(VERIFIER))
    assert copy.verify("5", "\\boxed{5}").correct and copy.version == VERIFIER.version
    assert [v.correct for v in copy.verify_batch(["5", "6"], ["\\boxed{5}"] * 2)] == [True, False]


BOMBS = [
    "9^{9^{9^{9}}}",
    "10^{10^{10}}",
    "(10^{10})!",
    "100000!",
    "\\binom{10^9}{10^8}",
    "2^{2^{2^{2^{2^{2}}}}}",
    "\\int_0^1 " + "\\sin(" * 12 + "x" + ")" * 12 + " dx",
    "\\sum_{k=1}^{10^{12}} \\frac{1}{k^2}",
    "\\frac{1}{" * 200 + "2" + "}" * 200,
    "(" * 5000 + "1" + ")" * 5000,
    "1" * 1900,
    "1e999999999",
    "x^{x^{x^{x^{x}}}}",
    "\\sqrt{" * 100 + "2" + "}" * 100,
    "\\begin{pmatrix}" + " & ".join(["1"] * 200) + "\\end{pmatrix}",
    "0/0",
    "7" + "!" * 500,  # chains nest without brackets
    "1/" * 400 + "1",
    "\\pm 1" * 200,
    "-" * 1500 + "7",
    "f(" * 200 + "x" + ")" * 200,
    "|" * 800,
    " or ".join(f"x\\ne {i}" for i in range(60)),
    "\\cup".join(["(0,1)"] * 100),
    "__import__('os').system('true')",
]


@pytest.fixture(scope="module")
def strict():
    """As users have it: half a second a pair."""
    with Verifier() as verifier:
        yield verifier


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.timeout(60)  # unbounded, each of them would take minutes or all memory; tests/benchmarks/verifier.py measures
def test_bombs_are_wrong_and_end(bomb: str, strict) -> None:
    assert not strict.verify("7", f"\\boxed{{{bomb}}}").correct


# Properties

NUMBERS = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.fractions(max_denominator=50).map(lambda f: f"\\frac{{{f.numerator}}}{{{f.denominator}}}"),
    st.decimals(-1000, 1000, places=2).map(str),
)
ATOMS = st.one_of(NUMBERS, st.sampled_from(["x", "\\pi", "\\sqrt{2}", "2x+1", "x^2", "\\sin x"]))
ANSWERS = st.one_of(
    ATOMS,
    st.lists(ATOMS, min_size=2, max_size=4).map(lambda items: "(" + ", ".join(items) + ")"),
    st.lists(ATOMS, min_size=2, max_size=4).map(lambda items: "\\{" + ", ".join(items) + "\\}"),
    st.tuples(ATOMS, ATOMS).map("+".join),
)


@settings(max_examples=150, deadline=None)
@given(ANSWERS)
def test_every_answer_equals_itself_boxed(answer: str) -> None:
    assert VERIFIER.verify(answer, f"\\boxed{{{answer}}}").correct


@settings(max_examples=150, deadline=None)
@given(ANSWERS, ANSWERS)
def test_equality_is_symmetric(one: str, other: str) -> None:
    assert VERIFIER.verify(one, other, kind="answer").correct == VERIFIER.verify(other, one, kind="answer").correct


@settings(max_examples=300, deadline=None)
@given(st.one_of(ANSWERS, st.text(alphabet=st.sampled_from(list("ab1250.,\\{}()[]$^_+-=/% \n°π")), max_size=60)))
def test_normal_forms_are_fixed_points(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_no_output_raises(text: str) -> None:
    for task, gold in (("math", "5"), ("letter", "B"), ("numeric", "0.5")):
        assert isinstance(VERIFIER.verify(gold, text, task=task).correct, bool)
        VERIFIER.verify(gold, f"\\boxed{{{text}}}", task=task, kind="answer")
