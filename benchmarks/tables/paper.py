"""Tables of the README that set a paper's claims beside our numbers."""

from benchmarks.tables.formatting import load, markdown, percent, where

Row = list[str]


def errors(found: dict, digits: int = 1) -> str:
    """Mean and standard deviation of counts."""
    if found["sd"] is None:
        return f"{found['mean']:.0f}"
    return f"{found['mean']:.{digits}f} (sd {found['sd']:.{digits}f})"


def share(found: dict) -> str:
    """Mean and standard deviation of counts of 10,000, as percentages."""
    return f"{found['mean'] / 100:.1f}% (sd {found['sd'] / 100:.1f})"


def mnist_rows() -> list[Row]:
    """Section 3 of the paper: errors on the 10,000 test images."""
    result = load("hinton_mnist")
    students, paper = result["students"], result["paper"]
    longer = result["size"]["longer"]
    labels, soft = "labels alone", "soft targets alone, T = 20"
    rows = [
        ["teacher, 2 x 1200, dropout, shifts", "teacher", result["teachers"]],
        ["student, 2 x 800, labels alone", labels, students[labels]],
        ["the same, soft targets alone, T = 20", soft, students[soft]],
        [f"the same, {longer} times as many epochs", soft, result["longer"]],
    ]
    table = [[what, str(paper[k]), *cells(found)] for what, k, found in rows]
    table += temperature_rows(result["temperature"])
    table += omitted_rows(result["omitted"], paper)
    return table


def cells(found: dict) -> Row:
    return [errors(found), str(len(found["values"]))]


def temperature_rows(curves: dict) -> list[Row]:
    rows = []
    for units in ("800", "300"):
        high = [curves[units][t] for t in ("8", "10", "20")]
        means = [point["mean"] for point in high]
        rows.append(
            [
                f"{units} units: all T of 8 and more are alike",
                "fairly similar",
                f"{min(means):.1f} to {max(means):.1f} (largest sd "
                f"{max(point['sd'] for point in high):.1f})",
                str(len(high[0]["values"])),
            ]
        )
    small = curves["30"]
    middle = {t: small[t]["mean"] for t in ("2.5", "3", "4")}
    others = {t: p["mean"] for t, p in small.items() if t not in middle}
    rows.append(
        [
            "30 units: T of 2.5 to 4 is best",
            "significantly better",
            f"{min(middle.values()):.1f} to {max(middle.values()):.1f}; other "
            f"T {min(others.values()):.1f} (T = {min(others, key=others.get)}) "
            f"to {max(others.values()):.1f}",
            str(len(small["4"]["values"])),
        ]
    )
    return rows


def omitted_rows(omitted: dict, paper: dict) -> list[Row]:
    threes, two = omitted["no threes"], omitted["sevens and eights"]
    plain, shifted = paper["no threes"], paper["no threes, shifted"]

    def with_threes(row: str) -> str:
        found = threes[row]
        return (
            f"{errors(found['errors'])}; {errors(found['errors on omitted'])}"
        )

    seeds = str(len(threes["as trained"]["errors"]["values"]))
    shift = threes["3, accuracy"]["shift"]["mean"]
    both = two["7 and 8, accuracy"]["shift"]["mean"]
    return [
        [
            "no threes in the transfer set: errors; on threes",
            f"{plain[0]}; {plain[1]}",
            with_threes("as trained"),
            seeds,
        ],
        [
            f"bias of 3 shifted, fitted with labels (ours: {shift:+.1f})",
            f"{shifted[0]}; {shifted[1]} (+3.5)",
            with_threes("3, accuracy"),
            seeds,
        ],
        [
            "the same by class frequencies, without labels",
            "",
            with_threes("frequencies, no labels"),
            seeds,
        ],
        [
            "sevens and eights only: error rate",
            f"{paper['sevens and eights']:.1%}",
            share(two["as trained"]["errors"]),
            seeds,
        ],
        [
            f"their biases shifted alike, with labels (ours: {both:+.1f})",
            f"{paper['sevens and eights, shifted']:.1%} (-7.6)",
            share(two["7 and 8, accuracy"]["errors"]),
            seeds,
        ],
        [
            "a shift for each class, with labels",
            "",
            share(two["each class, likelihood"]["errors"]),
            seeds,
        ],
        [
            "the same by class frequencies, without labels",
            "",
            share(two["frequencies, no labels"]["errors"]),
            seeds,
        ],
    ]


def mnist_students() -> str:
    """All methods, chosen on held-out training images, on the test images."""
    result = load("hinton_mnist")
    held_out = result["tuning"]["students"]
    tried = {m: s for methods in held_out.values() for m, s in methods.items()}
    rows = []
    for name, found in result["students"].items():
        scores = tried[found["method"]]
        rows.append(
            [
                name,
                f"`{found['method']}`",
                f"{sum(scores) / len(scores):.0f}",
                *cells(found),
            ]
        )
    header = ["student, 2 x 800", "setting", "held-out errors", "test errors"]
    return markdown([*header, "seeds"], rows)


def regularizer_rows() -> list[Row]:
    """Section 6: test accuracies of students of 3 % of the data."""
    result = load("soft_targets_as_regularizers")
    speech, images = result["spoken_digits"], result["mnist"]
    rows = []
    for what, part, paper in (
        ("speech frames", speech, ["58.9%", "44.5%", "57.0%"]),
        ("MNIST", images, ["", "", ""]),
    ):
        small = part["shares"]["0.03"]
        arms = {
            "labels of all data": part["shares"]["1.0"]["labels"],
            "labels of 3 %, early stopping": small["labels, early stopping"],
            "soft targets of 3 %, no early stopping": small["soft targets"],
        }
        for (arm, scores), number in zip(arms.items(), paper, strict=True):
            test = scores["test"]
            seeds = str(len(test["values"]))
            rows.append([f"{what}: {arm}", number, percent(test), seeds])
    return rows


def speech_rows() -> list[Row]:
    """Section 4: frame accuracies on known speakers."""
    result = load("spoken_digits")
    found, paper = result["takes"], result["paper"]
    seeds = str(len(found["folds"]))
    arms = {
        "single": "single",
        "ensemble": "arithmetic",
        "distilled": found["chosen"],
    }
    rows = [
        [
            f"speech frames, ensemble of 10: {what}",
            f"{paper[what]['frame_accuracy']:.1%}",
            percent(found["arms"][arm]["frame_accuracy"]),
            seeds,
        ]
        for what, arm in arms.items()
    ]
    kept = found["gain_kept"][found["chosen"]]
    rows.append(
        [
            "share of the ensemble's gain that is kept",
            f"{paper['gain_kept']:.0%}",
            spoken_kept(kept),
            seeds,
        ]
    )
    return rows


def claims() -> str:
    """What the paper found, and what we find."""
    parts = {
        "hinton_mnist.py": mnist_rows(),
        "soft_targets_as_regularizers.py": regularizer_rows(),
        "spoken_digits.py": speech_rows(),
    }
    rows = [
        [*row, f"`{script}`"] for script, part in parts.items() for row in part
    ]
    header = ["claim", "paper", "here", "seeds", "script"]
    environment = load("hinton_mnist")["environment"]
    return f"{markdown(header, rows)}\n\n{where(environment)}"


def spoken_digits() -> str:
    result = load("spoken_digits")
    paper = result["paper"]
    arms = {
        "single": "single",
        "ensemble": "ensemble",
        "distilled": "distilled",
    }
    rows = [
        [
            "paper",
            label,
            f"{paper[arm]['frame_accuracy']:.1%}",
            f"{paper[arm]['word_error']:.1%} (words)",
            f"{paper['gain_kept']:.0%}" if arm == "distilled" else "",
        ]
        for arm, label in arms.items()
    ]
    kinds = {"takes": "{} seeds", "speakers": "{} pairs of unseen speakers"}
    for kind, label in kinds.items():
        one = result[kind]
        count = label.format(len(one["folds"]))
        for arm, metrics in one["arms"].items():
            kept = one["gain_kept"].get(arm)
            rows.append(
                [
                    count,
                    spoken_arm(arm, one["chosen"]),
                    spoken_percent(metrics["frame_accuracy"]),
                    spoken_percent(metrics["utterance_error"], 2),
                    spoken_kept(kept) if kept else "",
                ]
            )
    header = ["spoken digits", "model", "frame accuracy", "utterance error"]
    table = markdown([*header, "gain kept"], rows)
    return f"{table}\n\n{where(result['environment'])}"


def spoken_arm(arm: str, chosen: str) -> str:
    if arm in ("arithmetic", "geometric"):
        return f"ensemble, {arm} mean"
    return f"{arm} (chosen)" if arm == chosen else arm


def spoken_percent(summary: dict, places: int = 1) -> str:
    sd = (
        ""
        if summary["sd"] is None
        else f" (sd {100 * summary['sd']:.{places}f})"
    )
    return f"{summary['mean']:.{places}%}{sd}"


def spoken_kept(kept: dict) -> str:
    sd = "" if kept["sd"] is None else f" (sd {100 * kept['sd']:.0f})"
    return f"{kept['mean']:.0%}{sd}"


def regularizers() -> str:
    """Few labels, as Table 5 of the paper, and wrong labels."""
    result = load("soft_targets_as_regularizers")
    tables = [few_labels(result), wrong_labels(result["label_noise"])]
    seeds = result["mnist"]["plan"]["seeds"]
    note = f"Mean and standard deviation over {seeds} seeds. "
    return "\n\n".join([*tables, note + where(result["environment"])])


def few_labels(result: dict) -> str:
    rows = []
    for name, label in {
        "mnist": "MNIST",
        "spoken_digits": "spoken digits, frames",
    }.items():
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
