"""What distillation over a vocabulary costs, in memory and time.

Question: how many float32 copies of the logits do value and gradient of a loss
take beside the logits and their gradient, alone and with the labels' loss, and
how long do they take, against the same loss as plain functions? And what is
saved where a teacher's logits are the 64 largest of a cache?

Memory is what the compiler of JAX plans, for 8 sequences of 512 tokens and
32,000 classes in bfloat16; on a CPU nothing of that size is made, and times are
of smaller logits, 4 x 64 x 32,000. They are interleaved, medians over repeats:
  ours       the class, as a Distiller calls it: some rows at a time
  plain      the function of the same equation, which keeps what it made
  largest    the class, on the 64 largest logits of a cache as they are
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
import tempfile
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
T, K = 2.0, 64

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
    "DKD": (kd.losses.DKD(), kd.losses.dkd),
    "NKD": (kd.losses.NKD(), kd.losses.nkd),
}
OF_LARGEST = ("SoftTargets", "TTM", "WTTM")


def arms(ours: Any, function: Callable) -> dict[str, Loss]:
    if getattr(ours, "uses_labels", False):
        return {
            "ours": lambda z, v, y: ours((v, y), z),
            "plain": lambda z, v, y: keras.ops.mean(function(v, z, y)),
        }
    return {
        "ours": lambda z, v, y: ours(v, z),
        "plain": lambda z, v, y: keras.ops.mean(function(v, z)),
    }


def with_labels(loss: Loss) -> Loss:
    return lambda z, v, y: loss(z, v, y) + LABELS(y, z)


def step(loss: Loss) -> Any:
    import jax

    return jax.jit(jax.value_and_grad(loss))


def copies(loss: Loss, shape: tuple[int, ...], teacher: Any = None) -> float:
    """Beside logits of that shape, the teacher's as well if there are none."""
    import jax

    logits = jax.ShapeDtypeStruct(shape, "bfloat16")
    labels = jax.ShapeDtypeStruct(shape[:-1], "int32")
    teacher = logits if teacher is None else teacher
    planned = step(loss).lower(logits, teacher, labels).compile()
    needed = planned.memory_analysis().temp_size_in_bytes
    return round(needed / (4 * math.prod(shape)), 2)


def data(shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Logits of a student, those of a teacher, and labels."""
    rng = np.random.default_rng(0)
    z, v = (rng.normal(size=shape).astype("float32") for _ in range(2))
    y = rng.integers(0, shape[-1], shape[:-1])
    bfloat16 = (keras.ops.cast(x, "bfloat16") for x in (z, v))
    return *bfloat16, keras.ops.cast(y, "int32")


def largest(logits: Any, k: int) -> Any:
    """Logits as a cache of the k largest has them."""
    logits = keras.ops.convert_to_numpy(keras.ops.cast(logits, "float32"))
    x = keras.Input(logits.shape[1:])
    teacher = keras.Model(x, keras.layers.Identity()(x))
    with tempfile.TemporaryDirectory() as folder:
        cache = kd.TeacherCache.build(
            teacher, logits, f"{folder}/cache", top_k=k, verbose=False
        )
        [found] = cache.attach(logits)
        return keras.tree.map_structure(
            keras.ops.convert_to_tensor, found.teacher_logits
        )


def of_shape(example: Any, lead: tuple[int, ...]) -> Any:
    """The same for other axes of rows."""
    import jax

    return keras.tree.map_structure(
        lambda x: jax.ShapeDtypeStruct((*lead, *x.shape[2:]), x.dtype), example
    )


def run(loss: Loss, z: Any, v: Any, y: Any) -> Callable[[], Any]:
    import jax

    compiled = step(loss)
    return lambda: jax.block_until_ready(compiled(z, v, y))


def and_with_labels(losses: dict[str, Loss]) -> dict[str, Loss]:
    both = {f"{k}, labels": with_labels(one) for k, one in losses.items()}
    return losses | both


def measure(
    losses: dict[str, Loss], teachers: dict, planned: tuple, repeats: int
) -> dict:
    """Copies, times and their ratios of each loss with each teacher.

    Args:
        losses: Of each arm.
        teachers: Of each arm: student, teacher and labels.
        planned: Shape of the logits to plan for.
        repeats: How often each runs.
    """
    losses = and_with_labels(losses)
    found: dict[str, Any] = {"copies": {}, "ms": {}}
    runs = {}
    for name, loss in losses.items():
        z, v, y = teachers[name.removesuffix(", labels")]
        lead = planned[:-1]
        found["copies"][name] = copies(loss, planned, of_shape(v, lead))
        runs[name] = run(loss, z, v, y)
    times = interleaved(runs, repeats)
    for name, seconds in times.items():
        found["ms"][name] = round(1000 * statistics.median(seconds), 2)
    first, *others = list(teachers)
    for other in others:
        for also in ("", ", labels"):
            pair = times[first + also], times[other + also]
            found[f"{first} / {other}{also}"] = ratio(*pair)
    return found | {"seconds": times}


def main() -> None:
    options = arguments(__doc__, NAME)
    if keras.backend.backend() != "jax":
        raise SystemExit(
            "Only JAX says what memory it plans: KERAS_BACKEND=jax"
        )
    steady_threads()
    planned = (2, 8, 50) if options.short else PLANNED
    # What is planned for is not too much for a GPU.
    timed = TIMED if device() == "cpu" else PLANNED
    timed, k = (planned, 5) if options.short else (timed, K)
    repeats = 2 if options.short else REPEATS
    z, v, y = data(timed)
    results: dict[str, Any] = {
        "environment": environment(),
        "device": device(),
        "planned": list(planned),
        "timed": list(timed),
        "k": k,
        "labels": {"copies": copies(lambda z, v, y: LABELS(y, z), planned)},
        "losses": {},
        "of the largest": {},
    }
    teachers = {arm: (z, v, y) for arm in ("ours", "plain")}
    for name, (ours, function) in LOSSES.items():
        found = measure(arms(ours, function), teachers, planned, repeats)
        results["losses"][name] = found
        show(name, found)
    teachers = {"largest": (z, largest(v, k), y), "all": (z, v, y)}
    for name in OF_LARGEST:
        loss = arms(*LOSSES[name])["ours"]
        both = dict.fromkeys(teachers, loss)
        found = measure(both, teachers, planned, repeats)
        results["of the largest"][name] = found
        show(f"{name}, {k} largest", found)
    print(save(NAME, results, options.out))


def show(name: str, found: dict) -> None:
    print(name, {k: found[k] for k in found if k != "seconds"}, flush=True)


if __name__ == "__main__":
    main()
