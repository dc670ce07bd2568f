"""How closely a student follows its teacher, and how good both are."""

import warnings
from typing import Any

import keras
from keras import ops

from keras_distill import (
    _data_checks,
    _kinds,
    _measures,
    _validation,
)
from keras_distill._inputs import same_inputs
from keras_distill._keras import graph, layout
from keras_distill._keras.frozen import FrozenModel, supports_jit
from keras_distill._keras.jax import unfed
from keras_distill._keras.trainer import FedModel

Tensor = Any

# What needs no labels.
_RELATIVE = {
    _kinds.CLASSES: ("agreement_at_1", "agreement_at_5", "kl_divergence"),
    _kinds.LABELS: ("agreement_at_1", "kl_divergence"),
}


def evaluate_fidelity(
    teacher: keras.Model,
    student: keras.Model,
    dataset: Any,
    *,
    kind: str = _kinds.CLASSES,
    ignore_class: int | None = None,
    batch_size: int | None = None,
    verbose: int | str = "auto",
) -> dict[str, float]:
    """Compares a student with its teacher in one pass over a dataset.

    | key | meaning |
    |---|---|
    | `agreement_at_1` | share of examples with the same most probable class |
    | `agreement_at_5` | share with the teacher's class in the student's top 5 |
    | `kl_divergence` | `sum p log(p/q)`, `p` the teacher's, T = 1, in nats |
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

    With `kind="labels"`, for sigmoid heads, each label of each example counts
    as an example with two classes, of logits 0 and `z`: the likelihood is the
    binary cross-entropy, the divergence that of Bernoulli distributions, all of
    them means over labels, and there is no `agreement_at_5`. Outputs that are
    values, as in regression, have no fidelity here; use metrics of Keras.

    Args:
        teacher: A Keras model that ends in logits, shape `(..., classes)`.
        student: A Keras model with the same inputs and output shape.
        dataset: Anything that `keras.Model.evaluate` takes as its data: a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, a generator, or a
            tuple of arrays `(x,)`, `(x, y)` or `(x, y, sample_weight)`. Labels
            are class numbers, or one-hot in the shape of the logits, where a
            row sums to 1; with
            `kind="labels"`, 0 or 1 in the shape of the logits.
        kind: What the logits are of: "classes" that exclude each other, or
            "labels" that do not, with a sigmoid for each.
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
            differ, if the dataset is empty, if `kind` is neither of the two, or
            if a label is neither a class nor `ignore_class`.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(3)]
    >>> model = keras.Sequential(layers)
    >>> data = (np.random.rand(8, 4), np.arange(8) % 3)
    >>> kd.evaluate_fidelity(model, model, data, verbose=0)["agreement_at_1"]
    1.0
    """
    _kinds.one_of_both("kind", kind)
    models = [("teacher", teacher), ("student", student)]
    for name, model in models:
        _validation.is_model(name, model)
        _validation.bare_output(name, model)
        graph.require_logits(name, model, kind, _kinds.BY_KIND)
    _validation.same_outputs(models)
    same_inputs(models)
    _measures.checked_ignore_class(ignore_class)
    comparison = _Comparison(teacher, student, kind, ignore_class)
    comparison.compile()
    x, y, sample_weight = dataset, None, None
    if isinstance(dataset, tuple):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(dataset)
    # Keras on TensorFlow makes up a batch of zeros for empty arrays.
    _data_checks.not_empty("dataset", x)
    with warnings.catch_warnings():
        # Keras says so at the end of every generator.
        warnings.filterwarnings("ignore", "Your input ran out of data")
        with layout.divided():
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
        kind: str,
        ignore_class: int | None,
    ) -> None:
        super().__init__(name="fidelity", dtype="float32", autocast=False)
        self._frozen_teacher = FrozenModel(teacher)
        self._frozen_student = FrozenModel(student)
        self.supports_jit = supports_jit(teacher, student)
        self._relative = _RELATIVE[kind]
        self._means: dict[str, Any] = {
            name: keras.metrics.Mean(name=name) for name in self._relative
        }
        for name in ("teacher", "student"):
            self._means[f"{name}_accuracy"] = keras.metrics.Mean()
            self._means[f"{name}_nll"] = keras.metrics.Mean()
            self._means[f"{name}_ece"] = _measures.CalibrationError()
        self._of_labels = kind == _kinds.LABELS
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
        weight = _measures.weight_of(logits[1], sample_weight)
        return super().test_step(*state, (logits, y, weight))

    @property
    def weight_seen(self) -> Any:
        return self._means["agreement_at_1"].count

    def compute_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        return ops.zeros(())

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict:
        teacher, student = y_pred
        how = self._of_labels, self._ignore_class
        found = _measures.compared(teacher, student, y, sample_weight, *how)
        for name in self._means.keys() & found.values.keys():
            values, weight = found.values[name]
            self._means[name].update_state(values, sample_weight=weight)
        self._no_classes.update_state(found.no_classes)
        self._names = self._relative if y is None else tuple(self._means)
        return self.get_metrics_result()

    def require_classes(self) -> None:
        wrong = int(self._no_classes.result())
        _measures.require_classes(wrong, self._of_labels, self._ignore_class)

    def get_metrics_result(self) -> dict:
        return {name: self._means[name].result() for name in self._names}

    def found(self) -> dict[str, float]:
        """What was measured; that of labels if any example has one."""
        labelled = float(self._means["student_accuracy"].count) > 0
        names = self._means if labelled else self._relative
        return {name: float(self._means[name].result()) for name in names}
