"""From experiment records to verdicts: statistics over training seeds, guards, and the verdict rule.

Differs from the usual evaluation table in its unit: a claim about a *training method* is tested over training seeds, whose means on one
shared set of questions are the observations; more questions or samples make each observation sharper and never add one. Everything here
is a pure function of arrays in any one unit, by convention points (percentage points of accuracy); what is random takes a
``numpy.random.Generator``.

    arms -> guards -> comparison | trend | curves -> multiplicity -> verdict          power: before any of it is run

    >>> from repro.claims.comparison import welch
    >>> welch([54.0, 55.0, 56.5], [51.0, 52.0, 50.0]).p < 0.05
    True
"""
