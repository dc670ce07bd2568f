"""Times and memory."""

from benchmarks.harness import load
from benchmarks.tables.formatting import Row, by_backend, markdown, span


def step_time() -> str:
    header = [
        "pair",
        "our step",
        "/ (student + teacher)",
        "/ `keras.distillation`",
        "/ hand-written JAX",
        "first step / `keras.distillation`",
    ]
    return by_backend("step_time", header, step_rows)


def step_rows(result: dict) -> list[Row]:
    rows = []
    for name, pair in result["pairs"].items():
        by_hand = pair.get("ours / hand_written")
        rows.append(
            [
                name,
                f"{pair['step_ms']['ours']:.1f} ms",
                f"{pair['ours / (student + teacher)']:.2f}",
                f"{pair['ours / keras']:.2f}",
                f"{by_hand:.2f}" if by_hand else "",
                f"{pair['first step, ours / keras']:.2f}",
            ]
        )
    return rows


def step_finding() -> str:
    parts = [
        f"{span(pair['ours / (student + teacher)'] for pair in pairs)} on "
        f"{backend}"
        for backend, result in load("step_time").items()
        for pairs in [result["pairs"].values()]
    ]
    return (
        "A step takes, over the sum of a plain student step and a teacher "
        f"forward pass, {' and '.join(parts)}."
    )


def large_finding() -> str:
    """Copies and times of the losses over a vocabulary, and of the largest."""
    result = load("large_outputs")
    losses, kept = result["losses"], result["of the largest"]
    ours, plain = (
        [loss["copies"][arm] for loss in losses.values()]
        for arm in ("ours", "plain")
    )
    both = [loss["copies"]["ours, labels"] for loss in losses.values()]
    alone = result["labels"]["copies"]
    times, beside = (
        span(loss[f"ours / plain{also}"] for loss in losses.values())
        for also in ("", ", labels")
    )
    largest = span(loss["largest / all, labels"] for loss in kept.values())
    return (
        f"Beside 32,000 logits a token and their gradient, {len(losses)} "
        f"losses take {min(ours)} to {max(ours)} float32 copies of them, where "
        f"they took {min(plain):.0f} to {max(plain):.0f}; with labels at most "
        f"{max(both)}, of which labels alone take {alone:.0f}. They take "
        f"{times} times as long, with labels {beside}; with a teacher's "
        f"{result['k']} largest logits {largest} of that."
    )


def teacher_cache() -> str:
    header = [
        "pipeline, student",
        "plain step",
        "cached / plain",
        "top 50 / plain",
        "build / `predict`",
    ]
    return by_backend("teacher_cache", header, cache_rows)


def cache_rows(result: dict) -> list[Row]:
    rows = []
    for key, read in result["read"].items():
        building = result["build"][key.split(", ")[0]]
        rows.append(
            [
                key,
                f"{read['step_ms']['plain']:.1f} ms",
                f"{read['all logits / plain']:.2f}",
                f"{read['top 50 / plain']:.2f}",
                f"{building['throughput, build / predict']:.2f}",
            ]
        )
    return rows


def cache_finding() -> str:
    parts = [
        f"{span(read['all logits / plain'] for read in reads)} on {backend}"
        for backend, result in load("teacher_cache").items()
        for reads in [result["read"].values()]
    ]
    return (
        "A training step from a cache takes, over a plain student step, "
        f"{' and '.join(parts)}."
    )


def cache_memory() -> str:
    rows = []
    for backend, result in load("teacher_cache").items():
        sizes = result["memory"].values()
        rows.append(
            [backend]
            + [f"{size['cache_mb']:.0f} MB" for size in sizes]
            + [f"{size['peak_resident_mb']:.0f} MB" for size in sizes]
        )
    header = ["backend", "cache", "8 x", "peak memory", "peak memory, 8 x"]
    return markdown(header, rows)


def cache_losses() -> str:
    """One backend: the errors are those of the stored logits."""
    result = next(iter(load("teacher_cache").values()))
    rows = [
        [stored]
        + [
            f"{error['value']:.0e}, {error['gradient']:.0e}"
            for error in losses.values()
        ]
        for stored, losses in result["losses"].items()
    ]
    names = next(iter(result["losses"].values()))
    return markdown(["stored as", *(f"`{name}`" for name in names)], rows)


SEARCHES = {
    "cached": "`kd.tuner`, `kd.TeacherCache` (building it included)",
    "live": "`kd.tuner`, teacher in each step",
    "keras": "`keras.distillation.Distiller`",
    "plain": "the student alone, on labels",
}


def temperature_search() -> str:
    header = ["search", "trials", "per trial", "/ cached", "later ones / alone"]
    header += ["mean accuracy", "best accuracy"]
    return by_backend("temperature_search", header, search_rows)


def search_rows(result: dict) -> list[Row]:
    rows = []
    for arm, label in SEARCHES.items():
        if arm not in result:
            continue
        trials = len(result[arm]["trials"])
        rows.append(
            [
                label,
                str(trials),
                f"{result[arm]['seconds'] / trials:.1f} s",
                times(
                    1.0 if arm == "cached" else result.get(f"{arm} / cached")
                ),
                times(result.get(f"{arm} / plain, later trials"), 2),
                f"{result[arm]['mean_val_accuracy']:.2%}",
                f"{result[arm]['best_val_accuracy']:.2%}",
            ]
        )
    return rows


def times(ratio: float | None, digits: int = 1) -> str:
    """Empty where it was not measured."""
    return f"{ratio:.{digits}f} x" if ratio else ""


def search_finding() -> str:
    result = load("temperature_search")["jax"]
    finding = (
        f"The same trials take {result['live / cached']:.1f} times as long "
        f"with the teacher in each step, and {result['keras / cached']:.1f} "
        "times with `keras.distillation`."
    )
    alone = result.get("cached / plain, later trials")
    if alone:
        finding += (
            f" From the second trial on, a cached one takes {alone:.2f} times "
            "as long as training the student alone, which compiles each time."
        )
    return finding
