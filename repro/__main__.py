"""Entry of ``python -m repro``: compose, validate, run one cell; Hydra repeats it for the cells of a sweep.

Differs from a plain Hydra application in how it ends: bad input is one line and exit code 2, a failed cell keeps its traceback in its own
log and the sweep goes on, and the exit code is 1 if any cell failed.

    python -m repro --help
    python -m repro +experiment=quickstart
"""

# ruff: noqa: E402 - a Ctrl-C while importing is answered like any other

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path


def _leave(*_: object) -> None:
    os.write(2, b"repro: interrupted\n")
    os._exit(130)


if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)  # while importing; main() restores the handler, once there is something to put in order

import hydra
from omegaconf import DictConfig, OmegaConf

from repro import arguments
from repro.config import plain, register
from repro.hydra_versions import main_options, register_resolver

register()
sys.path.append(str(Path(__file__).parent / "plugins"))  # hydra_plugins: where Hydra looks for launchers
register_resolver("cell_dir", lambda *, _root_: _cell_dir(_root_), replace=True)


def _cell_dir(root: DictConfig) -> str:
    from repro.identity import cell_dir

    return cell_dir(plain(OmegaConf.masked_copy(root, [key for key in root if key != "hydra"])))


@hydra.main(config_path="../conf", config_name="config", **main_options())
def task(config: DictConfig) -> None:
    from repro.sweep import run_in_sweep

    run_in_sweep(config)


def main() -> int:
    """Run what the command line says, and return the exit code."""
    from repro.sweep import close, exit_code

    logging.raiseExceptions = False  # a log file on a full disk would print a traceback a line
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting with 1
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        arguments.check(sys.argv[1:])
        sys.argv[1:] = arguments.for_hydra(sys.argv[1:])
        task()
    finally:
        close()
        logging.disable()  # torch logs the statistics of its caches at exit
    return exit_code()


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main, interrupted="interrupted; the same command continues where it was")
