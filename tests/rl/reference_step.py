"""The RL step again, slowly and on its own: one row at a time, plain loops, no code of the trainer.

From the configuration, the models and the completions with their rewards it computes what the
trainer should have computed: log-probabilities, KL, returns, baselines, advantages, the loss of
every update and its gradients by policy and critic. Written from the paper (arXiv 2502.03373,
sections 4.5 and 4.6), PPO (arXiv 1707.06347), GAE (arXiv 1506.02438), GRPO (arXiv 2402.03300), RLOO
(arXiv 2402.14740), REINFORCE++ (arXiv 2501.03262), DAPO (arXiv 2503.14476) and Dr. GRPO (arXiv
2503.20783), not from the trainer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass
class Row:
    """A completion: token ids, whether it ended by EOS, and per discount its rewards by token."""

    prompt: list[int]
    completion: list[int]
    finished: bool
    streams: dict[float, list[float]]


def row_logps(model, row: Row, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (log-probabilities of the completion's tokens, entropies before each of them)."""
    ids = torch.tensor([row.prompt + row.completion])
    logits = model(input_ids=ids).logits[0, len(row.prompt) - 1 : -1] / temperature
    distribution = torch.log_softmax(logits, -1)
    entropies = -(distribution.exp() * distribution).sum(-1)
    return distribution[range(len(row.completion)), row.completion], entropies


def row_values(critic, row: Row) -> torch.Tensor:
    """Return the critic's value of the state before each token of the completion."""
    ids = torch.tensor([row.prompt + row.completion])
    hidden = critic.backbone(input_ids=ids).last_hidden_state[0, len(row.prompt) - 1 : -1]
    return critic.head(hidden)[:, 0]


def estimate(x: float, name: str) -> float:
    return {"k1": x, "k2": x * x / 2, "k3": math.exp(-x) - 1 + x}[name]


def advantages_of(rl: dict, rows: list[Row], policy, reference, critic):
    """Return (advantages, critic targets, values, old log-probabilities), each a list per row."""
    with torch.no_grad():
        old = [row_logps(policy, row, rl["temperature"])[0].tolist() for row in rows]
        ref = [row_logps(reference, row, rl["temperature"])[0].tolist() for row in rows]
        values = [row_values(critic, row).tolist() for row in rows] if critic else None
    in_reward = rl["kl"] > 0 and rl["kl_in"] == "reward"
    returns, streams_of = [], []
    for i, row in enumerate(rows):
        gammas = sorted(row.streams, reverse=True)
        clipped = {g: [max(-10.0, min(10.0, r)) for r in row.streams[g]] for g in gammas}
        penalty = [-rl["kl"] * estimate(a - b, rl["kl_estimator"] or "k1") for a, b in zip(old[i], ref[i], strict=True)]
        parts = [(g, clipped[g]) for g in gammas]
        if in_reward and rl["kl_split"]:
            parts = [(g, [r + p / len(gammas) for r, p in zip(stream, penalty, strict=True)]) for g, stream in parts]
        elif in_reward:
            parts.append((1.0, penalty))
        total = [0.0] * len(row.completion)
        for gamma, stream in parts:
            following = 0.0
            for t in reversed(range(len(stream))):
                following = stream[t] + gamma * following
                total[t] += following
        returns.append(total)
        streams_of.append(parts)
    targets = returns
    if rl["baseline"] == "ppo":
        advantages = []
        lam = rl["gae_lambda"]
        for i in range(len(rows)):
            if len(streams_of[i]) == 1:
                ((gamma, rewards),) = streams_of[i]
                advantage, made = 0.0, [0.0] * len(rewards)
                for t in reversed(range(len(rewards))):
                    after = values[i][t + 1] if t + 1 < len(rewards) else 0.0
                    delta = rewards[t] + gamma * after - values[i][t]
                    advantage = delta + gamma * lam * advantage
                    made[t] = advantage
                advantages.append(made)
            else:
                advantages.append([g - v for g, v in zip(returns[i], values[i], strict=True)])
        targets = [[a + v for a, v in zip(made, value, strict=True)] for made, value in zip(advantages, values, strict=True)]
    elif rl["baseline"] == "reinforce_pp":
        advantages = [list(total) for total in returns]
    else:
        advantages = []
        size = rl["group_size"]
        for i in range(len(rows)):
            group = range(i // size * size, i // size * size + size)
            among = [j for j in group if rl["truncated_in_statistics"] or rows[j].finished]
            scores = [returns[j][0] for j in among]
            others = [returns[j][0] for j in among if j != i] if rl["baseline"] == "rloo" else scores
            baseline = sum(others) / len(others) if others else returns[i][0]
            scale = 1.0
            if rl["scale_rewards"]:
                mean = sum(scores) / len(scores) if scores else 0.0
                squares = sum((s - mean) ** 2 for s in scores)
                scale = math.sqrt(squares / max(1, len(scores) - 1)) + 1e-4
            advantages.append([(g - baseline) / scale for g in returns[i]])
    if rl["whiten"]:
        among = [a for row, made in zip(rows, advantages, strict=True) if rl["truncated_in_statistics"] or row.finished for a in made]
        mean = sum(among) / max(1, len(among))
        variance = sum((a - mean) ** 2 for a in among) / max(1, len(among))
        advantages = [[(a - mean) / math.sqrt(max(variance, 1e-8)) for a in made] for made in advantages]
    return advantages, targets, values, old, ref


def policy_loss(rl: dict, rows: list[Row], chosen: list[int], policy, signal, total_tokens: int, weights=None):
    """Return the loss of one update over the minibatch ``chosen``.

    ``weights``: per row and token, of an importance-sampling correction.

    ``token_mean`` divides by the tokens of the whole rollout over its minibatches, so that every
    token of a rollout weighs the same in whichever minibatch it lies.
    """
    advantages, _, _, old, ref = signal
    high = rl["clip"] if rl["clip_high"] is None else rl["clip_high"]
    sums, counts = [], []
    for i in chosen:
        row = rows[i]
        if rl["mask_truncated"] and not row.finished:
            sums.append(torch.zeros(()))
            counts.append(0)
            continue
        logps, entropies = row_logps(policy, row, rl["temperature"])
        made, before = torch.tensor(advantages[i]), torch.tensor(old[i])
        ratio = torch.exp(logps - before)
        terms = -torch.min(ratio * made, ratio.clamp(1 - rl["clip"], 1 + high) * made)
        if weights is not None:
            terms = terms * torch.tensor(weights[i])
        if rl["kl"] > 0 and rl["kl_in"] == "loss":
            x = logps - torch.tensor(ref[i])
            terms = terms + rl["kl"] * (torch.exp(-x) - 1 + x)
        sums.append((terms - rl["entropy_coefficient"] * entropies).sum())
        counts.append(len(terms))
    if rl["loss_aggregation"] == "per_sample_mean":
        return sum(s / max(1, c) for s, c in zip(sums, counts, strict=True)) / len(chosen)
    if rl["loss_aggregation"] == "constant":
        return sum(sums) / (len(chosen) * rl["max_completion_length"])
    return sum(sums) / (max(1, total_tokens) / rl["minibatches"])


def critic_loss(rl: dict, rows: list[Row], chosen: list[int], critic, signal):
    """Return PPO's clipped value loss over the minibatch; truncated completions count."""
    _, targets, values, _, _ = signal
    losses = []
    for i in chosen:
        now, target, before = row_values(critic, rows[i]), *map(torch.tensor, (targets[i], values[i]))
        errors = (now - target) ** 2
        if rl["value_clip"] is not None:
            near = before + (now - before).clamp(-rl["value_clip"], rl["value_clip"])
            errors = torch.maximum(errors, (near - target) ** 2)
        losses.append(errors.mean())
    return 0.5 * torch.stack(losses).mean()
