"""The Distiller: a student trained by a teacher, by `compile` and `fit`."""

import contextlib
import functools
import types
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_distill import (
    _attached,
    _comparison,
    _data_checks,
    _match,
    _outputs,
    _student,
    _validation,
)
from keras_distill._compiled import Checked
from keras_distill._first_step import FirstStep
from keras_distill._inputs import same_inputs
from keras_distill._keras import trainer
from keras_distill._keras.frozen import FrozenModel, supports_jit
from keras_distill._keras.inputs import own_entries
from keras_distill._keras.jax import unfed
from keras_distill._keras.numbers import Door
from keras_distill._keras.sample_weights import like_outputs
from keras_distill._objective import (
    Targets,
    given_or_declared,
    objective,
    weighted,
)
from keras_distill._registration import register
from keras_distill._saving import Identity, Saved

Tensor = Any


@register
class Distiller(Saved):
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
    step. New numbers compile nothing anew, except from or to 0; a new loss,
    teacher or schedule does. A loss of one's own names the attributes that may
    change in `numbers = ("temperature",)`, and gets them as scalar tensors in a
    step.

    One of `keras.optimizers.schedules` is taken in place of any such number. It
    follows `optimizer.iterations`, which counts updates, is saved, and is 0
    after `compile`. Weights end at 0 and temperatures at 0.001 where it falls
    lower. The logs of training show it under the name of the number, as it is
    after the step or epoch: what the next step reads.

    In `compile`, losses and metrics must fit what the distillation loss
    compares, classes or labels: they take logits (`from_logits=True`), metrics
    of labels have the threshold 0. They are tried out before a fit; see
    `kd.losses.on_logits`. Beside a loss of values all are taken. `loss=None`
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
    `distiller.teacher = teacher`. `distiller.export` exports the student.

    `compute_loss(x, y, y_pred, training=True)` in a loop of one's own gives the
    objective, with `training=False` the student's compiled loss. A student with
    a `train_step`, `test_step`, `compute_loss` or `compute_metrics` of its own,
    which would not be called, is refused. `fit` warns of a student with layers
    that augment its inputs at random: the teacher sees them as they are.

    Args:
        teacher: A Keras model that takes the student's inputs and ends in
            logits, shape `(..., classes)`, or `None` for a Distiller that
            trains on logits attached to its data, by `kd.TeacherCache` or
            `kd.WithTeacherLogits`, or gets its teacher later. `kd.as_logits`
            removes a softmax; `kd.Ensemble` makes one teacher of several. Both
            models read the same inputs; of a dict of inputs, a model built on a
            dict, `keras.Model({"pixels": ...}, ...)`, reads its own entries.
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
            share trainable layers, if the student has steps of its own, or if
            both weights are 0.

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
    _teacher: Any = None
    _door: Door

    def __init__(
        self,
        teacher: keras.Model | None,
        student: keras.Model,
        distillation_loss: keras.losses.Loss,
        *,
        hard_loss_weight: Any = None,
        soft_loss_weight: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        _validation.is_model("student", student)
        _student.leaves_the_steps_to_keras(student)
        weights = given_or_declared(
            distillation_loss, hard_loss_weight, soft_loss_weight
        )
        terms = objective(distillation_loss, *weights)
        _comparison.check(student, _match.losses_of(terms, student))
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
        self._soft_trackers: dict[str, Any] = {}
        self._track_outputs()
        self._checked = Checked()
        self._in_training = True
        self._labelled = True
        self._identity = Identity()
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
    def hard_loss_weight(self) -> Any:
        """Weight of the compiled loss."""
        return self._objective.hard_loss_weight

    @hard_loss_weight.setter
    def hard_loss_weight(self, weight: Any) -> None:
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
        now = self._objective.replaced(**changes)
        _match.require_match(now, self.teacher, self.student)
        if "distillation_loss" in changes:
            losses = _match.losses_of(now, self.student)
            _comparison.check(self.student, losses)
        self._objective = now
        if "distillation_loss" in changes:
            self._track_outputs()
            self._first_step.report.ask()

    @property
    def teacher(self) -> keras.Model | None:
        """The teacher, None if there is none."""
        return self._teacher.model if self._teacher else None

    @teacher.setter
    def teacher(self, teacher: keras.Model | None) -> None:
        other = teacher is not None and teacher is not self.teacher
        self._teacher = None if teacher is None else self._freeze(teacher)
        if other:
            self._identity.replaced()
            self._first_step.report.ask()
        teacher_built = teacher is None or teacher.built
        self.built = self.student.built and teacher_built

    def _freeze(self, teacher: keras.Model) -> FrozenModel:
        _validation.is_model("teacher", teacher)
        _match.require_match(self._objective, teacher, self.student)
        _validation.not_shared(teacher, self.student)
        same_inputs([("teacher", teacher), ("student", self.student)])
        frozen = FrozenModel(teacher, self.student)
        self._identity.check(teacher)
        self.supports_jit = supports_jit(teacher)
        return frozen

    def fed_values(self, phase: str) -> tuple | None:
        if phase != "train":
            return None
        values = None
        if self._teacher:
            _validation.is_built("teacher", self._teacher.model)
            values = self._teacher.values()
        return values, self._door.read()

    def kept_values(self) -> list:
        built = self._teacher and self._teacher.model.built
        return self._teacher.values() if built else []

    def make_train_function(self, force: bool = False) -> None:
        """Called by Keras before each `fit`; with `force` by anyone."""
        if not force:  # In the middle of a change the two need not fit yet.
            self._check_compiled()
        if self._teacher:
            self._teacher.look_again()
        super().make_train_function(force)

    def traced_for(self) -> tuple:
        teacher = self._teacher.key if self._teacher else None
        terms = self._objective.key, self._objective.computed
        return teacher, *terms, self._door.scheduled()

    def scheduled(self) -> dict:
        return _match.scheduled(self._objective, self.student)

    def make_test_function(self, force: bool = False) -> None:
        """Called by Keras before each `evaluate`."""
        self._check_compiled()
        super().make_test_function(force)

    def _check_compiled(self) -> None:
        """Before Keras builds what it then fails on; again for one batch."""
        losses = _match.losses_of(self._objective, self.student)
        self._checked.check(self, losses)

    # One training step: the teacher stage, then Keras's own step, whose losses
    # and metrics split the targets again.

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        inputs, _ = _attached.split(inputs)
        if self._teacher and not self._teacher.model.built:
            self._teacher(inputs)
        return self.student(
            own_entries(self.student, inputs), training=training
        )

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
        self._check_validation(y, **kwargs)
        if self._objective.has_soft_loss:
            _student.warn_of_augmentation(self.student)
        self._check_compiled()
        self._first_step.report.ask()
        return super().fit(x, y, *args, **kwargs)

    def _check_validation(
        self,
        y: Any,
        validation_data: Any = None,
        validation_split: float = 0.0,
        **_: Any,
    ) -> None:
        if validation_data is not None or validation_split:
            labels = _attached.labels_of(validation_data, y)
            metrics = trainer.label_metrics(self)
            _data_checks.something_to_evaluate(labels, self.loss, metrics)

    def evaluate(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """As `keras.Model.evaluate`; also of what a cache attached."""
        x, y = _attached.unpack(x, y, kwargs)
        self._check_compiled()
        with self._phase(training=False):
            return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.predict`; also of what a cache attached."""
        x = x[0] if _attached.is_attached(x) else x
        return super().predict(x, *args, **kwargs)

    def train_step(self, *args: Any) -> Any:
        # JAX passes (state, data), the other backends (data,).
        *state, data = args
        data = self._with_teacher_logits(data, *state)
        with self._phase(training=True):
            return super().train_step(*state, data)

    def _with_teacher_logits(self, data: Any, *state: Any) -> tuple:
        batch, fed = unfed(data)
        values, numbers = fed or (None, None)
        updates = functools.partial(trainer.updates, self, *state)
        numbers = self._door.in_step(numbers, updates)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        x, logits = _attached.split(x)
        if not self._objective.has_soft_loss:
            return x, Targets(y, None, numbers), sample_weight
        _data_checks.one_source_of_logits(self._teacher, logits)
        if self._teacher:
            fixed = self.non_trainable_variables
            own = zip(fixed, state[0][1], strict=True) if state else ()
            logits = self._teacher(x, values, shared=own)
        logits = _attached.dense(logits, self._objective.kind)
        names = _outputs.names_of(self.teacher)
        teacher = _outputs.of_tensors(logits, names)
        return x, Targets(y, teacher, numbers), sample_weight

    def look(self, state: tuple, batch: Any) -> None:
        x, targets, sample_weight = self._with_teacher_logits(batch, state)
        y_pred, _ = self.stateless_call(*state[:2], x, training=False)
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
        if training and not isinstance(y, Targets):
            # Called by the user: Keras's own step has been through train_step.
            batch = x, y, sample_weight
            x, y, sample_weight = self._with_teacher_logits(batch)
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
        if self.hard_loss_weight and not self._labels_are_for_soft_loss:
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
            found = self._objective.soft_losses(
                targets, outputs, sample_weight, self.loss
            )
            self._record_soft(found, batch_size)
            total = total + sum(weighted(s.weight, s.value) for s in found)
        return total

    @property
    def _labels_are_for_soft_loss(self) -> bool:
        return self.loss is None and self._objective.uses_labels

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
        return like_outputs(weights, y_pred)

    def _outputs_of(self, y_pred: Any) -> list[_outputs.Output]:
        return _outputs.of_tensors(y_pred, _outputs.names_of(self))

    def _track_outputs(self) -> None:
        """A metric for each output, where several have a distillation loss."""
        names = _match.soft_outputs(self._objective, self.student)
        new = [name for name in names if name not in self._soft_trackers]
        if len(names) < 2 or not new:
            return
        for name in new:
            tracker = keras.metrics.Mean(name=f"{name}_soft_loss")
            self._soft_trackers[name] = tracker
        self.state_has_changed()

    def _soft_trackers_in_use(self) -> list:
        found = _match.soft_outputs(self._objective, self.student)
        if len(found) < 2 or not self._in_training:
            return []
        return [self._soft_trackers[name] for name, on in found.items() if on]

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
        found = trainer.results(m for m in self.metrics if id(m) not in hidden)
        return found | (self.scheduled_results() if self._in_training else {})

    def _metrics_without_value(self) -> list:
        """Those that the present phase does not update."""
        training, compiled = self._in_training, self.loss is not None
        # As the step of training that was traced last; evaluation needs labels.
        labelled = self._labelled or not training
        hidden = [] if labelled else trainer.label_metrics(self)
        if not (training and compiled and labelled):
            hidden += [self.hard_loss_tracker]
        if not (training and self._objective.has_soft_loss):
            hidden += [self.soft_loss_tracker]
        shown = {id(metric) for metric in self._soft_trackers_in_use()}
        hidden += [
            metric
            for metric in self._soft_trackers.values()
            if id(metric) not in shown
        ]
        if not (training or compiled):
            hidden += [trainer.loss_tracker(self)]
        return hidden

    def own_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        terms = self._objective
        return {
            "distillation_loss": serialize(terms.distillation_loss),
            "hard_loss_weight": serialize(terms.hard_loss_weight),
            "soft_loss_weight": serialize(terms.soft_loss_weight),
        }


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
