"""What each group of the configuration must be beyond its types and bounds: choices, and values that fit together.

Every check raises ``ConfigError``, one line with the key, its value and what is allowed. Called by ``repro.validate.validate``, in this order.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from repro.config import BASELINES, BUDGETS, ENGINES, LOSSES, ConfigError, own_chains, reward_terms
from repro.rewards.terms import validate_streams
from repro.verifiers.choose import CHOICES

DRAWN = 100_000  # a draw of more distinct micro problems would take long
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,59}")  # names become folders and W&B labels


def require(condition: bool, key: str, value: Any, allowed: str) -> None:
    if not condition:
        raise ConfigError(f"{key}={value!r} is not possible: {allowed}")


def is_there(path: Path) -> bool:
    """Whether a file or folder exists; no for what cannot be a path at all."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def check_names(config: DictConfig) -> None:
    """Names become folders; one with a slash would hide a cell from its sweep."""
    groups = ("model", "data", "sft", "rl", "peft", "budget", "reward", "verifier", "eval", "traces", "tracking", "launch", "resources")
    for key in ("experiment_name", *(f"{group}.name" for group in groups)):
        value = OmegaConf.select(config, key)
        require(bool(NAME.fullmatch(value)), key, value, "up to 60 letters, digits and . _ + - are allowed")
    tracking = config.tracking
    require(tracking.name in ("wandb", "none"), "tracking.name", tracking.name, "choose wandb or none")
    require(tracking.mode in ("offline", "online"), "tracking.mode", tracking.mode, "choose offline or online")
    require(
        bool(re.fullmatch(r"[A-Za-z0-9._-]{1,128}", tracking.project)),
        "tracking.project",
        tracking.project,
        "up to 128 letters, digits and . _ - are allowed",
    )
    for key in ("outputs", "store", "wandb"):
        value = config.paths[key]
        require(bool(value) and not value.startswith("~"), f"paths.{key}", value, "write the folder out; no ~, which nothing expands here")


def check_verifier(config: DictConfig) -> None:
    verifier = config.verifier
    require(verifier.kind in CHOICES, "verifier.kind", verifier.kind, f"choose one of {', '.join(CHOICES)}")
    custom = verifier.kind == "custom"
    require(
        not custom or bool(verifier.path), "verifier.path", verifier.path, "verifier=custom needs one, e.g. mypackage.mymodule.MyVerifier"
    )
    require(custom or verifier.path is None, "verifier.path", verifier.path, "only verifier=custom reads it")
    if custom and config.rl.name != "none":
        from repro.verifiers import custom as own

        own.make(verifier.path, dict(verifier.arguments))
    if verifier.noise is not None:
        for name, rates in verifier.noise.by_difficulty.items():
            good = OmegaConf.is_list(rates) and len(rates) == 2 and all(isinstance(r, (int, float)) and 0 <= r <= 1 for r in rates)
            require(good, f"verifier.noise.by_difficulty.{name}", rates, "it must be two shares, [false positive, false negative]")
    if verifier.kind != "judge":
        return
    judge = verifier.judge
    require(judge is not None, "verifier.judge", None, "choose verifier=judge")
    require(judge.path is None or judge.url is None, "verifier.judge.path", judge.path, "give a path or a url, not both")
    require(judge.url is None or bool(judge.model), "verifier.judge.model", judge.model, "name the model that the endpoint serves")
    require(judge.parser in ("fixed", "legacy"), "verifier.judge.parser", judge.parser, "choose fixed or legacy")
    micro = judge.path is None and judge.url is None
    require(
        not micro or config.model.path is None, "verifier.judge.path", None, "the micro judge needs a micro model; give a path or a url"
    )


def check_model(config: DictConfig) -> None:
    model = config.model
    if model.path is not None:
        local = Path(model.path).expanduser()
        looks_local = model.path.startswith((".", "/", "~")) or is_there(local)
        if looks_local:
            require(
                (local / "config.json").is_file(), "model.path", model.path, "it must be a folder that holds a config.json, or a hub id"
            )
        return
    require(model.micro is not None, "model.path", None, "give a folder or a hub id, or choose a model with a `micro` description")
    micro = model.micro
    require(micro.architecture in ("llama", "qwen2"), "model.micro.architecture", micro.architecture, "choose llama or qwen2")
    require(micro.mixture in ("general", "mathematics"), "model.micro.mixture", micro.mixture, "choose general or mathematics")
    require(micro.hidden_size % (2 * micro.heads) == 0, "model.micro.heads", micro.heads, "2 x heads must divide hidden_size")
    require(micro.heads % micro.kv_heads == 0, "model.micro.kv_heads", micro.kv_heads, f"it must divide heads={micro.heads}")
    for key, limit in (("rl.max_completion_length", config.rl.max_completion_length), ("eval.max_tokens", config.eval.max_tokens)):
        room = micro.context - 40  # the longest prompt of the micro world has fewer tokens
        require(
            0 < limit <= room, key, limit, f"it must be 1..{room} so that prompt and completion fit model.micro.context={micro.context}"
        )


def check_data(config: DictConfig) -> None:
    from evals.files import SUFFIXES
    from repro.data.mixture import MEASURES, check_weights
    from repro.data.web import SPLITS

    data = config.data
    for key, source in (("data", data), ("data.rl", data.rl)):
        if source is None:
            continue
        allowed = (*SPLITS, "file", *(("mixture",) if source is data else ()))
        require(source.split in allowed, f"{key}.split", source.split, f"choose one of {', '.join(allowed)}")
        require(source.split != "file" or source.file is not None, f"{key}.file", None, f"{key}.split=file needs one")
        unread = source.file is not None and source.split in SPLITS
        require(not unread, f"{key}.file", source.file, f"{key}.split={source.split} does not read it; use {key}.split=file")
    require(data.mixture_by in MEASURES, "data.mixture_by", data.mixture_by, f"choose one of {', '.join(MEASURES)}")
    require(data.split == "mixture" or not data.mixture, "data.split", data.split, "data.mixture needs data.split=mixture")
    if data.split == "mixture":
        check_weights(data.mixture)
        for name in data.mixture:
            known = name in SPLITS or name.endswith(SUFFIXES)
            require(known, "data.mixture", name, f"a source is one of {', '.join(SPLITS)}, or a file ({', '.join(SUFFIXES)})")
        alike = data.mixture_by == "samples" or config.rl.name == "none" or data.rl is not None
        require(alike, "data.mixture_by", "tokens", "the prompts of RL mix by samples; set data.rl too")
    files = data.split == "file" or (data.rl is not None and data.rl.split == "file") or any(n not in SPLITS for n in data.mixture)
    readable = not files or config.model.path is not None
    require(readable, "model.path", None, "prompts from a file need a model that can read them: give a folder or hub id")
    made = data.split in SPLITS or any(name in SPLITS for name in data.mixture)
    require(data.train_size <= DRAWN or not made, "data.train_size", data.train_size, f"it must be at most {DRAWN}")


def check_sft(config: DictConfig) -> None:
    from repro.data.chains import STYLES
    from repro.data.distill import METHODS
    from repro.data.rejection import KEEP

    sft, teacher = config.sft, config.sft.teacher
    if sft.name == "none":
        named = {"style": sft.style, "file": sft.file, "teacher.url": teacher.url}  # a recipe may name a teacher for its other arms
        for key, value in named.items():
            require(not value, f"sft.{key}", value, "sft=none trains nothing; choose one that does, e.g. sft=long")
        return
    require(sft.style in STYLES, "sft.style", sft.style, f"choose one of {', '.join(STYLES)}")
    if sft.file is not None:
        require(
            not (teacher.path or teacher.url), "sft.file", sft.file, "give a file or a teacher, not both; sft.file=null for the teacher"
        )
        return
    if own_chains(sft):
        from repro.data.web import SPLITS

        files = config.data.split == "file" or any(name not in SPLITS for name in config.data.mixture)
        require(
            not files,
            "sft.teacher.url",
            None,
            "a file of data has prompts and answers but no chains to imitate; give sft.teacher.url and .model, sft.teacher.path, or sft.file",
        )
        return
    require(not (teacher.path and teacher.url), "sft.teacher.path", teacher.path, "give a path or a url, not both")
    require(not teacher.url or bool(teacher.model), "sft.teacher.model", teacher.model, "name the model that the endpoint serves")
    require(teacher.engine in ("transformers", "vllm"), "sft.teacher.engine", teacher.engine, "choose transformers or vllm")
    require(teacher.method in METHODS, "sft.teacher.method", teacher.method, f"choose one of {', '.join(METHODS)}")
    require(teacher.keep in KEEP, "sft.teacher.keep", teacher.keep, f"choose one of {', '.join(KEEP)}")
    two = teacher.method == "actions" and bool(teacher.url)
    require(teacher.reflector is None or two, "sft.teacher.reflector", teacher.reflector, "it needs method=actions and a url")
    require(config.data.mixture_by == "samples", "data.mixture_by", config.data.mixture_by, "the prompts of a teacher mix by samples")


def check_traces(config: DictConfig) -> None:
    traces = config.traces
    if traces.name == "none":
        for key in ("corpus", "queries"):
            require(
                traces[key] is None,
                f"traces.{key}",
                traces[key],
                "traces=none searches nothing; choose one that does, e.g. traces=micro_web",
            )
        return
    for stage in ("sft", "rl"):
        require(config[stage].name == "none", f"{stage}.name", config[stage].name, f"a search of a corpus trains nothing; use {stage}=none")
    if traces.corpus is None:
        require(traces.megabytes is not None, "traces.megabytes", None, "give the size of the generated corpus, or traces.corpus")
        require(traces.parts == 1, "traces.parts", traces.parts, "a generated corpus is one for every seed; use 1")
        return
    require(0 <= config.seed < traces.parts, "seed", config.seed, f"it names a part of the corpus, 0..traces.parts-1 ({traces.parts - 1})")


def check_rl(config: DictConfig) -> None:
    rl = config.rl
    if rl.name == "none":
        return
    require(rl.baseline in BASELINES, "rl.baseline", rl.baseline, f"choose one of {', '.join(BASELINES)}")
    grouped = rl.baseline in ("grpo", "rloo")
    size = (config.data.rl or config.data).train_size
    require(rl.prompts_per_step <= size, "rl.prompts_per_step", rl.prompts_per_step, f"it must be at most data.train_size={size}")
    if grouped:
        require(rl.group_size >= 2, "rl.group_size", rl.group_size, f"rl.baseline={rl.baseline} needs at least 2 completions a prompt")
    require(grouped or not rl.scale_rewards, "rl.scale_rewards", rl.scale_rewards, f"rl.baseline={rl.baseline} has no groups; use false")
    several = rl.group_size >= 2
    require(
        several or not rl.dynamic_sampling,
        "rl.dynamic_sampling",
        rl.dynamic_sampling,
        "a group of one has no differences; use 0, or rl.group_size of at least 2",
    )
    check_updates(rl)
    require(rl.kl_in in ("reward", "loss"), "rl.kl_in", rl.kl_in, "choose reward or loss")
    estimators = (None, "k1", "k2", "k3") if rl.kl_in == "reward" else (None, "k3")
    allowed = ", ".join("null" if name is None else name for name in estimators)
    require(rl.kl_estimator in estimators, "rl.kl_estimator", rl.kl_estimator, f"with rl.kl_in={rl.kl_in} choose {allowed}")
    require(
        rl.truncated_in_statistics or rl.mask_truncated,
        "rl.truncated_in_statistics",
        rl.truncated_in_statistics,
        "it acts only with rl.mask_truncated=true",
    )
    require(rl.engine in ENGINES, "rl.engine", rl.engine, f"choose one of {', '.join(ENGINES)}")
    check_vllm(rl.vllm)
    require(rl.loss_aggregation in LOSSES, "rl.loss_aggregation", rl.loss_aggregation, f"choose one of {', '.join(LOSSES)}")
    terms = reward_terms(config)
    for name, term in terms.items():
        try:
            term.validate()
        except ConfigError:  # of a user's own reward, which it names
            raise
        except ValueError as error:
            raise ConfigError(f"reward.{name}: {error}") from None
        margin, window = getattr(term, "margin", 0), rl.max_completion_length
        require(
            margin < window,
            f"reward.{name}.margin",
            margin,
            f"every completion would be overlong: use less than the {window} tokens of rl.max_completion_length",
        )
    try:
        validate_streams(terms, rl.gae_lambda)
    except ValueError as error:
        raise ConfigError(f"rl.{error}" if str(error).startswith("gae_lambda") else str(error)) from None
    require(rl.baseline == "ppo" or rl.gae_lambda == 1, "rl.gae_lambda", rl.gae_lambda, f"rl.baseline={rl.baseline} has no critic; use 1")
    alone = rl.kl == 0 or rl.kl_in == "loss" or rl.kl_split or rl.gae_lambda == 1
    require(alone, "rl.gae_lambda", rl.gae_lambda, "it must be 1 where the KL is a reward stream of its own (rl.kl_split=false)")


def check_peft(config: DictConfig) -> None:
    from repro.models.adapter import ALL, LINEAR, refuse_unknown

    peft = config.peft
    require(peft.name in ("none", "lora"), "peft.name", peft.name, "choose none or lora")
    if peft.name == "none":
        for key, value in peft.items():
            require(key == "name" or value is None, f"peft.{key}", value, "peft=none reads nothing else; choose peft=lora")
        return
    for key, value in peft.items():
        require(value is not None, f"peft.{key}", None, "peft=lora needs a value")
    stages = list(peft.stages)
    good = 0 < len(stages) == len(set(stages)) and set(stages) <= {"sft", "rl"}
    require(good, "peft.stages", stages, "name sft, rl or both, e.g. peft.stages=[rl]")
    trained = [stage for stage in ("sft", "rl") if config[stage].name != "none"]
    nothing = f"{' and '.join(f'{s}=none' for s in stages)} train{'s' * (len(stages) == 1)} nothing; use peft=none"
    require(bool(set(stages) & set(trained)), "peft.name", peft.name, nothing)
    require(peft.base_dtype in ("float32", "bfloat16"), "peft.base_dtype", peft.base_dtype, "choose float32 or bfloat16")
    plain = config.launch.name in ("single", "ddp")
    require(plain, "peft.name", peft.name, f"launch={config.launch.name} spreads the weights; use launch=single or ddp")
    targets = peft.target_modules
    listed = OmegaConf.is_list(targets) and len(targets) > 0 and all(isinstance(name, str) for name in targets)
    what = f"write {ALL}, or a list of names of linear layers, e.g. [q_proj,v_proj]"
    require(targets == ALL or listed, "peft.target_modules", OmegaConf.to_container(config)["peft"]["target_modules"], what)
    if config.model.path is None:
        refuse_unknown(targets, LINEAR)


def check_vllm(vllm: DictConfig) -> None:
    levels, ways = ("off", "token", "sequence"), ("truncate", "mask")
    require(vllm.correction in levels, "rl.vllm.correction", vllm.correction, f"choose one of {', '.join(levels)}")
    require(vllm.beyond_cap in ways, "rl.vllm.beyond_cap", vllm.beyond_cap, f"choose one of {', '.join(ways)}")
    for key in ("memory_share", "server_memory_share"):
        require(vllm[key] > 0, f"rl.vllm.{key}", vllm[key], "it must be above 0 and below 1")


def check_budget(config: DictConfig) -> None:
    budget = config.budget
    require(budget.kind in BUDGETS, "budget.kind", budget.kind, f"choose one of {', '.join(BUDGETS)}")
    if budget.kind != "samples":
        require(config.rl.name != "none", "budget", budget.name, "it limits RL, and rl=none has none; use budget=samples")


def check_updates(rl: DictConfig) -> None:
    batch = rl.prompts_per_step * rl.group_size
    what = f"the {batch} completions of a step (rl.prompts_per_step x rl.group_size)"
    require(batch % rl.minibatches == 0, "rl.minibatches", rl.minibatches, f"it must divide {what}")
    size, micro = batch // rl.minibatches, rl.micro_batch_size
    good = micro is None or size % micro == 0
    require(good, "rl.micro_batch_size", micro, f"it must be null or divide the {size} completions of a minibatch")


def check_resources(config: DictConfig) -> None:
    servers, rl = config.resources.server_gpus, config.resources.rl
    require(servers <= rl.gpus, "resources.server_gpus", servers, f"it must be 0..resources.rl.gpus ({rl.gpus}), those of one node")
    enough = servers == 0 or servers < rl.gpus * rl.nodes
    require(enough, "resources.server_gpus", servers, "it leaves no GPU for training")
    require(
        servers == 0 or rl.nodes == 1 or servers == rl.gpus,
        "resources.server_gpus",
        servers,
        "over several nodes a server takes a whole one",
    )
    require(servers == 0 or config.rl.engine == "vllm_server", "resources.server_gpus", servers, "it needs rl.engine=vllm_server")


def check_launch(config: DictConfig) -> None:
    count, rl = config.launch.processes or 1, config.rl
    if config.sft.name != "none":
        size = config.sft.batch_size
        require(size % count == 0, "sft.batch_size", size, f"it must divide over launch.processes={count}")
    if rl.name != "none":
        batch = rl.prompts_per_step * rl.group_size
        share = f"the {batch} completions of a step must divide over the processes and rl.minibatches={rl.minibatches}"
        require(batch % (count * rl.minibatches) == 0, "launch.processes", count, share)


def check_eval(config: DictConfig) -> None:
    from evals.benchmarks import BENCHMARKS
    from evals.engines import ENGINES as SAMPLERS
    from evals.prompts import FORMATS

    settings, names = config.eval, list(config.eval.benchmarks)
    require(
        settings.temperature == 0 or settings.temperature >= 0.01,
        "eval.temperature",
        settings.temperature,
        "use 0 (greedy), or 0.01 to 100",
    )
    by = {f"eval.samples_by.{name}": number for name, number in settings.samples_by.items()}
    for key, number in {"eval.samples": settings.samples, **by}.items():
        require(number >= 1, key, number, "it must be a whole number of at least 1")
        require(settings.temperature > 0 or number == 1, key, number, "greedy decoding (eval.temperature=0) gives one answer; use 1")
    for key, allowed in (("prompt", FORMATS), ("engine", SAMPLERS)):
        value = settings[key]
        require(value is None or value in allowed, f"eval.{key}", value, f"choose one of {', '.join(allowed)}, or null")
    for name in settings.samples_by:
        require(name in BENCHMARKS, "eval.samples_by", name, f"choose from {', '.join(BENCHMARKS)}")
    require(len(names) > 0, "eval.benchmarks", [], "name at least one benchmark")
    for name in names:
        require(name in BENCHMARKS, "eval.benchmarks", name, f"choose from {', '.join(BENCHMARKS)}")
    require(len(set(names)) == len(names), "eval.benchmarks", names, "name every benchmark once")


CHECKS = (
    check_names,
    check_verifier,
    check_model,
    check_sft,
    check_traces,
    check_data,
    check_rl,
    check_peft,
    check_budget,
    check_eval,
    check_launch,
    check_resources,
)
