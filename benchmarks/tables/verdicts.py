"""Whether a claim of a paper comes out."""

from collections.abc import Sequence

YES = "yes"
_NEAR = 1.1  # Of the paper's number.


def unless(short: bool, why: str) -> str:
    """Yes, unless something falls short."""
    return f"partly: {why}" if short else YES


def at_most(
    ours: Sequence[float] | float, paper: Sequence[float] | float, why: str
) -> str:
    """Of errors: the paper's, within a tenth, or fewer."""
    pairs = zip(_several(ours), _several(paper), strict=True)
    return unless(any(own > _NEAR * other for own, other in pairs), why)


def at_least(ours: float, paper: float, why: str) -> str:
    """Of gains: the paper's, within a tenth, or more."""
    return "no: " + why if ours <= 0 else unless(ours < paper / _NEAR, why)


def _several(numbers: Sequence[float] | float) -> Sequence[float]:
    return numbers if isinstance(numbers, Sequence) else [numbers]
