"""Tokenizer of the micro world: one token a word, saved like any Hugging Face tokenizer, chat template included.

AutoTokenizer.from_pretrained("<checkpoint>").apply_chat_template([{"role": "user", "content": "find x : ..."}])
"""

from __future__ import annotations

from repro.data.chains import WORDS
from repro.data.world import LABELS, OPTIONS, PRIME

PAD, EOS, USER, ASSISTANT = "<pad>", "<|end|>", "<|user|>", "<|assistant|>"
CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'user' %}<|user|> {{ m['content'] }} {% elif m['role'] == 'assistant' %}<|assistant|> "
    "{% generation %}{{ m['content'] }} <|end|>{% endgeneration %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def vocabulary() -> list[str]:
    """Every word of the micro world in a fixed order."""
    digits = [str(d) for d in range(PRIME)]
    coefficients = [f"{label}{d}" for label in LABELS for d in digits]
    targets = [f"={d}" for d in digits]
    candidates = [f"x{d}" for d in digits]
    prompt = ["find", "x", "value", "at", ":", "options", *OPTIONS, "repeat", "reverse", "count", "from", *WORDS]
    chain = ["=", "wait", "recheck", "alternatively", "retry", "however", "so", "\\boxed{", "}"]
    constructed = ["clarify", "decompose", "step", "reflect", "answer"]
    return [PAD, EOS, USER, ASSISTANT, "<unk>", *digits, *LABELS, *coefficients, *targets, *candidates, *prompt, *chain, *constructed]


# transformers 5 trusts the class that a tokenizer's own files name, except for some model types, Qwen2 among them: AutoTokenizer then takes
# Qwen2's class, which drops the words of the micro world. Files that name remote code are exempt, and as nobody trusts that code
# (it does not exist), the class that they name is taken after all.
AS_WRITTEN = {"AutoTokenizer": [None, "none.None"]}
MISREAD = ("qwen2",)  # architectures


def build_tokenizer(architecture: str = "llama"):
    """A ``PreTrainedTokenizerFast`` with EOS, PAD and chat template set; left padding is the caller's choice.

    ``architecture``: of the model beside it, so that ``AutoTokenizer`` loads what is saved.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = vocabulary()
    raw = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token=PAD, eos_token=EOS, unk_token="<unk>", additional_special_tokens=[USER, ASSISTANT]
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    if architecture in MISREAD:
        tokenizer.init_kwargs["auto_map"] = AS_WRITTEN
    return tokenizer
