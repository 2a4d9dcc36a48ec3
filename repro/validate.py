"""What the types of ``repro.config`` cannot express: combinations of values that must not run, and keys that nothing would read.

Everything is refused before any work, in one line with the key, its value and what is allowed. Imports nothing heavy.

    from repro.validate import validate
    validate(config)
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from repro.config import BASELINES, BUDGETS, ENGINES, LOSSES, ConfigError, own_chains, reward_terms
from repro.rewards.terms import validate_streams

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,59}")  # names become folders and W&B labels


def check_recipes(overrides: Sequence[str]) -> None:
    """Refuse a recipe that does not exist. The group is optional in ``conf/config.yaml``, since not every recipe of an experiment is there at
    every scale, so Hydra passes over a slip of the pen without a word.

    Raises:
        ConfigError: one line that names the recipes.
    """
    folder = Path(__file__).parents[1] / "conf" / "recipe"
    names = sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+") != "recipe":
            continue
        for name in value.strip("[]'\"").split(","):
            anywhere = {known.split("/", 1)[1] for known in names}
            if name not in names and not (name.startswith("${scale}/") and name.removeprefix("${scale}/") in anywhere):
                near = difflib.get_close_matches(name, names, 1)
                raise ConfigError(
                    f"recipe={name} does not exist{f' (did you mean {near[0]}?)' if near else ''}: choose one of {', '.join(names)}"
                )


def _require(condition: bool, key: str, value: Any, allowed: str) -> None:
    if not condition:
        raise ConfigError(f"{key}={value!r} is not possible: {allowed}")


def _known_keys(node: DictConfig, prefix: str = "") -> None:
    """Hydra lets ``+group.key=1`` past the schema; nothing would read such a key."""
    allowed = getattr(OmegaConf.get_type(node), "__dataclass_fields__", {})
    for key in node:
        name = f"{prefix}{key}"
        if allowed and key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"unknown key {name}{hint} (keys there: {', '.join(allowed)})")
        if not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            _known_keys(node[key], f"{name}.")


def _finite_positive(config: DictConfig, *keys: str) -> None:
    for key in keys:
        value = OmegaConf.select(config, key)
        _require(math.isfinite(value) and value > 0, key, value, "it must be a finite number above 0")


def _shares(config: DictConfig, *keys: str) -> None:
    for key in keys:
        value = OmegaConf.select(config, key)
        _require(0 <= value <= 1, key, value, "it must be a share between 0 and 1")  # nan fails too


def _seeds(config: DictConfig, *keys: str) -> None:
    for key in keys:
        value = OmegaConf.select(config, key)
        _require(0 <= value < 2**32, key, value, "it must be a whole number from 0 to 4294967295")


def _validate_names(config: DictConfig) -> None:
    """Names become folders; one with a slash would hide a cell from its sweep."""
    groups = ("model", "data", "sft", "rl", "budget", "reward", "verifier", "eval", "traces", "tracking", "launch", "resources")
    for key in ("experiment_name", *(f"{group}.name" for group in groups)):
        value = OmegaConf.select(config, key)
        _require(bool(NAME.fullmatch(value)), key, value, "up to 60 letters, digits and . _ + - are allowed")
    tracking = config.tracking
    _require(tracking.name in ("wandb", "none"), "tracking.name", tracking.name, "choose wandb or none")
    _require(tracking.mode in ("offline", "online"), "tracking.mode", tracking.mode, "choose offline or online")
    _require(
        bool(re.fullmatch(r"[A-Za-z0-9._-]{1,128}", tracking.project)),
        "tracking.project",
        tracking.project,
        "up to 128 letters, digits and . _ - are allowed",
    )


def _validate_verifier(config: DictConfig) -> None:
    verifier = config.verifier
    kinds = ("rule", "legacy", "judge", "random")
    _require(verifier.kind in kinds, "verifier.kind", verifier.kind, f"choose one of {', '.join(kinds)}")
    _require(0 <= verifier.tolerance < 1, "verifier.tolerance", verifier.tolerance, "it must be in [0, 1)")
    _shares(config, "verifier.probability")
    if verifier.noise is not None:
        _shares(config, "verifier.noise.false_positive", "verifier.noise.false_negative")
        for name, rates in verifier.noise.by_difficulty.items():
            good = OmegaConf.is_list(rates) and len(rates) == 2 and all(isinstance(r, (int, float)) and 0 <= r <= 1 for r in rates)
            _require(good, f"verifier.noise.by_difficulty.{name}", rates, "it must be two shares, [false positive, false negative]")
    if verifier.kind != "judge":
        return
    judge = verifier.judge
    _require(judge is not None, "verifier.judge", None, "choose verifier=judge")
    _require(judge.path is None or judge.url is None, "verifier.judge.path", judge.path, "give a path or a url, not both")
    _require(judge.url is None or bool(judge.model), "verifier.judge.model", judge.model, "name the model that the endpoint serves")
    _require(judge.parser in ("fixed", "legacy"), "verifier.judge.parser", judge.parser, "choose fixed or legacy")
    _finite_positive(config, *(f"verifier.judge.{key}" for key in ("timeout", "last_lines", "max_tokens")))
    _require(judge.retries >= 0, "verifier.judge.retries", judge.retries, "it must be 0 or more")
    micro = judge.path is None and judge.url is None
    _require(
        not micro or config.model.path is None, "verifier.judge.path", None, "the micro judge needs a micro model; give a path or a url"
    )


def _validate_model(config: DictConfig) -> None:
    model = config.model
    _finite_positive(config, "eval.max_tokens")
    if model.path is not None:
        local = Path(model.path).expanduser()
        looks_local = model.path.startswith((".", "/", "~")) or local.exists()
        if looks_local:
            _require(
                (local / "config.json").is_file(), "model.path", model.path, "it must be a folder that holds a config.json, or a hub id"
            )
        return
    _require(model.micro is not None, "model.path", None, "give a folder or a hub id, or choose a model with a `micro` description")
    micro = model.micro
    _require(micro.architecture in ("llama", "qwen2"), "model.micro.architecture", micro.architecture, "choose llama or qwen2")
    _require(micro.mixture in ("general", "mathematics"), "model.micro.mixture", micro.mixture, "choose general or mathematics")
    keys = ("hidden_size", "layers", "heads", "kv_heads", "intermediate_size", "context", "skill_steps", "batch_size")
    _finite_positive(config, *(f"model.micro.{key}" for key in (*keys, "learning_rate", "mixture_learning_rate")))
    _require(micro.hidden_size % (2 * micro.heads) == 0, "model.micro.heads", micro.heads, "2 x heads must divide hidden_size")
    _require(micro.heads % micro.kv_heads == 0, "model.micro.kv_heads", micro.kv_heads, f"it must divide heads={micro.heads}")
    for key, limit in (("rl.max_completion_length", config.rl.max_completion_length), ("eval.max_tokens", config.eval.max_tokens)):
        room = micro.context - 40  # the longest prompt of the micro world has fewer tokens
        _require(
            0 < limit <= room, key, limit, f"it must be 1..{room} so that prompt and completion fit model.micro.context={micro.context}"
        )


def _validate_data(config: DictConfig) -> None:
    from evals.files import SUFFIXES
    from repro.data.mixture import MEASURES, check_weights
    from repro.data.web import SPLITS

    data = config.data
    for key, source in (("data", data), ("data.rl", data.rl)):
        if source is None:
            continue
        allowed = (*SPLITS, "file", *(("mixture",) if source is data else ()))
        _require(source.split in allowed, f"{key}.split", source.split, f"choose one of {', '.join(allowed)}")
        _require(source.split != "file" or source.file is not None, f"{key}.file", None, f"{key}.split=file needs one")
    _require(data.mixture_by in MEASURES, "data.mixture_by", data.mixture_by, f"choose one of {', '.join(MEASURES)}")
    _require(data.split == "mixture" or not data.mixture, "data.split", data.split, "data.mixture needs data.split=mixture")
    if data.split == "mixture":
        check_weights(data.mixture)
        for name in data.mixture:
            known = name in SPLITS or name.endswith(SUFFIXES)
            _require(known, "data.mixture", name, f"a source is one of {', '.join(SPLITS)}, or a file ({', '.join(SUFFIXES)})")
        alike = data.mixture_by == "samples" or config.rl.name == "none" or data.rl is not None
        _require(alike, "data.mixture_by", "tokens", "the prompts of RL mix by samples; set data.rl too")
    files = data.split == "file" or (data.rl is not None and data.rl.split == "file") or any(n not in SPLITS for n in data.mixture)
    if files:
        _require(
            config.model.path is not None,
            "model.path",
            None,
            "prompts from a file need a model that can read them: give a folder or hub id",
        )


def _validate_teacher(config: DictConfig) -> None:
    from repro.data.distill import METHODS
    from repro.data.rejection import KEEP

    sft, teacher = config.sft, config.sft.teacher
    if sft.file is not None:
        _require(
            not (teacher.path or teacher.url), "sft.file", sft.file, "give a file or a teacher, not both; sft.file=null for the teacher"
        )
        return
    if own_chains(sft):
        from repro.data.web import SPLITS

        files = config.data.split == "file" or any(name not in SPLITS for name in config.data.mixture)
        _require(
            not files,
            "sft.teacher.url",
            None,
            "a file of data has prompts and answers but no chains to imitate; give sft.teacher.url and .model, sft.teacher.path, or sft.file",
        )
        return
    _require(not (teacher.path and teacher.url), "sft.teacher.path", teacher.path, "give a path or a url, not both")
    _require(not teacher.url or bool(teacher.model), "sft.teacher.model", teacher.model, "name the model that the endpoint serves")
    _require(teacher.engine in ("transformers", "vllm"), "sft.teacher.engine", teacher.engine, "choose transformers or vllm")
    _require(teacher.method in METHODS, "sft.teacher.method", teacher.method, f"choose one of {', '.join(METHODS)}")
    _require(teacher.keep in KEEP, "sft.teacher.keep", teacher.keep, f"choose one of {', '.join(KEEP)}")
    two = teacher.method == "actions" and bool(teacher.url)
    _require(teacher.reflector is None or two, "sft.teacher.reflector", teacher.reflector, "it needs method=actions and a url")
    _finite_positive(config, *(f"sft.teacher.{key}" for key in ("timeout", "concurrency", "max_prompt", "max_tokens")))
    _require(teacher.retries >= 0, "sft.teacher.retries", teacher.retries, "it must be 0 or more")
    good = math.isfinite(teacher.temperature) and teacher.temperature >= 0
    _require(good, "sft.teacher.temperature", teacher.temperature, "it must be 0 (greedy) or positive")
    _require(0 < teacher.top_p <= 1, "sft.teacher.top_p", teacher.top_p, "it must be in (0, 1]")
    _require(config.data.mixture_by == "samples", "data.mixture_by", config.data.mixture_by, "the prompts of a teacher mix by samples")


def _validate_traces(config: DictConfig) -> None:
    traces = config.traces
    if traces.name == "none":
        return
    for stage in ("sft", "rl"):
        _require(
            config[stage].name == "none", f"{stage}.name", config[stage].name, f"a search of a corpus trains nothing; use {stage}=none"
        )
    _finite_positive(config, "traces.parts", "traces.processes")
    if traces.corpus is None:
        _require(traces.megabytes is not None, "traces.megabytes", None, "give the size of the generated corpus, or traces.corpus")
        _finite_positive(config, "traces.megabytes")
        _require(traces.parts == 1, "traces.parts", traces.parts, "a generated corpus is one for every seed; use 1")
        return
    _require(0 <= config.seed < traces.parts, "seed", config.seed, f"it names a part of the corpus, 0..traces.parts-1 ({traces.parts - 1})")


def _validate_rl(config: DictConfig) -> None:
    rl = config.rl
    if rl.name == "none":
        return
    _require(rl.baseline in BASELINES, "rl.baseline", rl.baseline, f"choose one of {', '.join(BASELINES)}")
    grouped = rl.baseline in ("grpo", "rloo")
    keys = ("steps", "prompts_per_step", "max_completion_length", "learning_rate", "clip", "max_grad_norm", "save_steps", "group_size")
    _finite_positive(config, *(f"rl.{key}" for key in (*keys, "temperature")))
    size = (config.data.rl or config.data).train_size
    _require(rl.prompts_per_step <= size, "rl.prompts_per_step", rl.prompts_per_step, f"it must be at most data.train_size={size}")
    if grouped:
        _require(rl.group_size >= 2, "rl.group_size", rl.group_size, f"rl.baseline={rl.baseline} needs at least 2 completions a prompt")
    _require(grouped or not rl.scale_rewards, "rl.scale_rewards", rl.scale_rewards, f"rl.baseline={rl.baseline} has no groups; use false")
    _validate_updates(rl)
    if rl.baseline == "ppo":
        _finite_positive(config, "rl.critic_learning_rate")
        _shares(config, "rl.critic_warmup")
    for key in ("clip_high", "reward_clip", "value_clip"):
        value = rl[key]
        _require(value is None or (math.isfinite(value) and value > 0), f"rl.{key}", value, "it must be null or a number above 0")
    _require(rl.kl_in in ("reward", "loss"), "rl.kl_in", rl.kl_in, "choose reward or loss")
    _require(rl.engine in ENGINES, "rl.engine", rl.engine, f"choose one of {', '.join(ENGINES)}")
    _require(rl.loss_aggregation in LOSSES, "rl.loss_aggregation", rl.loss_aggregation, f"choose one of {', '.join(LOSSES)}")
    _require(math.isfinite(rl.kl) and rl.kl >= 0, "rl.kl", rl.kl, "it must be 0 or a positive number")
    _require(0 < rl.top_p <= 1, "rl.top_p", rl.top_p, "it must be in (0, 1]")
    _require(rl.eval_steps >= 0, "rl.eval_steps", rl.eval_steps, "it must be 0 (keep only the last policy) or a number of steps")
    _shares(config, "rl.warmup", "rl.min_learning_rate")
    terms = reward_terms(config)
    for name, term in terms.items():
        try:
            term.validate()
        except ValueError as error:
            raise ConfigError(f"reward.{name}: {error}") from None
    try:
        validate_streams(terms, rl.gae_lambda)
    except ValueError as error:
        raise ConfigError(f"rl.{error}" if str(error).startswith("gae_lambda") else str(error)) from None
    _require(rl.baseline == "ppo" or rl.gae_lambda == 1, "rl.gae_lambda", rl.gae_lambda, f"rl.baseline={rl.baseline} has no critic; use 1")
    alone = rl.kl == 0 or rl.kl_in == "loss" or rl.kl_split or rl.gae_lambda == 1
    _require(alone, "rl.gae_lambda", rl.gae_lambda, "it must be 1 where the KL is a reward stream of its own (rl.kl_split=false)")


def _validate_budget(config: DictConfig) -> None:
    budget = config.budget
    _require(budget.kind in BUDGETS, "budget.kind", budget.kind, f"choose one of {', '.join(BUDGETS)}")
    _finite_positive(config, "budget.tokens", "budget.minutes")
    if budget.kind != "samples":
        _require(config.rl.name != "none", "budget", budget.name, "it limits RL, and rl=none has none; use budget=samples")


def _validate_updates(rl: DictConfig) -> None:
    for key in ("epochs", "minibatches"):
        _require(rl[key] >= 1, f"rl.{key}", rl[key], "it must be at least 1")
    batch = rl.prompts_per_step * rl.group_size
    what = f"the {batch} completions of a step (rl.prompts_per_step x rl.group_size)"
    _require(batch % rl.minibatches == 0, "rl.minibatches", rl.minibatches, f"it must divide {what}")
    size, micro = batch // rl.minibatches, rl.micro_batch_size
    good = micro is None or (micro >= 1 and size % micro == 0)
    _require(good, "rl.micro_batch_size", micro, f"it must be null or divide the {size} completions of a minibatch")


def _validate_resources(config: DictConfig) -> None:
    for stage in ("sft", "rl", "eval"):
        for key, least in {"nodes": 1, "gpus": 0, "cpus": 1, "memory": 1, "minutes": 1}.items():
            value = config.resources[stage][key]
            _require(value >= least, f"resources.{stage}.{key}", value, f"it must be at least {least}")
    servers, rl = config.resources.server_gpus, config.resources.rl
    _require(0 <= servers <= rl.gpus, "resources.server_gpus", servers, f"it must be 0..resources.rl.gpus ({rl.gpus}), those of one node")
    enough = servers == 0 or servers < rl.gpus * rl.nodes
    _require(enough, "resources.server_gpus", servers, "it leaves no GPU for training")
    _require(
        servers == 0 or rl.nodes == 1 or servers == rl.gpus,
        "resources.server_gpus",
        servers,
        "over several nodes a server takes a whole one",
    )
    _require(servers == 0 or config.rl.engine == "vllm_server", "resources.server_gpus", servers, "it needs rl.engine=vllm_server")


def _validate_launch(config: DictConfig) -> None:
    launch, rl = config.launch, config.rl
    _require(launch.processes is None or 1 <= launch.processes <= 64, "launch.processes", launch.processes, "it must be null or 1..64")
    if rl.name == "none" or launch.name in ("single", "ddp"):
        return
    _require(
        rl.engine != "native", "rl.engine", rl.engine, f"launch={launch.name} spreads the weights; choose rl.engine=transformers or vllm"
    )
    spread = launch.name in ("fsdp", "zero3")
    _require(not spread or rl.eval_steps == 0, "rl.eval_steps", rl.eval_steps, f"launch={launch.name} keeps the last policy only; use 0")
    _require(rl.baseline != "ppo", "rl.baseline", rl.baseline, f"a critic beside the policy needs launch=single or ddp, not {launch.name}")


def validate(config: DictConfig) -> None:
    """Refuse what must not run.

    Raises:
        ConfigError: one line with the key, its value and what is allowed.
    """
    _known_keys(config)
    off = tuple(f"{stage}." for stage in ("sft", "rl") if config[stage].name == "none")  # a stage that is off needs no values
    missing = sorted(key for key in OmegaConf.missing_keys(config) if not key.startswith(off))
    if missing:
        raise ConfigError(f"{missing[0]} has no value: give one, e.g. {missing[0]}=...")
    _validate_names(config)
    _validate_verifier(config)
    _validate_model(config)
    if config.sft.name != "none":
        from repro.data.chains import STYLES

        _require(config.sft.style in STYLES, "sft.style", config.sft.style, f"choose one of {', '.join(STYLES)}")
        keys = ("samples_per_problem", "epochs", "batch_size", "learning_rate", "max_length", "save_steps")
        _finite_positive(config, *(f"sft.{key}" for key in keys))
        _shares(config, "sft.warmup", "sft.min_learning_rate")
        _validate_teacher(config)
    _validate_traces(config)
    _validate_data(config)
    from repro.data.web import SPLITS

    sources = list(config.data.mixture) if config.data.split == "mixture" else [config.data.split]
    limit = 100_000 if any(name in SPLITS for name in sources) else math.inf  # a draw of more distinct micro problems would take long
    _require(config.data.train_size <= limit, "data.train_size", config.data.train_size, f"it must be at most {limit}")
    _validate_rl(config)
    _validate_budget(config)
    _finite_positive(config, "data.train_size", "eval.questions", "eval.samples", "eval.batch_size", "threads")
    _require(0 < config.eval.top_p <= 1, "eval.top_p", config.eval.top_p, "it must be in (0, 1]")
    temperature = config.eval.temperature
    _require(math.isfinite(temperature) and temperature >= 0, "eval.temperature", temperature, "it must be 0 (greedy) or positive")
    for key, number in {
        "eval.samples": config.eval.samples,
        **{f"eval.samples_by.{k}": v for k, v in config.eval.samples_by.items()},
    }.items():
        _require(number >= 1, key, number, "it must be a whole number of at least 1")
        _require(temperature > 0 or number == 1, key, number, "greedy decoding (eval.temperature=0) gives one answer; use 1")
    from evals.benchmarks import BENCHMARKS
    from evals.engines import ENGINES as SAMPLERS
    from evals.prompts import FORMATS

    for key, allowed in (("prompt", FORMATS), ("engine", SAMPLERS)):
        value = config.eval[key]
        _require(value is None or value in allowed, f"eval.{key}", value, f"choose one of {', '.join(allowed)}, or null")
    for name in config.eval.samples_by:
        _require(name in BENCHMARKS, "eval.samples_by", name, f"choose from {', '.join(BENCHMARKS)}")

    _require(len(config.eval.benchmarks) > 0, "eval.benchmarks", [], "name at least one benchmark")
    for name in config.eval.benchmarks:
        _require(name in BENCHMARKS, "eval.benchmarks", name, f"choose from {', '.join(BENCHMARKS)}")
    names = list(config.eval.benchmarks)
    _require(len(set(names)) == len(names), "eval.benchmarks", names, "name every benchmark once")
    _validate_launch(config)
    _validate_resources(config)
    _require(config.threads <= 512, "threads", config.threads, "it must be 1..512; one a cell is usually fastest")
    _seeds(config, "seed", "data.seed", "eval.seed", *(["model.micro.seed"] if config.model.path is None else []))
