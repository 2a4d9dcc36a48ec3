"""Fixtures of the tests of evaluations."""

from __future__ import annotations

import pytest

from evals import engines
from repro.models.load import load_tokenizer
from tests.evals.small import MODEL


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(MODEL)


@pytest.fixture
def generated(monkeypatch):
    """Keys of all samples that were really generated."""
    keys, complete = [], engines.TransformersEngine.complete

    def counted(self, prompts, names, **settings):
        keys.extend(names)
        return complete(self, prompts, names, **settings)

    monkeypatch.setattr(engines.TransformersEngine, "complete", counted)
    return keys
