"""What distillation over a vocabulary costs, in memory and time.

Question: how many float32 copies of the logits do value and gradient of a loss
take beside the logits and their gradient, alone and with the labels' loss, and
how long do they take, against the same loss without computing it again?

Memory is what the compiler of JAX plans, for 8 sequences of 512 tokens and
32,000 classes in bfloat16; nothing of that size is made. Times are of smaller
logits, 4 x 64 x 32,000, interleaved, medians over repeats:
  ours       the class, as a Distiller calls it
  plain      the function of the same equation, which keeps what it made
and each with Keras's SparseCategoricalCrossentropy beside it, whose own memory
is there for comparison.

Command: KERAS_BACKEND=jax python -m benchmarks.speed.large_outputs
Minutes: about 2 on 2 cores; also for a GPU, where it says which one it was.
         `--short` takes seconds and proves nothing.
Writes:  benchmarks/results/large_outputs.json
"""

import functools
import math
import statistics
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness import (
    arguments,
    device,
    environment,
    interleaved,
    ratio,
    save,
    steady_threads,
)

NAME = "large_outputs"
PLANNED = (8, 512, 32_000)
TIMED = (4, 64, 32_000)
REPEATS = 15
T = 2.0

Loss = Callable[[Any, Any, Any], Any]  # Of student, teacher and labels.
LABELS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
LOSSES: dict[str, tuple[Any, Callable]] = {
    "SoftTargets": (
        kd.losses.SoftTargets(T),
        functools.partial(kd.losses.soft_targets, temperature=T),
    ),
    "TTM": (
        kd.losses.TTM(T),
        functools.partial(kd.losses.ttm, temperature=T),
    ),
    "WTTM": (
        kd.losses.WTTM(T),
        functools.partial(kd.losses.wttm, temperature=T),
    ),
    "LogitMatching": (kd.losses.LogitMatching(), kd.losses.logit_matching),
    "ReverseKL": (kd.losses.ReverseKL(), kd.losses.reverse_kl),
    "JensenShannon": (kd.losses.JensenShannon(), kd.losses.jensen_shannon),
}


def arms(ours: Any, function: Callable) -> dict[str, Loss]:
    return {
        "ours": lambda z, v, y: ours(v, z),
        "plain": lambda z, v, y: keras.ops.mean(function(v, z)),
    }


def with_labels(loss: Loss) -> Loss:
    return lambda z, v, y: loss(z, v, y) + LABELS(y, z)


def step(loss: Loss) -> Any:
    import jax

    return jax.jit(jax.value_and_grad(loss))


def copies(loss: Loss, shape: tuple[int, ...]) -> float:
    import jax

    logits = jax.ShapeDtypeStruct(shape, "bfloat16")
    labels = jax.ShapeDtypeStruct(shape[:-1], "int32")
    planned = step(loss).lower(logits, logits, labels).compile()
    needed = planned.memory_analysis().temp_size_in_bytes
    return round(needed / (4 * math.prod(shape)), 2)


def runs(losses: dict[str, Loss], shape: tuple[int, ...]) -> dict:
    """A callable for each loss, on the same logits."""
    import jax

    rng = np.random.default_rng(0)
    z, v = (
        keras.ops.cast(rng.normal(size=shape).astype("float32"), "bfloat16")
        for _ in range(2)
    )
    y = keras.ops.cast(rng.integers(0, shape[-1], shape[:-1]), "int32")

    def run(compiled: Any) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(compiled(z, v, y))

    return {name: run(step(loss)) for name, loss in losses.items()}


def measure(losses: dict[str, Loss], short: bool) -> dict:
    planned, timed = ((2, 8, 50),) * 2 if short else (PLANNED, TIMED)
    both = {f"{k}, labels": with_labels(one) for k, one in losses.items()}
    all_of_them = {**losses, **both}
    times = interleaved(runs(all_of_them, timed), 2 if short else REPEATS)
    return {
        "copies": {k: copies(one, planned) for k, one in all_of_them.items()},
        "ms": {
            k: round(1000 * statistics.median(v), 2) for k, v in times.items()
        },
        "ours / plain": ratio(times["ours"], times["plain"]),
        "ours / plain, labels": ratio(
            times["ours, labels"], times["plain, labels"]
        ),
        "seconds": times,
    }


def main() -> None:
    options = arguments(__doc__, NAME)
    if keras.backend.backend() != "jax":
        raise SystemExit(
            "Only JAX says what memory it plans: KERAS_BACKEND=jax"
        )
    steady_threads()
    planned = (2, 8, 50) if options.short else PLANNED
    results: dict[str, Any] = {
        "environment": environment(),
        "device": device(),
        "planned": list(planned),
        "timed": list(planned if options.short else TIMED),
        "labels": {"copies": copies(lambda z, v, y: LABELS(y, z), planned)},
        "losses": {},
    }
    for name, (ours, function) in LOSSES.items():
        found = measure(arms(ours, function), options.short)
        results["losses"][name] = found
        print(name, {k: found[k] for k in found if k != "seconds"}, flush=True)
    print(save(NAME, results, options.out))


if __name__ == "__main__":
    main()
