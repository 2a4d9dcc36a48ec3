r"""MMLU-Pro (Wang et al. 2024), up to ten options, and MMLU-Pro-1k, a declared 1,000 of it. A row of the file:

    {"question_id": 70, "question": "Which tax is levied on what a good is worth?", "options": ["poll tax", "excise", "ad valorem tax", "toll"],
     "answer": "C", "answer_index": 2, "category": "law"}

    -> Which tax is levied on what a good is worth?

       A) poll tax
       B) excise
       C) ad valorem tax
       D) toll                     reference C, subject law

Options stay in the file's order. The paper's own 1,000 were never published; ours are drawn and explained by ``evals/tasks/mmlu_pro_1k.py``.
"""

from __future__ import annotations

import ast
import logging
from dataclasses import replace
from pathlib import Path

from evals.files import BenchmarkError
from evals.questions import LETTERS, FileBenchmark, Question, Row, listed, row_id, text

log = logging.getLogger(__name__)
SUBSET_IDS = Path(__file__).parent / "tasks" / "mmlu_pro_1k.txt"
_COLUMNS = {"id": ("question_id",), "problem": ("question",), "options": ("options",), "answer": ("answer",)}
_COLUMNS |= {"index?": ("answer_index",), "subject": ("category",)}


def question(row: Row, index: int) -> Question:
    """The letter is the reference, as for the official scorer; the index disagrees once (3983, where the letter is the right one).

    Raises BenchmarkError for an answer that is none of the options.
    """
    options, gold = row["options"], text(row["answer"])
    if isinstance(options, str):  # CSV
        options = ast.literal_eval(options)
    options = [str(o) for o in options if o != "N/A"]  # the hub's early revisions filled up with N/A
    if not 2 <= len(options) <= len(LETTERS) or gold not in LETTERS[: len(options)] or not gold:
        raise BenchmarkError(f"question {row['id']}: answer {gold!r} is none of its {len(options)} options")
    if row["index"] is not None and int(row["index"]) != LETTERS.index(gold):
        log.warning("mmlu_pro: question %s: answer %s but answer_index %s; the letter counts", row["id"], gold, row["index"])
    return Question(row_id(row, index), listed(text(row["problem"]), options), gold, "letter", "", text(row["subject"]), len(options))


MMLU_PRO = FileBenchmark(
    "mmlu_pro",
    "MMLU-Pro",
    split="test",
    style="simple_evals",
    files=("mmlu_pro_test", "mmlu_pro"),
    columns=_COLUMNS,
    make=question,
    count=12_032,
    hub="TIGER-Lab/MMLU-Pro",
    revision="b189ec765aa7ed75c8acfea42df31fdae71f97be",
)
ALL = (MMLU_PRO, replace(MMLU_PRO, name="mmlu_pro_1k", title="MMLU-Pro-1k", count=1_000, subset=SUBSET_IDS))
