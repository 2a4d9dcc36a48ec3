"""Behaviour rules on hand-checked excerpts, written here in the style of real long chains: what each is, and what only looks like it."""

import pytest

from repro.cot import BEHAVIOURS, behaviour_counts, behaviour_hits

V, B, S, E = BEHAVIOURS

# (excerpt, sentences with verification, backtracking, subgoal setting, enumeration). Counted by hand before the rules were run on it.
CASES = [
    # Verification
    ("So the legs are 9 and 40.\n\nLet me just double-check that: 81 + 1600 = 1681, and 41 squared is 1681.", 1, 0, 0, 0),
    ("okay so x is 14. to verify, 3*14 - 5 = 37. yes, that matches what we were given.", 2, 0, 0, 0),
    ("Plugging x = 2 back into the first equation to check: 8 + 3 = 11, which matches the right-hand side.", 1, 0, 0, 0),
    ("Hmm, did I forget the factor of two anywhere? I don't think so.", 1, 0, 0, 0),
    ("The sum telescopes to 1 - 1/51. I should verify this with a small case, say three terms.", 1, 0, 0, 0),
    ("**Verification:**\n- 12 apples at 3 each: 36\n- total: 36", 1, 0, 0, 0),
    ("Both methods give 216, so I'm fairly confident. The same result as before.", 2, 0, 0, 0),
    ("30 + 45 + 105 is 180. Everything checks out.", 1, 0, 0, 0),
    ("But let me make sure I didn't make a mistake with the signs.", 1, 0, 0, 0),
    ("Is that right? A sanity check with n=1 gives 1. Good.", 2, 0, 0, 0),
    # Backtracking
    ("So the area is 24. Wait, no, that's the perimeter.", 0, 1, 0, 0),
    ("That gives 3.7 people. Hmm, that can't be right.\n\nLet me reconsider the rate.", 0, 2, 0, 0),
    ("I think I made an arithmetic error in the second line. Let me redo that step.", 0, 2, 0, 0),
    ("This approach isn't working, the integral only gets worse. Let's try a different substitution method.", 0, 2, 0, 0),
    ("Oops, I misread the question: it asks for the number of edges.", 0, 1, 0, 0),
    ("wait, this doesn't hold when p = 2. so let me go back to the factorisation.", 0, 2, 0, 0),
    ("Actually, no. On second thought, the order matters here.", 0, 2, 0, 0),
    ("Hmm, wait -- i forgot to carry the minus sign.", 0, 1, 0, 0),
    ("Did I misread the table? 9 + 8 is not 18. Let me reassess.", 1, 1, 0, 0),
    # Subgoal setting
    ("First, I need to find the slope of the line. Then I'll compute the intercept.", 0, 0, 2, 0),
    ("Okay, let's break this problem down into smaller parts.", 0, 0, 1, 0),
    ("**Step 1:** Express y in terms of x.\n**Step 2:** Insert it.", 0, 0, 2, 0),
    ("It suffices to show that the sequence is bounded. Our goal is to find a uniform constant.", 0, 0, 2, 0),
    ("Before I can use the formula, I need to determine the radius.", 0, 0, 1, 0),
    ("Next, let's calculate the discriminant.", 0, 0, 1, 0),
    ("To find the height of the cone, we first need its radius. First, combine like terms.", 0, 0, 2, 0),
    # Enumeration
    ("Case 1: n is even. Then n = 2m.\nCase 2: n is odd.", 0, 0, 0, 2),
    ("Let me list all the divisors of 36: 1, 2, 3, 4, 6, 9, 12, 18, 36.", 0, 0, 0, 1),
    ("Try n = 1: 3, prime. Try n = 2: 7, prime. Trying n = 3 we get 13.", 0, 0, 0, 3),
    ("There are three cases to look at, depending on the sign.", 0, 0, 0, 1),
    ("We check each value of k modulo 7 one by one.", 0, 0, 0, 1),
    ("For k = 0: 5 is odd.\nFor k = 1: 8 is even.", 0, 0, 0, 2),
    # Several at once
    ("First, let's find the roots. They are 2 and 5. Let me check: 4 - 14 + 10 = 0. Wait, that's not the same polynomial!", 1, 1, 1, 0),
    ("Let me double-check by listing all pairs: (1,6), (2,5), (3,4).", 1, 0, 0, 1),
    # A keyword that is not the behaviour
    ("The passengers wait for the bus, which is not late. However long they wait, it comes.", 0, 0, 0, 0),
    ("Each customer writes a check for 20 dollars and checks out three books.", 0, 0, 0, 0),
    ("In this case the series converges. In case it does not, the limit is infinite.", 0, 0, 0, 0),
    ("A crate holds four cases of juice; the match box holds 40 matches, and this matches 3 per day.", 0, 0, 0, 0),
    ("The first, second and third runners share 90 points. He takes the first step of the stairs.", 0, 0, 0, 0),
    ("A common mistake is to forget the constant. If that is wrong, the teacher takes a mark off.", 0, 0, 0, 0),
    ("The striker scored a goal in the first half and the goalkeeper made an error.", 0, 0, 0, 0),
    ("He must make sure to lock the door, and she double-checks it every night.", 0, 0, 0, 0),
    ("Recall the alternative hypothesis. Alternatively, one can use Bayes' rule.", 0, 0, 0, 0),
    ("The tree is a dead end street's only shade; the road is the wrong way.", 0, 0, 0, 0),
    ("We are asked to verify that f is continuous. There is no need to double-check.", 0, 0, 0, 0),
    ("Substituting u = x^2 we get an easier integral, and x = 3 follows.", 0, 0, 0, 0),
    ("To find him, we went home, and then, finding nothing, we left. The next term is the first of the now smaller list.", 0, 0, 0, 0),
    ("The pair (3, 5) is out: this doesn't add up to 9. There is a delay when t = 0: nobody moves.", 0, 0, 0, 0),
    ("Try the soup, then list the wine. I can't wait, actually.", 0, 0, 0, 0),
    ("It makes sense to divide by two, and the answer is a step up from 7.", 0, 0, 0, 0),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0][:40] for case in CASES])
def test_excerpts(case):
    text, *expected = case
    assert behaviour_counts([text])[0].tolist() == expected, behaviour_hits(text)


def test_letters_and_apostrophes_do_not_matter():
    assert behaviour_counts(["LET’S VERIFY THIS.", "let's verify this."]).tolist() == [[1, 0, 0, 0]] * 2


def test_hits_are_positions_in_the_response():
    text = "İstanbul. Now let me check this: 3 × 4 = 12."
    (hit,) = behaviour_hits(text)[V]
    assert text[hit.start : hit.end] == "let me check"


def test_hits_in_one_sentence_are_one_act():
    text = "Let me double-check to make sure I didn't miss anything, just to verify this."
    assert len(behaviour_hits(text)[V]) > 2
    assert behaviour_counts([text])[0].tolist() == [1, 0, 0, 0]


def test_word_lookup_loses_nothing():
    """The words that gate the patterns are words of every match: the rules alone find the same."""
    from repro.cot.rules import RULES
    from repro.cot.text import fold

    for text, *_ in CASES:
        for behaviour, rules in RULES.items():
            alone = {
                (m.start(), m.end(), rule.name) for rule in rules for *_, pattern in rule.patterns for m in pattern.finditer(fold(text))
            }
            assert {tuple(hit) for hit in behaviour_hits(text)[behaviour]} == alone


@pytest.mark.parametrize(
    "unit",
    [
        "wait ",
        "let me ",
        "let me just now also first ",
        "plug a ",
        "before we a b c d e f ",
        "did i use ",
        "first, we ",
        "let me check. ",
        ".",
        "!?) ",
        "a" * 50,
        "```py",
    ],
)
@pytest.mark.timeout(120)  # a rule that backtracks would need hours; a linear one is done in seconds on any machine
def test_ten_megabytes_end(unit):
    """Each text is made to send one kind of rule astray."""
    assert behaviour_counts([unit * (10_000_000 // len(unit))]).shape == (1, 4)


@pytest.mark.timeout(120)
def test_every_rule_ends_on_a_text_made_of_its_own_beginnings():
    from repro.cot.rules import RULES

    for rule in (rule for rules in RULES.values() for rule in rules):
        for _, anchor, _ in rule.patterns:
            unit = f"{anchor} we a b c just now "
            assert behaviour_counts([unit * (50_000 // len(unit))]).shape == (1, 4), (rule.name, anchor)
