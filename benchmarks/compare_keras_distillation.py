"""What keras_distill does that `keras.distillation` does not, measured.

Question: which of the defects that users meet in `keras.distillation.Distiller`
does `kd.Distiller` share? Each row trains or evaluates both on the same tiny
models and data and reports one number or one observation for each.

Command: python -m benchmarks.compare_keras_distillation
Minutes: under 2 on 2 cores; `--short` takes half a minute. The row on
MirroredStrategy needs KERAS_BACKEND=tensorflow; other backends leave it out.
Writes:  benchmarks/results/compare_keras_distillation.json
"""

import pathlib
import tempfile
import warnings
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
    mlp,
    percent,
    save,
    summary,
)

NAME = "compare_keras_distillation"
FEATURES, CLASSES, EXAMPLES = 8, 3, 32
FULL = {"seeds": 5, "epochs": 30}
SHORT = {"seeds": 2, "epochs": 1}


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(EXAMPLES, FEATURES)).astype("float32")
    return x, rng.integers(0, CLASSES, EXAMPLES)


def classifier(units: int = 8, **head: Any) -> keras.Sequential:
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(units, "relu", name="hidden"),
            keras.layers.Dense(CLASSES, name="logits", **head),
        ]
    )


def theirs(
    teacher: keras.Model, student: keras.Model, loss: Any = None, **kwargs: Any
) -> keras.Model:
    """`keras.distillation` in its correct form, unless `loss` is given."""
    if loss is None:
        loss = keras.distillation.LogitsDistillation(
            temperature=4.0, loss=keras.losses.KLDivergence()
        )
    kwargs.setdefault("student_loss_weight", 0.5)
    return keras.distillation.Distiller(teacher, student, loss, **kwargs)


def ours(
    teacher: keras.Model, student: keras.Model, **kwargs: Any
) -> kd.Distiller:
    kwargs = {"hard_loss_weight": 0.5, "soft_loss_weight": 0.5, **kwargs}
    loss = kd.losses.SoftTargets(temperature=4.0)
    return kd.Distiller(teacher, student, loss, **kwargs)


def outcome(action: Callable[[], Any]) -> Any:
    """The result of an action, or the error that it ends in."""
    try:
        return action()
    except Exception as error:  # The kind of failure is what is measured.
        return f"{type(error).__name__}"


def compiled(model: keras.Model, **kwargs: Any) -> keras.Model:
    settings = {"optimizer": keras.optimizers.SGD(0.0), "loss": CROSSENTROPY}
    model.compile(**{**settings, **kwargs})
    return model


def first_loss(model: keras.Model, **kwargs: Any) -> float:
    logs = model.train_on_batch(*data(), return_dict=True, **kwargs)
    return float(logs["loss"])


def default_loss(seeds: int, epochs: int) -> dict:
    """Digits, from the teacher's outputs alone; each library's default loss."""
    from sklearn.model_selection import train_test_split

    x_train, x_test, y_train, y_test = train_test_split(
        *digits(), test_size=597, random_state=0
    )
    teacher = mlp(64, 256)
    teacher.compile("adam", CROSSENTROPY)
    teacher.fit(x_train, y_train, epochs=epochs, verbose=0)

    def accuracy(make: Callable) -> str:
        found = []
        for seed in range(seeds):
            keras.utils.set_random_seed(seed)
            distiller = make(mlp(64, 32))
            distiller.compile(optimizer="adam", loss=CROSSENTROPY)
            distiller.fit(x_train, y_train, epochs=epochs, verbose=0)
            logits = distiller.student.predict(x_test, verbose=0)
            found.append(float(np.mean(logits.argmax(-1) == y_test)))
        return f"{percent(summary(found))}, {seeds} seeds"

    def default(student: keras.Model) -> keras.Model:
        loss = keras.distillation.LogitsDistillation()
        return theirs(teacher, student, loss, student_loss_weight=0.0)

    def soft_targets(student: keras.Model) -> keras.Model:
        weights = {"hard_loss_weight": 0, "soft_loss_weight": 1}
        return ours(teacher, student, **weights)

    return {"keras": accuracy(default), "ours": accuracy(soft_targets)}


def weights_of_zero(**kwargs: Any) -> dict:
    teacher = classifier(32)

    def loss(distiller: keras.Model) -> str:
        return f"loss {first_loss(compiled(distiller), **kwargs):.3f}"

    return {
        "keras": loss(theirs(teacher, classifier())),
        "ours": loss(ours(teacher, classifier())),
    }


def sample_weight() -> dict:
    return weights_of_zero(sample_weight=np.zeros(EXAMPLES, "float32"))


def class_weight() -> dict:
    return weights_of_zero(class_weight=dict.fromkeys(range(CLASSES), 0.0))


def regularisers() -> dict:
    teacher = classifier(32)

    def counted(make: Callable) -> str:
        student = classifier(kernel_regularizer=keras.regularizers.L2(10.0))
        plain = classifier()
        plain.set_weights(student.get_weights())
        penalty = float(sum(student.losses))
        added = first_loss(compiled(make(teacher, student))) - first_loss(
            compiled(make(teacher, plain))
        )
        return f"{added / penalty:.2f} of the penalty"

    return {"keras": counted(theirs), "ours": counted(ours)}


def mirrored() -> dict:
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    def ratio(make: Callable) -> str:
        losses = []
        for scope in (tf.distribute.OneDeviceStrategy("CPU:0"), strategy):
            keras.utils.set_random_seed(0)
            with scope.scope():
                model = compiled(make(classifier(32), classifier()))
            history = model.fit(*data(), batch_size=16, verbose=0).history
            key = "total_loss" if "total_loss" in history else "loss"
            losses.append(history[key][0])
        return f"{losses[1] / losses[0]:.2f} x the loss of one device"

    return {"keras": ratio(theirs), "ours": ratio(ours)}


class Counter(keras.Model):
    """A classifier that counts its calls; run eagerly."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.hidden = keras.layers.Dense(8, "relu", name="hidden")
        self.logits = keras.layers.Dense(CLASSES, name="logits")

    def call(self, inputs: Any) -> Any:
        self.calls += 1
        return self.logits(self.hidden(inputs))


def teacher_in_evaluate() -> dict:
    def calls(make: Callable) -> str:
        teacher = Counter()
        teacher(data()[0])
        model = compiled(make(teacher, classifier()), run_eagerly=True)
        before = teacher.calls
        model.evaluate(*data(), batch_size=8, verbose=0)
        return f"{teacher.calls - before} teacher calls in 4 batches"

    return {"keras": calls(theirs), "ours": calls(ours)}


def batch_norm_in_evaluate() -> dict:
    def student() -> keras.Model:
        inputs = keras.Input((FEATURES,))
        hidden = keras.layers.Dense(8, name="hidden")(inputs)
        hidden = keras.layers.BatchNormalization(name="norm")(hidden)
        return keras.Model(inputs, keras.layers.Dense(CLASSES)(hidden))

    def moved(distiller: keras.Model) -> str:
        norm = distiller.student.get_layer("norm")
        before = keras.ops.convert_to_numpy(norm.moving_mean)
        compiled(distiller).evaluate(*data(), verbose=0)
        after = keras.ops.convert_to_numpy(norm.moving_mean)
        return f"moving mean moves by {np.abs(after - before).max():.3f}"

    return {
        "keras": moved(theirs(classifier(8), student(), their_feature("norm"))),
        "ours": moved(our_feature(classifier(8), student(), "norm")),
    }


def their_feature(student_layer: str) -> Any:
    return keras.distillation.FeatureDistillation(
        teacher_layer_name="hidden", student_layer_name=student_layer
    )


def our_feature(
    teacher: keras.Model, student: keras.Model, layer: str, **kwargs: Any
) -> kd.Distiller:
    feature = kd.losses.Feature("hidden", layer, **kwargs)
    return ours(teacher, student, feature_losses=[feature])


class Passes(keras.layers.Layer):
    """Counts its calls; run eagerly."""

    count = 0

    def call(self, inputs: Any) -> Any:
        self.count += 1
        return inputs


def student_passes() -> dict:
    def passes(make: Callable) -> str:
        counter = Passes()
        student = classifier()
        student.add(counter)
        model = compiled(make(student), run_eagerly=True)
        first_loss(model)
        before = counter.count
        first_loss(model)
        return f"{counter.count - before} in a step"

    teacher = classifier(8)
    return {
        "keras": passes(lambda s: theirs(teacher, s, their_feature("hidden"))),
        "ours": passes(lambda s: our_feature(teacher, s, "hidden")),
    }


class Projected(keras.distillation.FeatureDistillation):
    """Theirs, of layers of different sizes, by a loss of one's own."""

    def __init__(self, projector: keras.layers.Layer) -> None:
        super().__init__("mse", "hidden", "hidden")
        self.projector = projector

    def compute_loss(
        self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any
    ) -> Any:
        projected = self.projector(student_outputs)
        return super().compute_loss(teacher_outputs, projected, **kwargs)


def projector() -> dict:
    """What a step changes in the layer between features of two sizes."""
    teacher = classifier(32)

    def moved(make: Callable) -> str:
        dense = keras.layers.Dense(32)
        dense.build((None, 8))
        before = keras.ops.convert_to_numpy(dense.kernel).copy()
        first_loss(compiled(make(dense), optimizer=keras.optimizers.SGD(1.0)))
        after = keras.ops.convert_to_numpy(dense.kernel)
        return f"kernel moves by {np.abs(after - before).max():.3f}"

    def our(dense: keras.layers.Layer) -> kd.Distiller:
        return our_feature(teacher, classifier(), "hidden", projector=dense)

    return {
        "keras": moved(lambda d: theirs(teacher, classifier(), Projected(d))),
        "ours": moved(our),
    }


def confident_mistake() -> dict:
    """Largest gradient where the teacher says class 0 and the student 2."""
    teacher_logits = np.array([[0.0, -30.0, -60.0]])

    def constant(logits: np.ndarray) -> keras.Model:
        head = keras.layers.Dense(CLASSES, use_bias=False)
        model = keras.Sequential([keras.Input((1,)), head])
        model.set_weights([logits])
        return model

    def gradient(make: Callable) -> str:
        student = constant(teacher_logits[:, ::-1])
        distiller = make(constant(teacher_logits), student)
        distiller.compile(keras.optimizers.SGD(1.0), CROSSENTROPY)
        distiller.fit(np.ones((1, 1)), np.zeros(1), verbose=0)
        step = student.get_weights()[0] - teacher_logits[:, ::-1]
        return f"{np.abs(step).max():.1g} (exact: 1)"

    loss = keras.distillation.LogitsDistillation(
        temperature=1.0, loss=keras.losses.KLDivergence()
    )
    return {
        "keras": gradient(
            lambda t, s: theirs(t, s, loss, student_loss_weight=0.0)
        ),
        "ours": gradient(
            lambda t, s: kd.Distiller(
                t,
                s,
                kd.losses.SoftTargets(temperature=1.0),
                hard_loss_weight=0,
                soft_loss_weight=1,
            )
        ),
    }


def softmax_teacher() -> dict:
    def verdict(make: Callable) -> str:
        teacher = classifier(32, activation="softmax")
        made = outcome(lambda: make(teacher, classifier()))
        return f"refused: {made}" if isinstance(made, str) else "accepted"

    return {"keras": verdict(theirs), "ours": verdict(ours)}


def loaded() -> dict:
    def state(make: Callable) -> str:
        model = compiled(make(classifier(32), classifier()))
        first_loss(model)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "distiller.keras")
            model.save(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                again = keras.models.load_model(path)
        done = outcome(lambda: again.evaluate(*data(), verbose=0))
        return f"evaluate: {done}" if isinstance(done, str) else "evaluates"

    return {"keras": state(theirs), "ours": state(ours)}


def checkpoint_size() -> dict:
    def growth(make: Callable) -> str:
        sizes = []
        for units in (8, 8_000):
            model = compiled(make(classifier(units), classifier()))
            first_loss(model)
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder, "distiller.keras")
                model.save(path)
                sizes.append(path.stat().st_size)
        return f"{sizes[1] / sizes[0]:.1f} x"

    return {"keras": growth(theirs), "ours": growth(ours)}


def no_hard_loss() -> dict:
    def trained(distiller: keras.Model) -> Any:
        distiller.compile(optimizer="adam", loss=None)
        distiller.fit(data()[0], verbose=0)
        return "trains"

    teacher = classifier(32)
    their = theirs(teacher, classifier(), student_loss_weight=0.0)
    our = ours(teacher, classifier(), hard_loss_weight=0, soft_loss_weight=1)
    return {
        "keras": outcome(lambda: trained(their)),
        "ours": outcome(lambda: trained(our)),
    }


def several_outputs() -> dict:
    def model() -> keras.Model:
        inputs = keras.Input((FEATURES,))
        heads = [keras.layers.Dense(CLASSES)(inputs) for _ in range(2)]
        return keras.Model(inputs, heads)

    def trained(make: Callable) -> Any:
        x, y = data()
        distiller = compiled(make(model(), model()), loss=[CROSSENTROPY] * 2)
        distiller.fit(x, [y, y], verbose=0)
        return "trains"

    return {
        "keras": outcome(lambda: trained(theirs)),
        "ours": outcome(lambda: trained(ours)),
    }


def shared_layer() -> dict:
    def verdict(make: Callable) -> Any:
        shared = keras.layers.Dense(CLASSES)
        teacher = keras.Sequential([keras.Input((FEATURES,)), shared])
        student = keras.Sequential([keras.Input((FEATURES,)), shared])
        made = outcome(lambda: make(teacher, student))
        if isinstance(made, str):
            return f"refused: {made}"
        return f"{len(made.student.trainable_variables)} of 2 trainable"

    return {"keras": verdict(theirs), "ours": verdict(ours)}


def trainable_flag() -> dict:
    def flag(make: Callable) -> str:
        teacher = classifier(32)
        make(teacher, classifier())
        return f"teacher.trainable is {teacher.trainable}"

    return {"keras": flag(theirs), "ours": flag(ours)}


ROWS = {
    "Digits, default loss, teacher alone: test accuracy": default_loss,
    "All sample weights 0": sample_weight,
    "All class weights 0": class_weight,
    "L2 penalty in the loss": regularisers,
    "Logged loss, MirroredStrategy, 2 replicas": mirrored,
    "Gradient at a confident mistake": confident_mistake,
    "Teacher that ends in softmax": softmax_teacher,
    "Teacher during evaluate": teacher_in_evaluate,
    "BatchNorm during evaluate, with a feature": batch_norm_in_evaluate,
    "Passes of the student, with a feature": student_passes,
    "Projector of a feature after a step": projector,
    "The caller's teacher after construction": trainable_flag,
    "A layer in both teacher and student": shared_layer,
    "Unlabelled fit(x), compile(loss=None)": no_hard_loss,
    "Two outputs": several_outputs,
    "Loaded Distiller": loaded,
    "Saved size with a 1000 x wider teacher": checkpoint_size,
}


def main() -> None:
    options = arguments(__doc__, NAME)
    tensorflow = keras.backend.backend() == "tensorflow"
    if tensorflow:
        two_logical_devices()
    rows = []
    for name, measure in ROWS.items():
        if measure is mirrored and not tensorflow:
            continue
        keras.utils.set_random_seed(0)
        size = SHORT if options.short else FULL
        sized = size if measure is default_loss else {}
        row = {"what": name, **measure(**sized)}
        print(f"{name:50} {row['keras']:32} {row['ours']}", flush=True)
        rows.append(row)
    result = {"environment": environment(), "rows": rows}
    print(save(NAME, result, options.out))


def two_logical_devices() -> None:
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )


if __name__ == "__main__":
    main()
