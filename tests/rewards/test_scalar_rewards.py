"""Rewards of one number a response: golden values of the paper's code, monotonicity, refusals."""

import doctest
import importlib
import math
import pkgutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro import rewards

T = 14336

# Values of the paper's released code at its default parameters, to four decimals: tokens, correct, wrong.
COSINE = [
    (1, 2.0000, -10.0000),
    (1000, 1.9880, -9.8804),
    (2000, 1.9527, -9.5274),
    (4000, 1.8199, -8.1990),
    (7168, 1.5, -5.0),
    (10000, 1.2092, -2.0924),
    (12000, 1.0641, -0.6410),
    (14000, 1.0014, -0.0135),
    (14319, 1.0000, 0.0),
    (14320, -10.0, -10.0),
    (14336, -10.0, -10.0),
]


@pytest.mark.parametrize(("length", "correct", "wrong"), COSINE)
def test_cosine_golden_values(length, correct, wrong):
    values = rewards.cosine([length, length], [True, False], max_length=T)
    assert values.dtype == np.float64
    assert values == pytest.approx([correct, wrong], abs=5.1e-5)


@pytest.mark.parametrize(
    ("name", "ends"), {"default": (2, 1, -10, 0), "A": (0, 10, 0, 0), "B": (6, 5, -10, 0), "C": (10, 9, -10, 0)}.items()
)
def test_cosine_parameter_sets_of_the_paper(name, ends):
    r0_correct, rL_correct, r0_wrong, rL_wrong = ends
    values = rewards.cosine(
        [0, 0, T // 2, T // 2, T - 17, T - 17],
        [True, False] * 3,
        max_length=T,
        r0_correct=r0_correct,
        rL_correct=rL_correct,
        r0_wrong=r0_wrong,
        rL_wrong=rL_wrong,
    )
    middle = [(r0_correct + rL_correct) / 2, (r0_wrong + rL_wrong) / 2]
    assert values == pytest.approx([r0_correct, r0_wrong, *middle, rL_correct, rL_wrong], abs=5e-5)


value = st.floats(-100, 100)


@given(
    ends=st.tuples(value, value, st.floats(-100, 0), st.floats(-100, 0)),
    max_length=st.integers(20, 20000),
    margin=st.integers(0, 19),
    data=st.data(),
)
def test_cosine_is_monotone_in_length_on_each_branch_and_stays_between_its_ends(ends, max_length, margin, data):
    lengths = np.sort(data.draw(st.lists(st.integers(0, max_length - margin - 1), min_size=2, max_size=50)))
    names = ("r0_correct", "rL_correct", "r0_wrong", "rL_wrong")
    parameters = dict(zip(names, ends, strict=True))
    for correct, (start, end) in ((True, ends[:2]), (False, ends[2:])):
        values = rewards.cosine(lengths, np.full(lengths.size, correct), max_length=max_length, margin=margin, **parameters)
        direction = 1 if end >= start else -1
        assert (np.diff(values) * direction >= -1e-12).all()
        assert (values >= min(start, end) - 1e-12).all()
        assert (values <= max(start, end) + 1e-12).all()


@given(st.integers(1, 5000), st.integers(0, 64), st.booleans())
def test_exceed_comes_first_whatever_the_correctness(max_length, margin, correct):
    lengths = np.arange(max(0, max_length - margin - 3), max_length + 1)
    exceeded = lengths + margin >= max_length
    flags = np.full(lengths.size, correct)
    for function in (rewards.cosine, rewards.classic, rewards.length_scaled):
        values = function(lengths, flags, max_length=max_length, margin=margin, exceed=-77.0)
        assert ((values == -77.0) == exceeded).all()


@given(st.integers(0, 3000), st.booleans())
def test_cosine_of_a_batch_is_the_formula_of_each(length, correct):
    start, end = (2, 1) if correct else (-10, 0)
    expected = -10.0 if length + 16 >= 3000 else end + 0.5 * (start - end) * (1 + math.cos(math.pi * length / 3000))
    values = rewards.cosine([5, length, 2999], [True, correct, False], max_length=3000)
    assert values[1] == pytest.approx(expected, abs=1e-12)


def test_classic():
    lengths, correct = [1, 1, T - 17, T - 16, T], [True, False, True, True, False]
    assert rewards.classic(lengths, correct, max_length=T).tolist() == [1, 0, 1, 0, 0]
    assert rewards.classic(lengths, correct, max_length=T, wrong_value=-1, exceed=-2).tolist() == [1, -1, 1, -2, -2]
    assert rewards.classic(lengths, correct, max_length=T, exceed=None).tolist() == [1, 0, 1, 1, 0]


def test_length_scaled():
    # k = 0.5, c = n / T: (k + (1 - k) c)(1 - c) and c - 1
    values = rewards.length_scaled([0, 7168, 3584, 0, 7168, T - 16], [True] * 3 + [False] * 3, max_length=T)
    assert values.tolist() == [0.5, 0.375, 0.46875, -1, -0.5, 0]
    assert rewards.length_scaled([7168], [True], max_length=T, risk=1).tolist() == [0.5]


def test_zero_rl():
    assert rewards.zero_rl([True, False, False, True], [True, True, False, False]).tolist() == [1, -0.5, -1, 1]


def test_overlong_equals_trl():
    from trl.rewards import get_soft_overlong_punishment

    trl = get_soft_overlong_punishment(100, 20)
    lengths = list(range(101))
    assert rewards.overlong(lengths, max_length=100, cache=20) == pytest.approx(trl([[0] * n for n in lengths]))


def test_random_reward_depends_on_seed_question_and_sample_only():
    questions, samples = [f"q{index // 8}" for index in range(4000)], [index % 8 for index in range(4000)]
    values = rewards.random_reward(questions, samples, probability=0.3, value=2.0, seed=5)
    assert set(values) == {0.0, 2.0}
    assert abs((values > 0).mean() - 0.3) < 0.03
    order = np.random.default_rng(0).permutation(4000)
    shuffled = rewards.random_reward([questions[k] for k in order], [samples[k] for k in order], probability=0.3, value=2.0, seed=5)
    assert (shuffled == values[order]).all()
    assert (rewards.random_reward(questions, samples, probability=0.3, value=2.0, seed=6) != values).any()
    assert rewards.random_reward(["q"], [0], probability=0).tolist() == [0]
    assert rewards.random_reward(["q"], [0], probability=1).tolist() == [1]


def test_random_reward_keeps_its_values():
    values = rewards.random_reward(["a", "a", "q2", "ü"], np.arange(4), seed=1)
    assert values.tolist() == [0, 1, *rewards.random_reward(["q2", "ü"], [2, 3], seed=1)]


def test_docstring_examples():
    modules = [rewards, *(importlib.import_module(f"repro.rewards.{module.name}") for module in pkgutil.iter_modules(rewards.__path__))]
    results = [doctest.testmod(module) for module in modules]
    assert sum(result.attempted for result in results) >= 10
    assert not any(result.failed for result in results)


def test_empty_batch():
    assert rewards.cosine([], [], max_length=T).shape == (0,)
    assert rewards.classic([], [], max_length=T).shape == (0,)
    assert rewards.length_scaled([], [], max_length=T).shape == (0,)
    assert rewards.zero_rl([], []).shape == (0,)
    assert rewards.overlong([], max_length=T, cache=5).shape == (0,)
    assert rewards.random_reward([], []).shape == (0,)


def test_tensors_and_one_zero_flags_are_fine():
    import torch

    values = rewards.cosine(torch.tensor([7168, 7168]), torch.tensor([1.0, 0.0]), max_length=T)
    assert values.tolist() == [1.5, -5]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None, "1", True])
@pytest.mark.parametrize("key", ["r0_correct", "rL_correct", "r0_wrong", "rL_wrong", "exceed"])
def test_cosine_refuses_what_is_no_finite_number(key, bad):
    with pytest.raises(ValueError, match=f"^{key}=.*finite number$"):
        rewards.cosine([1], [True], max_length=T, **{key: bad})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rewards.cosine([1], [True], max_length=T, r0_wrong=0.1), "r0_wrong=0.1: must be at most 0"),
        (lambda: rewards.cosine([1], [True], max_length=T, rL_wrong=1), "rL_wrong=1: must be at most 0"),
        (lambda: rewards.classic([1], [True], max_length=T, wrong_value=1), "wrong_value=1: must be at most 0"),
        (lambda: rewards.classic([1], [True], max_length=T, correct_value=math.nan), "correct_value=nan"),
        (lambda: rewards.classic([1], [True], max_length=T, exceed=math.inf), "exceed=inf"),
        (lambda: rewards.zero_rl([True], [True], no_answer_value=0.5), "no_answer_value=0.5: must be at most 0"),
        (lambda: rewards.cosine([1], [True], max_length=T, margin=-1), "margin=-1: must be a whole number, at least 0"),
        (lambda: rewards.cosine([1], [True], max_length=T, margin=1.5), "margin=1.5"),
        (lambda: rewards.cosine([1], [True], max_length=0), "max_length=0: must be a whole number, at least 1"),
        (lambda: rewards.cosine([5, T + 1], [True, True], max_length=T), rf"lengths\[1\]={T + 1}: must be at most max_length={T}"),
        (lambda: rewards.cosine([-1], [True], max_length=T), r"lengths\[0\]=-1: must be at least 0"),
        (lambda: rewards.cosine([1.5], [True], max_length=T), "lengths: must be whole numbers"),
        (lambda: rewards.cosine([[1]], [True], max_length=T), "lengths: must be whole numbers"),
        (lambda: rewards.cosine([1, 2], [True], max_length=T), "correct: must have one entry a response"),
        (lambda: rewards.cosine([1], [0.5], max_length=T), "correct: must be true or false"),
        (lambda: rewards.cosine([1], [math.nan], max_length=T), "correct: must be true or false"),
        (lambda: rewards.cosine([1], [None], max_length=T), "correct: must be true or false"),
        (lambda: rewards.zero_rl([True, False], [True]), "answered: must have one entry"),
        (lambda: rewards.length_scaled([1], [True], max_length=T, risk=1.2), r"risk=1.2: must be in \[0, 1\]"),
        (lambda: rewards.overlong([1], max_length=10, cache=11), "cache=11: must be at most max_length=10"),
        (lambda: rewards.overlong([1], max_length=10, cache=0), "cache=0: must be a whole number, at least 1"),
        (lambda: rewards.overlong([11], max_length=10, cache=5), r"lengths\[0\]=11"),
        (lambda: rewards.random_reward(["q"], [0], probability=-0.1), r"probability=-0.1: must be in \[0, 1\]"),
        (lambda: rewards.random_reward(["q"], [0, 1]), "sample_indices: must have one entry"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
