"""How closely a student follows its teacher, and how good both are."""

import warnings
from typing import Any

import keras
from keras import ops

from keras_distill import _data_checks, _validation, losses, transforms
from keras_distill._inputs import same_inputs
from keras_distill._keras import graph
from keras_distill._keras.frozen import FrozenModel, supports_jit
from keras_distill._keras.jax import unfed
from keras_distill._keras.sample_weights import per_output
from keras_distill._keras.trainer import FedModel

Tensor = Any

# What needs no labels.
_RELATIVE = ("agreement_at_1", "agreement_at_5", "kl_divergence")


def evaluate_fidelity(
    teacher: keras.Model,
    student: keras.Model,
    dataset: Any,
    *,
    ignore_class: int | None = None,
    batch_size: int | None = None,
    verbose: int | str = "auto",
) -> dict[str, float]:
    """Compares a student with its teacher in one pass over a dataset.

    | key | meaning |
    |---|---|
    | `agreement_at_1` | share of examples with the same most probable class |
    | `agreement_at_5` | share with the teacher's class in the student's top 5 |
    | `kl_divergence` | mean `KL(teacher || student)` at T = 1, in nats |
    | `teacher_accuracy`, `student_accuracy` | top-1 accuracy |
    | `teacher_nll`, `student_nll` | negative log-likelihood in nats |
    | `teacher_ece`, `student_ece` | expected calibration error |

    The calibration error is that of Guo et al. 2017 with 15 bins of equal
    width: `sum_b n_b/n |accuracy_b - confidence_b|`, where the confidence is
    the probability of the most probable class. Without labels only the first
    three entries are computed; an example whose label is `ignore_class` counts
    as one without. With logits of shape `(batch, time, classes)`
    each time step counts as an example, unless the student masks it; sample
    weights weigh every entry.

    Args:
        teacher: A Keras model that ends in logits, shape `(..., classes)`.
        student: A Keras model with the same inputs and output shape.
        dataset: Anything that `keras.Model.evaluate` takes as its data: a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, a generator, or a
            tuple of arrays `(x,)`, `(x, y)` or `(x, y, sample_weight)`. Labels
            are class numbers, or one-hot in the shape of the logits.
        ignore_class: The label of examples that have none, as in
            `keras.losses.SparseCategoricalCrossentropy`; -1 or 255, for
            example. None if there is no such label.
        batch_size: Batch size for arrays, 32 by default.
        verbose: 0, 1, 2 or "auto", as in `keras.Model.evaluate`.

    Returns:
        Dict of floats.

    Raises:
        TypeError: If `teacher` or `student` is not a Keras model.
        ValueError: If one of them ends in probabilities, if their class counts
            differ, if the dataset is empty, or if a label is neither a class
            nor `ignore_class`.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(3)]
    >>> model = keras.Sequential(layers)
    >>> data = (np.random.rand(8, 4), np.arange(8) % 3)
    >>> kd.evaluate_fidelity(model, model, data, verbose=0)["agreement_at_1"]
    1.0
    """
    models = [("teacher", teacher), ("student", student)]
    for name, model in models:
        _validation.is_model(name, model)
        _validation.one_output(name, model)
        graph.require_logits(name, model)
    _validation.same_outputs(models)
    same_inputs(models)
    if not (ignore_class is None or _validation.is_whole(ignore_class)):
        raise ValueError(
            "`ignore_class` must be None or a whole number. Received: "
            f"ignore_class={ignore_class!r}. Pass the label that stands for "
            "none, for example -1."
        )
    comparison = _Comparison(teacher, student, ignore_class)
    comparison.compile()
    x, y, sample_weight = dataset, None, None
    if isinstance(dataset, tuple):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(dataset)
    # Keras on TensorFlow makes up a batch of zeros for empty arrays.
    _data_checks.not_empty("dataset", x)
    with warnings.catch_warnings():
        # Keras says so at the end of every generator.
        warnings.filterwarnings("ignore", "Your input ran out of data")
        comparison.evaluate(x, y, batch_size, verbose, sample_weight)
    comparison.require_classes()
    if not float(comparison.weight_seen):
        raise ValueError(
            "`dataset` must hold at least one batch of positive weight. "
            "Received: no batch. A generator can be read only once; pass a new "
            "one."
        )
    return comparison.found()


class _Comparison(FedModel):
    """Keras's evaluation loop around two models that it must not change."""

    def __init__(
        self,
        teacher: keras.Model,
        student: keras.Model,
        ignore_class: int | None,
    ) -> None:
        super().__init__(name="fidelity", dtype="float32", autocast=False)
        self._frozen_teacher = FrozenModel(teacher)
        self._frozen_student = FrozenModel(student)
        self.supports_jit = supports_jit(teacher, student)
        self._means: dict[str, Any] = {
            name: keras.metrics.Mean(name=name) for name in _RELATIVE
        }
        for name in ("teacher", "student"):
            self._means[f"{name}_accuracy"] = keras.metrics.Mean()
            self._means[f"{name}_nll"] = keras.metrics.Mean()
            self._means[f"{name}_ece"] = CalibrationError()
        self._ignore_class = ignore_class
        self._no_classes = keras.metrics.Sum(name="no_classes")
        self._names: tuple[str, ...] = ()  # What the steps measure.
        self.supports_masking = True
        self.built = teacher.built and student.built

    def call(self, inputs: Any) -> Any:
        # Keras's symbolic build, with the raw inputs, meets unbuilt models.
        for frozen in (self._frozen_teacher, self._frozen_student):
            if not frozen.model.built:
                frozen(inputs)
        return inputs

    def fed_values(self, phase: str) -> list:
        return [self._frozen_teacher.values(), self._frozen_student.values()]

    def test_step(self, *args: Any) -> Any:
        *state, data = args
        batch, values = unfed(data)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        teacher_values, student_values = values or (None, None)
        logits = (
            self._frozen_teacher(x, teacher_values),
            self._frozen_student(x, student_values),
        )
        weight = _weight(logits, sample_weight)
        return super().test_step(*state, (logits, y, weight))

    @property
    def weight_seen(self) -> Any:
        return self._means["agreement_at_1"].count

    def compute_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        return ops.zeros(())

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict:
        teacher, student = map(transforms.at_least_float32, y_pred)
        _validation.same_shape(teacher, student)
        self._update(_relative(teacher, student), sample_weight)
        self._names = _RELATIVE if y is None else tuple(self._means)
        if y is not None:
            labels, weight = self._labels(y, student, sample_weight)
            self._update(_absolute("teacher", teacher, labels), weight)
            self._update(_absolute("student", student, labels), weight)
        return self.get_metrics_result()

    def _update(self, found: dict[str, Any], weight: Tensor) -> None:
        for name, values in found.items():
            self._means[name].update_state(values, sample_weight=weight)

    def _labels(self, y: Tensor, logits: Tensor, weight: Tensor) -> tuple:
        """Class numbers, and the weights of the examples that have one."""
        labels = _class_numbers(y, logits)
        known = (labels >= 0) & (labels < ops.shape(logits)[-1])
        void = ops.zeros_like(known)
        if self._ignore_class is not None:
            void = labels == self._ignore_class
        wrong = ops.cast(~(known | void), weight.dtype)
        self._no_classes.update_state(wrong * ops.cast(weight > 0, wrong.dtype))
        labels = ops.where(known, labels, 0)
        return labels, weight * ops.cast(known & ~void, weight.dtype)

    def require_classes(self) -> None:
        """Refuses labels that no step could refuse."""
        wrong = int(self._no_classes.result())
        if wrong:
            raise ValueError(
                "Labels must be class numbers from 0, below the number of "
                f"output units. Received: {wrong} labels that are not, and "
                f"ignore_class={self._ignore_class}. Check the label encoding, "
                "or pass the label that stands for none as `ignore_class`."
            )

    def get_metrics_result(self) -> dict:
        return {name: self._means[name].result() for name in self._names}

    def found(self) -> dict[str, float]:
        """What was measured; that of labels if any example has one."""
        labelled = float(self._means["student_accuracy"].count) > 0
        names = self._means if labelled else _RELATIVE
        return {name: float(self._means[name].result()) for name in names}


class _Weight(keras.losses.Loss):
    """What a Keras loss multiplies each position by: weights and masks."""

    def call(self, teacher: Tensor, student: Tensor) -> Tensor:
        return ops.ones(ops.shape(student)[:-1])


def _weight(logits: tuple, sample_weight: Any) -> Tensor:
    """Sample weights and the mask of the student, shape `logits.shape[:-1]`."""
    sample_weight = per_output(sample_weight, logits[1])
    return _Weight(reduction=None, name="weight")(*logits, sample_weight)


def _relative(teacher: Tensor, student: Tensor) -> dict[str, Any]:
    best = ops.argmax(teacher, axis=-1)
    return {
        "agreement_at_1": best == ops.argmax(student, axis=-1),
        "agreement_at_5": _in_top_k(best, student, 5),
        "kl_divergence": losses.ttm(teacher, student, temperature=1.0),
    }


def _in_top_k(labels: Tensor, logits: Tensor, k: int) -> Tensor:
    chosen = ops.take_along_axis(logits, labels[..., None], axis=-1)
    # Not `logits > chosen`, which a NaN would pass.
    not_higher = ops.cast(logits <= chosen, "int32")
    return ops.shape(logits)[-1] - ops.sum(not_higher, axis=-1) < k


def _absolute(name: str, logits: Tensor, labels: Tensor) -> dict[str, Any]:
    log_p = transforms.log_probabilities(logits)
    chosen = ops.take_along_axis(log_p, labels[..., None], axis=-1)[..., 0]
    correct = labels == ops.cast(ops.argmax(logits, axis=-1), "int32")
    confidence = ops.exp(ops.max(log_p, axis=-1))
    return {
        f"{name}_accuracy": correct,
        f"{name}_nll": -chosen,
        f"{name}_ece": ops.stack(
            [ops.cast(correct, "float32"), confidence], axis=-1
        ),
    }


def _class_numbers(labels: Tensor, logits: Tensor) -> Tensor:
    """As `_data.class_numbers`, of tensors, whose values no step can refuse."""
    shape = tuple(logits.shape)
    if tuple(labels.shape) == shape and shape[-1] != 1:
        labels = ops.argmax(labels, axis=-1)
    elif len(labels.shape) == len(shape):
        labels = ops.squeeze(labels, axis=-1)
    return ops.cast(labels, "int32")


class CalibrationError(keras.metrics.Metric):
    """Expected calibration error with bins of equal width.

    Formula: `sum_b n_b/n |accuracy_b - confidence_b|`, Guo et al. 2017.

    Args:
        bins: Number of bins of equal width between 0 and 1.
        name: Name of the metric.
        dtype: Dtype of the sums.
    """

    def __init__(
        self, bins: int = 15, name: str = "ece", dtype: Any = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.bins = bins
        self.gap = self._zeros("gap", (bins,))
        self.total = self._zeros("total", ())

    def _zeros(self, name: str, shape: tuple) -> Any:
        return self.add_variable(shape, initializer="zeros", name=name)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Adds pairs of correctness and confidence, shape `(..., 2)`."""
        correct = ops.reshape(values[..., 0], (-1,))
        confidence = ops.reshape(values[..., 1], (-1,))
        weight = ops.ones_like(correct)
        if sample_weight is not None:
            weight = ops.reshape(sample_weight, (-1,))
        # Bins are open below and closed above, as in the paper.
        index = ops.cast(ops.ceil(confidence * self.bins), "int32") - 1
        index = ops.clip(index, 0, self.bins - 1)
        in_bin = ops.one_hot(index, self.bins)
        gap = ops.matmul(weight * (correct - confidence), in_bin)
        self.gap.assign_add(gap)
        self.total.assign_add(ops.sum(weight))

    def result(self) -> Tensor:
        gap = ops.sum(ops.absolute(self.gap.value))
        return ops.divide_no_nan(gap, self.total.value)
