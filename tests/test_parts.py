"""Parts of a user's own: the page's examples run, bad ones are one line, an edit is another key."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from evals.benchmarks import BENCHMARKS
from repro import parts
from repro.config import ConfigError, plain
from repro.identity import arm_key
from repro.rewards.terms import TRIAL, CustomTerm
from repro.validate import validate
from repro.verifiers.custom import make
from tests.conftest import ROOT, SHRINK
from tests.forked import forked
from tests.test_config import composed

PAGE = (ROOT / "conf" / "README.md").read_text()


def package(folder: Path, source: str, name: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("")
    (folder / name / "parts.py").write_text(source)
    return folder


def test_the_examples_of_the_page_run(tmp_path, shared_store) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (lines,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    package(tmp_path, source, "mylab")
    commands = [shlex.split(line)[3:] for line in lines.splitlines()]
    assert len(commands) == 4
    for command in commands:
        few = [text for text in SHRINK if not text.startswith("rl.steps")]
        more = [] if any("eval.benchmarks" in text for text in command) else ["eval.benchmarks=[micro_math]"]
        forked(*few, *more, "rl.eval_steps=0", f"paths.store={shared_store}", *command, cwd=tmp_path)
    cells = list(tmp_path.glob("outputs/sweeps/*/*/seed=0/records.parquet"))
    assert len(cells) == 4
    names = {name for path in cells for name in pq.read_table(path)["benchmark"].to_pylist()}
    assert names == {"micro_math", "mylab.parts:TWO"}
    rewards = [
        pq.read_table(path).column_names
        for path in shared_store.glob("rl/*/metrics.parquet")
        if "mylab" in (path.parent / "manifest.json").read_text()
    ]
    assert len(rewards) == 3
    assert sum("reward/custom" in columns for columns in rewards) == 2


FAULTS = """
import numpy as np
class Short:
    def compute(self, batch): return np.zeros(len(batch.lengths) - 1)
class Tokens:
    def compute(self, batch): return [np.zeros(1) for _ in batch.lengths]
class Nan:
    def compute(self, batch): return np.full(len(batch.lengths), np.nan)
class Words:
    def compute(self, batch): return ["a"] * len(batch.lengths)
class Raises:
    def compute(self, batch):
        return 1 / 0
class Takes:
    def __init__(self, share): pass
    def compute(self, batch): return np.zeros(len(batch.lengths))
class Nothing: pass
def local():
    class Inner:
        def compute(self, batch): return np.zeros(len(batch.lengths))
    return Inner
Inner = local()
number = 5
def fails(gold, response): raise KeyError("x")
def later(gold, response):
    if "wait" in response: raise RuntimeError("twice")
    return gold in response
class Verdicts:
    def verify_batch(self, golds, outputs, task=None, truncated=None): return [True]
"""


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    folder = package(tmp_path_factory.mktemp("faults"), FAULTS, "faultylab")
    sys.path.insert(0, str(folder))
    yield "faultylab.parts"
    sys.path.remove(str(folder))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Absent", "has no Absent"),
        ("Short", r"one number \(or one array\) per completion, 3; it gave shape \(2,\)"),
        ("Tokens", r"one number per token: completion 0 has 3 tokens, it gave shape \(1,\)"),
        ("Nan", r"not finite for completion 0 \(question q0\)"),
        ("Words", "failed: ValueError"),
        ("Raises", r"failed: ZeroDivisionError: division by zero, parts\.py line 13"),
        ("Takes", r"does not take reward\.custom\.arguments=\{\}: TypeError"),
        ("Nothing", r"has no method compute"),
        ("Inner", "cannot be pickled"),
        ("number", "neither a class nor a function"),
    ],
)
def test_a_reward_that_cannot_be_used_is_one_line(name: str, words: str, faults) -> None:
    config = composed("rl=grpo", "reward=custom", f"reward.custom.path={faults}.{name}")
    with pytest.raises(ConfigError, match=words) as error:
        validate(config)
    assert "\n" not in str(error.value) and name in str(error.value)


@pytest.mark.parametrize("path", ["nolab.parts.X", "mylab parts", "X", "a..b"])
def test_a_path_that_leads_nowhere_is_one_line(path: str) -> None:
    for key, line in (
        ("reward.custom.path", ["reward=custom", f"reward.custom.path='{path}'"]),
        ("verifier.path", ["verifier=custom", f"verifier.path='{path}'"]),
    ):
        with pytest.raises(ConfigError, match=re.escape(key)) as error:
            validate(composed("rl=grpo", *line))
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError):
        validate(composed(f"eval.benchmarks=['{path}']"))


def test_verifiers_are_tried_and_their_later_faults_are_verdicts(faults, caplog) -> None:
    for name in ("fails", "Verdicts", "number", "Takes"):
        with pytest.raises(ConfigError, match=name):
            make(f"{faults}.{name}", {})
    verifier = make(f"{faults}.later", {})
    found = verifier.verify_batch(["5", "5", "5", "5"], ["5", "wait 5", "wait", "5"], truncated=[False] * 3 + [True])
    assert [v.correct for v in found] == [True, False, False, False]
    assert "RuntimeError: twice" in found[1].reason and found[1].rule == "error"
    assert caplog.text.count("counts as wrong") == 1


def test_a_benchmark_must_be_one(faults) -> None:
    for path in (f"{faults}:number", f"{faults}:Absent"):
        with pytest.raises(ConfigError, match=r"benchmark="):
            BENCHMARKS[path]
    assert "no_such_benchmark" not in BENCHMARKS
    with pytest.raises(KeyError):
        BENCHMARKS["no_such_benchmark"]


def test_an_edit_of_the_package_is_another_key(tmp_path, monkeypatch) -> None:
    source = "import numpy as np\nfrom editlab.more import SCALE\ndef pay(batch): return np.ones(len(batch.lengths))\n"
    package(tmp_path, source, "editlab")
    (tmp_path / "editlab" / "more.py").write_text("SCALE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = plain(composed("rl=grpo", "reward=custom", "reward.custom.path=editlab.parts.pay"))
    keys = []
    for file, text in (
        ("editlab/more.py", "SCALE = 1\n"),
        ("editlab/more.py", "SCALE = 2\n"),
        ("unrelated.py", "x = 1\n"),
        ("editlab/parts.py", source + "# a remark\n"),
    ):
        (tmp_path / file).write_text(text)
        parts.source_hash.cache_clear()
        keys.append(arm_key(config))
    assert keys[0] != keys[1] == keys[2] != keys[3]
    ours = plain(composed("rl=grpo"))
    assert parts.sources(ours) == {}


def test_a_term_computes_as_ours_do(faults) -> None:
    term = CustomTerm(path="tests.test_parts.lengths", arguments={"by": 2})
    term.validate()
    assert term.compute(TRIAL).tolist() == [6.0, 2.0, 8.0]
    with pytest.raises(ConfigError, match="failed: TypeError"):
        CustomTerm(path="tests.test_parts.lengths", arguments={"no": 2}).validate()
    assert json.dumps(parts.split("a.b:C", "k")) == '["a.b", "C"]'


def lengths(batch, by: int = 1) -> np.ndarray:
    return by * batch.lengths


def same(gold: str, response: str) -> bool:
    return gold in response
