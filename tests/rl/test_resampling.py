"""Dynamic sampling: groups without a difference are replaced, and everything sampled is counted."""

from __future__ import annotations

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from repro.rl.resampling import Completion, differs, resample
from tests.rl.small import train


def group(prompt: int, rewards: list[int]) -> list[Completion]:
    return [Completion({"prompt": prompt}, [1] * (prompt + 1), None, float(r)) for r in rewards]


rewards = st.lists(st.integers(0, 1), min_size=2, max_size=2)


@given(
    st.lists(rewards, min_size=1, max_size=6),
    st.lists(rewards, max_size=20),
    st.integers(0, 5),
    st.sampled_from([1, 2]),
)
def test_whatever_differs_takes_the_place_of_what_does_not(first, further, rounds: int, multiple: int) -> None:
    batch = [group(prompt, r) for prompt, r in enumerate(first)]
    calls: list[list[int]] = []

    def sample(prompts: list[int]) -> list[list[Completion]]:
        calls.append(prompts)
        return [group(100 + prompt, further[prompt]) for prompt in prompts]

    made = resample(batch, range(len(further)), rounds, sample, multiple)
    assert len(made.groups) == len(batch)
    assert made.rounds == len(calls) <= rounds
    assert all(len(prompts) % multiple == 0 for prompts in calls)
    asked = [prompt for prompts in calls for prompt in prompts]
    assert asked == list(range(len(asked)))  # in their order, none twice
    for before, after in zip(batch, made.groups, strict=True):
        assert after is before if differs(before) else (after is before or differs(after))
    left = [not differs(g) for g in made.groups]
    assert made.without_difference == sum(left) / len(left)
    # It ended because nothing was left to replace, or the rounds or the prompts were used up.
    assert not any(left) or len(calls) == rounds or len(further) - len(asked) < multiple
    everything = [*batch, *(group(100 + p, further[p]) for p in asked)]
    assert made.samples == sum(map(len, everything))
    assert made.tokens == sum(len(c.token_ids) for g in everything for c in g)


def test_a_run_keeps_its_batch_and_counts_what_it_sampled(start, tmp_path) -> None:
    """A reward of 0 or 1 by chance leaves half of the pairs without a difference."""
    settings = ["rl=grpo", "reward=random", "data.train_size=16"]
    plain = train(start, tmp_path / "plain", *settings, "rl.steps=6")
    dynamic = train(start, tmp_path / "dynamic", *settings, "rl.steps=6", "rl.dynamic_sampling=6")
    assert all("sampling/samples" not in row for row in plain)
    assert sum(row["sampling/rounds"] for row in dynamic) > 0
    assert all((row["sampling/samples"] > 4) == (row["sampling/rounds"] > 0) for row in dynamic)
    shares = [row["sampling/without_difference"] for row in dynamic]
    flat = [sum(row["advantage/std"] == 0 for row in rows) for rows in (plain, dynamic)]
    assert sum(shares) / len(shares) < 0.25 and flat[1] <= flat[0]
    longer = [row for row in dynamic if row["sampling/rounds"]]
    assert all(row["tokens"] > 4 * row["length/mean"] for row in longer)
    assert pq.read_table(tmp_path / "dynamic" / "rollouts.parquet").num_rows == 12
