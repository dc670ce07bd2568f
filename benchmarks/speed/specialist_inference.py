"""What it costs to combine a generalist with its specialists.

Question: how long does eq. (5) of Hinton et al. 2015 take for 10,000 images,
1,000 classes and 20 specialists of 100 classes, the sets of which overlap, and
what does it save not to run specialists that are active for no image of a
batch?

Arms of the combination, float32 logits in, arrays of log q out:
  ours     kd.specialists.combine_logits, compiled, in batches of 500
  image    the paper's method: gradient descent on z for each image, in NumPy,
           float64, with the matrices of the active specialists alone
  batch    the same gradient descent on 500 images at once in float32, compiled

A step of gradient descent is a constant over one more than the number of the
image's active specialists: the constant of several that needs the fewest steps
to an error of 1e-3 in the mean of a sample. It is given the number of steps
after which the largest error of q is at most 1e-3, 1e-4 and 1e-6; ours is
always below 1e-6. Checking for that is not timed. It is run on a sample, and
its seconds are scaled to all images: for `image`, the seconds of a step times
the mean number of steps; for `batch`, the seconds of a step times the steps of
the slowest image of a batch. Images that are not there after the most steps
tried count with these, so that seconds and ratios are lower bounds; the result
says of how many. The solution in float64 is ours on float64 logits after 200
steps of EM in NumPy; the result states the largest gradient of eq. (5) there.

Arms of the whole model, SpecialistEnsemble.predict with Dense specialists: the
images sorted by the generalist's class, in random order, and in random order
with all specialists run on all batches.

Arms take turns; seconds are medians over repeats.

Command: KERAS_BACKEND=jax python -m benchmarks.speed.specialist_inference
Minutes: about 5 on one core. `--short` takes seconds and proves nothing.
Aims:    image / ours at least 1000, batch / ours at least 20.
Writes:  benchmarks/results/specialist_inference.json. Only JAX is measured.
"""

import statistics
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness import (
    arguments,
    environment,
    interleaved,
    mlp,
    save,
    softmax,
)

NAME = "specialist_inference"

ERRORS = (1e-3, 1e-4, 1e-6)
STEP_SIZES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
CHECK_EVERY, EM_STEPS = 10, 200


class Sizes(NamedTuple):
    images: int = 10_000
    classes: int = 1000
    specialists: int = 20
    special: int = 100
    batch: int = 500
    repeats: int = 7
    sample: int = 50
    steps: int = 50_000
    hidden: int = 2048


SHORT = Sizes(200, 50, 5, 10, 50, 1, 10, 200, 16)


class Data(NamedTuple):
    generalist: np.ndarray
    specialists: list
    sets: list


def windows(sizes: Sizes, rng: Any) -> list:
    """Sets of neighbours on a ring of classes, which overlap by chance."""
    starts = rng.integers(0, sizes.classes, sizes.specialists)
    ring = starts[:, None] + np.arange(sizes.special)
    return [sorted(row.tolist()) for row in ring % sizes.classes]


def logits(sizes: Sizes) -> Data:
    """Of models that are sure, often of the right class or of a neighbour."""
    rng = np.random.default_rng(0)
    sets = windows(sizes, rng)
    truth = rng.integers(0, sizes.classes, sizes.images)
    ring = (np.arange(sizes.classes) - truth[:, None]) % sizes.classes
    distance = np.minimum(ring, sizes.classes - ring)
    mean = 9.0 * np.exp(-distance / 3.0)

    def seen() -> np.ndarray:
        return mean + rng.normal(size=mean.shape) * 1.5

    parts = []
    for classes in sets:
        full = seen()
        special = full[:, classes]
        full[:, classes] = -np.inf
        dustbin = np.logaddexp.reduce(full, axis=1)
        parts.append(np.c_[special, dustbin].astype("float32"))
    return Data(seen().astype("float32"), parts, sets)


def medians(arms: dict[str, Callable], repeats: int) -> dict[str, float]:
    times = interleaved(arms, repeats)
    return {name: statistics.median(values) for name, values in times.items()}


def rows(data: Data, chosen: Any) -> tuple:
    return (
        data.generalist[chosen],
        *(part[chosen] for part in data.specialists),
    )


class Equation(NamedTuple):
    """Eq. (5) for some images: what its gradient needs.

    Attributes:
        start: The generalist's distribution, shape `(images, classes)`.
        named: Mass given to each class by name, of the same shape.
        dustbins: Of the active specialists, else 0, `(images, specialists)`.
        count: One more than the number of active specialists, `(images, 1)`.
        outside: Shape `(specialists, classes)`.
    """

    start: np.ndarray
    named: np.ndarray
    dustbins: np.ndarray
    count: np.ndarray
    outside: np.ndarray


def equation(data: Data, chosen: Any) -> Equation:
    g, *parts = (part.astype("float64") for part in rows(data, chosen))
    start = softmax(g)
    named, dustbins = start.copy(), []
    inside = np.zeros((len(data.sets), g.shape[1]))
    for row, classes in zip(inside, data.sets, strict=True):
        row[classes] = 1
    active = inside[:, g.argmax(axis=1)].T
    for m, part in enumerate(parts):
        p = softmax(part) * active[:, m, None]
        named[:, data.sets[m]] += p[:, :-1]
        dustbins.append(p[:, -1])
    count = 1 + active.sum(axis=1, keepdims=True)
    return Equation(start, named, np.stack(dustbins, 1), count, 1 - inside)


def gradient(eq: Equation, q: Any) -> Any:
    pull = eq.dustbins / (q @ eq.outside.T)
    return eq.count * q - eq.named - q * (pull @ eq.outside)


def one_image(eq: Equation, row: int) -> Equation:
    """The equation of one image, with its active specialists alone."""
    active = eq.dustbins[row] > 0
    return Equation(
        eq.start[row],
        eq.named[row],
        eq.dustbins[row, active],
        eq.count[row],
        eq.outside[active],
    )


def descend(eq: Equation, size: float, steps: int, exact: Any = None) -> list:
    """Gradient descent for one image.

    Returns the steps after which each error was reached, where it is checked.
    """
    z, size = np.log(eq.start), size / eq.count
    needed = [steps] * len(ERRORS)
    for step in range(steps):
        powers = np.exp(z - z.max())
        q = powers / powers.sum()
        if exact is not None and step % CHECK_EVERY == 0:
            error = np.abs(q - exact).max()
            pairs = zip(ERRORS, needed, strict=True)
            needed = [min(n, step) if error <= e else n for e, n in pairs]
            if error <= ERRORS[-1]:
                break
        z -= size * gradient(eq, q)
    return needed


def move(eq: Equation, size: float, z: Any) -> Any:
    return z - size / eq.count * gradient(eq, jax.nn.softmax(z))


def batch_steps(eq: Equation, exact: np.ndarray, size: float, most: int) -> Any:
    """The same for each image of a batch; compiled, float32."""
    errors = jnp.asarray(ERRORS)

    def check(state: tuple) -> tuple:
        step, z, needed = state
        error = jnp.abs(jax.nn.softmax(z) - exact).max(axis=1)
        there = error[:, None] <= errors
        needed = jnp.where(there, jnp.minimum(needed, step), needed)
        z = jax.lax.fori_loop(0, CHECK_EVERY, lambda _, z: move(eq, size, z), z)
        return step + CHECK_EVERY, z, needed

    def running(state: tuple) -> Any:
        return (state[0] < most) & (state[2] == most).any()

    needed = jnp.full((len(exact), len(ERRORS)), most)
    run = jax.jit(lambda s: jax.lax.while_loop(running, check, s))
    return np.asarray(run((0, jnp.log(eq.start), needed))[2])


def batch_arm(eq: Equation, size: float, steps: int) -> Callable[[], Any]:
    @jax.jit
    def run(eq: Equation) -> Any:
        z = jnp.log(eq.start)
        z = jax.lax.fori_loop(0, steps, lambda _, z: move(eq, size, z), z)
        return jax.nn.log_softmax(z)

    return lambda: np.asarray(run(eq))


def in_batches(data: Data, sizes: Sizes) -> Callable[[], np.ndarray]:
    run = jax.jit(lambda g, *s: kd.specialists.combine_logits(g, s, data.sets))
    starts = range(0, sizes.images, sizes.batch)

    def combined() -> np.ndarray:
        found = [
            run(*rows(data, slice(start, start + sizes.batch)))
            for start in starts
        ]
        return np.concatenate([np.asarray(part) for part in found])

    return combined


def exact_solution(data: Data, chosen: Any) -> np.ndarray:
    """Ours on float64 logits, then steps of EM in NumPy."""
    with jax.enable_x64(True):
        g, *parts = (jnp.asarray(p, "float64") for p in rows(data, chosen))
        run = jax.jit(
            lambda g, *s: kd.specialists.combine_logits(g, s, data.sets)
        )
        q = np.exp(np.asarray(run(g, *parts), "float64"))
    eq = equation(data, chosen)
    for _ in range(EM_STEPS):
        q -= gradient(eq, q) / eq.count
    return q


def best_size(eq: Equation, exact: np.ndarray, steps: int) -> tuple:
    """The best step size, and the steps that each takes in the mean."""
    active = [row for row in range(len(exact)) if eq.count[row] > 1]
    taken = {
        size: statistics.fmean(
            descend(one_image(eq, row), size, steps, exact[row])[0]
            for row in active
        )
        for size in STEP_SIZES
    }
    return min(taken, key=lambda size: taken[size]), taken


def distribution(values: Any) -> dict:
    numbers, counts = np.unique(np.asarray(values, int), return_counts=True)
    return {str(k): int(v) for k, v in zip(numbers, counts, strict=True)}


def in_short(steps: Any, most: int) -> dict:
    steps = np.asarray(steps)
    return {
        "mean": float(steps.mean()),
        "median": float(np.median(steps)),
        "largest": int(steps.max()),
        "images not there after the most steps tried": int(
            (steps >= most).sum()
        ),
        "images": len(steps),
    }


def to_an_error(
    times: dict, alone: Any, together: Any, sizes: Sizes
) -> dict[str, Any]:
    """Steps, seconds for all images and ratios to one of the errors."""
    batches = sizes.images / sizes.batch
    image = times["image"] * float(np.mean(alone)) * sizes.images
    batch = times["batch"] * int(np.max(together)) * batches
    return {
        "steps, image": in_short(alone, sizes.steps),
        "steps, batch": in_short(together, sizes.steps),
        "seconds, image": round(image, 2),
        "seconds, batch": round(batch, 2),
        "image / ours": round(image / times["ours"], 1),
        "batch / ours": round(batch / times["ours"], 1),
    }


def measure_combination(sizes: Sizes) -> dict:
    data = logits(sizes)
    rng = np.random.default_rng(1)
    chosen = rng.permutation(sizes.images)[: sizes.batch]
    eq, exact = equation(data, chosen), exact_solution(data, chosen)
    ours = in_batches(data, sizes)
    error = np.abs(np.exp(ours()[chosen], dtype="float64") - exact).max()
    tried = max(5, sizes.sample // 2)
    size, taken = best_size(eq, exact[:tried], sizes.steps // 10)
    some = range(sizes.sample)
    alone = [
        descend(one_image(eq, row), size, sizes.steps, exact[row])
        for row in some
    ]
    narrow = Equation(*(jnp.asarray(part, "float32") for part in eq))
    together = batch_steps(narrow, exact, size, sizes.steps)
    some_steps = min(50, sizes.steps)

    def images() -> None:
        for row in some:
            descend(one_image(eq, row), size, some_steps)

    times = medians(
        {
            "ours": ours,
            "image": images,
            "batch": batch_arm(narrow, size, some_steps),
        },
        sizes.repeats,
    )
    times["image"] /= sizes.sample * some_steps
    times["batch"] /= some_steps
    count = equation(data, slice(None)).count - 1
    return {
        "active specialists, images": distribution(count),
        "largest error of q, ours": float(error),
        "largest gradient of the float64 solution": float(
            np.abs(gradient(eq, exact)).max()
        ),
        "step size of gradient descent": size,
        "mean steps to an error of 1e-3 by step size": taken,
        "seconds, ours": times["ours"],
        "seconds of a step": {k: times[k] for k in ("image", "batch")},
        "gradient descent to an error of": {
            f"{error:.0e}": to_an_error(times, *steps, sizes)
            for error, *steps in zip(
                ERRORS, np.transpose(alone), together.T, strict=True
            )
        },
    }


class RunsAll(kd.specialists.SpecialistEnsemble):
    """Runs every specialist on every batch."""

    def _if_active(self, model: Any, inputs: Any, active: Any) -> Any:
        return kd.transforms.log_probabilities(model(inputs, training=False))


def measure_model(sizes: Sizes) -> dict:
    rng = np.random.default_rng(2)
    features = 64
    generalist = mlp(features, sizes.hidden, classes=sizes.classes)
    specialists = [
        (mlp(features, sizes.hidden, classes=sizes.special + 1), classes)
        for classes in windows(sizes, rng)
    ]
    x = rng.normal(size=(sizes.images, features)).astype("float32")
    answers = generalist.predict(x, verbose=0, batch_size=sizes.batch)
    by_class = x[answers.argmax(axis=1).argsort(kind="stable")]
    ours = kd.specialists.SpecialistEnsemble(generalist, specialists)
    everything = RunsAll(generalist, specialists)

    def predict(model: Any, x: np.ndarray) -> Callable[[], Any]:
        return lambda: model.predict(x, batch_size=sizes.batch, verbose=0)

    times = medians(
        {
            "sorted": predict(ours, by_class),
            "random": predict(ours, x),
            "random, all run": predict(everything, x),
            "generalist alone": predict(generalist, x),
        },
        sizes.repeats,
    )
    return {
        "seconds": times,
        "all run / sorted": round(
            times["random, all run"] / times["sorted"], 2
        ),
        "all run / random": round(
            times["random, all run"] / times["random"], 2
        ),
    }


def main() -> None:
    options = arguments(__doc__, NAME)
    if keras.backend.backend() != "jax":
        sys.exit("gradient descent is compiled by JAX: KERAS_BACKEND=jax")
    keras.utils.set_random_seed(0)
    sizes = SHORT if options.short else Sizes()
    result = {
        "environment": environment(),
        "settings": sizes._asdict(),
        "combination": measure_combination(sizes),
        "model": measure_model(sizes),
    }
    for part in ("combination", "model"):
        print({k: v for k, v in result[part].items()})
    print(save(NAME, result, options.out))


if __name__ == "__main__":
    main()
