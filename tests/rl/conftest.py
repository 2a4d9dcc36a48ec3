"""The checkpoint that the tests of the trainer start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rl.small import make_start


@pytest.fixture(scope="session")
def start(tmp_path_factory) -> Path:
    return make_start(tmp_path_factory.mktemp("start"))
