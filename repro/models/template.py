"""A copy of a checkpoint whose tokenizer has a chat template and a padding token, as training and evaluation here need; and a longer context.

Base models often have neither (Llama-3.1-8B has no template and no padding token, D-11). The weights are linked, not copied; only the
tokenizer is written anew. Differs from editing tokenizer_config.json by hand in that nothing is added to the vocabulary unless asked for, so
that the weights stay what they were. Qwen2.5-Math-7B was pre-trained for 4,096 tokens; the paper multiplies its RoPE theta by 10 for more (6.4).

    python -m repro.models.template meta-llama/Llama-3.1-8B out=llama-8b template=llama3
    python -m repro.models.template Qwen/Qwen2.5-Math-7B out=qwen-16k rope=10 context=16384
    python -m repro +experiment=sft_scaling scale=paper model.path=llama-8b
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repro.config import ConfigError

# Turns end with the tokenizer's own EOS token, which a base model knows and the trainers stop at.
TEMPLATES = {
    "plain": "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}\n{% endif %}{% endfor %}",
    "llama3": "{{ bos_token or '' }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}<|eot_id|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "chatml": "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
}
MARKS = {"plain": (), "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "chatml": ("<|im_start|>", "<|im_end|>")}
PADS = ("<|finetune_right_pad_id|>", "<|endoftext|>", "<|reserved_special_token_0|>", "<unk>")  # tried in this order
HELP = f"""python -m repro.models.template MODEL out=FOLDER [key=value ...]

Writes FOLDER: the checkpoint MODEL (folder or hub name) with links to its weights, and a tokenizer with chat template and padding token.

  out        new folder
  template   {", ".join(TEMPLATES)}, or a Jinja file; llama3 and chatml need their marks in the vocabulary; its own, plain where it has none
  pad        padding token, one of the vocabulary; by default the first of {" ".join(PADS)} that it has
  rope       number that RoPE's theta is multiplied by; 1
  context    longest sequence in tokens that config.json then says; as it is
  revision   commit of the hub repository

Exit code: 0, or 2 for input that has to be mended, with one line that says how."""


def prepare(
    model: str,
    out: Path,
    template: str | None = None,
    pad: str | None = None,
    rope: float = 1.0,
    context: int | None = None,
    revision: str | None = None,
) -> Path:
    """Writes the copy, returns ``out``.

    Args:
        template: a name of ``TEMPLATES`` or a Jinja file; None: the checkpoint's own, ``plain`` where it has none.
        pad: a token of the vocabulary that is not EOS. rope, context: as in ``HELP``.

    Raises:
        ConfigError: no such checkpoint, an existing ``out``, tokens that the vocabulary lacks, no padding token to be found.
    """
    from transformers import AutoTokenizer

    from repro.models.load import resolve

    source = resolve(model, revision)
    if out.exists():
        raise ConfigError(f"out={out} exists already: choose another folder, or remove it")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source))
    except Exception as error:  # the library raises whatever its parsers raise
        raise ConfigError(f"{model} has no tokenizer that can be loaded ({next(iter(str(error).splitlines()), '?')})") from None
    if template is None and tokenizer.chat_template:
        text, marks = tokenizer.chat_template, ()
    elif (template := template or "plain") in TEMPLATES:
        text, marks = TEMPLATES[template], MARKS[template]
    elif Path(template).is_file():
        text, marks = Path(template).read_text(), ()
    else:
        raise ConfigError(f"template={template} is neither a file nor one of {', '.join(TEMPLATES)}")
    words = tokenizer.get_vocab()
    if missing := [mark for mark in marks if mark not in words]:
        raise ConfigError(f"template={template} needs {missing[0]}, which the vocabulary of {model} lacks: choose another template")
    if tokenizer.eos_token is None:
        raise ConfigError(f"the tokenizer of {model} has no eos_token, at which every completion ends; give a checkpoint that has one")
    pad = pad or tokenizer.pad_token or next((token for token in PADS if token in words and token != tokenizer.eos_token), None)
    if pad is None or pad not in words or pad == tokenizer.eos_token:
        why = "none of the usual ones is in the vocabulary" if pad is None else f"{pad} is EOS or not in the vocabulary"
        raise ConfigError(f"pad: {why}; give pad=TOKEN, one of the vocabulary that texts do not contain")
    tokenizer.pad_token, tokenizer.chat_template = pad, text
    settings = _stretched(source, rope, context) if rope != 1 or context else None
    out.mkdir(parents=True)
    tokenizer.save_pretrained(str(out))
    if settings:
        (out / "config.json").write_text(json.dumps(settings, indent=1))
    for file in sorted(source.iterdir()):
        if file.is_file() and not (out / file.name).exists() and file.name not in ("chat_template.json", "chat_template.jinja"):
            os.symlink(file.resolve(), out / file.name)
    return out


def _stretched(source: Path, rope: float, context: int | None) -> dict[str, Any]:
    """config.json with another theta and another longest sequence; theta stands in ``rope_parameters``, in files of old beside the rest."""
    settings = json.loads((source / "config.json").read_text())
    holder = settings["rope_parameters"] if "rope_theta" in (settings.get("rope_parameters") or {}) else settings
    if "rope_theta" not in holder:
        raise ConfigError(f"rope={rope:g}: the config.json of {source.name} has no rope_theta; leave rope and context out")
    holder["rope_theta"] *= rope
    return {**settings, **({"max_position_embeddings": context} if context else {})}


def _factor(key: str, text: str) -> float:
    from repro.keys import real

    return real(key, text, 1e-6, 1e6)


def main(arguments: Sequence[str]) -> int:
    from repro.keys import pairs, whole

    if not arguments or {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    try:
        given: dict[str, Any] = pairs(arguments[1:], ("out", "template", "pad", "rope", "context", "revision"))
        if "out" not in given:
            raise ConfigError("out=FOLDER is missing (--help)")
        given |= {key: read(key, given[key]) for key, read in (("rope", _factor), ("context", whole)) if key in given}
        made = prepare(arguments[0], Path(given.pop("out")).expanduser(), **given)
    except (ConfigError, OSError) as error:
        print(f"repro.models.template: {str(error).replace('model.path=', '')}", file=sys.stderr)
        return 2
    print(f"{made}: use it with model.path={made}")
    return 0


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(lambda: main(sys.argv[1:]))
