"""Repetition penalties: golden values of the paper's code, equality with the definition on any stream, hash collisions, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.rewards import dense_repetition, repetition, sequence_repetition


def by_definition(ids, ngram_size, penalty, only_start):
    """The paper's algorithm, token by token (section 3.4 of the fact sheet)."""
    reward, seen, end = [0.0] * len(ids), set(), -1
    for start in range(len(ids) - ngram_size + 1):
        gram = tuple(ids[start : start + ngram_size])
        if gram in seen:
            if not only_start or start > end:
                for position in range(start, start + ngram_size):
                    reward[position] = penalty
            end = start + ngram_size - (only_start != "upstream")
        seen.add(gram)
    return reward


def marked(ids, **options):
    (reward,) = dense_repetition([ids], ngram_size=3, penalty=-1.0, **options)
    assert set(reward) <= {0.0, -1.0}
    return np.flatnonzero(reward).tolist()


@pytest.mark.parametrize(
    ("ids", "everywhere", "only_start"),
    [
        ([1, 2, 3, 9, 1, 2, 3], [4, 5, 6], [4, 5, 6]),
        ([1, 2, 3, 4] * 3, list(range(4, 12)), [4, 5, 6]),
        ([7] * 8, list(range(1, 8)), [1, 2, 3]),
    ],
)
def test_golden_values_of_the_paper(ids, everywhere, only_start):
    assert marked(ids) == everywhere
    assert marked(ids, only_start="upstream") == only_start
    assert marked(ids, only_start=True) == only_start


def test_upstream_off_by_one_skips_a_run_that_starts_exactly_n_after_the_one_before():
    ids = [1, 2, 3, 9, 4, 5, 6, 8, 1, 2, 3, 4, 5, 6]
    assert marked(ids) == [8, 9, 10, 11, 12, 13]
    assert marked(ids, only_start=True) == [8, 9, 10, 11, 12, 13]
    assert marked(ids, only_start="upstream") == [8, 9, 10]


def test_defaults_are_the_papers():
    phrase = list(range(40))
    first, second = dense_repetition([[*phrase, 99, *phrase], [*phrase[:39], 99, *phrase[:39]]])
    assert first.tolist() == [0.0] * 41 + [-0.05] * 40
    assert second.tolist() == [0.0] * 79
    assert first.dtype == np.float64


streams = st.integers(1, 4).flatmap(lambda size: st.lists(st.integers(0, size), max_size=120))


@settings(max_examples=400)
@given(st.lists(streams, max_size=6), st.integers(1, 45), st.sampled_from([False, True, "upstream"]))
def test_equals_the_definition_on_small_alphabets(batch, ngram_size, only_start):
    values = dense_repetition(batch, ngram_size=ngram_size, penalty=-0.05, only_start=only_start)
    assert [value.tolist() for value in values] == [by_definition(ids, ngram_size, -0.05, only_start) for ids in batch]


@settings(max_examples=100)
@given(
    pieces=st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30), min_size=1, max_size=4),
    order=st.lists(st.integers(0, 3), max_size=12),
    ngram_size=st.integers(1, 40),
)
def test_equals_the_definition_on_repeated_pieces_of_any_ids(pieces, order, ngram_size):
    ids = [token for index in order for token in pieces[index % len(pieces)]]
    (value,) = dense_repetition([ids], ngram_size=ngram_size)
    assert value.tolist() == by_definition(ids, ngram_size, -0.05, False)


def test_equals_the_definition_on_long_streams():
    generator = np.random.default_rng(0)
    text = generator.integers(0, 32000, 3000)
    batch = [
        text,
        np.concatenate([text[:700], text[100:400], text]),
        np.tile(text[:57], 40),
        generator.integers(0, 2, 4096),
        np.full(4096, 7),
    ]
    for ngram_size in (1, 2, 12, 40, 41, 2000):
        for ids, value in zip(batch, dense_repetition(batch, ngram_size=ngram_size), strict=True):
            assert value.tolist() == by_definition(ids.tolist(), ngram_size, -0.05, False)


def colliding_streams():
    """Streams whose different n-grams share a fingerprint: token differences that vanish modulo 2**64, or that the key drops."""
    generator = np.random.default_rng(1)
    high = generator.integers(0, 2, 600) << 62
    return [high, np.tile(generator.integers(0, 4, 50) << 60, 8), generator.integers(0, 2, 500) << 61, [0, 2**62] * 100 + [2**62, 0] * 100]


@pytest.mark.parametrize("ngram_size", [1, 2, 5, 40])
def test_collisions_cost_time_but_never_change_the_result(ngram_size, monkeypatch):
    redone = []
    by_set = repetition._repeated_starts_by_set
    monkeypatch.setattr(repetition, "_repeated_starts_by_set", lambda *arguments: redone.append(1) or by_set(*arguments))
    for ids in colliding_streams():
        (value,) = dense_repetition([ids], ngram_size=ngram_size)
        assert value.tolist() == by_definition([int(token) for token in ids], ngram_size, -0.05, False)
    assert redone or ngram_size < 5


@settings(max_examples=150)
@given(streams, st.integers(1, 10), st.sampled_from([1, 2**63 + 1, 3]))
def test_exact_even_with_a_useless_fingerprint(ids, ngram_size, base):
    # Base and weight 1: the fingerprint is the sum of the tokens, so every reordering collides, and most of it is dropped from the key.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repetition, "_BASE", base)
        patch.setattr(repetition, "_WEIGHT", 1)
        (value,) = dense_repetition([ids], ngram_size=ngram_size)
    assert value.tolist() == by_definition(ids, ngram_size, -0.05, False)


def test_ordinary_streams_do_not_collide(monkeypatch):
    monkeypatch.setattr(repetition, "_repeated_starts_by_set", None)  # calling it would raise
    generator = np.random.default_rng(2)
    for _ in range(50):
        ids = generator.integers(0, 32000, 2000)
        ids[1500:] = np.tile(ids[:50], 10)
        ids[1200] = ids[1201]
        dense_repetition([ids, generator.integers(0, 3, 2000), np.full(500, 5)])


@pytest.mark.parametrize("ids", [[], [1], list(range(39)), [5] * 39, np.array([], dtype=np.int64), ()])
def test_shorter_than_an_ngram_is_all_zeros(ids):
    (value,) = dense_repetition([ids])
    assert value.tolist() == [0.0] * len(ids)


def test_one_ngram_cannot_repeat():
    assert dense_repetition([[5] * 40])[0].tolist() == [0.0] * 40
    assert dense_repetition([[5] * 41])[0].tolist() == [0.0] + [-0.05] * 40


def test_empty_batch_and_every_kind_of_sequence():
    import torch

    assert dense_repetition([]) == []
    ids = [1, 2, 1, 2]
    kinds = [
        ids,
        tuple(ids),
        np.array(ids),
        np.array(ids, dtype=np.uint16),
        np.array([ids, ids]).T[:, 0],
        torch.tensor(ids),
        np.array(ids * 2)[::1][:4],
    ]
    for value in dense_repetition(kinds, ngram_size=2, penalty=-1):
        assert value.tolist() == [0, 0, -1, -1]
    assert [value.tolist() for value in dense_repetition(np.array([ids, ids]), ngram_size=2, penalty=-1)] == [[0, 0, -1, -1]] * 2


def test_results_do_not_share_memory_with_the_input_or_each_other():
    ids = np.array([7] * 50)
    first, second = dense_repetition([ids, ids])
    first[:] = 1
    assert second[0] == 0
    assert (ids == 7).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": 0.0}, "penalty=0.0: must be below 0"),
        ({"penalty": 0.05}, "penalty=0.05: must be below 0"),
        ({"penalty": math.nan}, "penalty=nan: must be a finite number"),
        ({"penalty": -math.inf}, "penalty=-inf: must be a finite number"),
        ({"ngram_size": 0}, "ngram_size=0: must be a whole number, at least 1"),
        ({"ngram_size": 2.5}, "ngram_size=2.5"),
        ({"only_start": "fixed"}, "only_start='fixed': must be true, false or 'upstream'"),
        ({"only_start": 1}, "only_start=1"),
    ],
)
def test_bad_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        dense_repetition([[1, 2, 3]], **options)


@pytest.mark.parametrize(
    "batch", [[[1], [1.5, 2]], [[1], ["a"]], [[1], [2**63]], [[1], [[1, 2]]], [[1], np.array([1.0])], [[1], 3], [[1], None]]
)
def test_bad_ids(batch):
    with pytest.raises(ValueError, match=r"token_ids\[1\]: must be"):
        dense_repetition(batch)


def test_sequence_repetition():
    texts = ["a b a b a b", "A b a B", "a b c", "", "word", "a a a a a"]
    values = sequence_repetition(texts, ngram_size=2, max_penalty=-1)
    assert values == pytest.approx([-(1 - 2 / 5), -(1 - 2 / 3), 0, 0, 0, -0.75])
    assert sequence_repetition([], ngram_size=2).shape == (0,)
    assert not np.signbit(values[2])


def test_sequence_repetition_equals_trl_where_words_are_tokens():
    from trl.rewards import get_repetition_penalty_reward

    batch = np.random.default_rng(0).integers(0, 3, (20, 30)).tolist()
    texts = [" ".join(map(str, ids)) for ids in batch]
    assert sequence_repetition(texts, ngram_size=3) == pytest.approx(get_repetition_penalty_reward()(batch))


@pytest.mark.parametrize("options", [{"max_penalty": 0.0}, {"max_penalty": 1.0}, {"max_penalty": math.nan}, {"ngram_size": 0}])
def test_sequence_repetition_refuses(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        sequence_repetition(["a"], **options)
