"""No negative zero: a difference of -0.001 is printed as 0.00, in every table."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.claims import verdict
from repro.report import readme, table
from repro.rewards import conformance
from tests.conftest import ROOT

NEGATIVE_ZERO = re.compile(r"(?<![\w.])-0(?:\.0+)?(?![\w.])")
ROUNDED = re.compile(r"\.\d+[efg%]$")
PRINTERS = ("repro/report", "repro/claims", "repro/plan", "repro/cot", "evals/summary.py", "evals/score.py", "evals/command.py")
PRINTERS += ("repro/data/traces.py", "repro/rewards/conformance.py", "repro/verifiers/agreement.py")
FILES = [path for name in PRINTERS for path in (sorted((ROOT / name).glob("*.py")) if (ROOT / name).is_dir() else [ROOT / name])]


@pytest.mark.parametrize(
    ("text", "there"), [("[-0.00, 32.44]", True), ("-0", True), ("+0.00 [-0.0]", True), ("-0.05", False), ("1e-0", False)]
)
def test_what_a_negative_zero_is(text: str, there: bool) -> None:
    assert bool(NEGATIVE_ZERO.search(text)) == there


def specs(path: Path) -> list[str]:
    """Return the format specifications of a file's f-strings that round."""
    found = [node.format_spec for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FormattedValue)]
    texts = [spec.values[0].value for spec in found if spec is not None and isinstance(spec.values[0], ast.Constant)]
    return [text for text in texts if ROUNDED.search(text)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_rounded_number_of_a_table_has_no_negative_zero(path: Path) -> None:
    """The flag z makes it one zero, after rounding."""
    assert not [spec for spec in specs(path) if "z" not in spec]


def test_the_rule_sees_the_numbers() -> None:
    assert sum(len(specs(path)) for path in FILES) > 100


SMALL = st.floats(-0.06, 0.06)


@given(SMALL, SMALL, SMALL)
def test_intervals_around_zero(value: float, low: float, high: float) -> None:
    texts = [verdict._text(low, high), table.percent((value / 100, low / 100, high / 100)), conformance._shown(value * 1e-3)]
    assert not [text for text in texts if NEGATIVE_ZERO.search(text)]


def test_committed_tables_have_no_negative_zero() -> None:
    texts = [readme.README.read_text(), *(path.read_text() for path in sorted(readme.RESULTS.glob("*")) if path.suffix in (".md", ".csv"))]
    assert len(texts) > 5 and not [match for text in texts for match in NEGATIVE_ZERO.findall(text)]
