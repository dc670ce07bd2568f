"""What Zheng and Yang 2024 say of TTM and WTTM, and what comes out."""

from collections.abc import Sized

from benchmarks.harness import load, paired
from benchmarks.paper.ttm_wttm_arms import (
    ALONE,
    LABELS,
    MAIN,
    SOFT,
    TTM,
    WTTM,
)
from benchmarks.tables.formatting import Row, difference, markdown
from benchmarks.tables.ttm import NAMES, gap, seeds_of
from benchmarks.tables.verdicts import YES

_UNCLEAR = "no: not clear of chance"
_PAPER = {
    (TTM, SOFT): "on 13 of 13 pairs",
    (WTTM, TTM): "on 10 of 13 pairs",
    (ALONE[WTTM], SOFT): "on 5 of 7 pairs",
}


def table() -> str:
    header = ["claim", "paper", "here", "comes out", "seeds"]
    return markdown(header, claims())


def claims() -> list[Row]:
    """What the paper says, and what comes out; errors on test images."""
    result = load(NAMES["MNIST"])
    rows = [
        fewer_errors(what, found, *pair)
        for data, name in NAMES.items()
        for what, found in tests_of(data, load(name)).items()
        for pair in _PAPER
        if set(pair) <= found.keys()
    ]
    return [*rows, entropies(result), closeness(result), stronger(result)]


def tests_of(data: str, result: dict) -> dict[str, dict]:
    """Test scores, of longer training as well where that was tried."""
    if "longer" not in result:
        return {data: result["test"]}
    longer = f"{data}, {result['size']['longer']:,} updates"
    return {data: result["test"], longer: result["longer"]}


def fewer_errors(data: str, found: dict, one: str, other: str) -> Row:
    less = gap(found, one, other)
    return [
        f"{data}: {one} makes fewer errors than {other}",
        _PAPER[one, other],
        difference(less),
        below(less),
        seeds_of(found[one]["errors"]),
    ]


def below(less: dict) -> str:
    """Whether a difference is clearly below 0."""
    low, high = less["interval"]
    if high < 0:
        return YES
    return "no: it is more" if low > 0 else _UNCLEAR


def entropies(result: dict) -> Row:
    """Of students on held-out images: KD < TTM < WTTM.

    TTM and WTTM with the same temperature and weight, KD with any weight.
    """
    entropy = {
        arm: {
            t: [cell["student_entropy"]["mean"] for cell in row.values()]
            for t, row in rows.items()
        }
        for arm, rows in result["heat"].items()
    }
    cells = [
        (max(entropy[SOFT][t]), *pair)
        for t in entropy[TTM]
        for pair in zip(entropy[TTM][t], entropy[WTTM][t], strict=True)
    ]
    ordered = [cell for cell in cells if list(cell) == sorted(cell)]
    tuned = [result["test"][arm]["student_entropy"]["mean"] for arm in MAIN]
    return [
        f"MNIST: entropy of students, {' < '.join(MAIN)}",
        "in this order",
        f"in this order at {len(ordered)} of {len(cells)} temperatures and "
        "weights; " + ", ".join(f"{mean:.2f}" for mean in tuned) + " as tuned",
        in_all(ordered, cells),
        str(result["size"]["map_seeds"]),
    ]


def in_all(true: Sized, among: Sized) -> str:
    if len(true) == len(among):
        return YES
    return f"partly: {len(true)} of {len(among)}" if true else "no: nowhere"


def closeness(result: dict) -> Row:
    """The divergence of WTTM from the tempered teacher, without labels."""
    found = result["entropy"]
    values = {
        t: [points[arm]["divergence"]["mean"] for arm in (ALONE[WTTM], WTTM)]
        for t, points in found.items()
    }
    smaller = [t for t, (alone, beside) in values.items() if alone < beside]
    said = "; ".join(
        f"T = {t}: {alone:.3f}, {beside:.3f}"
        for t, (alone, beside) in values.items()
    )
    return [
        "MNIST: D(p_T, q) of WTTM without labels, with labels",
        "smaller without",
        said,
        in_all(smaller, values),
        seeds_of(next(iter(found.values()))[WTTM]["divergence"]),
    ]


def gains(result: dict, arm: str) -> list[float]:
    """Errors fewer than those of labels, by teacher, the weakest first."""
    return [
        found[LABELS]["errors"]["mean"] - found[arm]["errors"]["mean"]
        for found in result["teachers"].values()
    ]


def stronger(result: dict) -> Row:
    """Whether the lead of WTTM over KD grows as the teacher gets better."""
    found = list(result["teachers"].values())
    said = "; ".join(
        f"{arm} " + ", ".join(f"{gain:.0f}" for gain in gains(result, arm))
        for arm in (SOFT, WTTM)
    )
    teachers = ", ".join(str(of["teacher"]["errors"]) for of in found)
    behind = paired(more_than_soft(found[-1]), more_than_soft(found[0]))
    return [
        "MNIST: errors of WTTM less those of KD, best less worst teacher",
        "below 0: KD stalls",
        f"{difference(behind)}; fewer than labels, teachers of {teachers} "
        f"errors: {said}",
        below(behind),
        seeds_of(found[0][SOFT]["errors"]),
    ]


def more_than_soft(found: dict) -> list[float]:
    """Errors of WTTM beyond those of KD, seed by seed."""
    ours, theirs = (found[a]["errors"]["values"] for a in (WTTM, SOFT))
    return [a - b for a, b in zip(ours, theirs, strict=True)]
