r"""GPQA, its diamond and its main set (Rein et al. 2023): four options, answered by letter. A row of the file, made up for this example:

    {"Record ID": "rec0example", "Question": "A pendulum clock gains a minute a day. What mends it?", "Correct Answer": "a longer rod",
     "Incorrect Answer 1": "a heavier bob", "Incorrect Answer 2": "a shorter rod", "Incorrect Answer 3": "a [wider] swing",
     "High-level domain": "Physics", "Writer's Difficulty Estimate": "Easy undergraduate level"}

    -> A pendulum clock gains a minute a day. What mends it?

       A) a shorter rod
       B) a longer rod
       C) a heavier bob
       D) a [wider] swing          reference B, order 2,0,1,3

The order is drawn from a hash of the record's id, so it depends neither on the other questions nor on a global random state, and it is
recorded. Options keep every bracket: lm-eval before its task version 2.2 stripped them, which corrupts formulas and names of compounds.
The authors ask that no question be shown in the open; the set is gated, and nothing of it is here.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

from evals.files import BenchmarkError
from evals.questions import LETTERS, FileBenchmark, Question, Row, listed, row_id, text

_COLUMNS = {"problem": ("Question",), "right": ("Correct Answer",), **{f"wrong {i}": (f"Incorrect Answer {i}",) for i in (1, 2, 3)}}
_COLUMNS |= {"id": ("Record ID",), "subject?": ("High-level domain",), "level?": ("Writer's Difficulty Estimate",)}


def question(row: Row, index: int) -> Question:
    """Raises BenchmarkError for an empty option."""
    options = [text(row[name]) for name in ("right", "wrong 1", "wrong 2", "wrong 3")]
    if not all(options):
        raise BenchmarkError(f"question {row['id']}: an option is empty")
    order = list(range(len(options)))
    random.Random(hashlib.sha256(f"gpqa/{row['id']}".encode()).hexdigest()).shuffle(order)
    prompt = listed(text(row["problem"]), [options[i] for i in order])
    gold, shown = LETTERS[order.index(0)], ",".join(map(str, order))
    return Question(row_id(row, index), prompt, gold, "letter", text(row["level"]), text(row["subject"]), len(options), shown)


DIAMOND = FileBenchmark(
    "gpqa_diamond",
    "GPQA-diamond",
    split="train",
    style="simple_evals",
    files=("gpqa_diamond",),
    columns=_COLUMNS,
    make=question,
    count=198,
    hub="Idavidrein/gpqa",
    revision="90b8e5be2b1d3d2dbfe016cdab47981150600c4a",
    configs=("gpqa_diamond",),
    gated=True,
)
ALL = (DIAMOND, replace(DIAMOND, name="gpqa_main", title="GPQA-main", files=("gpqa_main",), count=448, configs=("gpqa_main",)))
