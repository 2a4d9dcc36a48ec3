"""The legacy matcher's verdicts, right and wrong: golden cases, one group a quirk of ``repro/verifiers/legacy.py``."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.verifiers.legacy import LegacyVerifier, equal, first_box, last_box, last_formula, normal
from repro.verifiers.verdict import GoldError

MATCHER = LegacyVerifier()


@pytest.mark.parametrize(
    ("candidate", "gold", "verdict"),
    [
        ("\\dfrac12", "\\frac{1}{2}", True),
        ("x=5", "5", True),
        ("1,234", "1234", True),
        ("\\sqrt3", "\\sqrt{3}", True),
        ("-.5", "-0.5", False),
        (".75", "0.75", True),
        ("\\rightarrow 2", "arrow2", True),  # Q1
        ("90^\\circ", "90", True),
        ("x/2", "x/2", True),  # Q2, Q11: raw, so a blank is enough to part them
        ("x/2 ", "x/2", False),
        ("12\\text{ km}", "12\\text{ m}", True),  # Q3
        ("1\\text{ a} \\text{ b}", "1", False),
        ("50\\%", "50", True),  # Q4
        ("-1,000", "-1000", False),  # Q5
        (" 1,000", "1000", False),
        ("1,2", "12", True),
        ("(0,1)", "0,1", False),
        ("(0,x)", "0,x", True),  # Q6
        ("[0,1]", "0,1", False),
        ("(a)(b)", "a)(b", True),
        ("6=5", "5", True),  # Q7
        ("f(x)=5", "5", False),
        ("\\sqrt 3", "\\sqrt{3}", False),  # Q8
        ("0.5", "1/2", True),  # Q9
        ("0.25", "1/4", False),
        ("0.50", "1/2", False),
        ("\\frac{72}1", "\\frac{72}{1}", False),  # Q10
        ("\\frac1{72}", "\\frac{1}{72}", True),
        ("2/4", "1/2", False),
        ("007/2", "\\frac{7}{2}", False),
        ("\\sqrt", "\\sqrt ", False),
    ],
)
def test_comparison(candidate, gold, verdict):
    assert equal(candidate, gold) is verdict
    assert equal(gold, candidate) is verdict


@pytest.mark.parametrize(
    ("gold", "output", "rule"),
    [
        ("5", "so the result is \\boxed{5}", "legacy last box"),
        ("5", "first \\boxed{5}.\nNo: \\boxed{6}", "legacy first box"),  # Q12, D-4: first box right, last box wrong
        ("5", "\\boxed{5} or \\boxed{6}", None),  # Q12: on one line both are spoilt
        ("6", "\\boxed{5}\nor \\boxed{6}", "legacy last box"),
        ("7", "\\boxed{6}, that is $3+4=7$", "legacy last formula"),  # Q13, D-4: wrong box, right last formula
        ("7", "we get 3+4=7", "legacy last formula"),
        ("7", "we get \\[x = 7\\]", None),  # one sign only: "7\\]" is not 7
        ("7", "from $a$ comes 7 $b$ done", None),
        ("and so", "$1$ and so $2", "legacy last formula"),  # Q13: between the formulas
        ("12", "The answer is: $12$.", "legacy last formula"),
        ("12", "The answer is: 12.", "legacy answer is:"),
        ("12", "The answer is: 13. No, the answer is: 12.", None),
        ("12", "The answer is 12.", None),
        ("0.5", "\\boxed{\\frac{1}{2}}", "legacy last box"),
        ("1/4", "\\boxed{0.25}", None),  # D-4
        ("5", "\\fbox{5}", None),
        ("5", "\\boxed {5}", None),
        ("\\boxed{5}", "it is \\boxed{5}", "legacy last box"),
        ("5", "", None),
    ],
)
def test_whole_responses(gold, output, rule):
    verdict = MATCHER.verify(gold, output)
    assert verdict.correct is (rule is not None)
    assert verdict.rule == (rule or "legacy")
    assert verdict.version == "legacy-1.0"


def test_the_prompt_is_read_only_when_asked_for():
    prompt, output = "Solve $x + 1 = 3$ given that $y=4$.", " I do not know."
    paper = LegacyVerifier(legacy_prompt=True)
    assert paper.verify("4", output, prompt=prompt).correct  # D-4: the reference is the prompt's last equation
    assert not MATCHER.verify("4", output, prompt=prompt).correct
    assert paper.version == "legacy-1.0-prompt"
    with pytest.raises(ValueError, match="no prompts were given"):
        paper.verify_batch(["4"], [output])


@pytest.mark.parametrize("gold", ["", "  ", "\\%", "\\boxed{}", "()"])
def test_a_reference_that_is_nothing_never_scores(gold):
    with pytest.raises(GoldError, match="question 17"):
        MATCHER.check_gold(gold, question_id="17")
    with pytest.raises(GoldError):
        MATCHER.verify(gold, "no answer")


def test_arguments():
    with pytest.raises(ValueError, match="one of each"):
        MATCHER.verify_batch(["1"], [])
    with pytest.raises(ValueError, match="does not exist"):
        MATCHER.verify("1", "1", task="essay")
    with pickle.loads(pickle.dumps(MATCHER)) as copy:
        assert copy.verify("1", "\\boxed{1}", truncated=True).correct  # length is the reward's business
    assert [v.correct for v in MATCHER.verify_batch(["1", "A"], ["=1", "=B"], task=["math", "letter"])] == [True, False]


def test_boxes_and_formulas():
    assert last_box("\\boxed{\\frac{1}{2}} x") == "\\frac{1}{2}"
    assert last_box("\\boxed{1} \\boxed{2") is None
    assert first_box("\\boxed{\n1}\\boxed{\\sqrt{2}}.") == "\\sqrt{2}"
    assert last_formula("$a=1$ costs \\$3 and \\$4") == "1"


@given(st.text("\\boxed{}$=/()12. fracsqrt\n,]", max_size=80))
def test_nothing_crashes(text):
    verdict = MATCHER.verify("12", text)
    assert verdict.correct in (True, False)
    try:
        assert isinstance(normal(text), str)
    except ValueError:
        assert not equal(text, text + "?")


@pytest.mark.timeout(120)  # a quadratic pattern would take minutes
def test_linear_time():
    for text in ("\\boxed{" * 20_000, "$=" * 60_000, "the answer is:" * 9_000, "\\boxed{" + "{" * 100_000):
        assert not MATCHER.verify("5", text).correct
