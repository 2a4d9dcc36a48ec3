"""Noise: the rates are met, a sample's flip depends on nothing but seed, question and sample, and no noise is the inner verifier."""

import math
import pickle
import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.verifiers.legacy import LegacyVerifier
from repro.verifiers.noise import NoisyVerifier, RandomVerifier, uniform
from repro.verifiers.verdict import GoldError, Verdict

RATES = st.floats(0, 1, allow_nan=False)


@dataclass
class Same:
    """A verifier that compares strings; quick."""

    version: str = "same-1"

    def verify_batch(self, golds, outputs, *, task="math", kind="full", truncated=None, **more):
        assert not more
        return [Verdict(g == o, o, "same", "" if g == o else "differs", 0.0, self.version) for g, o in zip(golds, outputs, strict=True)]

    def check_gold(self, gold, *, task="math", question_id=None):
        if not gold:
            raise GoldError(question_id)

    def close(self):
        self.version = "closed"


def batch(verifier, size, right, **more):
    ids, samples = [f"q{i // 8}" for i in range(size)], [i % 8 for i in range(size)]
    return verifier.verify_batch(["1"] * size, ["1" if right else "2"] * size, question_ids=ids, samples=samples, **more)


def within(count, size, rate):
    """Five standard errors: one false alarm in 1.7 million."""
    return abs(count - size * rate) <= 5 * math.sqrt(size * rate * (1 - rate)) + 1e-9


@pytest.mark.parametrize(("positive", "negative"), [(0.0, 0.3), (0.1, 0.0), (0.5, 0.02), (1.0, 1.0), (0.0, 0.0)])
def test_rates_are_met(positive, negative):
    noisy = NoisyVerifier(Same(), false_positive=positive, false_negative=negative, seed=3)
    assert within(sum(v.correct for v in batch(noisy, 4000, right=False)), 4000, positive)
    assert within(sum(not v.correct for v in batch(noisy, 4000, right=True)), 4000, negative)


def test_rates_by_difficulty():
    noisy = NoisyVerifier(Same(), false_positive=0.2, by_difficulty={"hard": (0.6, 0.0), 3: (0.0, 1.0)}, seed=3)
    for difficulty, rate in (("hard", 0.6), (3, 0.0), ("3", 0.0), ("easy", 0.2)):
        verdicts = batch(noisy, 2000, right=False, difficulties=[difficulty] * 2000)
        assert within(sum(v.correct for v in verdicts), 2000, rate)
    assert not noisy.verify("1", "1", question_id="q", difficulty=3).correct
    with pytest.raises(ValueError, match="by_difficulty needs the difficulty"):
        noisy.verify("1", "1", question_id="q")


@settings(max_examples=30, deadline=None)
@given(positive=RATES, negative=RATES, seed=st.integers(0, 2**32), order=st.randoms(use_true_random=False))
def test_order_and_batches_do_not_matter(positive, negative, seed, order: random.Random):
    noisy = NoisyVerifier(Same(), false_positive=positive, false_negative=negative, seed=seed)
    rows = [(f"q{i}", k, str(order.randint(1, 2))) for i in range(4) for k in range(3)]
    ids, samples, outputs = zip(*rows, strict=True)
    whole = noisy.verify_batch(["1"] * len(rows), outputs, question_ids=ids, samples=samples)
    expected = dict(zip(rows, whole, strict=True))
    order.shuffle(rows)
    again = pickle.loads(pickle.dumps(noisy))
    assert {row: again.verify("1", row[2], question_id=row[0], sample=row[1]) for row in rows} == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(), st.text(max_size=20), st.integers(0, 10**6), RATES, RATES)
def test_a_higher_rate_flips_all_that_a_lower_one_does(seed, question, sample, low, high):
    low, high = sorted((low, high))
    flips = [NoisyVerifier(Same(), false_positive=r, seed=seed).verify("1", "2", question_id=question, sample=sample) for r in (low, high)]
    assert flips[0].correct <= flips[1].correct
    assert 0 <= uniform(seed, question, sample) < 1


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=30), st.text("123", max_size=3))
def test_no_noise_is_the_inner_verifier_and_full_noise_its_opposite(question, output):
    inner = Same().verify_batch(["1"], [output])[0]
    assert NoisyVerifier(Same(), by_difficulty={"x": (0, 0)}).verify("1", output, question_id=question, difficulty="x") == inner
    opposite = NoisyVerifier(Same(), false_positive=1, false_negative=1).verify("1", output, question_id=question)
    assert opposite.correct is not inner.correct
    assert opposite.rule == "noise (same)"
    assert (opposite.reason == "") is opposite.correct
    assert replace(opposite, correct=inner.correct, rule=inner.rule, reason=inner.reason, version=inner.version) == inner


def test_versions_say_what_was_dialled():
    made = [
        NoisyVerifier(Same()),
        NoisyVerifier(Same(), false_positive=0.1),
        NoisyVerifier(Same(), false_negative=0.1),
        NoisyVerifier(Same(), false_positive=0.1, seed=1),
        NoisyVerifier(Same(), false_positive=0.1, by_difficulty={"a": (0, 1)}),
        NoisyVerifier(Same(), false_positive=0.1, by_difficulty={"a": (1, 0)}),
        RandomVerifier(),
        RandomVerifier(seed=1),
    ]
    assert len({verifier.version for verifier in made}) == len(made)
    assert made[0].version == "same-1"


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), "0.5", None, True])
def test_rates_out_of_range(value):
    for name in ("false_positive", "false_negative"):
        with pytest.raises(ValueError, match=f"^{name}="):
            NoisyVerifier(Same(), **{name: value})
    with pytest.raises(ValueError, match=r"^by_difficulty\['hard'\] false_negative="):
        NoisyVerifier(Same(), by_difficulty={"hard": (0, value)})
    with pytest.raises(ValueError, match=r"^probability="):
        RandomVerifier(value)


def test_arguments():
    noisy = NoisyVerifier(Same(), false_positive=0.5)
    for verifier in (noisy, RandomVerifier()):
        with pytest.raises(ValueError, match="needs the question ids"):
            verifier.verify("1", "1")
        with pytest.raises(ValueError, match="one of each"):
            verifier.verify_batch(["1"], ["1"], question_ids=["a", "b"])
        with pytest.raises(GoldError):
            verifier.check_gold("", question_id="q")
    with pytest.raises(ValueError, match="a pair"):
        NoisyVerifier(Same(), by_difficulty={"hard": (0.1,)})
    with noisy:
        pass
    assert noisy.inner.version == "closed"
    paper = NoisyVerifier(LegacyVerifier(legacy_prompt=True))
    assert paper.verify_batch(["4"], ["?"], question_ids=["q"], prompts=["given y=4"])[0].correct is False
    assert paper.verify_batch(["4"], [""], question_ids=["q"], prompts=["given y=4"])[0].correct


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 1.0])
def test_the_random_reward_ignores_the_answer(probability):
    coin = RandomVerifier(probability, seed=5)
    right, wrong = batch(coin, 3000, right=True), batch(coin, 3000, right=False)
    assert [v.correct for v in right] == [v.correct for v in wrong]
    assert within(sum(v.correct for v in right), 3000, probability)
    assert {v.rule for v in right} == {"random"}
    assert coin.verify("1", "\\boxed{7}", question_id="q").extracted == "7"
    assert coin.verify("1", "\\boxed{7}", question_id="q", truncated=True).extracted is None
