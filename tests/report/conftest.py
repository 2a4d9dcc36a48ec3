"""A made-up study with its report, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.report.__main__ import main
from tests.report import study


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    root = study.pair(tmp_path_factory.mktemp("study"), 8.0)
    assert main([str(root / "sweeps"), "--out", str(root / "out"), "--samples", "7"]) == 0
    return root
