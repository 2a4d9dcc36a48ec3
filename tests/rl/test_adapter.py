"""LoRA: policy, critic and reference on one base, resumed to the bit, saved as a plain checkpoint and as an adapter."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from repro import interrupt
from repro.models import adapter
from repro.models.sampler import sample, uniforms
from repro.rl.trainer import StreamTrainer
from tests.rl.small import MICRO, REWARD, assert_same, assert_same_weights, make_start, train
from tests.test_sampler import PROMPTS, tiny

LORA = ["peft=lora", "peft.rank=4", "rl.learning_rate=1e-2", "rl.critic_learning_rate=1e-2"]
SETTINGS = {"rank": 4, "alpha": 8.0, "target_modules": adapter.ALL}


def adapted(model, settings: dict = SETTINGS, *, start: bool = False):
    """The model with an adapter; of random weights, unless ``start``."""
    from peft import get_peft_model

    torch.manual_seed(1)
    made = get_peft_model(model, adapter.lora(settings))
    for name, weight in made.named_parameters():
        if "lora_B" in name and not start:
            torch.nn.init.normal_(weight, std=0.3)
    return made.eval()


@pytest.fixture
def trainers(monkeypatch) -> list[StreamTrainer]:
    """The trainers of a test, in the order in which they were made."""
    made, seen = StreamTrainer.__init__, []

    def note(self, **settings) -> None:
        made(self, **settings)
        seen.append(self)

    monkeypatch.setattr(StreamTrainer, "__init__", note)
    return seen


def shared(one, two) -> list[str]:
    """Names of the parameters of ``one`` that ``two`` holds in the same memory."""
    places = {parameter.data_ptr() for parameter in two.parameters()}
    return [name for name, parameter in one.named_parameters() if parameter.data_ptr() in places]


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("tied", [False, True])
def test_saved_and_sampled_as_it_computes(architecture: str, tied: bool, tmp_path: Path) -> None:
    model = tiny(architecture)
    model.config.tie_word_embeddings = tied
    model.tie_weights()
    ids = torch.tensor([PROMPTS[2]])
    with torch.no_grad():
        base = model(ids).logits
        assert torch.equal(adapted(tiny(architecture), start=True)(ids).logits, tiny(architecture)(ids).logits)
        lora = adapted(model)
        found = lora(ids).logits
        assert (found - base).abs().max() > 0.1
        plain, weights = adapter.merged(lora)
        plain.save_pretrained(tmp_path / "model", state_dict=weights)
        lora.save_pretrained(tmp_path / "adapter")
        again, info = AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
        assert not (info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"])
        torch.testing.assert_close(again(ids).logits, found, atol=1e-5, rtol=0)
        noise = uniforms([str(i) for i in range(len(PROMPTS))], 12)
        texts, logps = sample(adapter.base_of(lora), PROMPTS, noise, stops=[1], max_tokens=12)
        assert texts == sample(again, PROMPTS, noise, stops=[1], max_tokens=12)[0]
        for prompt, text, found in zip(PROMPTS, texts, logps, strict=True):
            logits = lora(torch.tensor([prompt + text])).logits[0, len(prompt) - 1 : -1]
            expected = torch.log_softmax(logits, -1)[torch.arange(len(text)), torch.tensor(text)]
            torch.testing.assert_close(torch.tensor(found), expected, atol=2e-5, rtol=0)
    files = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert files and all("lora_" in name for name in files)


def test_an_engine_gets_the_sum_and_the_base_keeps_its_bits() -> None:
    """By TRL's own iteration over the weights that it sends; the library's own way back is another base."""
    from trl.generation.vllm_generation import VLLMGeneration

    model = adapted(tiny("qwen2"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    _, expected = adapter.merged(model)
    adapter.keep_base_exact(model)
    backend = SimpleNamespace(gather_params=lambda _: nullcontext(), is_fsdp=False)
    sender = SimpleNamespace(model=model, _dist=backend)
    sender._fix_param_name_to_vllm = lambda name, **more: VLLMGeneration._fix_param_name_to_vllm(sender, name, **more)
    for _ in range(3):
        sent = {name: value.clone() for name, value in VLLMGeneration._iter_named_params(sender)}
        assert sent.keys() == expected.keys() and all(torch.equal(sent[name], expected[name]) for name in sent)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_one_base_for_policy_critic_and_reference(start, tmp_path, trainers) -> None:
    rows = train(start, tmp_path / "work", *REWARD, *LORA, "rl=ppo", "rl.kl=0.05", "rl.warmup=0")
    policy, critic = trainers[0].model, trainers[0].critic.critic
    assert trainers[0].ref_model is None and list(policy.peft_config) == ["default"]
    own = [name for name, _ in critic.named_parameters() if name not in shared(critic, policy)]
    assert own and all(name == "head.weight" or "lora_" in name for name in own)
    base, kept = load_file(start / "model.safetensors"), adapter.base_of(policy).state_dict()
    for name, value in base.items():
        inside = name.replace(".weight", ".base_layer.weight")
        assert torch.equal(value, kept[inside if inside in kept else name]), name
    moved = load_file(tmp_path / "work" / "model" / "model.safetensors")
    changed = {name.rsplit(".", 2)[-2] for name in base if not torch.equal(base[name], moved[name])}
    assert moved.keys() == base.keys() and changed == {name.split(".")[1] for name in adapter.LINEAR}
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-9) and rows[-1]["kl"] > 0
    assert max(row["sampler/logp_difference_max"] for row in rows) < 2e-5
    assert all(row["critic/grad_norm"] > 0 for row in rows)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_the_first_step_is_that_of_full_training(kind: str, tmp_path) -> None:
    """Rollouts, values and losses: the adapters of policy and critic add exactly nothing yet."""
    start = make_start(tmp_path / "start", MICRO | {"architecture": kind})
    settings = [*REWARD, "rl=ppo", "rl.kl=0.05", "rl.steps=1"]
    (full,), (lora,) = (train(start, tmp_path / name, *settings, *more) for name, more in (("full", []), ("lora", LORA)))
    clocks = ("time", "runtime", "per_second", "grad_norm", "learning_rate")
    same = [name for name in full if not any(word in name for word in clocks)]
    assert len(same) > 40 and {name: full[name] for name in same} == {name: lora[name] for name in same}


def test_the_reference_is_the_start_policy(start, tmp_path, monkeypatch) -> None:
    """The log-probabilities with the adapter off, against those of a model of its own."""
    found, inner = [], StreamTrainer._add_advantages
    other = AutoModelForCausalLM.from_pretrained(start)

    def compare(self, out, mask) -> None:
        ids, attention = self._join(out, mask)
        count = mask.shape[1]
        positions = (attention.cumsum(1) - 1).clamp(min=0)
        logits = other(ids, attention_mask=attention, position_ids=positions).logits[:, -count - 1 : -1]
        logps = torch.log_softmax(logits, -1).gather(2, ids[:, -count:, None])[..., 0]
        found.append(((logps - out["ref_per_token_logps"]) * mask).abs().max())
        inner(self, out, mask)

    monkeypatch.setattr(StreamTrainer, "_add_advantages", compare)
    rows = train(start, tmp_path / "work", *REWARD, *LORA, "rl=grpo", "rl.measure_kl=true")
    assert len(found) == 4 and max(found) < 1e-5 and rows[-1]["kl"] > 1e-6


@pytest.mark.parametrize("settings", [["rl=ppo", "rl.epochs=2", "rl.minibatches=2"], ["rl=ppo"], ["rl=grpo", "rl.engine=transformers"]])
def test_a_checkpoint_goes_on_to_the_same_bits(settings: list[str], start, tmp_path, monkeypatch, trainers) -> None:
    settings = [*REWARD, *LORA, *settings, "rl.kl=0.05"]
    calm = train(start, tmp_path / "calm", *settings)
    with monkeypatch.context() as patch, pytest.raises(interrupt.Interrupted):
        patch.setattr(interrupt, "_wanted", True)
        train(start, tmp_path / "stopped", *settings)
    assert_same(calm, train(start, tmp_path / "stopped", *settings), 0.0)
    for name in ("model/model.safetensors", "adapter/adapter_model.safetensors"):
        one, two = (load_file(tmp_path / run / name) for run in ("calm", "stopped"))
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    if trainers[0].critic is not None:
        one, two = (dict(trainers[i].critic.critic.named_parameters()) for i in (0, 2))
        assert all(torch.equal(one[name], two[name]) for name in one)
    checkpoint = tmp_path / "calm" / ".resume" / "trainer" / "checkpoint-4"
    if not checkpoint.exists():  # of the two updates a pass
        checkpoint = max(checkpoint.parent.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    assert "adapter_model.safetensors" in {path.name for path in checkpoint.iterdir()}
    assert not list(checkpoint.rglob("model*.safetensors"))
    if (checkpoint / "critic.pt").exists():
        names = torch.load(checkpoint / "critic.pt", weights_only=True)["model"]
        assert names and all(name == "head.weight" or "lora_" in name for name in names)


def test_a_base_in_bfloat16_as_on_a_gpu(start, tmp_path, monkeypatch, trainers) -> None:
    """With autocast and recomputed activations: the base is half, adapters, head and what is saved are not."""
    from repro import training
    from repro.models import load
    from repro.rl import stage

    common = training.common_arguments
    monkeypatch.setattr(training, "common_arguments", lambda *given: {**common(*given), "bf16": True, "gradient_checkpointing": True})
    monkeypatch.setattr(stage, "load_model", lambda path, half, **_: load.load_model(path).to(torch.bfloat16 if half else torch.float32))
    rows = train(start, tmp_path / "work", *REWARD, *LORA, "rl=ppo", "rl.kl=0.05", "peft.base_dtype=bfloat16")
    for model in (trainers[0].model, trainers[0].critic.critic):
        for name, parameter in model.named_parameters():
            assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16), name
    saved = load_file(tmp_path / "work" / "model" / "model.safetensors")
    assert {value.dtype for value in saved.values()} == {torch.float32}
    assert json.loads((tmp_path / "work" / "model" / "config.json").read_text())["dtype"] == "float32"
    assert all(row["grad_norm"] > 0 and row["critic/grad_norm"] > 0 for row in rows)
    assert max(row["sampler/logp_difference"] for row in rows) < 1e-2


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() == 1, reason="two processes cannot share the one GPU: CUDA_VISIBLE_DEVICES= hides it")
def test_two_processes_retrace_one(start, tmp_path, monkeypatch) -> None:
    """Asked to stop after the first step, and gone on from its checkpoint."""
    learning = ["rl.learning_rate=1e-3", "rl.critic_learning_rate=1e-3"]
    settings = [*REWARD, *LORA, *learning, "rl=ppo", "rl.kl=0.05", "rl.epochs=2", "rl.group_size=3"]
    one = train(start, tmp_path / "one", *settings)
    with monkeypatch.context() as patch, pytest.raises(interrupt.Interrupted):
        patch.setattr(interrupt, "_wanted", True)
        train(start, tmp_path / "two", *settings, "launch=ddp", "launch.processes=2")
    two = train(start, tmp_path / "two", *settings, "launch=ddp", "launch.processes=2")
    assert_same(one, two, 2e-3)
    assert_same(one[:1], two[:1], 1e-5)
    assert_same_weights(tmp_path / "one", tmp_path / "two", 2e-3)
