"""What a distillation step costs.

Question: how far is a `kd.Distiller` step from the sum of its parts, a plain
student step and a teacher forward pass, what is left of it with a cache, and
how does it compare with `keras.distillation.Distiller` and with a training loop
written by hand?

Arms, interleaved in one run, medians over repeats of one `fit` of an epoch, in
which the look at the values of the first step is a small part:
  student        plain `fit` of the student
  teacher        compiled forward pass of the teacher over the same batches
  ours           `kd.Distiller.fit`, SoftTargets
  cached         the same, from logits attached by `kd.TeacherCache`
  keras          `keras.distillation.Distiller.fit`, its `KLDivergence()` form
  hand_written   one jitted JAX step with Keras's Adam (JAX only)
First steps (tracing and compilation) are timed with fresh models. TensorFlow
gets one thread, as its steps fall into clusters with two.

Command: KERAS_BACKEND=jax python -m benchmarks.speed.step_time
         KERAS_BACKEND=tensorflow python -m benchmarks.speed.step_time
         `--policy mixed_bfloat16` for models in half precision. Where steps
         are fast, `--longer 4` makes epochs of four times as many, and
         `--steps_only`, with `--out`, leaves out first steps, each of which
         compiles.
Minutes: about 6 each on 2 cores. `--short` takes seconds and proves nothing.
Writes:  benchmarks/results/step_time.json, one entry per backend; with another
         policy step_time_<policy>.json.
"""

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
    device,
    environment,
    interleaved,
    mlp,
    ratio,
    save,
    seconds,
    steady_threads,
    taking_turns,
)

NAME = "step_time"
TEMPERATURE = 4.0


def cnn(filters: int) -> keras.Model:
    def block(width: int) -> list:
        return [
            keras.layers.Conv2D(width, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
        ]

    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            *block(filters),
            *block(2 * filters),
            *block(4 * filters),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )


# name: (teacher, student, input shape, batch size, steps of an epoch)
PAIRS: dict[str, tuple] = {
    "mlp 1200-1200 to 800-800": (
        lambda: mlp(784, 1200, 1200),
        lambda: mlp(784, 800, 800),
        (784,),
        128,
        100,
    ),
    "cnn 48 to 16 filters": (
        lambda: cnn(48),
        lambda: cnn(16),
        (32, 32, 3),
        64,
        50,
    ),
}
OWN: dict[str, dict[str, Any]] = {
    "policy": {"default": "float32", "help": "the dtype policy of all models"},
    "repeats": {"type": int, "default": 15, "help": "epochs of each arm"},
    "longer": {"type": int, "default": 1, "help": "epochs, that many times"},
    "steps_only": {"action": "store_true", "help": "no first steps"},
}


def ours(teacher: keras.Model | None, student: keras.Model) -> keras.Model:
    return kd.Distiller(teacher, student, kd.losses.SoftTargets(TEMPERATURE))


def theirs(teacher: keras.Model, student: keras.Model) -> keras.Model:
    loss = keras.distillation.LogitsDistillation(
        temperature=TEMPERATURE, loss=keras.losses.KLDivergence()
    )
    return keras.distillation.Distiller(
        teacher, student, loss, student_loss_weight=0.1
    )


def compiled(model: keras.Model) -> keras.Model:
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=CROSSENTROPY,
        metrics=["accuracy"],
    )
    return model


class Pair:
    """Data, models, and one callable per arm that runs an epoch."""

    def __init__(self, name: str, short: bool, longer: int = 1) -> None:
        self.teacher, self.student, shape, self.batch, steps = PAIRS[name]
        self.steps = 2 if short else steps * longer
        rng = np.random.default_rng(0)
        count = self.steps * self.batch
        self.x = rng.normal(size=(count, *shape)).astype("float32")
        self.y = rng.integers(0, 10, count)

    def models(self) -> dict[str, Callable[[], keras.Model]]:
        return {
            "student": lambda: compiled(self.student()),
            "ours": lambda: compiled(ours(self.teacher(), self.student())),
            "keras": lambda: compiled(theirs(self.teacher(), self.student())),
        }

    def epoch(self, model: keras.Model) -> Callable[[], Any]:
        return lambda: model.fit(
            self.x, self.y, batch_size=self.batch, verbose=0
        )

    def first_step(self, make: Callable[[], keras.Model]) -> float:
        model = make()
        x, y = self.x[: self.batch], self.y[: self.batch]
        return seconds(lambda: model.train_on_batch(x, y))

    def arms(self) -> dict[str, Callable[[], Any]]:
        arms = {
            name: self.epoch(make()) for name, make in self.models().items()
        }
        arms["cached"] = self.cached()
        arms["teacher"] = self.teacher_forward()
        if keras.backend.backend() == "jax":
            arms["hand_written"] = self.hand_written()
        return arms

    def cached(self) -> Callable[[], Any]:
        model = compiled(ours(None, self.student()))
        with tempfile.TemporaryDirectory() as folder:
            cache = kd.TeacherCache.build(
                self.teacher(), (self.x, self.y), folder, verbose=0
            )
            data = cache.attach((self.x, self.y))
        return lambda: model.fit(data, batch_size=self.batch, verbose=0)

    def batches(self) -> list[tuple]:
        return [
            (self.x[i : i + self.batch], self.y[i : i + self.batch])
            for i in range(0, len(self.x), self.batch)
        ]

    def teacher_forward(self) -> Callable[[], Any]:
        forward = compiled_forward(self.teacher())

        def run() -> None:
            for x, _ in self.batches():
                output = forward(x)
            keras.ops.convert_to_numpy(output)

        return run

    def hand_written(self) -> Callable[[], Any]:
        step, state = hand_written_step(self.teacher(), self.student())
        holder = {"state": state}

        def run() -> None:
            order = np.random.permutation(len(self.x))
            for i in range(0, len(order), self.batch):
                rows = order[i : i + self.batch]
                loss, holder["state"] = step(
                    holder["state"], self.x[rows], self.y[rows]
                )
            float(loss)

        return run


def compiled_forward(model: keras.Model) -> Callable:
    if keras.backend.backend() == "jax":
        import jax

        @jax.jit
        def forward(trainable: list, rest: list, x: Any) -> Any:
            return model.stateless_call(trainable, rest, x, training=False)[0]

        trainable = [v.value for v in model.trainable_variables]
        rest = [v.value for v in model.non_trainable_variables]
        return lambda x: forward(trainable, rest, x)
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()(lambda x: model(x, training=False))
    import tensorflow as tf

    return tf.function(lambda x: model(x, training=False))


def hand_written_step(teacher: keras.Model, student: keras.Model) -> tuple:
    """The same step in plain JAX: one jitted function, no Trainer."""
    import jax
    import jax.numpy as jnp

    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(student.trainable_variables)

    def values(variables: list) -> list:
        return [jnp.array(variable.value) for variable in variables]

    frozen = values(teacher.trainable_variables)
    frozen_rest = values(teacher.non_trainable_variables)

    def loss_fn(trainable: list, rest: list, x: Any, y: Any, v: Any) -> tuple:
        z, rest = student.stateless_call(trainable, rest, x, training=True)
        z, v = z.astype("float32"), v.astype("float32")
        hard = -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1)
        p = jax.nn.log_softmax(v / TEMPERATURE)
        q = jax.nn.log_softmax(z / TEMPERATURE)
        soft = TEMPERATURE**2 * jnp.sum(jnp.exp(p) * (p - q), axis=1)
        return 0.1 * hard.mean() + 0.9 * soft.mean(), rest

    @jax.jit
    def compute(state: tuple, frozen: list, x: Any, y: Any) -> tuple:
        trainable, rest, slots = state
        v, _ = teacher.stateless_call(frozen, frozen_rest, x, training=False)
        gradient = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, rest), grads = gradient(trainable, rest, x, y, v)
        trainable, slots = optimizer.stateless_apply(slots, grads, trainable)
        return loss, (trainable, rest, slots)

    state = (
        values(student.trainable_variables),
        values(student.non_trainable_variables),
        values(optimizer.variables),
    )
    return lambda state, x, y: compute(state, frozen, x, y), state


def first_steps(pair: Pair, repeats: int) -> dict[str, list[float]]:
    makers = pair.models()
    times: dict[str, list[float]] = {name: [] for name in makers}
    for repeat in range(repeats):
        for name in taking_turns(makers, repeat):
            times[name].append(pair.first_step(makers[name]))
            keras.utils.clear_session()
    return times


def measure(name: str, options: Any) -> dict:
    pair = Pair(name, options.short, options.longer)
    repeats = 2 if options.short else options.repeats
    steps = pair.steps
    first = {} if options.steps_only else first_steps(pair, repeats)
    times = interleaved(pair.arms(), repeats)

    def milliseconds(found: float, per: int = 1) -> float:
        return round(1000 * found / per, 3)

    median = statistics.median
    result = {
        "step_ms": {
            k: milliseconds(median(v), steps) for k, v in times.items()
        },
        "smallest step_ms": {
            k: milliseconds(min(v), steps) for k, v in times.items()
        },
        "ours / (student + teacher)": ratio(
            times["ours"], times["student"], times["teacher"]
        ),
        "ours / keras": ratio(times["ours"], times["keras"]),
        "cached / student": ratio(times["cached"], times["student"]),
        "repeats": repeats,
        "steps_per_repeat": steps,
        "batch_size": pair.batch,
        "epoch_seconds": times,
    }
    if "hand_written" in times:
        result["ours / hand_written"] = ratio(
            times["ours"], times["hand_written"]
        )
    if first:
        result |= {
            "first_step_ms": {
                k: milliseconds(median(v)) for k, v in first.items()
            },
            "first step, ours / keras": ratio(first["ours"], first["keras"]),
            "first_step_seconds": first,
        }
    return result


def main() -> None:
    options = arguments(__doc__, NAME, **OWN)
    if options.steps_only and not options.out:
        raise SystemExit(
            "The committed result has first steps. Received: --steps_only "
            "without --out. Name a folder of your own: --out FOLDER."
        )
    steady_threads()
    keras.config.set_dtype_policy(options.policy)
    names = list(PAIRS)[:1] if options.short else list(PAIRS)
    results: dict[str, Any] = {
        "environment": environment(),
        "device": device(),
        "policy": options.policy,
        "pairs": {},
    }
    for name in names:
        keras.utils.set_random_seed(0)
        pair = results["pairs"][name] = measure(name, options)
        for key, value in pair.items():
            if not key.endswith("seconds"):
                print(f"{name}: {key}: {value}", flush=True)
    full = options.policy == "float32"
    name = NAME if full else f"{NAME}_{options.policy}"
    print(save(name, results, options.out, by_backend=True))


if __name__ == "__main__":
    main()
