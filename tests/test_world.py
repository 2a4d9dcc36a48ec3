"""The micro world: right answers, disjoint splits, determinism, and a tokenizer that loses nothing."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.data import chains, world
from repro.data.web import source_items


def brute_force_roots(problem: world.Problem) -> list[int]:
    """Independent of Horner: powers written out."""
    degree = problem.degree
    return [x for x in range(7) if sum(c * x ** (degree - i) for i, c in enumerate(problem.coefficients)) % 7 == problem.target]


def test_golden_problem() -> None:
    problem = world.Problem("root", (2, 1, 3, 6), 4, 3)  # 2*27 + 9 + 9 + 6 = 78 = 1 (mod 7)
    assert problem.prompt() == "find x : D2 C1 B3 A6 =4"
    assert world.evaluate(problem.coefficients, 3) == 1
    assert chains.attempt(problem, 3) == ["x3", "6", "C", "0", "0", "B", "3", "2", "A", "1", "=", "4"]


@pytest.mark.parametrize("split", world.SPLITS)
def test_every_question_has_one_answer(split: str) -> None:
    for problem in world.problems(split, 100):
        if problem.kind == "value":
            assert problem.target == sum(c * problem.x ** (problem.degree - i) for i, c in enumerate(problem.coefficients)) % 7
        else:
            assert brute_force_roots(problem) == [problem.x]
        if problem.kind == "choice":
            assert problem.options[world.OPTIONS.index(problem.answer)] == problem.x
            assert len(set(problem.options)) == 4


def test_train_and_test_are_disjoint_whatever_the_seeds() -> None:
    train = {p.coefficients[:-1] for seed in range(3) for p in world.problems("train", 300, seed)}
    test = {p.coefficients[:-1] for split, s in world.SPLITS.items() if s.test_side for p in world.problems(split, 100)}
    assert not train & test
    for mixture in (chains.SKILLS, *chains.MIXTURES.values()):
        prompts = [p for p, _ in islice(chains.corpus(mixture, 0), 500) if p.startswith(("find", "value"))]
        seen = {tuple(int(w[1]) for w in p.split() if w[0] in "ABCDEF" and len(w) == 2)[:-1] for p in prompts}
        assert not seen & test


def test_same_seed_same_problems_other_seed_others() -> None:
    assert world.problems("train", 50, 1) == world.problems("train", 50, 1)
    assert world.problems("train", 50, 1) != world.problems("train", 50, 2)
    assert world.problems("train", 80, 1)[:50] == world.problems("train", 50, 1)
    assert len({p.id for p in world.problems("train", 500)}) == 500


def test_asking_for_more_than_there_is_says_so() -> None:
    with pytest.raises(ValueError, match="distinct problems"):
        world.problems("theoremqa", 10**6)
    with pytest.raises(ValueError, match="choose one of train"):
        world.problems("math500", 1)


@given(st.integers(0, 10**6), st.sampled_from(chains.STYLES), st.sampled_from(["root", "choice", "value"]))
def test_chains_end_with_the_answer_and_their_steps_are_right(seed: int, style: str, kind: str) -> None:
    rng = random.Random(seed)
    problem = world.draw_problem(rng, kind, (3, 4, 5), test_side=bool(seed % 2))
    words = chains.chain(problem, style, rng).split()
    assert words[-3:] == ["\\boxed{", problem.answer, "}"]
    if style in ("long", "short") and kind != "value":
        last = max(i for i, w in enumerate(words) if w == "=")
        assert words[last + 1] == "0"  # the chain ends on a try that succeeded
        assert [w for w in words[:last] if w[0] == "x" and len(w) == 2][-1] == f"x{problem.x}"


def test_slips_are_caught() -> None:
    rng = random.Random(0)
    slipped = 0
    for _ in range(300):
        problem = world.draw_problem(rng, "root", (3,), test_side=False)
        words = chains.chain(problem, "long", rng).split()
        for i, word in enumerate(words):
            if word == "recheck" and words[i - 1] == "wait":
                slipped += 1
                tried = words[i + 1 : i + 4 + 3 * problem.degree]
                assert tried == chains.attempt(problem, int(tried[0][1]))
    assert slipped > 5


def test_documents_are_whole_words_of_the_vocabulary() -> None:
    from repro.models.load import encode_chat
    from repro.models.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    for mixture in (chains.SKILLS, *chains.MIXTURES.values()):
        for prompt, response in islice(chains.corpus(mixture, 0), 300):
            ids = encode_chat(tokenizer, prompt) + tokenizer(response, add_special_tokens=False)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids, skip_special_tokens=True) == f"{prompt} {response}"


def test_tokenizer_survives_saving(tmp_path) -> None:
    from transformers import AutoTokenizer

    from repro.models.load import encode_chat
    from repro.models.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert encode_chat(again, "find x : D2 C1 B3 A6 =4") == encode_chat(tokenizer, "find x : D2 C1 B3 A6 =4")
    assert again.eos_token == tokenizer.eos_token and again.pad_token == tokenizer.pad_token


def test_web_set_has_the_noise_it_says() -> None:
    from repro.data.web import NOISE, PROSE, source_items

    items = source_items("web", 3000, 0)
    assert items == source_items("web", 3000, 0) and items != source_items("web", 3000, 1)
    assert len({item.problem.id for item in items}) == 3000
    for name, share in NOISE.items():
        found = [item for item in items if item.noise == name]
        assert abs(len(found) / 3000 - share) < 0.03
        assert all((item.reference == item.problem.answer) == (name == "clean") for item in found)
        assert all((item.reference in PROSE) == (name == "prose") for item in found)
    assert {item.problem.kind for item in items} == {"root", "value", "choice"}
    assert not any(world.is_test_side(item.problem.coefficients) for item in items)
    assert all(item.reference == item.problem.answer for item in source_items("train", 100, 0))


def test_every_web_reference_can_be_rewarded() -> None:
    """Rules answer for each item of the unfiltered web set: prose equals nothing that a model boxes, whatever the question asks for."""
    from repro.verifiers import Verifier

    items = source_items("web", 300, seed=0)
    assert any(item.noise == "prose" and item.problem.task == "letter" for item in items)
    with Verifier() as verifier:
        verdicts = verifier.verify_batch(
            [item.reference for item in items],
            [f"so \\boxed{{ {item.problem.answer} }}" for item in items],
            task=[item.task for item in items],
        )
    assert [v.correct for v in verdicts] == [item.noise == "clean" for item in items]
