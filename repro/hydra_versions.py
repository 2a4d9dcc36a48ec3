"""What has another name in Hydra 1.4 with OmegaConf 2.4 than in Hydra 1.3 with OmegaConf 2.3; both are supported."""

from __future__ import annotations

from typing import Any

import hydra
import hydra.utils
from omegaconf import OmegaConf

RECENT = not hydra.__version__.startswith("1.3.")
VERSION_BASE = {} if RECENT else {"version_base": "1.3"}  # deprecated in 1.4, needed in 1.3
register_resolver = OmegaConf.register_resolver if RECENT else OmegaConf.register_new_resolver


def main_options() -> dict[str, Any]:
    """Return the options of ``hydra.main``: launchers and callbacks of a user's own configuration may be any code, as in Hydra 1.3."""
    return {"execution_whitelist": hydra.utils.UNSAFE_DISABLE_EXECUTION_CHECKS} if RECENT else VERSION_BASE
