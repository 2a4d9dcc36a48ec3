"""Seed means for property tests: a few seeds, points on a grid of 1/8 so that shifts and swaps are exact in floating point."""

from hypothesis import settings
from hypothesis import strategies as st

RELAXED = settings(deadline=None, max_examples=60)  # a busy machine is no reason to fail

GRID = st.integers(0, 800).map(lambda eighths: eighths / 8)


def seeds(least: int = 2, most: int = 6):
    """Seed means that are not all equal."""
    return st.lists(GRID, min_size=least, max_size=most).filter(lambda x: len(set(x)) > 1)


def arms(count: int, least: int = 2, most: int = 4):
    return st.lists(seeds(least, most), min_size=count, max_size=count)


def pairs(least: int = 2, most: int = 8):
    """Two arms of one length whose differences vary."""
    both = st.integers(least, most).flatmap(lambda n: st.tuples(*[st.lists(GRID, min_size=n, max_size=n)] * 2))
    return both.filter(lambda ab: len({x - y for x, y in zip(*ab, strict=True)}) > 1)
