"""The Distiller: a student trained by a teacher, by `compile` and `fit`."""

import functools
from typing import Any

import keras
from keras import ops

from keras_distill import _attached, _data_checks, _validation
from keras_distill._compiled import Checked
from keras_distill._keras import trainer
from keras_distill._keras.jax import unfed
from keras_distill._model import (
    Guarded,
    Identity,
    leaves_the_steps_to_keras,
)
from keras_distill._objective import (
    Tapped,
    Targets,
    given_or_declared,
    names_of,
    objective,
    of_tensors,
    weighted,
    without_features,
)
from keras_distill._registration import register

Tensor = Any


@register
class Distiller(Guarded):
    """Trains a student on labels and on a teacher's outputs at once.

    Formula: `hard_loss_weight * compiled loss + soft_loss_weight *
    distillation_loss(teacher(x), student(x)) + sum of weight * feature loss +
    the student's own losses`.
    `hard_loss_weight = 1 - a, soft_loss_weight = a` is the objective of Hinton
    et al. 2015, section 2; `(1, beta)` with `TTM` or `WTTM` is that of Zheng
    and Yang 2024, eq. (2) and (23).

    A Distiller is a `keras.Model`: `compile`, `fit` and the callbacks are
    Keras's own. The teacher runs once per training step, in inference mode, and
    is never changed, tracked or saved. `predict`, `evaluate` and validation
    use the student alone, and `distiller.student` is a plain Keras model. A
    term of weight 0 is not computed, nor the teacher run for it.

    Inner layers are compared by `feature_losses`, in training alone. What they
    give is taken in the same pass; a default projector is made when a teacher
    comes, lies in `distiller.projectors`, and is trained and saved with the
    student, of which it is no part. Logits that were stored have no features.

    Several outputs have losses, weights, labels and sample weights by name or
    by place, as in Keras. A structure of distillation losses has None, or no
    entry, for an output without a teacher. The teacher has the outputs that
    want one: by name where both models name them, else in order.

    All weights, `distillation_loss`, its `temperature` and `teacher` may be
    set at any moment, in a callback too, a structure as a whole: checked at
    once, in force at the next step, compiling nothing anew for a new number
    except from or to 0. One of `keras.optimizers.schedules` may stand for a
    number. It is read at `optimizer.iterations`, so it goes on after loading
    and starts anew with `compile`; a weight that it takes below 0 is 0, a
    temperature below 0.001 is 0.001. A loss of one's own names its numbers,
    `numbers = ("temperature",)`, and gets tensors.

    Logs of training: `loss`, the compiled metrics, `hard_loss`, `soft_loss` and
    `feature_loss` (sums, not yet weighted here), `<output>_soft_loss` where
    several outputs have one, and what is scheduled, as after the last step, but
    not what a callback sets. Those of evaluation are a plain student's.

    `compile`: losses and metrics must fit what the distillation loss compares,
    which is tried out before a fit; see `kd.losses.on_logits`. Those of classes
    or labels take logits: `from_logits=True`, or the threshold 0 in metrics of
    labels. `loss=None` trains on the teacher alone: `fit(x)` without labels, or
    with labels for metrics only, which asks for `hard_loss_weight=0`. Where the
    compiled loss ignores a label, by `ignore_class`, the distillation loss
    still counts, unless it uses labels or `sample_weight` is 0 there.

    Saving: `distiller.save` and checkpoints hold the student, the optimizer,
    the compile state and the teacher's fingerprint. A loaded Distiller predicts
    and evaluates at once, and trains again after `distiller.teacher = teacher`.
    `distiller.export` exports the student. `keras.callbacks.ModelCheckpoint`
    and `BackupAndRestore` bring all of it back; `OrbaxCheckpoint` too, where
    the student is no Sequential model, which `load_model` refuses.

    A student with steps or a `compute_loss` of its own, which would not be
    called, is refused.

    Args:
        teacher: A Keras model that takes the student's inputs, or `None` for a
            Distiller that trains on logits attached to its data, by
            `kd.TeacherCache` or `kd.WithTeacherLogits`, or gets its teacher
            later. `kd.as_logits` removes a softmax or sigmoid; `kd.Ensemble`
            makes one teacher of several. Of a dict of inputs, a model built on
            a dict, `keras.Model({"pixels": ...}, ...)`, reads its own entries.
        student: The Keras model to train, with outputs of the same shape.
        distillation_loss: A `keras.losses.Loss`, or a structure of them. Those
            of `kd.losses` compare logits, of classes or of labels. Any other
            compares the outputs as they are: `keras.losses.MeanSquaredError()`
            for values.
        hard_loss_weight: Weight of the compiled loss, at least 0. `None` is
            what the loss has in `default_weights`: 0.1 for `SoftTargets`,
            `SigmoidTargets` and `LogitMatching`, 1 for others. Losses that
            differ there need both weights. A loss set later changes no weight.
            `compile(loss_weights=...)` weighs outputs.
        soft_loss_weight: Weight of the distillation loss, at least 0, or a
            structure of weights. `None`: 0.9, a `beta` near the paper's for
            `TTM` and `WTTM`, 1 for others.
        feature_losses: A list of `kd.losses.Feature`. Teacher and student must
            be built by then.
        name: Name of the model.
        **kwargs: Passed to `keras.Model`.

    Returns:
        When called: the student's outputs.

    Raises:
        TypeError: If a model, loss or weight is of the wrong type.
        ValueError: If the models do not fit together or the loss, if they share
            trainable layers, or if all weights are 0.

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

    def __init__(
        self,
        teacher: keras.Model | None,
        student: keras.Model,
        distillation_loss: Any,
        *,
        hard_loss_weight: Any = None,
        soft_loss_weight: Any = None,
        feature_losses: Any = (),
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        _validation.is_model("student", student)
        leaves_the_steps_to_keras(student)
        weights = given_or_declared(
            distillation_loss, hard_loss_weight, soft_loss_weight
        )
        terms = objective(distillation_loss, *weights, feature_losses)
        # The student's policy decides on autocasting and on loss scaling.
        kwargs.setdefault("dtype", student.dtype_policy)
        super().__init__(name=name, **kwargs)
        self._set_objective(student, terms)
        self._start_logs()
        self._checked = Checked()
        self._identity = Identity()
        self.teacher = teacher

    # One training step: the teacher stage, then Keras's own step, whose losses
    # and metrics split the targets again.

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        inputs, _ = _attached.split(inputs)
        if self._teacher and not self._teacher.model.built:
            self._teacher(inputs)
        return self._run_student(inputs, training)

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
        terms, features = self._objective, None
        if not (terms.has_soft_loss or terms.has_features):
            return x, Targets(y, None, numbers), sample_weight
        if terms.has_features:
            _data_checks.teacher_of_features(self._teacher)
        _data_checks.one_source_of_logits(self._teacher, logits)
        if self._teacher:
            fixed = self.non_trainable_variables
            own = zip(fixed, state[0][1], strict=True) if state else ()
            logits, features = self._run_teacher(self._teacher, x, values, own)
        if not terms.takes_top_k:
            logits = _attached.dense(logits, terms.kind)
        teacher = of_tensors(logits, names_of(self.teacher))
        x = Tapped(x) if terms.has_features else x
        return x, Targets(y, teacher, numbers, features), sample_weight

    def look(self, state: tuple, batch: Any) -> None:
        x, targets, sample_weight = self._with_teacher_logits(batch, state)
        y_pred, _ = self.stateless_call(*state[:2], x, training=False)
        y_pred, _ = without_features(y_pred)
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
        """The objective, in a loop of one's own too.

        With `training=False` the student's compiled loss.
        """
        if training and not isinstance(y, Targets):
            # Called by the user: Keras's own step has been through train_step.
            batch = x, y, sample_weight
            x, y, sample_weight = self._with_teacher_logits(batch)
        if isinstance(y, Targets):
            return self._distillation_objective(x, y, y_pred, sample_weight)
        with self._phase(training):
            if self.loss is None or y is None:
                # No loss, or Keras's symbolic build of an unlabelled run.
                return trainer.additional_loss(self)
            weights = self._compiled_weights(sample_weight, y_pred)
            return super().compute_loss(x, y, y_pred, weights, training)

    def _distillation_objective(
        self, x: Any, targets: Targets, y_pred: Any, sample_weight: Any
    ) -> Tensor:
        y_pred, features = without_features(y_pred)
        labels, numbers = targets.labels, targets.numbers
        # The distillation loss itself asks for labels, or is all they are for.
        soft_alone = self._objective.uses_labels and (
            self.loss is None or labels is None
        )
        if self.hard_loss_weight and not soft_alone:
            _data_checks.labels_used(labels, self.loss, self.hard_loss_weight)
        self._check_values(targets, y_pred, sample_weight)
        batch_size = _batch_size(x)
        total = trainer.additional_loss(self)
        if self.loss is not None and labels is not None:
            hard = self.hard_loss_of(labels, y_pred, sample_weight)
            self._record(self.hard_loss_tracker, hard, batch_size)
            if self.hard_loss_weight:
                total = total + weighted(numbers["hard"], hard)
        if self._objective.has_soft_loss:
            found = self.soft_losses_of(targets, y_pred, sample_weight)
            self._record_soft(found, batch_size)
            total = total + sum(weighted(s.weight, s.value) for s in found)
        if self._objective.features:
            parts = targets, features, sample_weight
            total = total + self._features_objective(*parts, batch_size)
        return total

    def _features_objective(
        self,
        targets: Targets,
        features: list[Tensor] | None,
        sample_weight: Any,
        batch_size: Any,
    ) -> Tensor:
        total = self._idle_projectors()
        if not self._objective.has_features:
            return total
        found = self.feature_losses_of(targets, features, sample_weight)
        values = sum(feature.value for feature in found)
        self._record(self.feature_loss_tracker, values, batch_size)
        return total + sum(weighted(f.weight, f.value) for f in found)


def _batch_size(x: Any) -> Any:
    leaves = (leaf for leaf in keras.tree.flatten(x) if leaf is not None)
    return ops.shape(next(leaves))[0]
