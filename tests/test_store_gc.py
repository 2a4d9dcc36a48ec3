"""Garbage collection removes everything that nothing refers to, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.lock import Lock
from repro.store import Stage, Store, gc

LEVELS = 3


def build(work: Path) -> None:
    (work / "made").write_text("1")


@given(
    inputs=st.lists(st.integers(0, 3), min_size=9, max_size=9),
    users=st.lists(st.tuples(st.sampled_from(["cell", "record", "sweep", "deleted"]), st.integers(0, 8)), max_size=6),
    young=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_what_is_referred_to_stays_with_all_it_was_made_from_and_the_rest_goes(inputs, users, young) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        outputs = Path(temporary)
        store, stages = Store(outputs / "store"), []
        for number, back in enumerate(inputs):  # every stage may be made from an earlier one
            source = stages[number - back] if 0 < back <= number else None
            stages.append(Stage(f"s{number % LEVELS}", {"n": number}, {"from": source.key} if source else {}, 1))
            store.get_or_build(stages[-1], build)
        expected = set()
        for n, (kind, number) in enumerate(users):
            folder, stage = outputs / f"cell-{n}", stages[number]
            (folder / "state").mkdir(parents=True)
            facts = [{"stage": stage.name, "key": stage.key}]
            if kind in ("cell", "deleted"):
                Store(outputs / "store", folder).get_or_build(stage, build)
            elif kind == "record":
                (folder / "cell.json").write_text(json.dumps({"stages": facts}))
            else:
                (folder / "state" / "0.json").write_text(json.dumps({"status": "done", "result": {"stages": facts}}))
            if kind == "deleted":
                shutil.rmtree(folder)
                continue
            while stage is not None:
                expected.add(store.path(stage))
                stage = next((s for s in stages if s.key in stage.inputs.values()), None)
        everything = {store.path(stage) for stage in stages}
        gc.collect(store.root, outputs, 0.0, delete=False)
        assert set(gc.finished(store.root)) == everything
        gc.collect(store.root, outputs, 1.0 if young else 0.0, delete=True)
        assert set(gc.finished(store.root)) == (everything if young else expected)


def test_a_stage_that_is_being_built_stays(tmp_path) -> None:
    work = tmp_path / "store" / "toy" / ".abc.work"
    work.mkdir(parents=True)
    with Lock(tmp_path / "store" / "toy" / ".abc.lock", "toy/abc"):
        gc.collect(tmp_path / "store", tmp_path, 0.0, delete=True)
        assert work.exists()
    gc.collect(tmp_path / "store", tmp_path, 0.0, delete=True)
    assert not work.exists()


def test_a_cell_that_asks_while_the_stage_goes_gets_it_back(tmp_path, monkeypatch) -> None:
    store, stage = Store(tmp_path / "store"), Stage("toy", {}, {}, 1)
    path = store.get_or_build(stage, build).path
    (tmp_path / "cell").mkdir()
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        gc.register(store.root, tmp_path / "cell", stage.name, stage.key)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    gc.collect(store.root, tmp_path, 0.0, delete=True)
    assert store.get(stage) is not None and path.exists()


def test_an_unreadable_record_stops_the_collection(tmp_path) -> None:
    store = Store(tmp_path / "store")
    path = store.get_or_build(Stage("toy", {}, {}, 1), build).path
    (tmp_path / "cell.json").write_text("{")
    line = [sys.executable, "-m", "repro.store", "gc", str(store.root), "--delete", "--older-than", "0"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "cell.json cannot be read" in done.stderr and path.exists()
    os.unlink(tmp_path / "cell.json")
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "0 stages kept" in done.stdout and not path.exists()


@pytest.mark.parametrize("missing", ["store", "records"])
def test_a_folder_that_is_none_is_one_line(tmp_path, missing: str) -> None:
    (tmp_path / "store").mkdir()
    line = ["gc", str(tmp_path / "none")] if missing == "store" else ["gc", str(tmp_path / "store"), "--records", str(tmp_path / "none")]
    done = subprocess.run([sys.executable, "-m", "repro.store", *line], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "is not a folder" in done.stderr
