"""Section 6 of Hinton et al. 2015: few labels, and wrong ones."""

from benchmarks.harness import load, percent
from benchmarks.tables.formatting import Row, markdown, noted
from benchmarks.tables.verdicts import at_least

_SMALL = "3 % are 72 recordings, in the paper millions of frames"
DATA = {"mnist": "MNIST", "spoken_digits": "spoken digits, frames"}


def claims() -> list[Row]:
    """Test accuracies of students of 3 % of the data."""
    result = load("soft_targets_as_regularizers")
    speech, images = result["spoken_digits"], result["mnist"]
    return [
        *of_a_share("speech frames", speech, (0.589, 0.445, 0.57)),
        *of_a_share("MNIST", images, None),
    ]


def of_a_share(
    what: str, part: dict, paper: tuple[float, ...] | None
) -> list[Row]:
    small = part["shares"]["0.03"]
    arms = {
        "labels of all data": part["shares"]["1.0"]["labels"],
        "labels of 3 %, early stopping": small["labels, early stopping"],
        "soft targets of 3 %, no early stopping": small["soft targets"],
    }
    found = [scores["test"] for scores in arms.values()]
    theirs = [f"{number:.1%}" for number in paper] if paper else [""] * 3
    rows = [
        [f"{what}: {arm}", number, percent(test), "", seeds_of(test)]
        for arm, test, number in zip(arms, found, theirs, strict=True)
    ]
    ours = recovered(*(test["mean"] for test in found))
    verdict = at_least(ours, recovered(*paper), _SMALL) if paper else ""
    return [
        *rows,
        [
            f"{what}: share of what labels lose that soft targets recover",
            f"{recovered(*paper):.0%}" if paper else "",
            f"{ours:.0%}",
            verdict,
            seeds_of(found[0]),
        ],
    ]


def recovered(all_labels: float, few_labels: float, soft: float) -> float:
    return (soft - few_labels) / (all_labels - few_labels)


def seeds_of(found: dict) -> str:
    return str(len(found["values"]))


def table() -> str:
    """Few labels, as Table 5 of the paper, and wrong labels."""
    result = load("soft_targets_as_regularizers")
    tables = [few_labels(result), wrong_labels(result["label_noise"])]
    seeds = result["mnist"]["plan"]["seeds"]
    note = f"Mean and standard deviation over {seeds} seeds. "
    note += " ".join(
        by_steps(result[name], what) for name, what in DATA.items()
    )
    return noted("\n\n".join(tables), result["environment"], before=f"{note} ")


def by_steps(part: dict, what: str) -> str:
    """Whether more steps would have changed something."""
    curves = part["held_out_by_steps"]
    steps = ", ".join(f"{int(n):,}" for n in curves["labels"])
    scores = [
        f"{arm} " + ", ".join(f"{score:.1%}" for score in curve.values())
        for arm, curve in curves.items()
    ]
    return (
        f"{what[0].upper()}{what[1:]}, 3 %, held-out scores after {steps} "
        f"steps: {'; '.join(scores)}."
    )


def few_labels(result: dict) -> str:
    rows = []
    for name, label in DATA.items():
        part = result[name]
        teacher = part["teacher"]
        rows.append(
            [label, "100%", "teacher, labels", f"{teacher['train']:.1%}"]
            + [f"{teacher['test']:.1%}", error(teacher)]
        )
        for share, arms in sorted(
            part["shares"].items(), key=lambda item: -float(item[0])
        ):
            for arm, scores in arms.items():
                rows.append(
                    [label, f"{float(share):.0%}", arm]
                    + [percent(scores["train"]), percent(scores["test"])]
                    + [error(scores)]
                )
    header = ["data", "share", "student trained on", "train accuracy"]
    return markdown([*header, "test accuracy", "utterance error"], rows)


def error(scores: dict) -> str:
    found = scores.get("utterance error", "")
    if isinstance(found, dict):
        return percent(found)
    return f"{found:.1%}" if found != "" else ""


def wrong_labels(result: dict) -> str:
    levels = result["levels"]
    arms = max(levels.values(), key=len)
    rows = [
        [arm]
        + [
            percent(scores[arm]["test"]) if arm in scores else ""
            for scores in levels.values()
        ]
        + [percent(list(levels.values())[-1][arm]["train, labels as given"])]
        for arm in arms
    ]
    header = [f"test, {float(level):.0%} wrong" for level in levels]
    last = f"{float(list(levels)[-1]):.0%} wrong"
    return markdown(
        ["student trained on", *header, f"train, {last}, labels as given"], rows
    )


def finding() -> str:
    small = load("soft_targets_as_regularizers")["mnist"]["shares"]["0.03"]
    labels = percent(small["labels, early stopping"]["test"])
    return (
        f"With 3 % of MNIST's labels, soft targets get "
        f"{percent(small['soft targets']['test'])} of the test images right, "
        f"labels with early stopping {labels}."
    )
