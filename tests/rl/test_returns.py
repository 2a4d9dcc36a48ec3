"""Returns and advantages: worked by hand, against a slow reference, and the gradient they give against finite differences."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.rl.critic import value_loss
from repro.rl.returns import discounted_returns, explained_variance, gae, group_baseline, group_scale, whiten


def test_two_streams_worked_by_hand() -> None:
    """Fact sheet 3.6: a terminal +2 at gamma 1, penalties of -0.05 at gamma 0.99."""
    rewards = torch.zeros(1, 4, 2)
    rewards[0, 3, 0], rewards[0, 1:3, 1] = 2.0, -0.05
    found = discounted_returns(rewards, [1.0, 0.99], torch.ones(1, 4))[0]
    assert torch.allclose(found[:, 0], torch.tensor([2.0, 2.0, 2.0, 2.0]))
    assert torch.allclose(found[:, 1], torch.tensor([-0.99 * (0.05 + 0.99 * 0.05), -0.05 - 0.99 * 0.05, -0.05, 0.0]))


@pytest.mark.parametrize(("gamma", "worth"), [(1.0, 2.0), (0.999, 0.735), (0.99, 0.0001)])
def test_horizon_of_the_fact_sheet(gamma: float, worth: float) -> None:
    """A terminal +2 seen 1,000 tokens earlier."""
    rewards = torch.zeros(1, 1001, 1, dtype=torch.float64)
    rewards[0, -1, 0] = 2.0
    assert abs(float(discounted_returns(rewards, [gamma], torch.ones(1, 1001))[0, 0, 0]) - worth) < 5e-4


@pytest.mark.parametrize(("gamma", "length", "total"), [(1.0, 40, -2), (1.0, 500, -25), (1.0, 2000, -100), (0.99, 2000, -5)])
def test_repetition_run_seen_at_its_start(gamma: float, length: int, total: float) -> None:
    """Fact sheet 3.4: what a repeated run costs at its start."""
    rewards = torch.full((1, length, 1), -0.05, dtype=torch.float64)
    assert abs(float(discounted_returns(rewards, [gamma], torch.ones(1, length))[0, 0, 0]) - total) < 1e-6


def slow_returns(rewards, gammas, mask):
    """The definition: for every token, the discounted sum over the masked tokens from it on."""
    batch, time, streams = rewards.shape
    found = torch.zeros(batch, time, streams, dtype=torch.float64)
    for b in range(batch):
        real = [t for t in range(time) if mask[b, t]]
        for m in range(streams):
            for i, t in enumerate(real):
                found[b, t, m] = sum(gammas[m] ** (j - i) * float(rewards[b, real[j], m]) for j in range(i, len(real)))
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 7), st.lists(st.sampled_from([1.0, 0.9, 0.5, 0.01]), min_size=1, max_size=3), st.integers(0, 10**6)
)
def test_equal_the_definition(batch: int, time: int, gammas: list[float], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(batch, time, len(gammas), generator=generator, dtype=torch.float64)
    mask = torch.rand(batch, time, generator=generator) < 0.7
    assert torch.allclose(discounted_returns(rewards, gammas, mask), slow_returns(rewards, gammas, mask))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.sampled_from([1.0, 0.9]), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 10**6))
def test_gae_is_the_exponential_mean_of_td_errors(time: int, gamma: float, lam: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, time, generator=generator).double(), torch.randn(2, time, generator=generator).double()
    advantages, returns = gae(rewards, values, gamma, lam, torch.ones(2, time))
    after = torch.cat([values[:, 1:], torch.zeros(2, 1)], 1)
    delta = rewards + gamma * after - values
    expected = torch.stack([sum((gamma * lam) ** (k - t) * delta[:, k] for k in range(t, time)) for t in range(time)], 1)
    assert torch.allclose(advantages, expected) and torch.allclose(returns, advantages + values)
    if lam == 1:  # then the returns do not depend on the values
        assert torch.allclose(returns, discounted_returns(rewards[..., None], [gamma], torch.ones(2, time))[..., 0])


def test_gae_ignores_padding_on_either_side() -> None:
    rewards, values = torch.tensor([[9.0, 0.0, 1.0, 9.0]]), torch.tensor([[9.0, 0.5, 0.25, 9.0]])
    advantages, returns = gae(rewards, values, 1.0, 0.5, torch.tensor([[0, 1, 1, 0]]))
    assert advantages.tolist() == [[0.0, 0.0 + 0.25 - 0.5 + 0.5 * 0.75, 0.75, 0.0]]
    assert returns.tolist() == [[0.0, 0.625, 1.0, 0.0]]


def test_whitening_is_global_and_of_the_population() -> None:
    x, mask = torch.tensor([[1.0, 2.0, 99.0], [3.0, 6.0, 0.0]]), torch.tensor([[1, 1, 0], [1, 1, 0]])
    found = whiten(x, mask)
    values = torch.tensor([1.0, 2.0, 3.0, 6.0])
    assert torch.allclose(found[mask.bool()], (values - 3) / values.var(unbiased=False).sqrt()) and float(found[0, 2]) == 0
    # two processes that sum give what one process gives
    halves = []
    for rows in (slice(0, 1), slice(1, 2)):
        totals = iter([torch.tensor([12.0, 4.0]), torch.tensor([14.0])])
        halves.append(whiten(x[rows], mask[rows], lambda _, totals=totals: next(totals).double()))
    assert torch.allclose(torch.cat(halves), found)
    assert whiten(torch.full((1, 4), 3.0), torch.ones(1, 4)).abs().max() == 0  # nothing to tell apart


def test_group_baselines_by_hand() -> None:
    scores = torch.tensor([1.0, 0.0, 0.0, 1.0, 5.0, 7.0, 5.0, 7.0])
    assert group_baseline(scores, 4, leave_one_out=False).tolist() == [0.5] * 4 + [6.0] * 4
    assert torch.allclose(group_baseline(scores[:4], 4, leave_one_out=True), torch.tensor([1 / 3, 2 / 3, 2 / 3, 1 / 3]))
    assert torch.allclose(group_scale(scores, 4)[[0, 4]], torch.tensor([math.sqrt(1 / 3), math.sqrt(4 / 3)]) + 1e-4)


def test_explained_variance() -> None:
    returns, mask = torch.tensor([[1.0, 2.0, 3.0, 50.0]]), torch.tensor([[1, 1, 1, 0]])
    assert explained_variance(returns, returns + 7, mask) == 1.0
    assert explained_variance(returns, torch.zeros_like(returns), mask) == 0.0
    assert math.isnan(explained_variance(torch.ones(1, 4), torch.zeros(1, 4), mask))


def test_value_loss_by_hand() -> None:
    old, new = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.1, 1.0], [-1.0, 5.0]])
    target, mask = torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.tensor([[1, 1], [1, 0]])
    # token 2: clipped to 0.2, error 0.64 beats 0; token 3: clipped to -0.2, 1.44 loses to 4; token 4: padding
    expected = 0.5 * ((0.81 + 0.64) / 2 + 4.0) / 2
    assert abs(float(value_loss(new, old, target, mask, 0.2)) - expected) < 1e-6
    assert abs(float(value_loss(new, old, target, mask, None)) - 0.5 * ((0.81 + 0.0) / 2 + 4.0) / 2) < 1e-6


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: discounted_returns(torch.zeros(1, 2, 2), [1.0], torch.ones(1, 2)), "2 reward streams need 2 discounts"),
        (lambda: discounted_returns(torch.zeros(1, 2, 1), [0.0], torch.ones(1, 2)), "(0, 1]"),
        (lambda: discounted_returns(torch.zeros(1, 2, 1), [1.1], torch.ones(1, 2)), "(0, 1]"),
        (lambda: discounted_returns(torch.zeros(1, 2, 1), [float("nan")], torch.ones(1, 2)), "(0, 1]"),
        (lambda: discounted_returns(torch.zeros(1, 2), [1.0], torch.ones(1, 2)), "rewards are"),
        (lambda: gae(torch.zeros(1, 2), torch.zeros(1, 3), 1.0, 1.0, torch.ones(1, 2)), "values must have the shape"),
        (lambda: gae(torch.zeros(1, 2), torch.zeros(1, 2), 1.0, 1.5, torch.ones(1, 2)), "lambda must be"),
        (lambda: group_baseline(torch.zeros(4), 1, leave_one_out=True), "at least 2"),
        (lambda: group_baseline(torch.zeros(5), 2, leave_one_out=True), "do not divide"),
    ],
)
def test_bad_input(call, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)


# The gradient that each baseline gives, in expectation over all trajectories of a tabular policy, is that of the expected reward.

TOKENS, EOS, TIME = 3, 0, 3


def trajectories() -> list[tuple[int, ...]]:
    """Every sequence of the tabular world: up to three tokens, ended by EOS or by the window."""
    found = []
    for length in range(1, TIME + 1):
        for body in itertools.product(range(1, TOKENS), repeat=length - 1):
            found.append((*body, EOS))
    return found + [body for body in itertools.product(range(1, TOKENS), repeat=TIME)]


def reward_of(trajectory: tuple[int, ...]) -> float:
    return sum((i + 1) * token for i, token in enumerate(trajectory)) * 0.3 + (1.0 if trajectory[-1] == EOS else -1.0)


def log_probability(theta: torch.Tensor, trajectory: tuple[int, ...]) -> torch.Tensor:
    """Per token, ``[length]``; the state is (position, previous token)."""
    previous, parts = 0, []
    for t, token in enumerate(trajectory):
        parts.append(torch.log_softmax(theta[t, previous], -1)[token])
        previous = token
    return torch.stack(parts)


def expected_reward(theta: torch.Tensor) -> float:
    return sum(float(log_probability(theta, s).sum().exp()) * reward_of(s) for s in trajectories())


def finite_differences(theta: torch.Tensor) -> torch.Tensor:
    found = torch.zeros_like(theta)
    for index in itertools.product(*map(range, theta.shape)):
        step = torch.zeros_like(theta)
        step[index] = 1e-5
        found[index] = (expected_reward(theta + step) - expected_reward(theta - step)) / 2e-5
    return found


def terminal(trajectory: tuple[int, ...]) -> torch.Tensor:
    rewards = torch.zeros(1, len(trajectory), 1, dtype=torch.float64)
    rewards[0, -1, 0] = reward_of(trajectory)
    return rewards


@pytest.mark.parametrize("baseline", ["ppo", "grpo", "rloo", "reinforce_pp"])
def test_expected_gradient_is_that_of_the_expected_reward(baseline: str) -> None:
    generator = torch.Generator().manual_seed(5)
    theta = torch.randn(TIME, TOKENS, TOKENS, generator=generator, dtype=torch.float64)
    truth = finite_differences(theta)
    theta.requires_grad_(True)
    values = torch.randn(TIME, TOKENS, generator=generator, dtype=torch.float64)  # any critic: a baseline of the state biases nothing
    surrogate = torch.zeros((), dtype=torch.float64)
    all_of = trajectories()
    if baseline in ("ppo", "reinforce_pp"):
        for s in all_of:
            logps = log_probability(theta, s)
            mask = torch.ones(1, len(s))
            if baseline == "ppo":
                states = torch.stack([values[t, (0, *s)[t]] for t in range(len(s))])[None]
                advantages, _ = gae(terminal(s)[..., 0], states, 1.0, 1.0, mask)
            else:
                advantages = discounted_returns(terminal(s), [1.0], mask)[..., 0]
            surrogate = surrogate + logps.sum().exp().detach() * (advantages[0] * logps).sum()
    else:  # groups of two, all pairs
        for a, b in itertools.product(all_of, all_of):
            pair = [log_probability(theta, s) for s in (a, b)]
            starts = torch.stack([discounted_returns(terminal(s), [1.0], torch.ones(1, len(s)))[0, 0, 0] for s in (a, b)])
            below = group_baseline(starts, 2, leave_one_out=baseline == "rloo")
            weight = (pair[0].sum() + pair[1].sum()).exp().detach()
            surrogate = surrogate + weight * sum((starts[i] - below[i]) * pair[i].sum() for i in range(2)) / 2
    surrogate.backward()
    # GRPO's mean contains the completion itself, which shrinks the gradient by (n - 1) / n.
    assert torch.allclose(theta.grad, truth * (0.5 if baseline == "grpo" else 1.0), atol=1e-6)


def test_a_small_discount_keeps_a_dense_penalty_local() -> None:
    """Gradient of the log-probabilities: with gamma 0.01 only the offending tokens (and a trace before them), with gamma 1 all before."""
    rewards = torch.zeros(1, 12, 1)
    rewards[0, 6:9, 0] = -1.0
    shares = {}
    for gamma in (0.01, 1.0):
        logps = torch.zeros(1, 12, requires_grad=True)
        advantages = discounted_returns(rewards, [gamma], torch.ones(1, 12))[..., 0]
        (advantages * logps).sum().backward()
        gradient = logps.grad[0].abs()
        assert float(gradient[9:].sum()) == 0  # what comes after is never blamed
        shares[gamma] = float(gradient[6:9].sum() / gradient.sum())
    assert shares[0.01] > 0.99 and shares[1.0] < 0.3
