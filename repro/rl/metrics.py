"""What is measured of a rollout batch, computed over the batches of all processes together. The one place where the names are defined.

accuracy             share of completions that the verifier accepts
truncated            share without EOS; exceed: share within the reward's margin of the window (the paper's exceed rate)
no_answer            share in which no answer was found
tokens               generated in the step, by all processes
sampling/samples     completions sampled in the step, with those that dynamic sampling threw away; tokens then counts all of them
sampling/rounds, sampling/without_difference      of dynamic sampling: further rounds, and share of groups whose rewards still do not differ
length/mean, median, p90, max           tokens of a completion, EOS included
length/finished, correct, wrong         mean over those completions; left out where there are none
length/finished_over_all                mean of length x finished over all completions: the paper code's definition (D-17)
repetition/40gram    share of tokens that lie in a 40-gram seen before in the same completion
keyword/<word>       occurrences a completion of wait, recheck, alternatively, retry, however (section 6.1);
                     keyword/<word>_per_1k: per 1,000 tokens
branching            occurrences a completion of "alternatively" followed by a comma (sections 4.5, 4.6); branching_per_1k. The
                     micro world writes no commas: there keyword/alternatively takes its place
reward/<term>        mean over completions of a reward term (summed over tokens); reward: of their sum
kl, kl/k1            k3 and k1 estimates of the KL to the reference, mean a token; where there is a reference
critic/explained_variance, critic/loss, critic/grad_norm, critic/learning_rate      PPO
advantage/std        over tokens, before whitening
sampler/logp_difference, sampler/logp_difference_max      |sampler's - trainer's log-probability| of the sampled tokens
sampler/beyond_cap   share of tokens (or chains, rl.vllm.correction=sequence) whose importance weight is above the cap
loss, grad_norm, entropy, learning_rate, clip_ratio/*     by TRL, mean over the step's updates
step_time, tokens_per_second                              wall clock
gpu_gib              most that tensors have held of the first process's GPU since the stage (or its resumed part) began, GiB; on a GPU
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from repro.rewards import dense_repetition

WORDS = ("wait", "recheck", "alternatively", "retry", "however")
_PATTERNS = {word: re.compile(rf"\b{word}\b", re.IGNORECASE) for word in WORDS}
_BRANCH = re.compile(r"\balternatively\s*,", re.IGNORECASE)
NGRAM = 40


@dataclass(frozen=True)
class Rollouts:
    """Per-completion facts of one rollout batch; plain arrays, so that processes can exchange them.

    lengths int, correct, answered, finished bool ``[batch]``; repeated: tokens in repeated 40-grams; words: occurrences ``[batch, 6]``
    (the five keywords, then the branching phrase); rewards: term -> summed reward ``[batch]``.
    """

    lengths: np.ndarray
    correct: np.ndarray
    answered: np.ndarray
    finished: np.ndarray
    repeated: np.ndarray
    words: np.ndarray
    rewards: dict[str, np.ndarray]


def facts(batch, finished: np.ndarray, rewards: dict[str, Any]) -> Rollouts:
    """Facts of a ``RewardBatch``; ``rewards``: term -> array ``[batch]``, or for a dense term a list of per-token arrays."""
    repeated = [int(np.count_nonzero(r)) for r in dense_repetition(batch.token_ids, ngram_size=NGRAM, penalty=-1.0)]
    words = [[*(len(_PATTERNS[w].findall(text)) for w in WORDS), len(_BRANCH.findall(text))] for text in batch.texts]
    return Rollouts(
        lengths=np.asarray(batch.lengths),
        correct=np.asarray(batch.correct),
        answered=np.asarray(batch.answered),
        finished=np.asarray(finished, dtype=bool),
        repeated=np.array(repeated, dtype=np.int64),
        words=np.array(words, dtype=np.int64).reshape(len(batch.texts), len(WORDS) + 1),
        rewards={name: np.array([np.sum(value) for value in values], dtype=np.float64) for name, values in rewards.items()},
    )


def join(parts: list[Rollouts]) -> Rollouts:
    """The batches of all processes as one."""
    names = ("lengths", "correct", "answered", "finished", "repeated", "words")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    rewards = {term: np.concatenate([part.rewards[term] for part in parts]) for term in parts[0].rewards}
    return Rollouts(**joined, rewards=rewards)


def measure(r: Rollouts, *, max_length: int, margin: int) -> dict[str, float]:
    """The metrics of a batch that need no model. A length over no completion at all is left out rather than made up."""
    total = int(r.lengths.sum())
    found = {
        "accuracy": r.correct.mean(),
        "truncated": 1 - r.finished.mean(),
        "exceed": (r.lengths + margin >= max_length).mean(),
        "no_answer": 1 - r.answered.mean(),
        "tokens": total,
        "length/mean": r.lengths.mean(),
        "length/median": np.median(r.lengths),
        "length/p90": np.quantile(r.lengths, 0.9),
        "length/max": r.lengths.max(),
        "length/finished_over_all": (r.lengths * r.finished).mean(),
        "repetition/40gram": r.repeated.sum() / total,
    }
    for name, chosen in (("correct", r.correct), ("wrong", ~r.correct), ("finished", r.finished)):
        if chosen.any():
            found[f"length/{name}"] = r.lengths[chosen].mean()
    for index, name in enumerate([*(f"keyword/{word}" for word in WORDS), "branching"]):
        found[name] = r.words[:, index].mean()
        found[f"{name}_per_1k"] = 1000 * r.words[:, index].sum() / total
    for term, values in r.rewards.items():
        found[f"reward/{term}"] = values.mean()
    return {name: float(value) for name, value in found.items()}
