r"""The patterns behind ``repro.cot.behaviours``, each with its reason. Read and change them here; ``tests/cot/test_behaviours.py`` has cases.

How they stay fast and safe: every pattern begins with a literal *anchor* of whole words, and what follows has bounded repetition only,
never twice in a row over the same characters. So no text can make a pattern backtrack for long. A text's words are looked up first, and
only anchors whose rarest-looking (longest) word is among them are searched for. Texts come folded: lower case, straight apostrophes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

WORD = re.compile("[a-z]+")


@dataclass(frozen=True)
class Rule:
    """One way to say something. ``patterns``: (word that must be in the text, anchor, pattern) for each way to begin it."""

    name: str
    patterns: tuple[tuple[str, str, re.Pattern[str]], ...]


def _rule(name: str, anchors: str, rest: str = "", *, after: str = "", unless: str = "") -> Rule:
    """One of ``anchors`` (whole words, separated by ``|``), then ``rest``.

    ``after``: one of these texts must stand directly before the anchor. ``unless``: none of these may. Both separated by ``|``.
    """
    patterns = []
    for anchor in anchors.split("|"):
        literal = re.escape(anchor)
        before = "".join(f"(?<!{re.escape(text)}{literal})" for text in unless.split("|") if text)
        if after:
            before += "(?:" + "|".join(rf"(?<=\b{re.escape(text)} {literal})" for text in after.split("|")) + ")"
        whole = "(?![a-z0-9_])" if anchor[-1].isalpha() else ""
        pattern = re.compile(f"{literal}(?<![a-z0-9_]{literal}){whole}{before}(?:{rest})")
        patterns.append((max(WORD.findall(anchor), key=len), anchor, pattern))
    return Rule(name, tuple(patterns))


_LET = r"(?: me|'s| us)"
# Up to three words between "let me" and its verb. Literals, each followed by its own space: they match in one way only.
_ADVERBS = r"(?: just| now| also| first| quickly| briefly| carefully| maybe| at least| try to| go ahead and){0,3}"
# A value to try, as text or in LaTeX: "n = 3", "\( n=3", "$n = -1"; not "r = 2m + 4", which is a formula.
_VALUE = r" (?:\\\(|\$)? ?[a-z] ?= ?-?\d{1,6}(?![a-z0-9])"
_OWN = r" (?:this|that|it|my|our|the) ?(?:answer|result|solution|work|calculations?|steps?|arithmetic|claim|math|numbers)?"
# A verb of checking. "check n = 3" tries a value and "check each case" enumerates; "check out" is neither.
_CHECK = rf" (?:double[- ]?|re-?|cross-?)?(?:check|verify|validate|confirm)\b(?!(?: if| for)?{_VALUE})(?! (?:each|every|all|out|in)\b)"

VERIFICATION = (
    # The plain announcement. "I need to check" is not among the openers: proofs and case work use it for what is still to be done.
    _rule("intent", "let", _LET + _ADVERBS + _CHECK),
    _rule("intent", "should|can|will|better|might", _ADVERBS + _CHECK, after="i|we|i'd|we'd", unless="if i |if we "),
    _rule("intent", "i'll|we'll|i want to|i'm going to", _ADVERBS + _CHECK),
    # Checking again is a check whoever announces it, so no opener is asked for. Third persons ("she double-checks") are not the model.
    _rule(
        "again",
        "double-check|double check|double-checking|double checking|double-checked|recheck|re-check|rechecking|re-checking"
        "|cross-check|sanity check|sanity-check",
        "(?! mark)",
        unless="no need to |need not |not |n't |without |always |n't need to |forget to |forgot to |she |he |they ",
    ),
    # "Check: 3 + 4 = 7." A heading of its own; "things to check:" announces a list.
    _rule("heading", "check:|checking:|verification:|verify:", unless="to |the |and |must "),
    # "To verify, ..." and "to check my answer"; "to verify that f is continuous" is a task, so an object of one's own is asked for.
    _rule(
        "purpose",
        "to verify|to check|to confirm",
        rf"(?:,|:|{_OWN}(?:[,.:;\n]| (?:by|with|using|is|are|was|works?|holds?)\b))",
        unless="asked |need |needs |needed |want |wants |how |have |has |had |remains |left |hard |easy |remember |forgot ",
    ),
    # "make sure" with the chain itself as object; "make sure to bring a towel" and "make sure you simplify" are advice.
    _rule(
        "make sure",
        "make sure|making sure|be sure|make certain",
        r" (?:that )?(?:i|we|i'm|i've|we've|this|it|that's|it's|everything|my|our|the (?:answer|result|solution|calculation|math|numbers))\b",
        unless="can't |cannot |not |n't ",
    ),
    # Comparing a result with another one. "match" and "agree" alone are about sticks and people, so subject and form are fixed.
    _rule(
        "agrees",
        "matches|agrees with|is consistent with|confirms",
        r" (?:the|our|my|what|with|that|this|both|all)\b",
        after="this|that|which|it|also|result|answer",
        unless="if it |if this |if that ",
    ),
    _rule("agrees", "that matches|this matches|it matches|which matches", r"(?=[.,!;)\n])"),
    _rule("same", "same answer|same result|same value", r" (?:as (?:before|above|earlier|i|we)|again|either way|both ways|i got|we got)\b"),
    _rule("both ways", "both methods|both approaches|both ways", r" (?:give|agree|yield|lead to|produce|match)\b"),
    # "That checks out." ends its clause; "checks out three books" goes on.
    _rule("checks out", "checks out", r"(?=[.,!;:)\n]|$| so\b| and\b)"),
    # Putting the result back with the purpose said; substitution alone is solving.
    _rule(
        "put back",
        "plugging|plug|substituting|substitute|putting",
        r" [^.!?\n]{0,60} (?:to (?:check|verify|confirm|see (?:if|whether|that))|as a check)\b(?! (?:each|which))",
    ),
    # Questions to oneself about what was just said. "Is this right-angled?" goes on.
    _rule(
        "question",
        "is that|is this|does that|does this",
        r" (?:actually |really |all )?(?:right|correct|make sense|work|hold|add up|match)\?",
    ),
    _rule(
        "did i",
        "did i|have i|did we|have we",
        r" (?:make|made|miss|missed|misread|misinterpret|misunderstand|miscalculate"
        r"|forget|forgotten|overlook|overlooked|do|done|use|used|account|accounted|consider|considered)\b[^.!?\n]{0,60}\?",
    ),
    _rule(
        "see if it fits",
        "see if|check if|check that|check whether|see whether|verify that",
        r" (?:this|that|it|everything|the answer) (?:makes sense|works|holds|is right|is correct|is consistent|adds up|fits)\b",
    ),
)

# Conditions, checks and reports take nothing back: "if that's wrong", "check that this is correct".
_OPEN = "if |whether |when |why |in case |unless |because |says |that "
_DENIED = r" (?:clearly |obviously |definitely |just |also )?(?:not (?:right|correct|true|possible|what i)|wrong|incorrect)\b"
_APPROACHES = "approach|method|strategy|route|angle|idea|path|attempt|way"

BACKTRACKING = (
    # "Wait" with a denial or an admission behind it. Alone it is a pause (a keyword), and "wait for" is a verb.
    _rule(
        "wait no",
        "wait",
        r"(?:\.{1,3}|,|!| -| --| –| —|—)? ?(?:but |hmm, )?(?:(?:no|actually|hold on|never mind)(?=[,. !;\n]|$)"
        r"|i (?:made|forgot|missed|misread|messed|miscounted|miscalculated|should have|was wrong|think i (?:made|mis))"
        r"|(?:that|this|it)(?:'s| is| was) (?:not|wrong|incorrect|impossible)\b"
        r"|(?:that|this|it) (?:can't|cannot|doesn't|does not|isn't|won't|wouldn't|contradicts|seems (?:off|wrong))\b)",
        unless="don't |can't |to |for ",
    ),
    # A statement taken back. Wrong ways and wrong options are things, not the chain.
    _rule(
        "that is wrong",
        "that's|that is|this is|that was|this was|this is",
        _DENIED + "(?! (?:way|order|side|about|option|answer|number|because))",
        unless=_OPEN,
    ),
    _rule(
        "cannot be",
        "that can't|this can't|that cannot|this cannot|that doesn't|this doesn't|that does not|this does not|that isn't|this isn't",
        r" (?:be (?:right|correct|true)|(?:seem|look|feel) (?:right|correct|quite right)|make sense|add up(?! to )|right|correct|match)\b",
        unless=_OPEN,
    ),
    _rule(
        "something is off",
        "something",
        r"(?:'s| is| seems| looks| feels| must be| has gone| went| doesn't) (?:off|wrong|not right|add up)\b",
        unless=_OPEN,
    ),
    # An admitted slip. "make sure I didn't make" and "in case I made" are verification; "a common mistake" is about others.
    _rule(
        "slip",
        "i made|i've made|i must have made|i might have made|i may have made",
        r" (?:a |an |some )?(?:\w{1,12} )?(?:mistake|error|slip|miscalculation)\b",
        unless="if |whether |case |that |unless |where ",
    ),
    _rule(
        "slip",
        "i messed up|i misread|i misinterpreted|i misunderstood|i miscalculated|i miscounted|i mixed up|i was wrong|i overlooked|i forgot",
        r"(?= |[.,;:!)\n]|$)",
        unless="if |whether |case |that |unless |where |did ",
    ),
    _rule("slip", "oops|scratch that|strike that|on second thought|back to the drawing board|let me correct", unless="until "),
    # A blind alley is the chain's own only if it says so; streets have dead ends too.
    _rule("dead end", "dead end", r"(?=[.,;:!)\n]|$)", unless="into a |of the |is a |no "),
    # An announced return or restart.
    _rule(
        "restart",
        "let|should|need to|have to|i'll|better",
        rf"(?: me|'s| us)?{_ADVERBS} (?:start over|start again|start from scratch|restart|go back|backtrack|step back|take a step back|redo|retry"
        r"|rethink|re-think|reconsider|re-?assess|re-?examine|revisit|re-?evaluate|back up|try again|try something else|correct (?:that|this|my)|fix (?:that|this|my))\b",
        unless="don't |not |n't |no ",
    ),
    # Another approach taken. With a purpose of checking it is verification; "another approach would be" only branches.
    _rule(
        "other approach",
        "try another|try a different|try a completely different|try some other|switch to a different|need a different|need another",
        rf" (?:\w{{1,15}} )?(?:{_APPROACHES})\b(?! to (?:check|verify|confirm|double|be sure))",
    ),
    # The approach given up.
    _rule(
        "approach fails",
        _APPROACHES,
        r"(?: just| really| here)? (?:doesn't|does not|didn't|did not|isn't|is not|won't|fails|failed|was wrong|is wrong|seems too|leads nowhere|is a dead)\b",
        after="this|that|my|first|previous|original|initial|current",
    ),
    _rule("no, that", "no, that|no, wait|hmm, no|actually, no|no wait", r"(?='s|[,. \n]|$)"),
    _rule("abandon", "i'll abandon|let's abandon|let me abandon|abandon this|give up on this|let's discard|discard this"),
)

_DEEDS = (
    "find|compute|calculate|determine|simplify|solve|combine|expand|express|rewrite|set up|identify|isolate|subtract|factor|convert|define"
)
_ACTOR = r"(?:(?:i|we)(?:'ll| will| need to| should| have to| must| want to|'d like to|'m going to)|let's|let me|let us)"

SUBGOAL = (
    # What comes first or next, with an actor and a deed: "first, we need to find". "First, second and third" are ranks, and "now, let me
    # think" sets nothing.
    _rule(
        "sequence",
        "first|firstly|next|now|second|secondly|finally|then|after that|lastly|to start|to begin",
        rf",? {_ACTOR}(?: also| first| just| now)? (?!(?:see|think|say|check|verify|double|recall|remember|be|me|assume|suppose|try|make sure)\b)[a-z]",
    ),
    # The same as a command to oneself: "first, combine like terms". Without its comma it may be a noun's adjective.
    _rule("command", "first|firstly|next|now|finally|then", rf", (?:{_DEEDS})\b"),
    # The thing wanted named in front: "to find the height, we first need the base".
    _rule(
        "means",
        "to determine|to find|to solve|to compute|to calculate|to show|to prove|to answer",
        r" [^.,!?\n]{1,80}, (?:i|we)(?:'ll| will)? ?(?:first )?(?:need|must|should|have to|can first|first)\b",
    ),
    # "Step 3: ..." as a heading. A step of a staircase has no colon.
    _rule("step", "step", r" \d{1,2}(?::|\.(?=[ \n*])|\)|\*\*| [-–—])", unless="in |from |of |by |with |and |to "),
    _rule(
        "step",
        "first step|next step|final step|last step",
        r"(?: here| now)? (?:is|would be|will be|should be) (?:to|finding|computing|calculating)\b",
    ),
    # Taking the problem apart.
    _rule(
        "break down",
        "break|breaking|split|splitting|divide|dividing",
        r" (?:this|it|that|things|everything|the (?:problem|task|question|solution|proof|work|calculation))"
        r"(?: problem| task| question)?(?: up)?(?: down\b| into (?:\w{1,15} )?(?:parts|steps|pieces|sub\w{1,12}|stages)\b)",
    ),
    # A goal or a plan said as one. In sports a goal is scored, so "is to" or a colon is asked for.
    _rule(
        "goal",
        "goal|plan|objective|strategy|aim|task",
        r"(?: here| now)?(?: is to\b|:| is then to\b| becomes\b)",
        unless="their |his |her |'s |each |every ",
    ),
    # Reductions in proofs: a smaller thing to show is a subgoal by definition.
    _rule(
        "suffices",
        "suffices|is enough|remains|what remains is",
        r" to (?:show|prove|find|compute|check|verify|determine|bound|consider|calculate|count|evaluate)\b",
    ),
    _rule("suffices", "all that's left|all that is left|all we need to do|all i need to do|what's left", r" (?:now )?is\b"),
    # A thing needed for another thing.
    _rule("means", "to do this|to do that|to do so|to find this|to solve this|to get there|to answer this", rf",? {_ACTOR}"),
    _rule("means", "before", r" (?:i|we) (?:can )?(?:\w{1,15} ){1,6}(?:i|we) (?:first )?(?:need|must|should|have to)\b"),
    # What is wanted next, in a proof or a calculation.
    _rule(
        "want",
        "we want to|i want to|we need to|i need to|we have to|i have to",
        r" (?:first )?(?:find|show|prove|determine|compute|calculate|figure out|count|establish|derive)\b",
    ),
)

_TRY = "consider|considering|go through|going through|check|checking|try|trying|test|testing|examine"
_THINGS = r"(?:cases?|possibilit(?:y|ies)|values?|scenarios?|options?|combinations?|pairs?|factors?|divisors?|candidates?|numbers?)"

ENUMERATION = (
    # "Case 2: x < 0." A number or letter, then a sign or a condition. "In case I am late" has "in" before it.
    _rule(
        "case",
        "case|subcase|sub-case|scenario|possibility",
        r" \(?(?:\d{1,2}|i{1,3}|iv|v|a|b|c|one|two|three|four)\)?(?:[:.]|\*\*| ?[–—]| -| when\b| if\b| where\b)",
        unless="in ",
    ),
    # The number of cases. Cases of juice are boxes.
    _rule(
        "number of cases",
        "cases|scenarios|possibilities|subcases",
        r"(?! of [a-z])",
        after="two|three|four|five|six|several|following|possible|separate|into|different|main|by|remaining",
    ),
    _rule(
        "each case",
        _TRY,
        rf" (?:all|each|every|both|the (?:different|various|possible))(?: of the| the| possible| remaining)? (?:{_THINGS}|one)\b",
    ),
    # Values tried one after another: "try n = 3".
    _rule("try value", "try|trying|test|testing|check|checking", rf"(?: if| for| whether)?{_VALUE}"),
    # A line for each value: "For n = 2: ...". Its colon tells it from solving.
    _rule("value line", "for|if", rf"{_VALUE}(?: ?\\\)|\$)?:"),
    # Lists made to be complete.
    _rule(
        "list all",
        "list|listing|enumerate|enumerating|write out|writing out",
        r"(?: out| down)? (?:all|each|every|them all|them one by one|the (?:possible|possibilities|divisors|factors|pairs|combinations|cases|values|outcomes|first))\b",
    ),
    _rule(
        "one by one",
        "one by one|one at a time|by brute force|trial and error|exhaustively|by exhaustion",
        unless="entered |left |arrived |came ",
    ),
    _rule("casework", "let me enumerate|let's enumerate|we enumerate|casework|case analysis"),
    _rule(
        "this case",
        "first case|second case|third case|other case|last case|remaining case",
        r"(?=,|:| is\b| would\b| gives\b)",
        unless="in the ",
    ),
)

RULES = {"verification": VERIFICATION, "backtracking": BACKTRACKING, "subgoal": SUBGOAL, "enumeration": ENUMERATION}
