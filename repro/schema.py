"""The typed groups of the configuration: every key, its type, its unit, the numbers it may be.

Values live in ``conf/`` (the only place with numbers); here are only names and bounds. A wrong type fails while composing, a number outside of
its bounds in ``repro.validate``; both before any work. Imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from repro.bounds import below_one, positive, real, seed, share, whole
from repro.rewards.terms import (
    ClassicTerm,
    CosineTerm,
    CustomTerm,
    LengthScaledTerm,
    OverlongTerm,
    RandomTerm,
    RepetitionTerm,
    SequenceRepetitionTerm,
    ZeroRLTerm,
)


@dataclass
class MicroModel:
    """A small model trained from scratch on the micro world (``repro.models.pretrain``)."""

    architecture: str = MISSING  # llama | qwen2
    hidden_size: int = whole(1, 16384)
    layers: int = whole(1, 256)
    heads: int = whole(1, 1024)
    kv_heads: int = whole(1, 1024)
    intermediate_size: int = whole(1, 65536)
    context: int = whole(1, 2**20)  # tokens
    mixture: str = MISSING  # general | mathematics: the corpus that sets the habits
    skill_steps: int = whole(1)  # optimizer steps on full searches
    mixture_steps: int = whole(0)  # optimizer steps on the mixture
    batch_size: int = whole(1)  # documents a step
    learning_rate: float = positive(1)
    mixture_learning_rate: float = positive(1)
    seed: int = seed()
    shipped: bool = MISSING  # take the checkpoint that ships with the project instead of training it again


@dataclass
class ModelConfig:
    name: str = MISSING  # label in tables; by default the last part of `path`, if that is given
    role: str | None = None  # the part it plays in the paper, llama or qwen_math; claims go by it
    path: str | None = None  # hub id or local folder; null: the micro model below
    revision: str | None = None  # commit of the hub repository
    micro: MicroModel | None = None


@dataclass
class RLDataConfig:
    """What RL trains on where it is not what SFT trains on."""

    split: str = MISSING  # train | web | web_filtered | file
    file: str | None = None
    train_size: int = whole(1)


@dataclass
class DataConfig:
    name: str = MISSING
    split: str = MISSING  # train | web (noisy) | web_filtered: the micro world; file: prompts of data.file; mixture: of these
    mixture: dict[str, float] = field(default_factory=dict)  # source (a split or a file) -> weight; the weights sum to 1
    mixture_by: str = "samples"  # samples | tokens (of the responses, in SFT)
    rl: RLDataConfig | None = None  # null: the same as SFT
    file: str | None = MISSING  # JSONL or Parquet with problem and answer, below REPRO_DATA_DIR
    train_size: int = whole(1)  # problems in the train set
    seed: int = seed()  # draws the problems; splits stay disjoint whatever it is


@dataclass
class TeacherConfig:
    """Who makes the chains of SFT (``repro.data.distill``). Neither path nor url: the micro world's own teacher, by `sft.style`."""

    path: str | None = None  # folder or hub id of a checkpoint
    revision: str | None = None  # commit of the hub repository
    engine: str = "vllm"  # transformers | vllm; of `path`
    url: str | None = None  # OpenAI-compatible endpoint, e.g. http://host:8000/v1
    model: str | None = None  # name that the endpoint serves
    api_key_env: str | None = None  # environment variable that holds the key
    timeout: float = positive(default=600.0)  # seconds for one answer
    retries: int = whole(0, 1000, default=4)
    concurrency: int = whole(1, 4096, default=16)  # requests at a time
    method: str = "answer"  # answer | actions: chains constructed by action prompting (repro.data.actions)
    reflector: str | None = None  # model of the endpoint that reflects, of actions; null: `model`
    temperature: float = real(0, 100, default=1.0)
    top_p: float = positive(1, default=0.95)
    max_prompt: int = whole(1, default=2048)  # tokens of the longest prompt; of `path`
    max_tokens: int = whole(1, default=8192)  # of one answer (of one reply, with actions)
    cut: bool = False  # of `path`: answers may end at its last position; false refuses what may not fit
    keep: str = "correct"  # correct: rejection sampling | all: unfiltered


@dataclass
class SFTConfig:
    name: str = MISSING  # `none` skips the stage
    style: str | None = None  # chain style of the micro world's teacher; of others, what the planner takes their lengths to be like
    file: str | None = None  # prompts with responses to imitate (repro.data.sets): Parquet, JSONL or hub:OWNER/NAME; null: the teacher
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    samples_per_problem: int = whole(1, 65536)  # N of rejection sampling; of a file, the first N responses of every prompt
    epochs: int = whole(1, 65536)
    batch_size: int = whole(1)  # sequences an optimizer step
    learning_rate: float = positive(1)
    warmup: float = share()  # share of the steps
    min_learning_rate: float = share()  # share of the peak at the end of the cosine schedule
    max_length: int = whole(1)  # tokens, prompt included
    save_steps: int = whole(1)


@dataclass
class VLLMConfig:
    """The engine of rl.engine=vllm_colocate and vllm_server."""

    correction: str = MISSING  # off (paper) | token | sequence: importance weights for its rounding
    correction_cap: float = positive()  # the largest weight
    beyond_cap: str = MISSING  # truncate: cut to the cap | mask: drop the token or chain
    memory_share: float = below_one()  # of a GPU, for weights and KV cache of an engine beside training
    server_memory_share: float = below_one()  # the same of an engine on GPUs of its own
    tensor_parallel: int = whole(1)  # GPUs that share one engine
    max_length: int | None = whole(1)  # tokens of prompt and completion; null: the model's positions
    eager: bool = MISSING  # do not compile or capture graphs: starts at once, decodes slower


@dataclass
class RLConfig:
    name: str = MISSING  # `none` skips the stage
    baseline: str | None = None  # ppo: critic; grpo: group mean; rloo: the group's others; reinforce_pp: none but whitening
    scale_rewards: bool = MISSING  # divide by the group's standard deviation
    whiten: bool = MISSING  # advantages to mean 0, deviation 1 over the rollout batch
    gae_lambda: float = real(0, 1)  # of ppo
    critic_learning_rate: float = positive(1)  # of ppo's critic, a copy of the start policy with a linear head
    critic_warmup: float = share()  # share of the steps in which only the critic learns
    value_clip: float | None = positive()  # range around the value at rollout; null: none
    steps: int = whole(1)  # one step = one rollout batch and its updates
    prompts_per_step: int = whole(1)
    group_size: int = whole(1, 65536)  # completions a prompt
    shuffle: bool = MISSING  # draw an order of the prompts for every pass; false: that of the train set
    dynamic_sampling: int = whole(0, 1000)  # rounds that replace groups of equal rewards (DAPO); 0: none
    epochs: int = whole(1, 65536)  # passes over a rollout batch
    minibatches: int = whole(1)  # updates a pass
    micro_batch_size: int | None = whole(1)  # completions in one forward pass of a process; null: the whole minibatch
    engine: str = MISSING  # native | transformers | vllm_colocate | vllm_server
    vllm: VLLMConfig = field(default_factory=VLLMConfig)
    max_completion_length: int = whole(1)  # T of the rewards, tokens including EOS
    exceed_margin: int = whole(0)  # tokens before the window from which the rewards call a completion overlong
    ngram_size: int = whole(1)  # tokens, of the repetition penalty
    discount_long: float = positive(1)  # what reward=discount_* take for the paper's 0.999
    discount_short: float = positive(1)  # and for its 0.99
    learning_rate: float = positive(1)
    warmup: float = share()  # share of the steps
    min_learning_rate: float = share()  # share of the peak at the end of the cosine schedule
    clip: float = positive()  # the ratio stays above 1 - clip
    clip_high: float | None = positive()  # and below 1 + clip_high; null: the same as clip
    loss_aggregation: str = MISSING  # per_sample_mean (paper) | token_mean | constant (Dr. GRPO)
    kl: float = real(0)  # coefficient of the KL to the start policy; 0 loads no reference model
    kl_in: str = MISSING  # reward (k1, paper) | loss (k3)
    kl_split: bool = MISSING  # divided over the reward streams and discounted with them (paper), or a stream of its own, undiscounted
    kl_estimator: str | None = None  # k1 | k2 | k3; null: k1 in the reward (paper), k3 in the loss
    measure_kl: bool = MISSING  # load the reference and log the KL although its coefficient is 0
    reward_clip: float | None = positive()  # every token's reward of every stream stays within +- this
    mask_truncated: bool = MISSING  # leave completions without EOS out of the loss (DAPO)
    truncated_in_statistics: bool = MISSING  # completions without EOS count in baselines and whitening
    entropy_coefficient: float = real(0)  # of the policy's entropy, which the loss then rewards
    max_grad_norm: float = positive()
    temperature: float = real(0.01, 100)
    top_p: float = positive(1)
    save_steps: int = whole(1)  # trainer checkpoints, for resuming
    eval_steps: int = whole(0)  # policies kept for evaluation along the way; 0 keeps the last one only


@dataclass
class PeftConfig:
    """Adapters on a frozen base, in SFT and RL (``repro.models.adapter``). ``none`` reads no other key."""

    name: str = MISSING  # none | lora
    stages: list[str] | None = None  # of sft, rl
    rank: int | None = whole(1, 65536, default=None)
    alpha: float | None = positive(default=None)  # the layer adds alpha / rank times the product
    dropout: float | None = below_one(default=None)  # of SFT
    target_modules: Any = None  # all-linear | list of names of linear layers
    base_dtype: str | None = None  # float32 | bfloat16: of the frozen base on a GPU


@dataclass
class BudgetConfig:
    """What every arm's RL gets alike. ``samples``: ``rl.steps`` rollout batches, as in the paper; nothing else here is read then."""

    name: str = MISSING
    kind: str = MISSING  # samples | tokens | wall
    tokens: int = whole(1, 10**15)  # of tokens: generated tokens after which RL stops
    minutes: float = positive()  # of wall: minutes of training (rollouts and updates, no evaluation) after which it does


@dataclass
class RewardConfig:
    """Which terms make up the reward; a term that is null is off. Every term is a stream with its own discount."""

    name: str = MISSING
    classic: ClassicTerm | None = None
    cosine: CosineTerm | None = None
    repetition: RepetitionTerm | None = None
    sequence_repetition: SequenceRepetitionTerm | None = None
    length_scaled: LengthScaledTerm | None = None
    zero_rl: ZeroRLTerm | None = None
    overlong: OverlongTerm | None = None
    random: RandomTerm | None = None
    custom: CustomTerm | None = None


@dataclass
class NoiseConfig:
    """Errors dialled into a verifier, seeded by question and sample."""

    false_positive: float = share()  # share of wrong answers that score
    false_negative: float = share()  # share of right answers that do not
    by_difficulty: dict[str, Any] = field(default_factory=dict)  # difficulty -> [false positive, false negative]
    seed: int = seed()


@dataclass
class JudgeConfig:
    """A language model as verifier. Neither path nor url: the micro judge, which the run trains."""

    path: str | None = MISSING  # checkpoint
    url: str | None = MISSING  # OpenAI-compatible endpoint, e.g. http://host:8000/v1
    model: str | None = MISSING  # name that the endpoint serves
    api_key_env: str | None = MISSING  # environment variable that holds the key
    timeout: float = positive()  # seconds for one answer
    retries: int = whole(0, 1000)
    parser: str = MISSING  # fixed | legacy (the paper code's)
    last_lines: int = whole(1)  # of the response that the judge sees
    max_tokens: int = whole(1)  # of a judgement


@dataclass
class VerifierConfig:
    """What RL is rewarded by; evaluation always uses the rule verifier."""

    name: str = MISSING
    kind: str = MISSING  # rule | legacy | judge | random | custom
    path: str | None = None  # of custom: package.module.Name (repro.verifiers.custom)
    arguments: dict[str, Any] = field(default_factory=dict)  # of custom
    tolerance: float = below_one()  # relative, for numeric references written as decimals
    legacy_prompt: bool = MISSING  # the legacy matcher reads the prompt too, as the paper's code does (D-4)
    probability: float = share()  # of random
    seed: int = seed()  # of random
    judge: JudgeConfig | None = None
    noise: NoiseConfig | None = None


@dataclass
class EvalConfig:
    name: str = MISSING
    benchmarks: list[str] = field(default_factory=list)
    questions: int = whole(1)  # a benchmark
    samples: int = whole(1, 65536)  # k, completions a question
    samples_by: dict[str, int] = field(default_factory=dict)  # benchmark -> another k
    prompt: str | None = None  # format of published benchmarks (evals/prompts.py); null: the usual one of each
    engine: str | None = None  # transformers | vllm; null: transformers
    data: str | None = None  # folder of the benchmarks' files, or hub; null: REPRO_DATA_DIR
    temperature: float = real(0, 100)  # 0 = greedy
    top_p: float = positive(1)
    max_tokens: int = whole(1)
    batch_size: int = whole(1)  # completions generated at once
    seed: int = seed()  # of decoding; the same for all arms


@dataclass
class TracesConfig:
    """The search of a pre-training corpus for reflective phrases (``repro.data.traces``); a cell that makes it does nothing else."""

    name: str = MISSING  # `none`: no search
    corpus: str | None = None  # file, folder or hub:OWNER/NAME; null: a generated one with planted phrases
    column: str = "text"
    megabytes: float | None = positive(default=None)  # of the generated corpus
    parts: int = whole(1, default=1)  # a real corpus is dealt out document by document; the cell with seed s searches part s
    queries: str | None = None  # YAML file of phrases; null: the project's
    processes: int = whole(1, 1024, default=1)


@dataclass
class TrackingConfig:
    name: str = MISSING  # wandb | none
    mode: str = MISSING  # offline | online
    project: str = MISSING


@dataclass
class LaunchConfig:
    """Processes of a training stage."""

    name: str = MISSING  # single | ddp | fsdp | zero2 | zero3
    processes: int | None = whole(1, 64)  # over all nodes; null: one a GPU
    accelerate: dict[str, Any] = field(default_factory=dict)  # settings of `accelerate launch`


@dataclass
class StageResources:
    """What one kind of stage needs of a cluster."""

    nodes: int = whole(1)
    gpus: int = whole(0)  # a node
    cpus: int = whole(1)  # a node
    memory: int = whole(1)  # GB a node
    minutes: int = whole(1)


@dataclass
class ResourcesConfig:
    """What a cell asks a scheduler for; part of no key, since it changes no number but through ``launch``."""

    name: str = MISSING
    sft: StageResources = field(default_factory=StageResources)
    rl: StageResources = field(default_factory=StageResources)
    eval: StageResources = field(default_factory=StageResources)  # and the base model
    server_gpus: int = whole(0)  # for a vLLM server beside RL


@dataclass
class PathsConfig:
    outputs: str = MISSING  # everything a run writes
    store: str = MISSING  # finished stages, shared by all experiments
    wandb: str = MISSING
