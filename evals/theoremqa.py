r"""TheoremQA (Chen et al. 2023): university questions whose answer is a number, a list, a truth value or an option. A row of the file:

    {"id": "made_up/poisson_1.json", "Question": "Calls come at 3 an hour. What is the chance of none in an hour?", "Answer": 0.0498,
     "Answer_type": "float", "Picture": null, "field": "Math"}

    -> the question as it is, reference 0.0498, compared as a number: decimals with a tolerance, integers exactly

Of the 800 questions 53 need a picture and are left out, so 747 are asked; a published score over 800 counts those too.
"""

from __future__ import annotations

from evals.files import BenchmarkError
from evals.questions import FileBenchmark, Question, Row, row_id, text

_COLUMNS = {"problem": ("Question",), "answer": ("Answer",), "kind": ("Answer_type",), "picture": ("Picture",)}
_COLUMNS |= {"id?": ("id",), "subject?": ("field",)}
_KINDS = ("integer", "float", "bool", "option", "list of integer", "list of float")


def question(row: Row, index: int) -> Question | str:
    """``numeric`` knows integers, decimals, lists and truth values; options are letters. Raises BenchmarkError for another kind of answer."""
    if row["picture"] is not None and text(row["picture"]) not in ("", "None"):
        return "needs a picture"
    kind = text(row["kind"])
    if kind not in _KINDS:
        raise BenchmarkError(f"unknown Answer_type {kind!r}")
    task, options = ("letter", 4) if kind == "option" else ("numeric", 0)
    return Question(row_id(row, index), text(row["problem"]), text(row["answer"]), task, "", text(row["subject"]), options)


THEOREMQA = FileBenchmark(
    "theoremqa",
    "TheoremQA",
    split="test",
    style="qwen_math",
    files=("theoremqa_test", "theoremqa"),
    columns=_COLUMNS,
    make=question,
    count=747,
    hub="TIGER-Lab/TheoremQA",
    revision="a340b1782960a712843aae3ed25f1e013cc008a5",
)
ALL = (THEOREMQA,)
