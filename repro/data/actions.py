"""Action prompting (section 3.3, appendix E.8): a long chain constructed from short replies of a chat model, by a state machine.

    clarify -> decompose -> solve -> reflect -> answer      the straight way
               ^   ^____________/      |                    a step that finds its goal too big asks to decompose it
               |_______________________|                    goal reached, its parent not: the parent's next sub-goal
                          ^____________|                    goal missed: another one, "Alternatively, ..."

The model decides: every reply ends with a line that names the next state, and reflection says whether the goal and its parent are reached; the
machine dispatches, keeps the tree of goals and the append-only log of thoughts, and sets limits. The paper's code, wording and limits were never
released: the wording here is our own, written from the described semantics, and the limits are assumptions. The chain is what a student
sees: clarification, chosen goals, steps, reflections, answer; the thinking of decompose stays hidden (it is in the log).

    python -m repro.data.actions prompts=problems.jsonl url=http://localhost:8000/v1 model=NAME out=DIR n=1     # --help
"""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

VERSION = 1  # of prompts and transitions; part of the teacher's name
STATES = ("clarify", "decompose", "solve", "reflect", "answer")
# What the model may ask for; the first one is taken where it says nothing usable.
NEXT = {"clarify": ("decompose", "solve"), "decompose": ("solve",), "solve": ("reflect", "decompose", "answer")}
SHOWN = 6_000  # characters of the thoughts so far that a prompt shows: their end


@dataclass(frozen=True)
class Limits:
    """``steps``: replies of a chain, 2 at least; the last is the answer. ``attempts``: goals below one parent that may fail. ``depth``: goals below the root."""

    steps: int = 24
    attempts: int = 4
    depth: int = 3


LIMITS = Limits()


@dataclass
class Goal:
    """``status``: open | solved | missed | timed out."""

    text: str
    parent: Goal | None = None
    status: str = "open"
    children: list[Goal] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)  # sub-goals proposed and not tried yet

    @property
    def depth(self) -> int:
        return 0 if self.parent is None else 1 + self.parent.depth

    @property
    def failures(self) -> int:
        return sum(child.status in ("missed", "timed out") for child in self.children)


@dataclass(frozen=True)
class Call:
    """What the machine wants a model to answer."""

    state: str
    prompt: str


@dataclass
class Thought:
    """One entry of the log. ``shown``: what the chain shows of it. ``why``: ``model``, ``default`` (nothing usable was said) or a limit."""

    state: str
    reply: str
    shown: str
    next: str
    why: str


INSTRUCTIONS = {
    "clarify": """Restate the problem briefly. Name assumptions and pitfalls. Do not solve anything.
End with two lines:
Goal: <one sentence: what is to be found>
Next: decompose, or solve if the problem needs a single step""",
    "decompose": """Current goal: {goal}
Its parent goal: {parent}
Already tried below it: {tried}
Think about what to do next towards the current goal. Then propose three different sub-goals, one sentence each: a first hypothesis, and two that
begin with "Alternatively,". Repeat none that was tried, propose no checks and no use of tools.
End with four lines:
1. <sub-goal>
2. Alternatively, <sub-goal>
3. Alternatively, <sub-goal>
Next: solve""",
    "solve": """Current goal: {goal}
Reach the current goal and nothing else. Be terse: symbols and numbers. Do not repeat the step before.
End with one line:
Next: reflect, or decompose if the goal is too big for one step, or answer if the problem is solved beyond doubt""",
    "reflect": """Current goal: {goal}
Its parent goal: {parent}
Tried before, solved or given up: {tried}
Check the last step cheaply by another way: another method, substitution, or backwards. Restate its result.
End with two lines, and a third where the current goal is not achieved:
Current goal achieved: yes or no
Parent goal achieved: yes or no
Alternatively, <another goal, different from those tried before>""",
    "answer": """State the final answer from the thoughts so far in one short sentence, and put it within \\boxed{{}}.""",
}
_NEXT = re.compile(r"^[\s*_>-]*next[\s*_]*:[\s*_]*([a-z]+)", re.I | re.M)
_GOAL = re.compile(r"^[\s*_>-]*goal[\s*_]*:[\s*_]*(.+?)[\s*_]*$", re.I | re.M)
_SUBGOAL = re.compile(r"^[\s*_>-]*[123][.)][\s*_]*(.+?)[\s*_]*$", re.M)
_ACHIEVED = r"^[\s*_>-]*{} goal achieved[\s*_]*:[\s*_]*(yes|no|true|false)\b"
_CURRENT, _PARENT = (re.compile(_ACHIEVED.format(who), re.I | re.M) for who in ("current", "parent"))
_OTHER = re.compile(r"^[\s*_>-]*(alternatively,\s*\S.*?)[\s*_]*$", re.I | re.M)
_LABELS = re.compile(r"^[\s*_>-]*(?:next|goal|(?:current|parent) goal achieved)[\s*_]*:.*$\n?", re.I | re.M)


def machine(problem: str, limits: Limits = LIMITS) -> Generator[Call, str, list[Thought]]:
    """The state machine of one problem: yields calls, is sent replies, returns the log; the last thought is the answer."""
    thoughts: list[Thought] = []
    root = current = Goal("solve the problem")
    state, why = "clarify", "model"
    while True:
        reply = (yield Call(state, _prompt(problem, state, current, thoughts))).strip()
        shown, following, why = reply, "answer", "model"
        if state == "answer":
            thoughts.append(Thought(state, reply, shown, "end", why))
            return thoughts
        if state == "clarify":
            named = _GOAL.findall(reply)
            root.text = named[-1] if named else root.text
            shown = _plain(reply)
            following, why = _next(state, reply)
        elif state == "decompose":
            proposed = [p for p in _SUBGOAL.findall(reply)[-3:] if not _known(p, current)]
            current.waiting = list(proposed) or current.waiting
            chosen = _choose(current, limits)
            if chosen is None:  # nothing to try below this goal: give it up, or answer with what there is
                why = "default" if not proposed and current.failures < limits.attempts else "attempts"
                current, following, shown = _give_up(current, limits)
            else:
                current, shown, following = chosen, chosen.text, "solve"
                why = _next(state, reply)[1] if proposed else "default"
        elif state == "solve":
            shown = _plain(reply)
            following, why = _next(state, reply)
            if following == "decompose" and current.depth >= limits.depth:
                following, why = "reflect", "depth"
        else:
            shown = _plain(reply)
            current, following, why = _reflected(reply, current, limits)
        if following != "answer" and len(thoughts) + 2 >= limits.steps:
            following, why = "answer", "steps"
        thoughts.append(Thought(state, reply, shown, following, why))
        state = following


def _prompt(problem: str, state: str, goal: Goal, thoughts: Sequence[Thought]) -> str:
    tried = [f"{g.text} ({g.status})" for g in _tree(_root(goal)) if g.status != "open"]
    facts = {"goal": goal.text, "parent": goal.parent.text if goal.parent else "none", "tried": "; ".join(tried) or "nothing"}
    so_far = "\n\n".join(t.shown for t in thoughts if t.shown)[-SHOWN:] or "none"
    return f"Problem:\n{problem}\n\nThoughts so far:\n{so_far}\n\nYour task now ({state}):\n{INSTRUCTIONS[state].format(**facts)}"


def _next(state: str, reply: str) -> tuple[str, str]:
    """(next state, why). The last line that names one counts."""
    named = [name.lower() for name in _NEXT.findall(reply)]
    return (named[-1], "model") if named and named[-1] in NEXT[state] else (NEXT[state][0], "default")


def _reflected(reply: str, current: Goal, limits: Limits) -> tuple[Goal, str, str]:
    """(goal, next state, why) after a reflection. Without a usable word on the current goal it counts as missed."""
    said, above = _CURRENT.findall(reply), _PARENT.findall(reply)
    achieved = bool(said) and said[-1].lower() in ("yes", "true")
    why = "model" if said else "default"
    if achieved:
        current.status = "solved"
        if current.parent is None:
            return current, "answer", why
        current = current.parent
        if above and above[-1].lower() in ("yes", "true"):
            current.status = "solved"
            while current.parent is not None and current.status == "solved":  # of the next goal up it was not asked
                current = current.parent
            return current, "answer" if current.status == "solved" else "decompose", why
        return current, "decompose", why
    parent = current.parent
    if parent is None:  # a problem in a single step went wrong: it is taken apart
        return current, "decompose", why
    current.status = "missed"
    other = _OTHER.findall(reply)
    if other and not _known(other[-1], parent):
        parent.waiting.insert(0, other[-1])
    chosen = _choose(parent, limits)
    if chosen is not None:
        return chosen, "solve", why
    if parent.failures < limits.attempts:
        return parent, "decompose", why
    return *_give_up(parent, limits)[:2], "attempts"


def _choose(parent: Goal, limits: Limits) -> Goal | None:
    """The next sub-goal that waits, opened; None where none does or the parent had its attempts."""
    if not parent.waiting or parent.failures >= limits.attempts or parent.depth >= limits.depth:
        return None
    goal = Goal(parent.waiting.pop(0), parent)
    parent.children.append(goal)
    return goal


def _give_up(goal: Goal, limits: Limits) -> tuple[Goal, str, str]:
    """(goal to go on with, next state, what the chain shows) when nothing is left to try below ``goal``."""
    goal.status = "timed out"
    parent = goal.parent
    while parent is not None:
        if parent.failures < limits.attempts:
            return parent, "decompose", ""
        parent.status = "timed out"
        parent = parent.parent
    return goal, "answer", ""


def _root(goal: Goal) -> Goal:
    return goal if goal.parent is None else _root(goal.parent)


def _tree(goal: Goal) -> Iterator[Goal]:
    yield goal
    for child in goal.children:
        yield from _tree(child)


def _known(text: str, goal: Goal) -> bool:
    """Whether a goal of these words is anywhere in the tree."""
    bare = lambda t: re.sub(r"^alternatively,\s*|\W+", "", t.lower())  # noqa: E731
    return any(bare(text) == bare(g.text) for g in _tree(_root(goal)))


def _plain(reply: str) -> str:
    """A reply without the lines that are meant for the machine."""
    return _LABELS.sub("", reply).strip()


HELP = """python -m repro.data.actions prompts=FILE out=DIR (url=URL model=NAME | path=CHECKPOINT) [key=value ...]

Builds long chains by action prompting, keeps those with the right answer: the keys and results are those of python -m repro.data.distill
(--help there). max_tokens is of one reply; the thought log of every chain is in the column log. DIR/kept.parquet is what
`python -m repro sft=constructed sft.file=DIR/kept.parquet model.path=...` imitates."""


def main(arguments: Sequence[str]) -> int:
    from repro.data import distill

    if not arguments or "--help" in arguments or "-h" in arguments:
        print(HELP)
        return 0
    extra: list[Any] = [] if any(a.startswith("method=") for a in arguments) else ["method=actions"]
    return distill.main([*arguments, *extra])


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(lambda: main(sys.argv[1:]))
