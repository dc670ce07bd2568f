"""The Distiller: a student trained by a teacher, by `compile` and `fit`."""

import contextlib
import types
from collections.abc import Iterable, Iterator
from typing import Any

import keras
from keras import ops

from keras_distill import (
    _attached,
    _data_checks,
    _match,
    _outputs,
    _validation,
)
from keras_distill._first_step import FirstStep
from keras_distill._keras import trainer
from keras_distill._keras.fingerprint import fingerprint
from keras_distill._keras.frozen import FrozenModel, supports_jit
from keras_distill._keras.jax import unfed
from keras_distill._keras.numbers import Door
from keras_distill._keras.sample_weights import for_compiled_loss
from keras_distill._objective import (
    Targets,
    given_or_declared,
    objective,
    weighted,
)
from keras_distill._registration import register

Tensor = Any


@register
class Distiller(trainer.FedModel):
    """Trains a student on labels and on a teacher's logits at once.

    Formula: `hard_loss_weight * compiled loss + soft_loss_weight *
    distillation_loss(teacher(x), student(x)) + the student's own losses`.
    `hard_loss_weight = 1 - a, soft_loss_weight = a` is the objective of Hinton
    et al. 2015, section 2; `(1, beta)` with `TTM` or `WTTM` is that of Zheng
    and Yang 2024, eq. (2) and (23).

    A Distiller is a `keras.Model`: `compile`, `fit` and the callbacks are
    Keras's own. The teacher runs once per training step, in inference mode, and
    is never changed, tracked or saved. `predict`, `evaluate` and validation
    use the student alone, and `distiller.student` is a plain Keras model.

    Both weights, `distillation_loss`, its `temperature` and `teacher` may be
    set at any moment, in a callback too: checked at once, in force at the next
    step. New numbers compile nothing anew, except from or to 0; a new loss or
    teacher does. A loss of one's own names the attributes that may change in
    `numbers = ("temperature",)`, and gets them as scalar tensors in a step.

    In `compile`, losses must take logits (`from_logits=True`). `loss=None`
    trains on the teacher alone: `fit(x)` without labels, or with labels that
    only feed metrics, which asks for `hard_loss_weight=0`. A term of weight 0
    is left out of the training loss; the teacher is not run for a soft term of
    weight 0. The logs of training hold `loss`, `hard_loss`, `soft_loss` and the
    compiled metrics; those of evaluation hold what a plain student's would.

    The first step of a fit, and each one with `compile(run_eagerly=True)`, is
    checked for teacher and student outputs that are not finite or are
    probabilities, and for labels that are no class numbers. On JAX both models
    run once more for it, in inference mode; on TensorFlow a refused compiled
    step has already updated the student. Later compiled steps are not checked:
    outputs that are not finite give a loss of NaN, which
    `keras.callbacks.TerminateOnNaN` stops; a label out of range counts 0 in the
    cross-entropy on JAX, and on TensorFlow is an error on a CPU or NaN.

    `distiller.save` and the checkpoint callbacks store the student, the
    optimizer, the compile state and the teacher's fingerprint. A loaded
    Distiller predicts and evaluates at once, and trains again after
    `distiller.teacher = teacher`.

    Args:
        teacher: A Keras model that takes the student's inputs and ends in
            logits, shape `(..., classes)`, or `None` for a Distiller that
            trains on logits attached to its data, by `kd.TeacherCache` or
            `kd.WithTeacherLogits`, or gets its teacher later. `kd.as_logits`
            removes a softmax; `kd.Ensemble` makes one teacher of several.
        student: The Keras model to train, with outputs of the same shape. With
            several outputs, the soft losses of all of them are added.
        distillation_loss: A `keras.losses.Loss`, called with teacher logits,
            student logits and sample weights; see `kd.losses`.
        hard_loss_weight: Weight of the compiled loss, at least 0. `None` is
            what the loss has in `default_weights`: 0.1 for `SoftTargets` and
            `LogitMatching`, 1 for others. A loss set later changes no weight.
        soft_loss_weight: Weight of the distillation loss, at least 0. `None`:
            0.9, a `beta` near the paper's for `TTM` and `WTTM`, 1 for others.
        name: Name of the model.
        **kwargs: Passed to `keras.Model`.

    Returns:
        When called: the student's outputs.

    Raises:
        TypeError: If a model, loss or weight is of the wrong type.
        ValueError: If the models do not fit together, end in probabilities or
            share trainable layers, or if both weights are 0.

    Example:

    >>> def classifier(units):
    ...     layers = [keras.Input((4,)), keras.layers.Dense(units, "relu")]
    ...     return keras.Sequential([*layers, keras.layers.Dense(3)])
    >>> teacher, student = classifier(32), classifier(2)
    >>> distiller = kd.Distiller(teacher, student, kd.losses.WTTM(4.0))
    >>> distiller.compile(
    ...     optimizer="adam",
    ...     loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    ... )
    >>> x, y = np.random.rand(8, 4), np.arange(8) % 3
    >>> history = distiller.fit(x, y, verbose=0)
    >>> sorted(history.history)
    ['hard_loss', 'loss', 'soft_loss']
    """

    not_own = ("teacher", "distillation_loss", "soft_loss_weight")
    _teacher: Any
    _door: Door

    def __init__(
        self,
        teacher: keras.Model | None,
        student: keras.Model,
        distillation_loss: keras.losses.Loss,
        *,
        hard_loss_weight: float | None = None,
        soft_loss_weight: float | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        _validation.is_model("student", student)
        weights = given_or_declared(
            distillation_loss, hard_loss_weight, soft_loss_weight
        )
        terms = objective(distillation_loss, *weights)
        # The student's policy decides on autocasting and on loss scaling.
        kwargs.setdefault("dtype", student.dtype_policy)
        super().__init__(name=name, **kwargs)
        self.student = student
        self._objective = terms
        _match.require_match(terms, None, student)
        self._door = Door(lambda: self._objective.numbers())
        self._first_step = FirstStep(student)
        self._report = self._first_step.report
        self.hard_loss_tracker = keras.metrics.Mean(name="hard_loss")
        self.soft_loss_tracker = keras.metrics.Mean(name="soft_loss")
        self._track_outputs()
        self._in_training = True
        self._labelled = True
        self._expected_fingerprint: str | None = None
        self.teacher = teacher

    # What may be set at any moment, and is in force at the next step. All but
    # the student lives in plain objects that Keras does not track.

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "student" and hasattr(self, name):
            raise AttributeError(
                "`student` cannot be replaced. Received: distiller.student = "
                f"{value!r}. Make a new kd.Distiller(teacher, student, ...), "
                "or give this student other weights with student.set_weights."
            )
        super().__setattr__(name, value)

    @property
    def hard_loss_weight(self) -> float:
        """Weight of the compiled loss."""
        return self._objective.hard_loss_weight

    @hard_loss_weight.setter
    def hard_loss_weight(self, weight: float) -> None:
        self._change(hard_loss_weight=weight)

    @property
    def soft_loss_weight(self) -> Any:
        """Weight of the distillation loss, or a structure of weights."""
        return _read_only(self._objective.soft_loss_weight)

    @soft_loss_weight.setter
    def soft_loss_weight(self, weight: Any) -> None:
        self._change(soft_loss_weight=weight)

    @property
    def distillation_loss(self) -> Any:
        """The loss between teacher and student, or a structure of losses."""
        return _read_only(self._objective.distillation_loss)

    @distillation_loss.setter
    def distillation_loss(self, loss: Any) -> None:
        self._change(distillation_loss=loss)

    def _change(self, **changes: Any) -> None:
        before, now = self._objective, self._objective.replaced(**changes)
        _match.require_match(now, self.teacher, self.student)
        self._objective = now
        if "distillation_loss" in changes:
            self._track_outputs()
        if "distillation_loss" in changes or before.computed != now.computed:
            self.trace_anew()

    @property
    def teacher(self) -> keras.Model | None:
        """The teacher, None if there is none."""
        return self._teacher.model if self._teacher else None

    @teacher.setter
    def teacher(self, teacher: keras.Model | None) -> None:
        self._teacher = None if teacher is None else self._freeze(teacher)
        teacher_built = teacher is None or teacher.built
        self.built = self.student.built and teacher_built
        self.trace_anew()

    def _freeze(self, teacher: keras.Model) -> FrozenModel:
        _validation.is_model("teacher", teacher)
        _match.require_match(self._objective, teacher, self.student)
        _validation.not_shared(teacher, self.student)
        frozen = FrozenModel(teacher, self.student)
        self._check_fingerprint(teacher, self._expected_fingerprint)
        self.supports_jit = supports_jit(teacher)
        return frozen

    @staticmethod
    def _check_fingerprint(teacher: keras.Model, expected: str | None) -> None:
        if expected is None:
            return
        found = fingerprint(teacher)
        if found != expected:
            raise ValueError(
                "This Distiller was trained by another teacher. Received: a "
                f"teacher with fingerprint {found[:12]}..., "
                f"expected {expected[:12]}... Pass the teacher it was trained "
                "with, or make a new kd.Distiller(teacher, distiller.student, "
                "...) to go on with another one."
            )

    def fed_values(self, phase: str) -> tuple | None:
        if phase != "train":
            return None
        values = None
        if self._teacher:
            _validation.is_built("teacher", self._teacher.model)
            values = self._teacher.values()
        return values, self._door.read()

    def make_train_function(self, force: bool = False) -> None:
        """Called by Keras before each `fit`; with `force` by anyone."""
        other = self._teacher and self._teacher.has_other_variables()
        super().make_train_function(force or bool(other))

    # One training step: the teacher stage, then Keras's own step, whose losses
    # and metrics split the targets again.

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        inputs, _ = _attached.split(inputs)
        if self._teacher and not self._teacher.model.built:
            self._teacher(inputs)
        return self.student(inputs, training=training)

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """As `keras.Model.fit`; weights without labels come in a dataset."""
        _data_checks.not_empty("x", x)
        x, y = _attached.unpack(x, y, kwargs)
        if y is None and kwargs.get("sample_weight") is not None:
            raise ValueError(
                "`sample_weight` would be ignored: Keras drops it where there "
                "are no labels. Received: sample_weight without y. Pass x as a "
                "dataset or generator of (x, None, sample_weight)."
            )
        self._first_step.report.ask()
        return super().fit(x, y, *args, **kwargs)

    def evaluate(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """As `keras.Model.evaluate`; also of what a cache attached."""
        x, y = _attached.unpack(x, y, kwargs)
        with self._phase(training=False):
            return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.predict`; also of what a cache attached."""
        x = x[0] if _attached.is_attached(x) else x
        return super().predict(x, *args, **kwargs)

    def train_step(self, *args: Any) -> Any:
        # JAX passes (state, data), the other backends (data,).
        *state, data = args
        fixed = self.non_trainable_variables if state else []
        own = zip(fixed, state[0][1] if state else [], strict=True)
        data = self._with_teacher_logits(data, own)
        with self._phase(training=True):
            return super().train_step(*state, data)

    def _with_teacher_logits(self, data: Any, own: Iterable) -> tuple:
        batch, fed = unfed(data)
        values, numbers = fed or (None, None)
        numbers = self._door.in_step(numbers)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        x, logits = _attached.split(x)
        if not self._objective.has_soft_loss:
            return x, Targets(y, None, numbers), sample_weight
        _data_checks.one_source_of_logits(self._teacher, logits)
        if self._teacher:
            logits = self._teacher(x, values, shared=own)
        logits = _attached.dense(logits)
        names = _outputs.names_of(self.teacher)
        teacher = _outputs.of_tensors(logits, names)
        return x, Targets(y, teacher, numbers), sample_weight

    def look(self, state: tuple, batch: Any) -> None:
        weights = state[:2]
        own = zip(self.non_trainable_variables, weights[1], strict=True)
        x, targets, sample_weight = self._with_teacher_logits(batch, own)
        y_pred, _ = self.stateless_call(*weights, x, training=False)
        self._check_values(targets, y_pred, sample_weight)

    def _check_values(
        self, targets: Targets, y_pred: Any, sample_weight: Any
    ) -> None:
        terms, outputs = self._objective, self._outputs_of(y_pred)
        self._first_step.check(self, terms, targets, outputs, sample_weight)

    def test_step(self, *args: Any) -> Any:
        _, labels, _ = keras.utils.unpack_x_y_sample_weight(args[-1])
        metrics = trainer.label_metrics(self)
        _data_checks.something_to_evaluate(labels, self.loss, metrics)
        with self._phase(training=False):
            return super().test_step(*args)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        _validation.loss_from_logits(self.loss)
        if isinstance(y, Targets):
            return self._distillation_objective(x, y, y_pred, sample_weight)
        if self.loss is None or y is None:
            # No loss, or Keras's symbolic build of an unlabelled run.
            return trainer.additional_loss(self)
        weights = self._compiled_weights(sample_weight, y_pred)
        return super().compute_loss(x, y, y_pred, weights, training)

    def _distillation_objective(
        self, x: Any, targets: Targets, y_pred: Any, sample_weight: Any
    ) -> Tensor:
        labels, numbers = targets.labels, targets.numbers
        if self.hard_loss_weight:
            _data_checks.labels_used(labels, self.loss, self.hard_loss_weight)
        self._check_values(targets, y_pred, sample_weight)
        batch_size = _batch_size(x)
        total = trainer.additional_loss(self)
        if self.loss is not None and labels is not None:
            weights = self._compiled_weights(sample_weight, y_pred)
            hard = trainer.compiled_loss(self, labels, y_pred, weights)
            self._record(self.hard_loss_tracker, hard, batch_size)
            if self.hard_loss_weight:
                total = total + weighted(numbers["hard"], hard)
        if self._objective.has_soft_loss:
            outputs = self._outputs_of(y_pred)
            found = self._objective.soft_losses(targets, outputs, sample_weight)
            self._record_soft(found, batch_size)
            total = total + sum(weighted(s.weight, s.value) for s in found)
        return total

    def _record_soft(self, found: list, batch_size: Any) -> None:
        for soft in found:
            if soft.output in self._soft_trackers:
                tracker = self._soft_trackers[soft.output]
                self._record(tracker, soft.value, batch_size)
        total = sum(soft.value for soft in found)
        self._record(self.soft_loss_tracker, total, batch_size)

    def _compiled_weights(self, sample_weight: Any, y_pred: Any) -> Any:
        outputs = self._outputs_of(y_pred)
        weights = _outputs.of_each("sample_weight", sample_weight, outputs)
        names = _outputs.names_of(self)
        return for_compiled_loss(weights, y_pred, self.loss, names)

    def _outputs_of(self, y_pred: Any) -> list[_outputs.Output]:
        return _outputs.of_tensors(y_pred, _outputs.names_of(self))

    def _track_outputs(self) -> None:
        """A metric for each output, where several have a distillation loss."""
        names = _match.soft_outputs(self._objective, self.student)
        names = names if len(names) > 1 else []
        self._soft_trackers = {
            name: keras.metrics.Mean(name=f"{name}_soft_loss") for name in names
        }

    @property
    def output_names(self) -> list[str]:
        """The student's, by which Keras finds losses, weights and labels."""
        return self.student.output_names

    def _record(self, tracker: Any, loss: Tensor, batch_size: Any) -> None:
        # Keras divides losses by the number of TensorFlow replicas.
        loss = loss * trainer.replicas()
        tracker.update_state(loss, sample_weight=batch_size)

    # The logs. Keras reports all metrics of a model in both phases, those that
    # nothing has updated as 0, and asks for them once more, outside of any
    # step, when an epoch ends.

    @contextlib.contextmanager
    def _phase(self, training: bool) -> Iterator[None]:
        before, self._in_training = self._in_training, training
        try:
            yield
        finally:
            self._in_training = before

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict:
        if isinstance(y, Targets):
            y = y.labels
            self._labelled = y is not None
        elif y is None:
            return {}  # Keras's symbolic build of an unlabelled run.
        if y is None:
            return self.get_metrics_result()
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self) -> dict:
        hidden = {id(metric) for metric in self._metrics_without_value()}
        return trainer.results(m for m in self.metrics if id(m) not in hidden)

    def _metrics_without_value(self) -> list:
        """Those that the present phase does not update."""
        training, compiled = self._in_training, self.loss is not None
        # As the step of training that was traced last; evaluation needs labels.
        labelled = self._labelled or not training
        hidden = [] if labelled else trainer.label_metrics(self)
        if not (training and compiled and labelled):
            hidden += [self.hard_loss_tracker]
        if not (training and self._objective.has_soft_loss):
            hidden += [self.soft_loss_tracker, *self._soft_trackers.values()]
        if not (training or compiled):
            hidden += [trainer.loss_tracker(self)]
        return hidden

    # Saving: all but the teacher, of which the fingerprint is kept.

    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        terms = self._objective
        return {
            **super().get_config(),
            "student": serialize(self.student),
            "distillation_loss": serialize(terms.distillation_loss),
            "hard_loss_weight": terms.hard_loss_weight,
            "soft_loss_weight": serialize(terms.soft_loss_weight),
            "teacher_fingerprint": self._fingerprint(),
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: Any = None) -> Any:
        config = dict(config)
        expected = config.pop("teacher_fingerprint", None)
        for name in ("student", "distillation_loss", "soft_loss_weight"):
            config[name] = keras.saving.deserialize_keras_object(
                config[name], custom_objects=custom_objects
            )
        distiller = cls(teacher=None, **config)
        distiller._expected_fingerprint = expected
        return distiller

    def _fingerprint(self) -> str | None:
        if self._teacher is None or not self._teacher.model.built:
            return self._expected_fingerprint
        return fingerprint(self._teacher.model)

    def save_own_variables(self, store: Any) -> None:
        found = self._fingerprint()
        if found is not None:
            store["teacher_fingerprint"] = list(bytes.fromhex(found))

    def load_own_variables(self, store: Any) -> None:
        if "teacher_fingerprint" not in store.keys():
            return
        stored = bytes(int(byte) for byte in store["teacher_fingerprint"]).hex()
        if self._teacher:
            self._check_fingerprint(self._teacher.model, stored)
        else:
            self._expected_fingerprint = stored


def _read_only(structure: Any) -> Any:
    """A view of what only a setter may change."""
    if isinstance(structure, dict):
        found = {key: _read_only(value) for key, value in structure.items()}
        return types.MappingProxyType(found)
    if isinstance(structure, list | tuple):
        return tuple(map(_read_only, structure))
    return structure


def _batch_size(x: Any) -> Any:
    leaves = (leaf for leaf in keras.tree.flatten(x) if leaf is not None)
    return ops.shape(next(leaves))[0]
