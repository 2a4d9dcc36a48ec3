"""The RL trainer: TRL's ``GRPOTrainer`` for rollouts, logging and distribution, with our own training signal.

Differs from TRL in four things. Rewards are streams, per token and each with its own discount, so advantages are per token. The baseline is a
choice: a critic (ppo), the group's mean (grpo), the group's others (rloo), nothing but whitening (reinforce_pp). KL may stand in the reward,
as in the paper. And the native sampler draws each completion from random numbers of its own, so that rollouts do not depend on how many
processes or micro-batches there are. Run as part of a cell: ``python -m repro rl=ppo reward=cosine_repetition``.
"""

from __future__ import annotations

import copy
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from trl import GRPOTrainer
from trl.trainer import grpo_trainer

from repro.models import adapter, sampler
from repro.rl import resampling, returns, rows, spread
from repro.rl.budget import Budget
from repro.rl.critic import CriticTrainer
from repro.rl.metrics import facts, join, measure
from repro.rl.prompt_order import PromptOrder, further_prompts
from repro.rl.sampler_gap import share_beyond_cap
from repro.rl.scoring import Scorer, stack_streams

grpo_trainer.prepare_fsdp = spread.frozen  # of the reference; why is said there


@dataclass(frozen=True)
class Signal:
    """How rewards become advantages; the names are the configuration's (``repro.config.RLConfig``)."""

    baseline: str
    gae_lambda: float
    whiten: bool
    scale_rewards: bool
    reward_clip: float | None
    kl: float
    kl_in: str
    kl_split: bool
    kl_estimator: str | None
    mask_truncated: bool
    truncated_in_statistics: bool
    entropy_coefficient: float
    loss_aggregation: str


class StreamTrainer(GRPOTrainer):
    """``GRPOTrainer`` with per-token, multi-discount advantages.

    Args:
        scorer: the reward; it also measures.
        signal: how rewards become advantages.
        critic: for ``baseline="ppo"``, else None.
        updates: optimizer steps a rollout batch (epochs x minibatches).
        engine: ``native`` samples with ``repro.models.sampler``; any other goes TRL's way.
        critic_warmup: rollout steps in which only the critic learns.
        budget: what ends the run before its last step, or None; warmup_share is then the share of it in which only the critic learns, and
            lr_shares (warm-up, least) make the learning rate.
        resampling_rounds: the most further rounds of dynamic sampling (``repro.rl.resampling``).
        sample_keys: prefix of the random numbers of a rollout.
    """

    def __init__(
        self,
        *,
        scorer: Scorer,
        signal: Signal,
        critic: CriticTrainer | None,
        updates: int,
        engine: str,
        critic_warmup: int = 0,
        budget: Budget | None = None,
        resampling_rounds: int = 0,
        warmup_share: float = 0.0,
        lr_shares: tuple[float, float] = (0.0, 1.0),
        sample_keys: str = "0",
        **settings: Any,
    ) -> None:
        self.budget, self.warmup_share, self.lr_shares = budget, warmup_share, lr_shares
        super().__init__(reward_funcs=scorer, **settings)
        self.scorer, self.signal, self.critic, self.updates = scorer, signal, critic, updates
        self.native, self.critic_warmup, self.sample_keys = engine == "native", critic_warmup, sample_keys
        self.samples: list[dict[str, Any]] = []
        self.resampling_rounds = resampling_rounds
        self._resampled: resampling.Resampled | None = None
        self._ready: tuple[list[list[int]], list[list[float]] | None] | None = None
        self._logps: Tensor | None = None
        # On one CPU process the critic goes backward beside the policy, in a thread of its own: the two share nothing, and torch computes
        # without Python's lock. Not with a budget, of which the critic's learning rate reads how much is used.
        alone = self.accelerator.num_processes == 1 and self.accelerator.device.type == "cpu" and budget is None
        self._beside = ThreadPoolExecutor(1) if alone else None
        self._learning: Future[dict[str, float]] | None = None
        if adapter.is_adapted(self.model):
            adapter.keep_base_exact(self.model)
        if self.native and not sampler.supported(adapter.base_of(self.accelerator.unwrap_model(self.model))):
            raise ValueError(f"rl.engine=native does not know {self.model.config.model_type}: choose rl.engine=transformers")

    @property
    def rollout(self) -> int:
        """Number of the rollout batch, from 0."""
        return self.state.global_step // self.updates

    def rate(self, _: int) -> float:
        """Factor of the learning rates in a run with a budget."""
        return self.budget.rate(*self.lr_shares)

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        if self.budget is None:
            return super().create_scheduler(num_training_steps, optimizer)
        rate = lambda step: self.rate(step)  # noqa: E731, PLW0108 - state_dict leaves out functions only
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, rate)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    @property
    def critic_alone(self) -> bool:
        """Whether only the critic learns from this rollout."""
        if self.budget is not None:
            return self._rollout_share < self.warmup_share
        return self.rollout < self.critic_warmup

    # Rollouts

    def _get_train_sampler(self, dataset=None):
        return PromptOrder(
            len(self.train_dataset if dataset is None else dataset),
            group_size=self.num_generations,
            per_rollout=self.args.generation_batch_size // self.num_generations,
            repeats=self.num_iterations * self.args.steps_per_generation,
            seed=self.args.seed,
            shuffle=self.shuffle_dataset,
        )

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        if self._ready is not None:
            ready, self._ready = self._ready, None
            return ready
        if not self.native:
            if self.is_fsdp_enabled:  # accelerate does not say so, and ``generate`` would end while other processes wait for weights
                self.model._is_fsdp_managed_module = True
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, num_generations, has_tool_images)
        first = self.accelerator.process_index * len(prompt_ids)
        keys = [
            f"{self.sample_keys}/{self.rollout}/{question}/{(first + i) % self.num_generations}"
            for i, question in enumerate(self._questions)
        ]
        with self.accelerator.autocast(), spread.whole(self.accelerator.unwrap_model(self.model)) as model:
            return sampler.sample(
                adapter.base_of(model),
                prompt_ids,
                sampler.uniforms(keys, self.max_completion_length),
                stops=self.eos_token_ids,
                max_tokens=self.max_completion_length,
                temperature=self.temperature,
                top_p=self.top_p,
            )

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, **settings):
        """TRL's, over the parts of ``repro.rl.rows``; 0 where there is no token."""
        plain = super()._get_per_token_logps_and_entropies
        cut = rows.parts(input_ids, attention_mask, logits_to_keep, min(rows.ROWS, batch_size or rows.ROWS))
        found = [plain(model, part.ids, part.attention, part.kept, **settings) for part in cut]
        logps, entropies, aux = (None if values[0] is None else list(values) for values in zip(*found, strict=True))
        joined = rows.join(cut, logps)
        self._logps = joined.detach()  # TRL keeps them to itself
        self._entropies = entropies and rows.join(cut, entropies)
        return joined, self._entropies, aux and torch.stack(aux).mean()

    def _numbered(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of this process with the number of each sample of its question.

        A question comes back in a later pass; the numbers of its samples, and so their noise, do not.
        """
        first, past = self.accelerator.process_index * len(rows), self.rollout * self.num_generations
        return [{**row, "sample_index": past + (first + i) % self.num_generations} for i, row in enumerate(rows)]

    def _sample_groups(self, rows: list[dict[str, Any]]) -> list[resampling.Group]:
        """Return the groups of all processes, sampled and scored; ``rows``: numbered, of this process."""
        self._questions = [row["question_id"] for row in rows]
        prompts = [row["prompt"] for row in rows]
        prompt_ids, images, fields = self._tokenize_prompts(copy.deepcopy(prompts))
        ids, logps = self._generate_single_turn(prompt_ids, images, fields, self.num_generations)
        columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
        rewards = self.scorer(completion_ids=ids, prompts=prompts, **columns)
        sampled = zip(rows, ids, logps or [None] * len(ids), rewards, strict=True)
        flat = gather_object([resampling.Completion(*completion) for completion in sampled])
        return [flat[i : i + self.num_generations] for i in range(0, len(flat), self.num_generations)]

    def _with_differences(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of this process after dynamic sampling; their completions are kept for TRL."""
        groups = self._sample_groups(rows)
        questions = self.train_dataset["question_id"]
        batch = {group[0].row["question_id"] for group in groups}
        taken = {index for index, question in enumerate(questions) if question in batch}
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes

        def sample(prompts: list[int]) -> list[resampling.Group]:
            share = len(prompts) // processes
            mine = [index for index in prompts[rank * share : (rank + 1) * share] for _ in range(self.num_generations)]
            return self._sample_groups(self._numbered([self.train_dataset[index] for index in mine]))

        further = further_prompts(len(questions), self.args.seed, self.rollout, taken)
        self._resampled = resampling.resample(groups, further, self.resampling_rounds, sample, processes)
        flat = [completion for group in self._resampled.groups for completion in group]
        mine = flat[rank * len(rows) : (rank + 1) * len(rows)]
        logps = None if mine[0].logps is None else [completion.logps for completion in mine]
        self._ready = [completion.token_ids for completion in mine], logps
        return [completion.row for completion in mine]

    def _generate_and_score_completions(self, inputs):
        inputs = self._numbered(inputs)
        if self.resampling_rounds:
            inputs = self._with_differences(inputs)
        self._questions = [row["question_id"] for row in inputs]
        out = super()._generate_and_score_completions(inputs)
        mask = torch.arange(out["completion_ids"].shape[1], device=out["completion_ids"].device) < torch.as_tensor(
            self.scorer.last.batch.lengths, device=out["completion_ids"].device
        ).unsqueeze(1)
        with torch.no_grad():
            self._add_advantages(out, mask)
        if self.signal.mask_truncated:
            self._mask_truncated(out, mask)
        self._measure(mask)
        return out

    # Training signal

    def _finished(self, device) -> Tensor:
        """Return which completions of this process ended by themselves, bool ``[batch]``."""
        return torch.as_tensor(self.scorer.last.finished, device=device)

    def _mask_truncated(self, out: dict[str, Tensor], mask: Tensor) -> None:
        """Leave truncated completions out of the loss, and of nothing else.

        TRL's own switch masks them before the forward passes, whose log-probabilities, and so the
        KL, are then 0 for them. What it calls a tool mask acts in the loss only.
        """
        kept = mask & self._finished(mask.device).unsqueeze(1)
        out["tool_mask"] = kept.to(out["completion_mask"].dtype)
        out["num_items_in_batch"] = self._sum(kept.sum())

    def _sum(self, x: Tensor) -> Tensor:
        return self.accelerator.reduce(x, reduction="sum")

    def _log(self, **values: float) -> None:
        for name, value in values.items():
            self._metrics["train"][name.replace("__", "/")].append(float(value))

    def _log_critic(self, found: dict[str, float]) -> None:
        loss = self._sum(torch.tensor([found["critic/loss"], 1.0], dtype=torch.float64, device=self.accelerator.device))
        found["critic/loss"] = float(loss[0] / loss[1])
        self._log(**{name.replace("/", "__"): value for name, value in found.items()})

    def _join(self, out: dict[str, Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Prompt and completion ids, and their attention mask, whatever the loss masks."""
        ids = torch.cat([out["prompt_ids"], out["completion_ids"]], 1)
        return ids, torch.cat([out["prompt_mask"], mask.to(out["prompt_mask"].dtype)], 1)

    def _kl_of_tokens(self, out: dict[str, Tensor], mask: Tensor) -> Tensor:
        """Return the KL to the reference per token, ``[batch, time]``; logs k1 and k3."""
        old = out.get("old_per_token_logps")
        if old is None and self.native:  # it samples with the trainer's weights and precision: equal up to rounding
            old = out["sampling_per_token_logps"]
        if old is None:
            ids, attention = self._join(out, mask)
            chunk = self.args.per_device_train_batch_size
            old, _, _ = self._get_per_token_logps_and_entropies(self.model, ids, attention, mask.shape[1], batch_size=chunk)
        difference = (old - out["ref_per_token_logps"]) * mask
        k3 = returns.kl_estimate(difference, "k3") * mask
        totals = self._sum(torch.stack([difference.sum(), k3.sum(), mask.sum()]).double())
        self._log(kl__k1=totals[0] / totals[2], kl=totals[1] / totals[2])
        return returns.kl_estimate(difference, self.signal.kl_estimator or "k1") * mask

    def _add_advantages(self, out: dict[str, Tensor], mask: Tensor) -> None:
        signal = self.signal
        counted = torch.ones_like(mask[:, 0])
        if not signal.truncated_in_statistics:
            counted = self._finished(mask.device)
        streams, gammas = stack_streams(self.scorer.last, mask.shape[1], mask.device)
        if signal.reward_clip is not None:
            streams = streams.clamp(-signal.reward_clip, signal.reward_clip)
        if "ref_per_token_logps" in out and signal.kl_in == "reward":
            penalty = -signal.kl * self._kl_of_tokens(out, mask).unsqueeze(-1)
            if signal.kl and signal.kl_split:
                streams = streams + penalty / len(gammas)
            elif signal.kl:
                streams, gammas = torch.cat([streams, penalty], -1), [*gammas, 1.0]
        total = returns.discounted_returns(streams, gammas, mask).sum(-1)
        if signal.baseline == "ppo":
            ids, attention = self._join(out, mask)
            # With one update a rollout the critic learns right here: nothing else would change it before its turn came, and the forward
            # pass is needed anyway.
            at_once = self.updates == 1 and self.args.gradient_accumulation_steps == 1
            with torch.set_grad_enabled(at_once):
                graph = self.critic.values(ids, attention, mask, min(rows.ROWS, self.args.per_device_train_batch_size))
            values = graph.detach()
            if len(gammas) == 1:
                advantages, target = returns.gae(streams[..., 0] * mask, values, gammas[0], signal.gae_lambda, mask)
            else:
                advantages, target = total - values, total
            out["values"], out["returns"] = values, target
            self._log(critic__explained_variance=returns.explained_variance(target, values, mask, self._sum))
            if at_once:
                if self._beside is None:
                    with torch.enable_grad():
                        self._log_critic(self.critic.learn(graph, values, target, mask))
                else:
                    self._learning = self._beside.submit(self.critic.learn, graph, values, target, mask)
        elif signal.baseline in ("grpo", "rloo"):
            size, first = self.num_generations, self.accelerator.process_index * len(total)
            start = self.accelerator.gather(total[:, 0].contiguous())  # a group may lie across processes
            among = None if signal.truncated_in_statistics else self.accelerator.gather(counted)
            baseline = returns.group_baseline(start, size, leave_one_out=signal.baseline == "rloo", counted=among)
            advantages = (total - baseline[first : first + len(total)].unsqueeze(1)) * mask
            if signal.scale_rewards:
                advantages = advantages / returns.group_scale(start, size, among)[first : first + len(total)].unsqueeze(1)
        else:
            advantages = total
        exact = advantages.double() * mask
        moments = self._sum(torch.stack([exact.sum(), (exact**2).sum(), mask.sum().double()]))
        self._log(advantage__std=(moments[1] / moments[2] - (moments[0] / moments[2]) ** 2).clamp(min=0).sqrt())
        if signal.whiten:
            advantages = returns.whiten(advantages, mask & counted.unsqueeze(1), self._sum)
        out["advantages"] = advantages
        out["token_mask"] = mask

    def training_step(self, *args, **settings):
        loss = super().training_step(*args, **settings)
        if self._learning is not None:
            since = time.perf_counter()
            self._log_critic(self._learning.result())
            self._learning = None
            self._metrics["train"]["step_time"][-1] += time.perf_counter() - since  # TRL looked at the clock before
        return loss

    def _compute_loss(self, model, inputs):
        beta = self.beta
        if self.signal.kl_in == "reward":
            self.beta = 0.0  # the reference was needed for the reward; TRL must not add it to the loss
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            self.beta = beta
        if self.signal.entropy_coefficient:
            loss = loss - self.signal.entropy_coefficient * self._entropy_bonus(inputs)
        if "sampling_per_token_logps" in inputs:
            trained, sampled = inputs.get("old_per_token_logps", self._logps), inputs["sampling_per_token_logps"]
            # vLLM leaves out a log-probability that is not a number.
            difference = torch.nan_to_num((trained - sampled).abs()) * inputs["token_mask"]
            if self.use_vllm and self.vllm_importance_sampling_correction:
                self._log_beyond_cap(trained, sampled, inputs["token_mask"])
            totals = self._sum(torch.stack([difference.sum(), inputs["token_mask"].sum()]).double())
            worst = self.accelerator.gather(difference.max()[None]).max()
            self._log(sampler__logp_difference=totals[0] / totals[1], sampler__logp_difference_max=worst)
        if self.critic is not None:
            accumulation = self.current_gradient_accumulation_steps
            if self.updates > 1 or accumulation > 1:
                mask = inputs["token_mask"]
                values = self.critic.values(*self._join(inputs, mask), mask)
                self._log_critic(self.critic.learn(values, inputs["values"], inputs["returns"], mask, accumulation))
            if self.critic_alone:
                loss = loss * 0.0
        return loss

    def _log_beyond_cap(self, trained: Tensor, sampled: Tensor, mask: Tensor) -> None:
        """Log which share of the importance weights is above the cap."""
        level = self.vllm_importance_sampling_mode.partition("_")[0]
        counts = share_beyond_cap(trained, sampled, mask, level, self.vllm_importance_sampling_clip_max)
        above, weights = self._sum(torch.stack(counts))
        self._log(sampler__beyond_cap=above / weights)

    def _entropy_bonus(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the entropy of the policy, aggregated over tokens as the loss is.

        TRL's own bonus is a token mean of each forward pass: with completions of different length
        it would depend on how a minibatch is cut into forward passes.
        """
        kept = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        entropy = self._entropies * kept
        accumulation = self.current_gradient_accumulation_steps
        if self.signal.loss_aggregation == "per_sample_mean":
            return (entropy.sum(-1) / kept.sum(-1).clamp(min=1)).mean() / accumulation
        if self.signal.loss_aggregation == "constant":
            return entropy.sum() / (len(entropy) * self.max_completion_length) / accumulation
        tokens = inputs["num_items_in_batch"].clamp(min=1) / self.accelerator.num_processes
        return entropy.sum() / (tokens * accumulation / self.args.steps_per_generation)

    # Measuring, saving

    def _measure(self, mask: Tensor) -> None:
        """Metrics over the rollouts of all processes, and a few completions to read."""
        last = self.scorer.last
        joined = join(gather_object([facts(last.batch, last.finished, last.rewards)]))
        measured = measure(joined, max_length=self.max_completion_length, margin=self.scorer.margin)
        if self._resampled is not None:
            measured |= {
                "tokens": self._resampled.tokens,
                "sampling/samples": self._resampled.samples,
                "sampling/rounds": self._resampled.rounds,
                "sampling/without_difference": self._resampled.without_difference,
            }
        if self.budget is not None:
            self._rollout_share = self.budget.share
            self.budget.add_tokens(int(measured["tokens"]))
        self._log(**{name.replace("/", "__"): value for name, value in measured.items()})
        self.samples = [
            {
                "step": self.rollout + 1,
                "question_id": last.batch.question_ids[i],
                "response": last.batch.texts[i],
                "tokens": int(last.batch.lengths[i]),
                "correct": bool(last.batch.correct[i]),
                "reward": float(sum(joined.rewards[name][i] for name in joined.rewards)),
            }
            for i in range(min(2, len(last.batch.texts)))
        ]

    def _save_checkpoint(self, model, trial):
        super()._save_checkpoint(model, trial)
        if self.critic is not None:
            self.critic.save(Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}")

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.critic is not None:
            self.critic.load(Path(checkpoint))
