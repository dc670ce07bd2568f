"""What a teacher cache costs to build and to read, and what it loses.

Questions, one section of the result each:
  build    throughput of TeacherCache.build against `teacher.predict` on the
           same data, batch size 128, 1000 classes; both compile anew
  read     a student step on attached logits against plain `fit` of the same
           student on the same data pipeline, batch size 128, 1000 classes,
           float16, all logits and the 50 largest. The cached step has the
           soft loss to compute in addition.
  memory   peak resident memory of a process that trains from a cache of 20,000
           examples x 1000 classes (41 MB), and from one of 8 times as many
  losses   how far each loss, and its gradient, moves when the logits are
           stored in float16 or bfloat16: digits, 10 classes, trained teacher,
           student of 16 units. And with the largest 1, 2 and 5 of 10 only.

Arms take turns; ratios are medians over repeats. TensorFlow gets one thread, as
its steps fall into clusters with two.

Command: KERAS_BACKEND=jax python -m benchmarks.speed.teacher_cache
         KERAS_BACKEND=tensorflow python -m benchmarks.speed.teacher_cache
Minutes: about 5 each on 2 cores. `--short` takes seconds and proves nothing.
Aims:    build at least 0.95, read at most 1.05, memory the same within noise.
Writes:  benchmarks/results/teacher_cache.json, one entry per backend.
"""

import argparse
import importlib.util
import pathlib
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness import (
    CROSSENTROPY,
    arguments,
    digits,
    environment,
    in_a_process,
    interleaved,
    mlp,
    ratio,
    save,
    steady_threads,
)

NAME = "teacher_cache"
CLASSES, FEATURES, BATCH, TEMPERATURE = 1000, 784, 128, 4.0


def network(*units: int) -> keras.Model:
    return mlp(FEATURES, *units, classes=CLASSES)


def convolutional(filters: int) -> keras.Model:
    layers = [keras.Input((FEATURES,)), keras.layers.Reshape((28, 28, 1))]
    for width in (filters, 2 * filters):
        layers += [
            keras.layers.Conv2D(width, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
        ]
    layers += [keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    return keras.Sequential(layers)


STUDENTS = {
    "mlp 800-800": lambda: network(800, 800),
    "cnn 8-16": lambda: convolutional(8),
}


class Rows(keras.utils.PyDataset):
    """Batches cut from a block of random rows, over and over."""

    def __init__(self, examples: int) -> None:
        super().__init__()
        self.examples = examples
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(64 * BATCH, FEATURES)).astype("float32")
        self.y = rng.integers(0, CLASSES, 64 * BATCH).astype("int32")

    def __len__(self) -> int:
        return self.examples // BATCH

    def __getitem__(self, index: int) -> tuple:
        start = index % 64 * BATCH
        rows = slice(start, start + BATCH)
        return self.x[rows], self.y[rows]


def pipelines(examples: int, short: bool) -> dict[str, Any]:
    rows = Rows(examples)
    parts = [rows[i] for i in range(len(rows))]
    x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    found: dict[str, Any] = {"arrays": (x, y), "PyDataset": rows}
    if short:
        return {"arrays": (x, y)}
    if importlib.util.find_spec("tensorflow"):
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
        found["tf.data"] = data
    return found


def measure_build(steps: int, repeats: int, short: bool) -> dict:
    teacher = network(1200, 1200)
    result = {}
    for kind, data in pipelines(steps * BATCH, short).items():

        def build(data: Any = data) -> None:
            with tempfile.TemporaryDirectory() as folder:
                kd.TeacherCache.build(
                    teacher, data, folder, batch_size=BATCH, verbose=0
                )

        inputs = data[0] if isinstance(data, tuple) else data

        def predict(inputs: Any = inputs) -> None:
            size = BATCH if isinstance(inputs, np.ndarray) else None
            teacher.predict_function = None  # Compiled anew, as each build.
            teacher.predict(inputs, batch_size=size, verbose=0)

        times = interleaved({"build": build, "predict": predict}, repeats)
        result[kind] = {
            "throughput, build / predict": ratio(
                times["predict"], times["build"]
            ),
            "examples per second": round(
                steps * BATCH / statistics.median(times["build"])
            ),
            "seconds": times,
        }
        print(f"build {kind}: {result[kind]['throughput, build / predict']}")
    return result


def compiled(model: keras.Model) -> keras.Model:
    model.compile("adam", CROSSENTROPY)
    return model


def fit(model: keras.Model, data: Any) -> Callable[[], Any]:
    if isinstance(data, tuple):
        return lambda: model.fit(*data, batch_size=BATCH, verbose=0)
    return lambda: model.fit(data, verbose=0)


def measure_read(steps: int, repeats: int, short: bool) -> dict:
    teacher = network(64)
    result: dict = {}
    for kind, data in pipelines(steps * BATCH, short).items():
        for name, make in list(STUDENTS.items())[: 1 if short else None]:
            with tempfile.TemporaryDirectory() as folder:
                arms = {"plain": fit(compiled(make()), data)}
                for top_k in (None, 50):
                    key = f"top {top_k}" if top_k else "all logits"
                    cache = kd.TeacherCache.build(
                        teacher,
                        data,
                        f"{folder}/{key}",
                        top_k=top_k,
                        batch_size=BATCH,
                        verbose=0,
                    )
                    loss = kd.losses.SoftTargets(TEMPERATURE)
                    distiller = compiled(kd.Distiller(None, make(), loss))
                    arms[key] = fit(distiller, cache.attach(data))
                times = interleaved(arms, repeats)
            result[f"{kind}, {name}"] = {
                "step_ms": {
                    arm: round(1000 * statistics.median(t) / steps, 3)
                    for arm, t in times.items()
                },
                **{
                    f"{arm} / plain": ratio(times[arm], times["plain"])
                    for arm in times
                    if arm != "plain"
                },
                "seconds": times,
            }
            shown = {
                k: v
                for k, v in result[f"{kind}, {name}"].items()
                if k != "seconds"
            }
            print(f"read {kind}, {name}: {shown}", flush=True)
    return result


def train_once(folder: str, examples: int) -> None:
    """What the processes do whose memory is measured."""
    import resource

    cache = kd.TeacherCache(folder)
    student = network(64)
    loss = kd.losses.SoftTargets(TEMPERATURE)
    distiller = compiled(kd.Distiller(None, student, loss))
    distiller.fit(cache.attach(Rows(examples)), verbose=0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak {peak / 1024:.1f}")


def measure_memory(examples: int, short: bool) -> dict:
    teacher = network(64)
    result: dict = {}
    for times in (1,) if short else (1, 8):
        count = times * examples // BATCH * BATCH
        with tempfile.TemporaryDirectory() as folder:
            kd.TeacherCache.build(teacher, Rows(count), folder, verbose=0)
            size = sum(f.stat().st_size for f in pathlib.Path(folder).iterdir())
            done = in_a_process(
                f"benchmarks.speed.{NAME}",
                *("--train", folder, str(count)),
                MALLOC_ARENA_MAX="2",
            )
        peak = float(done.removeprefix("peak "))
        result[f"{times} x"] = {
            "cache_mb": round(size / 2**20, 1),
            "peak_resident_mb": peak,
        }
        print(f"memory {times} x: {result[f'{times} x']}", flush=True)
    return result


def digit_logits(epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a trained teacher and of a small student on digits."""
    x, y = digits()
    found = []
    for units in (400, 16):
        model = compiled(mlp(64, units))
        model.fit(x[:1200], y[:1200], epochs=epochs, verbose=0)
        found.append(model.predict(x[1200:], verbose=0))
    return found[0], found[1]


def measure_losses(epochs: int) -> dict:
    """Relative error of each loss and of its gradient to the student."""
    teacher, student = digit_logits(epochs)
    data = (np.arange(len(teacher), dtype="float32")[:, None],)
    table = keras.Sequential([keras.Input((1,)), Lookup(teacher)])
    settings: dict[str, dict] = {
        "float16": {"dtype": "float16"},
        "bfloat16": {"dtype": "bfloat16"},
    }
    for k in (1, 2, 5):
        settings[f"float32, top {k}"] = {"dtype": "float32", "top_k": k}
    result: dict = {}
    for key, how in settings.items():
        with tempfile.TemporaryDirectory() as folder:
            cache = kd.TeacherCache.build(table, data, folder, verbose=0, **how)
            stored = cache.logits()
        result[key] = {
            name: errors(name, teacher, stored, student)
            for name in ("SoftTargets", "TTM", "WTTM", "LogitMatching")
        }
        print(f"losses {key}: {result[key]}", flush=True)
    return result


class Lookup(keras.layers.Layer):
    """Gives row i of a table for input i: a teacher with known logits."""

    def __init__(self, table: np.ndarray) -> None:
        super().__init__()
        self.table = self.add_weight(shape=table.shape)
        self.table.assign(table)

    def call(self, inputs: Any) -> Any:
        rows = keras.ops.cast(inputs[:, 0], "int32")
        return keras.ops.take(self.table, rows, axis=0)


def errors(
    name: str, exact: np.ndarray, stored: np.ndarray, student: np.ndarray
) -> dict:
    arguments = {} if name == "LogitMatching" else {"temperature": TEMPERATURE}
    loss = getattr(kd.losses, name)(**arguments)
    value = [float(loss(v, student)) for v in (exact, stored)]
    slope = [gradient(loss, v, student) for v in (exact, stored)]
    error = np.linalg.norm(slope[1] - slope[0]) / np.linalg.norm(slope[0])
    return {
        "value": float(f"{abs(value[1] / value[0] - 1):.2g}"),
        "gradient": float(f"{error:.2g}"),
    }


def gradient(loss: Any, teacher: np.ndarray, student: np.ndarray) -> Any:
    """Gradient to the student's logits: one SGD step on them as weights."""
    table = Lookup(student)
    model = keras.Sequential([keras.Input((1,)), table])
    distiller = kd.Distiller(
        None, model, loss, hard_loss_weight=0, soft_loss_weight=1
    )
    distiller.compile(keras.optimizers.SGD(1.0))
    rows = np.arange(len(student), dtype="float32")[:, None]
    distiller.train_on_batch(kd.WithTeacherLogits(rows, teacher))
    after = keras.ops.convert_to_numpy(table.table)
    return student - after


def main() -> None:
    train = {"nargs": 2, "help": argparse.SUPPRESS}
    options = arguments(__doc__, NAME, train=train)
    steady_threads()
    keras.utils.set_random_seed(0)
    if options.train:
        train_once(options.train[0], int(options.train[1]))
        return
    short = options.short
    steps, repeats, examples, epochs = 200, 5, 20_000, 30
    if short:
        steps, repeats, examples, epochs = 2, 1, 256, 1
    results = {
        "environment": environment(),
        "settings": {
            "classes": CLASSES,
            "batch_size": BATCH,
            "steps": steps,
            "repeats": repeats,
            "temperature": TEMPERATURE,
        },
        "losses": measure_losses(epochs),
        "memory": measure_memory(examples, short),
        "build": measure_build(steps, repeats, short),
        "read": measure_read(min(steps, 50), repeats, short),
    }
    print(save(NAME, results, options.out, by_backend=True))


if __name__ == "__main__":
    main()
