"""``python -m repro.plan``: what a command line would run, what it costs, what it can show. Runs nothing and writes nothing.

Takes the overrides of ``python -m repro`` and its own options. At micro scale times come from a short measurement on this machine; for models
that need GPUs, from data sheets and stated utilisation.

    python -m repro.plan +experiment=quickstart
    python -m repro.plan +experiment=reward_design scale=paper rl=ppo --gpu h100 --mfu 0.35 --gpus 64
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import sys
from typing import Any

EPILOG = """\
examples:
  python -m repro.plan +experiment=quickstart                     measured on this machine, in some seconds
  python -m repro.plan +experiment=reward_design --sd 2 --effect 3    seeds needed to show 3 points
  python -m repro.plan +experiment=reward_design scale=paper --gpu h200 --gpus 64 --tokens 6000
  python -m repro.plan -m reward=classic,cosine seed=0,1,2 --markdown > plan.md

Overrides are those of python -m repro (its --help lists groups and keys). Exit code 2: the line that says why.
"""


def positive(text: str) -> float:
    """An argument that must be a finite number above 0."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} must be a finite number above 0")
    return value


def whole(text: str) -> int:
    """An argument that must be a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


class OneLine(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage in front."""

    def error(self, message: str) -> None:
        print(f"repro.plan: {message} (python -m repro.plan --help)", file=sys.stderr)
        raise SystemExit(2)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from repro.plan.gpus import GPUS, Assumptions

    made = OneLine(
        prog="python -m repro.plan",
        description="What a command line of python -m repro would run: cells, stages, tokens, memory of a card, hours, detectable effect.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument(
        "overrides", nargs="*", metavar="key=value", help="as for python -m repro, e.g. +experiment=reward_design scale=paper"
    )
    made.add_argument("-m", "--multirun", action="store_true", help="as for python -m repro: sweep over lists such as seed=0,1")
    out = made.add_mutually_exclusive_group()
    out.add_argument("--markdown", action="store_true", help="print Markdown")
    out.add_argument("--json", action="store_true", help="print JSON: every number of the tables, with units in the names")
    gpu = made.add_argument_group("GPUs")
    gpu.add_argument("--gpu", metavar="CARD", help=f"estimate for this card: {', '.join(GPUS)} (default {Assumptions.gpu})")
    gpu.add_argument("--gpus", type=whole, metavar="N", help="cards of a stage (default: the released scripts' at scale=paper, else one)")
    gpu.add_argument("--mfu", type=positive, default=Assumptions.mfu, help="share of the peak in training and prefill (%(default)s)")
    gpu.add_argument("--mbu", type=positive, default=Assumptions.mbu, help="share of the bandwidth in decoding (%(default)s)")
    size = made.add_argument_group("lengths, seeds, time")
    size.add_argument("--tokens", type=positive, metavar="N", help="mean tokens of a completion")
    size.add_argument("--prompt-tokens", type=positive, metavar="N", help="mean tokens of a prompt")
    size.add_argument("--sd", type=positive, default=1.0, metavar="POINTS", help="between the training seeds of an arm (%(default)s)")
    size.add_argument("--effect", type=positive, metavar="POINTS", help="also print the seeds that show this difference")
    size.add_argument(
        "--parallel", type=whole, default=1, metavar="N", help="cells side by side, as hydra/launcher=joblib runs them (%(default)s)"
    )
    size.add_argument("--no-store", action="store_true", help="do not look into the store (needs no torch for hub models)")
    return made


def run(arguments: argparse.Namespace) -> None:
    """Plan and print. Libraries that print while they are imported print to stderr, so that ``--json`` stays JSON.

    Raises:
        ConfigError and Hydra's errors: what ``repro.errors.explain`` puts into one line.
    """
    from repro.plan import table

    with contextlib.redirect_stdout(sys.stderr):
        found = planned(arguments)
    if arguments.json:
        print(json.dumps(found, indent=1))
    elif arguments.markdown:
        print(table.markdown(found))
    else:
        table.show(found)


def planned(arguments: argparse.Namespace) -> dict[str, Any]:
    """The plan as data. Raises as ``run``."""
    from repro.plan import calibrate
    from repro.plan.cells import expand
    from repro.plan.gpus import Assumptions
    from repro.plan.lookup import look_up
    from repro.plan.summary import Request, summary
    from repro.plan.workload import Lengths

    assumed = Assumptions(arguments.gpu or Assumptions.gpu, arguments.mfu, arguments.mbu, arguments.gpus)
    plan = expand(arguments.overrides, multirun=arguments.multirun)
    # A cell that trains its own small model is measured where it would run; larger scales run on a GPU, which must be this machine's then.
    micro = all(cell.config["model"]["path"] is None for cell in plan.cells)
    here = micro and arguments.gpu is None and (plan.cells[0].config["scale"] == "micro" or _has_gpu())
    if here:
        calibrate.imports()  # first, since looking into the store imports torch, too
    if not arguments.no_store:
        plan = look_up(plan)
    speeds = calibrate.measure_all(plan.cells) if here else None
    lengths = Lengths(arguments.prompt_tokens, arguments.tokens)
    request = Request(assumed, lengths, speeds, arguments.parallel, arguments.sd, arguments.effect)
    return summary(plan, request)


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def main() -> None:
    """Run, and turn every refusal into one line on stderr and exit code 2."""
    from repro.errors import explain
    from repro.sweep import quiet_libraries

    logging.disable(logging.WARNING)
    quiet_libraries()
    try:
        run(parser().parse_intermixed_args())
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        print(f"repro.plan: {line}", file=sys.stderr)
        sys.exit(2)
    finally:
        logging.disable(logging.NOTSET)  # main() may be called by a program that goes on


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
