"""Claim files and records that no report can be made of: one line each, that says what is wrong, where, and what to run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repro.claims import declared
from repro.claims.declared import ClaimError
from repro.claims.group import RecordError
from repro.claims.records import Records
from repro.report import summary
from tests.report import study
from tests.report.test_engine import CURVE, judged


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"marginn": 1}, "unknown key marginn"),
        ({"margin": ...}, "margin is missing"),
        ({"margin": 0}, "margin must be a number above 0"),
        ({"contrast": {"cosine": 1, "linear": -1}}, "names an arm 'linear'"),
        ({"metric": {"kind": "accuracy", "benchmarks": ["maths"]}}, "metric.benchmarks must be one of"),
        ({"metric": {"kind": "speed"}}, "metric.kind must be one of"),
        ({"metric": {"kind": "curve", "column": "kl", "summary": "best", "window": 0.1, "unit": "raw"}}, "metric.summary must be one of"),
        ({"metric": {**CURVE, "summary": "correlation"}}, "metric.beside is missing"),
        ({"metric": {**CURVE, "beside": "kl"}}, "unknown key metric.beside"),
        ({"metric": {**CURVE, "reference": "none"}}, "metric.reference must be a number"),
        ({"margin": float("nan")}, "margin must be a number above 0"),
        ({"contrast": {"cosine": float("inf"), "classic": -1}}, "contrast.cosine must be a number"),
        ({"test": "interaction"}, "needs 4 arm"),
        ({"direction": "up"}, "direction must be one of"),
        ({"min_seeds": 1}, "min_seeds"),
        ({"published": {"effect": "big", "tag": "P", "source": "x"}}, "published.effect must be"),
        ({"published": {"effect": 1.0, "tag": "S", "source": "x"}}, "published.tag must be one of P, D"),
        ({"arms": {1: {"stage": "rl"}, 2: {"stage": "rl"}}}, "arms must be a mapping from names"),
        ({"at": {"micro": {"arms": {"cosine": 5}}}}, "at.micro.arms.cosine must be a mapping"),
        ({"at": {"macro": {}}}, "unknown key at.macro"),
    ],
)
def test_a_bad_claim_is_one_line(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ClaimError) as error:
        declared.read(study.claim(tmp_path / "claims", **changes))
    assert message in str(error.value) and "\n" not in str(error.value) and "X1.yaml" in str(error.value)


@pytest.mark.parametrize("text", [b"", b"- a", b"a: [", b"\x00", b"\xff\xfe", b"!!python/object:os.system {}"])
def test_a_claim_file_that_is_no_claim_is_one_line(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "X1.yaml").write_bytes(text)
    with pytest.raises(ClaimError, match=r"X1\.yaml") as error:
        declared.load(tmp_path)
    assert "\n" not in str(error.value)


def test_bad_records_are_one_line(tmp_path: Path) -> None:
    def refused(match: str) -> None:
        with pytest.raises(RecordError, match=match) as error:
            judged(tmp_path)
        assert "\n" not in str(error.value)

    (tmp_path / "sweeps").mkdir()
    refused("no finished cell.*quickstart")
    study.pair(tmp_path, 8.0)
    path = sorted((tmp_path / "sweeps").rglob("records.parquet"))[0]
    good = pq.read_table(path)
    pq.write_table(pa.concat_tables([good, good.slice(good.num_rows - 1, 1)]), path)
    refused("duplicate record.*delete the folder")
    pq.write_table(good.drop_columns(["verifier_version"]), path)
    refused("another schema version .verifier_version is missing")
    column = good.column_names.index("correct")
    pq.write_table(good.set_column(column, "correct", pa.array([None] * good.num_rows, pa.bool_())), path)
    refused("without correct")
    path.write_text("no parquet")
    refused("no readable Parquet")
    pq.write_table(good, path)
    facts = json.loads((path.parent / "cell.json").read_text())
    facts["evaluations"][-1]["key"] = "other"
    twin = tmp_path / "sweeps" / "again"
    twin.mkdir()
    (twin / "cell.json").write_text(json.dumps(facts))
    pq.write_table(good, twin / "records.parquet")
    refused("two different evaluations")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config", {}),
        ("config.scale", "huge"),
        ("config.seed", "0"),
        ("config.model", "llama"),
        ("seed", None),
        ("store", ...),
        ("evaluations", [5]),
        ("evaluations", [{"stage": "rl", "step": 20, "arm_key": "a", "key": "b"}]),
        ("stages", [{"stage": "rl"}]),
        ("traces", 1),
    ],
)
def test_a_cell_of_another_version_is_one_line(tmp_path: Path, key: str, value) -> None:
    study.pair(tmp_path, 8.0, seeds=1)
    path = next((tmp_path / "sweeps").rglob("cell.json"))
    facts = json.loads(path.read_text())
    *parents, last = key.split(".")
    inner = facts
    for part in parents:
        inner = inner[part]
    inner.pop(last) if value is ... else inner.__setitem__(last, value)
    path.write_text(json.dumps(facts))
    with pytest.raises(RecordError, match=r"cell\.json is of another version .*run its cell again") as error:
        Records.load([tmp_path / "sweeps"])
    assert "\n" not in str(error.value) and key.split(".", maxsplit=1)[0] in str(error.value)


def damaged(path: Path, way: str) -> None:
    table = pq.read_table(path)
    if way == "flipped":  # footer intact, pages not
        data = bytearray(path.read_bytes())
        data[40:400] = bytes(byte ^ 0xFF for byte in data[40:400])
        path.write_bytes(bytes(data))
    elif way == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif way == "empty":
        pq.write_table(table.slice(0, 0), path)
    else:
        pq.write_table(table.rename_columns([way, *table.column_names[1:]]), path)


@pytest.mark.parametrize("way", ["flipped", "truncated", "empty"])
def test_damaged_records_are_one_line_even_where_no_claim_reads_them(tmp_path: Path, way: str) -> None:
    path = study.write(tmp_path, study.config("classic"), {"rl": 0.5}) / "records.parquet"
    damaged(path, way)
    with pytest.raises(RecordError, match=r"records\.parquet.*(run its cell again|delete the folder and run)") as error:
        summary.build(Records.load([tmp_path / "sweeps"]), [])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("way", ["truncated", "stepp"])
def test_damaged_curves_are_one_line(tmp_path: Path, way: str) -> None:
    study.pair(tmp_path, 8.0)
    damaged(next((tmp_path / "store").rglob("metrics.parquet")), way)
    with pytest.raises(RecordError, match=r"metrics\.parquet"):
        summary.build(Records.load([tmp_path / "sweeps"]), [])
    assert "metrics.parquet" in judged(tmp_path, metric={**CURVE, "column": "accuracy"}).verdict.reason


def test_cells_of_two_scales_are_two_reports(tmp_path: Path) -> None:
    study.pair(tmp_path, 8.0)
    study.write(tmp_path, study.config("classic", 0, scale="single_gpu", experiment_name="other", rl__steps=40), {"rl": 0.5}, np.ones(20))
    micro, larger = summary.build(Records.load([tmp_path / "sweeps"]), [declared.read(study.claim(tmp_path / "claims"))])
    assert (micro.scale, larger.scale) == ("micro", "single_gpu")
    assert micro.results[0].verdict.name == "reproduced" and "no records of cosine" in larger.results[0].verdict.reason
