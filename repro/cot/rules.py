r"""The patterns behind ``repro.cot.behaviours``, each with its reason. Read and change them here; ``tests/cot/test_behaviours.py`` has cases.

How they stay fast and safe: every pattern begins with a literal *anchor*, is asserted to begin a word there, and what follows has bounded
repetition only and never two adjacent ones over the same characters. So an anchor costs one string search, a hit a bounded number of
steps, and no text can make a pattern backtrack for long. Texts come folded: lower case, straight apostrophes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One way to say something: a name, and an (anchor, pattern) for each way to begin it."""

    name: str
    patterns: tuple[tuple[str, re.Pattern[str]], ...]


def _rule(name: str, anchors: str, rest: str = "", *, unless: str = "", stem: bool = False) -> Rule:
    """``anchors``: separated by ``|``; one of them, then ``rest``, is the hit.

    ``unless``: texts directly before the anchor that make it something else, separated by ``|``. ``stem``: the hit may end inside a word.
    """
    patterns = []
    for anchor in anchors.split("|"):
        literal = re.escape(anchor)
        before = "".join(f"(?<!{re.escape(text)}{literal})" for text in unless.split("|") if text)
        end = "" if stem or not (rest or anchor)[-1].isalpha() else r"(?![a-z0-9_])"
        patterns.append((anchor, re.compile(rf"{literal}(?<![a-z0-9_]{literal}){before}(?:{rest}){end}")))
    return Rule(name, tuple(patterns))


# One to three words that may stand between "let me" and its verb. Each is a choice of literals, so it matches in one way only.
_ADVERBS = r"(?: just| now| also| first| quickly| briefly| carefully| at least| try to| go ahead and){0,3}"
_SELF = "let me|let's|let us|i'll|i will|i'd better|i should|we should|i can|we can|i'm going to|i want to|might as well"
# A value to try, as text or in LaTeX: "n = 3", "\( n=3", "$n = -1".
_VALUE = r" (?:\\\(|\$)? ?[a-z] ?= ?-?\d"
_OBJECT = r"(?:this|that|it|my|our|the) ?(?:answer|result|solution|work|calculations?|steps?|arithmetic|claim|math|numbers)?"
_APPROACH = r"(?:approach|method|way|strategy|tack|route|angle|idea|path)"

VERIFICATION = (
    # The plain announcement. "I need to check" is not among the openers: proofs and case work use it for what is still to be done.
    # "check n = 3" tries a value (enumeration), it verifies nothing; "check each case" likewise.
    _rule(
        "intent",
        _SELF,
        rf"{_ADVERBS} (?:double[- ]?|re-?|cross-?)?(?:check|verify|validate|confirm)(?!(?: if| for)?{_VALUE})(?! (?:each|every|all|out|in)\b)",
    ),
    # Checking again is a check whoever announces it, so no opener is asked for. Third persons ("she double-checks") are not the model.
    _rule(
        "again",
        "double-check|double check|doublecheck|recheck|re-check|cross-check|sanity check|sanity-check",
        r"(?:ing)?(?! mark)",
        unless="no need to |not |n't |without |to always |n't need to |forget to |forgot to ",
    ),
    # "Check: 3 + 4 = 7." A heading of its own; "things to check:" announces a list.
    _rule("heading", "check:|checking:|verification:|verify:", unless="to |the |and "),
    # "To verify, ..." and "to check my answer"; "to verify that f is continuous" is a task, so an object of one's own is asked for.
    _rule(
        "purpose",
        "to verify|to check|to confirm",
        rf"(?:,|:| {_OBJECT}(?:[,.:;]|\b(?= (?:by|with|using|is|are|was|were|makes?|holds?|works?)\b)))",
        unless="asked |need |needs |needed |want |wants |how |have |has |had |trying |try |used |remains |left |hard |difficult |easy |remember ",
    ),
    # "make sure" with the chain itself as object; "make sure to bring a towel" and "make sure you simplify" are advice.
    _rule(
        "make sure",
        "make sure|making sure|be sure|make certain",
        r" (?:that )?(?:i|we|i'm|i've|we've|this|that|it|that's|it's|everything|my|our|the (?:answer|result|solution|calculations?|arithmetic|math|numbers))",
    ),
    # Comparing a result with another one. "match" and "agree" alone are about sticks and people, so subject and form are fixed.
    _rule(
        "agrees",
        "this|that|which|it",
        r" (?:also )?(?:matches|agrees with|is consistent with|confirms) (?:the|our|my|what|with|that|this|both|all)",
    ),
    _rule("same", "same answer|same result|same value|same number", r" (?:as|again|either way|both ways|i got|we got)"),
    _rule("both ways", "both methods|both approaches|both ways", r" (?:give|agree|yield|lead to|produce|match)"),
    # "That checks out." ends its clause; "checks out three books" goes on.
    _rule("checks out", "checks out", r"(?=[.,!;:)\n]|$| so\b| and\b)"),
    # Putting the result back with the purpose said; substitution alone is solving.
    _rule(
        "put back",
        "plugging|plug|substituting|substitute|putting|put",
        r"[^.!?\n]{0,60} (?:to (?:check|verify|confirm|see (?:if|whether|that))|as a check)(?! each)",
    ),
    # Questions to oneself about what was just said. "Is this right-angled" goes on.
    _rule(
        "question",
        "is that|is this|does that|does this|does it",
        r" (?:(?:actually|really|all) )?(?:right|correct|make sense|work|hold|add up|match)\?",
    ),
    _rule(
        "did i",
        "did i|have i|did we|have we",
        r" (?:make|made|miss|missed|forget|forgotten|overlook|overlooked|do|done|get|use|used|account|accounted|consider|considered)[^.!?\n]{0,60}\?",
    ),
    _rule(
        "makes sense",
        "see if|check if|check that|check whether|see whether|verify that",
        r" (?:this|that|it|everything|the answer) (?:makes sense|works|holds|is right|is correct|is consistent|adds up|fits)",
    ),
)

BACKTRACKING = (
    # "Wait" with a denial or an admission behind it. Alone it is a pause (a keyword), and "wait for" is a verb. The sentence may pause
    # with any sign: "Wait no", "wait -- that's wrong".
    _rule(
        "wait no",
        "wait",
        r"(?:,|\.|\.\.\.|!| -| --| –| —|—)? ?(?:but |hmm, |hmm\. )?(?:(?:no|actually|hold on|never mind)(?=[,. !;]|$)"
        r"|i (?:made|forgot|missed|misread|messed|miscounted|miscalculated|should have|was wrong|think i (?:made|mis))"
        r"|(?:that|this|it)(?:'s| is| was) (?:not|wrong|incorrect|impossible)"
        r"|(?:that|this|it) (?:can't|cannot|doesn't|does not|isn't|won't|wouldn't|contradicts|seems (?:off|wrong)))",
        unless="don't |can't |n't ",
    ),
    # A statement taken back. Conditions and checks ("if that's wrong") take nothing back; "wrong" about an option is judged by _rule use.
    _rule(
        "that is wrong",
        "that's|that is|this is|that was|this was",
        r" (?:(?:clearly|obviously|definitely|just|also) )?(?:not (?:right|correct|true|possible|what i)|wrong|incorrect)(?! (?:way|order|side|side|about|with|option|answer|number of))",
        unless="if |whether |when |why |in case |unless |because ",
    ),
    _rule(
        "cannot be",
        "that can't|this can't|that cannot|this cannot|that doesn't|this doesn't|that does not|this does not|that isn't|this isn't|something",
        r" (?:be (?:right|correct|true)|(?:seem|look|feel)s? (?:right|correct|wrong|off)|(?:make|add) (?:sense|up)|right|correct|is (?:off|wrong)|isn't (?:right|adding up)|went wrong|must be wrong|match (?:the|what|our|my))",
        unless="if |whether |when |in case |unless |check that ",
    ),
    # An admitted slip. "make sure I didn't make" and "in case I made" are verification; "a common mistake" is about others.
    _rule(
        "my mistake",
        "i made|i must have made|i think i made|i've made|i messed|i misread|i misinterpreted|i miscalculated|i miscounted|i mixed up|i was wrong|i overlooked|i forgot",
        r"(?: (?:a |an |some )?(?:mistake|error|arithmetic|sign|silly|slip|calculation|miscalculation)| up| that| the| to| about|[ ,.;:]|$)",
        unless="if |whether |case |that |unless |think ",
    ),
    _rule(
        "oops",
        "oops|scratch that|on second thought|never mind|nevermind|strike that|my mistake|back to the drawing board|dead end",
        unless="not a |into ",
    ),
    # An announced return or restart.
    _rule(
        "restart",
        "let me|let's|let us|i'll|i should|i need to|we need to|i have to|need to|better to",
        rf"{_ADVERBS} (?:start over|start again|start from scratch|restart|begin again|go back|backtrack|step back|take a step back|redo|retry|rethink|re-think"
        r"|reconsider|re-?examine|revisit|re-?evaluate|back up|try (?:again|something else)|correct (?:that|this|my|the)|fix (?:that|this|my))",
        unless="don't |not |n't ",
    ),
    # Another approach taken. With a purpose of checking it is verification; "another approach would be" only branches.
    _rule(
        "other approach",
        "try another|try a different|try a completely different|try some other|switch to a different|need a different|need another",
        rf" (?:\w+ )?{_APPROACH}(?! to (?:check|verify|confirm|double))",
    ),
    # The approach given up. Bounded words between the noun and its failure.
    _rule(
        "approach fails",
        "this|that|my|the|first|previous|original|initial",
        rf" (?:\w+ )?{_APPROACH}(?: \w+)?(?: just| really)? (?:doesn't|does not|didn't|did not|isn't|is not|won't|fails|failed|was wrong|is wrong|seems too|leads nowhere|is going nowhere|is a dead)",
        unless="if |where |when ",
    ),
    _rule("no, that", "no, that|no, wait|hmm, no|actually, no|no wait", r"(?='s|[,. ]|$)"),
    # A plan dropped for another one, in one breath.
    _rule("abandon", "i'll abandon|let's abandon|let me abandon|abandon this|abandon that|give up on this|let's discard|discard this"),
)

SUBGOAL = (
    # What comes first or next, with a subject that acts: "first, we need". "First, second and third" are ranks.
    _rule(
        "sequence",
        "first|firstly|next|now|second|secondly|finally|then|after that|lastly|to start|to begin",
        r",? (?:(?:i|we)(?:'ll| will| need to| should| have to| must| can| want to|'d like to|'m going to)|let's|let me|let us)(?: \w+)? "
        r"(?!(?:me|see|think|say|check|verify|double|recall|remember|be)\b)\w",
        unless="just ",
    ),
    # "Step 3: ..." as a heading. A step of a staircase has no colon.
    _rule("step", "step", r" \d{1,2}(?:[:.)]| ?[-–—]|\*\*)", unless="in |from |of |by "),
    _rule(
        "first step",
        "first step|next step|final step|last step",
        r" (?:is to|is finding|here is|would be to|will be to|should be to|in solving|, then,)",
    ),
    # Taking the problem apart.
    _rule(
        "break down",
        "break|breaking|split|splitting|divide|dividing",
        r" (?:this|it|that|things|the (?:problem|task|question|solution|proof|work|calculation|expression)|everything)(?: \w+)?(?: up| down| into (?:\w+ )?(?:parts|steps|pieces|sub\w+|stages|smaller|two|three))",
    ),
    # A goal or a plan said as one. In sports "the goal" is scored, so "is to" or a colon is asked for.
    _rule(
        "goal",
        "goal|plan|objective|strategy|aim|task",
        r"(?: here| now)?(?: is to|:| is then to| becomes)",
        unless="their |his |her |company's |team's ",
    ),
    # Reductions of proofs: a smaller thing to show is a subgoal by definition.
    _rule(
        "suffices",
        "it suffices|suffices|it is enough|it remains|all that remains|what remains|remains",
        r" (?:is )?to (?:show|prove|find|compute|check|verify|determine|bound|consider|calculate|count|evaluate)",
    ),
    _rule("all left", "all that's left|all we need|all i need|what's left", r" (?:now )?(?:is|to)"),
    # A thing needed for another thing.
    _rule(
        "to do so",
        "to do this|to do that|to do so|to find this|to find that|to solve this|to get there|to answer this",
        r",? (?:i|we)(?:'ll| will| first)? (?:need|must|should|have|want|can|find|compute|use|start)",
    ),
    _rule("before", "before", r" (?:i|we) (?:can )?(?:\w+ ){1,6}?(?:i|we) (?:first )?(?:need|must|should|have to)"),
    _rule(
        "want to",
        "we want to|i want to|we need to|i need to|we have to",
        r" (?:first )?(?:find|show|prove|determine|compute|calculate|figure out|count|establish|derive)",
    ),
)

ENUMERATION = (
    # "Case 2: x < 0." A number, Roman numeral or single letter, then a sign or a condition. "In case I am late" has "in" before it.
    _rule(
        "case",
        "case|subcase|sub-case|scenario|possibility|option",
        r" (?:\(?(?:\d{1,2}|i{1,3}|iv|v|[abc]|one|two|three|four)\)?)(?:[:.]|\*\*| ?[–—]| when| if| where)",
        unless="in |just in |briefcase ",
    ),
    # The number of cases. Followed by "of juice" they are boxes.
    _rule(
        "number of cases",
        "two|three|four|five|six|several|multiple|different|the following|all|all possible|possible|separate|into|by",
        r"(?: possible| main| different| separate| distinct)? (?:cases|scenarios|possibilities|subcases)(?! of [a-z])",
    ),
    _rule(
        "consider cases",
        "consider|considering|consider each|go through|going through|check|checking|try|trying|test|testing|examine|look at",
        r" (?:all|each|every|both|the (?:different|various|possible))(?: of the| the| possible| remaining)? (?:cases?|possibilit(?:y|ies)|values?|scenarios?|options?|combinations?|pairs?|factors?|divisors?|candidates?|numbers?|one)",
    ),
    # Values tried one after another: "try n = 3".
    _rule("try value", "try|trying|test|testing|check|checking", rf"(?: if| for| with| whether)?{_VALUE}"),
    # A line for each value: "For n = 2: ...", "If k = 0, ...:" is told from solving by its colon.
    _rule("value line", "for|if|when|n|k", rf"{_VALUE}\d{{0,4}}(?: ?\\\)|\$)?:"),
    # Lists made to be complete.
    _rule(
        "list all",
        "list|listing|enumerate|enumerating|write out|writing out|count",
        r" (?:out )?(?:all|each|every|them all|them one by one|the (?:possible|possibilities|divisors|factors|pairs|combinations|cases|values|options|outcomes))",
    ),
    _rule(
        "one by one",
        "one by one|one at a time|by brute force|brute-force|trial and error|exhaustively|by exhaustion|systematically",
        unless="entered |left |arrived |came ",
    ),
    _rule("enumerate", "let me enumerate|let's enumerate|we enumerate|let's list|let me list|i'll list|casework|case analysis|by cases"),
    _rule(
        "other hand case",
        "the first|the second|the third|the other|the last|the remaining",
        r" (?:case|possibility|scenario)(?=[, :]| is| would)",
        unless="in ",
    ),
)

RULES = {"verification": VERIFICATION, "backtracking": BACKTRACKING, "subgoal": SUBGOAL, "enumeration": ENUMERATION}
