"""What our models need of Keras's training loop beyond what it promises.

Keras promises `compile`, `fit` and the steps that a model may override. The
following it does not, and `tests/test_keras_internals.py` holds it to it:

- `fit`, `evaluate` and `predict` call `make_train_function` and so on, which
  put what runs a step into `train_function` and so on, if nothing is there
  yet, or if forced to;
- on JAX what they put there is called as in `jax.guarded`, with the state that
  the last step returned, or what `_get_jax_state` has read from the variables;
- the regularisers of all weights count by `_get_regularization_losses`;
- what `compile` made lies in `_compile_loss`, `_compile_metrics` and
  `_loss_tracker`, and `_aggregate_additional_loss` scales all other losses;
- the metrics lie there as `compile` got them, as `_user_metrics` and
  `_user_weighted_metrics`;
- a step passes targets on as they are, and an epoch or an evaluation ends with
  `get_metrics_result`;
- `compile` without a loss leaves in place what an earlier one made and got, and
  all that the last one got lies in `_compile_config`;
- assignment to an attribute tracks the value, and saving walks `dir(model)`.
"""

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

import keras

from keras_distill._keras.jax import Batch, fill_variables, guarded
from keras_distill._keras.numbers import Door
from keras_distill._keras.report import Report
from keras_distill._schedules import Scheduled

Tensor = Any


class FedModel(keras.Model):
    """A model whose steps read what is not its own, such as another model.

    Abstract: a subclass says what its steps read, and takes it from the data
    that they receive, by `jax.unfed`.
    """

    # Names of properties that Keras must neither track nor save.
    not_own: tuple[str, ...] = ()
    # Of the numbers that a step of training reads, if there are any.
    _door: Door | None = None
    # On JAX: whether that of the next step has been read from the variables.
    state_is_new = True
    _in_step = False
    # Of the values in a step of training, if it is asked for.
    _report: Report | None = None

    def fed_values(self, phase: str) -> Any:
        """What the next step is to read, beside its batch.

        Asked before every step, on JAX alone, so that new values need no new
        compilation. A step on another backend gets None for them, and reads
        them where they are.

        Args:
            phase: "train", "test" or "predict".

        Returns:
            Tensors in any structure, the same one as long as the compiled step
            is in use, or None for nothing.
        """
        raise NotImplementedError

    def kept_values(self) -> list:
        """What no step may use up, though a variable of the model shares it."""
        return []

    def _get_jax_state(self, *args: Any, **kwargs: Any) -> Any:
        self.state_is_new = True
        return super()._get_jax_state(*args, **kwargs)

    def traced_for(self) -> Hashable:
        """What a step is traced for, asked before each that reads values.

        When it changes the step is traced anew.
        """
        return None

    def regularised(self) -> keras.Model:
        """Whose regularisers count in the present phase."""
        return self

    def _get_regularization_losses(self) -> list:
        model: Any = self.regularised()
        own = model is self
        get = (
            super()._get_regularization_losses
            if own
            else (model._get_regularization_losses)
        )
        return get()

    def scheduled(self) -> dict[str, Scheduled]:
        """What the logs of training are to show, beside metrics."""
        return {}

    def train_step(self, *args: Any) -> Any:
        # JAX passes (state, data), the other backends (data,).
        self._in_step = True
        try:
            result = super().train_step(*args)
        finally:
            self._in_step = False
        if len(args) == 1:
            return {**result, **self.scheduled_results()}
        logs, state = result
        return {**logs, **self.scheduled_results(state)}, state

    def scheduled_results(self, *state: Any) -> dict[str, Any]:
        """What is scheduled, at its present value, as Keras shows a rate.

        Within a step nothing: it has not made its update.
        """
        found = {} if self._in_step else self.scheduled()
        return {
            name: number.at(updates(self, *state))
            for name, number in found.items()
        }

    def look(self, state: tuple, batch: Batch) -> None:
        """Has the report take what it wants to know of a batch, on JAX."""
        raise NotImplementedError

    def make_train_function(self, force: bool = False) -> None:
        """Safe with `force` at any moment of a `fit`, in a callback."""
        self._make("train", super().make_train_function, force)

    def state_has_changed(self) -> None:
        """To be told of new metrics, which are part of a step's state."""
        if self.train_function is not None:
            self.make_train_function(force=True)

    def make_test_function(self, force: bool = False) -> None:
        self._make("test", super().make_test_function, force)

    def make_predict_function(self, force: bool = False) -> None:
        self._make("predict", super().make_predict_function, force)

    def _make(self, phase: str, make: Callable, force: bool) -> None:
        name = f"{phase}_function"
        before = getattr(self, name)
        if force:
            fill_variables(self)
        make(force)
        made = getattr(self, name)
        if made is not before:
            values = functools.partial(self.fed_values, phase)
            state = functools.partial(self._state, phase)
            if self._report and phase == "train":
                made = self._report.asked_of(made, self, self.look)
            rest = self.kept_values, self.traced_for
            made = guarded(made, self, values, state, *rest)
            if self._door and phase == "train":
                made = self._renewed(self._door.opened(made, self))
            setattr(self, name, made)

    def _renewed(self, step_function: Callable) -> Callable:
        """The step function, made anew before a step that needs a new trace.

        On JAX `guarded` sees to that: there the variables that Keras reads to
        make one are empty by now.
        """
        if keras.backend.backend() == "jax":
            return step_function
        traced_for = self.traced_for()

        def call(*args: Any) -> Any:
            if self.traced_for() == traced_for:
                return step_function(*args)
            self.make_train_function(force=True)
            return self.train_function(*args)

        return call

    def _state(self, phase: str) -> list:
        """The variables whose values a step gets and returns, part by part."""
        optimizer = [self.optimizer.variables] if phase == "train" else []
        metrics = [] if phase == "predict" else [self.metrics_variables]
        weights = [self.trainable_variables, self.non_trainable_variables]
        return weights + optimizer + metrics

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.not_own:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in self.not_own]


def updates(model: Any, *state: Any) -> Any:
    """How many updates the optimizer has made.

    Args:
        model: The model, outside of a step or at the beginning of one.
        *state: That of a step on JAX, if there is one.
    """
    scope: Any = contextlib.nullcontext()
    if state:
        mapping = zip(model.optimizer.variables, state[0][2], strict=True)
        scope = keras.StatelessScope(state_mapping=mapping)
    with scope:
        return keras.ops.convert_to_tensor(model.optimizer.iterations)


def forget_replaced_loss(model: Any) -> None:
    """Has `compile(loss=None)` mean no loss, after another `compile` too."""
    if model.loss is not None and model._compile_config.config["loss"] is None:
        model.loss = model._compile_loss = None


def compiled_loss(
    model: Any, y: Any, y_pred: Any, sample_weight: Any
) -> Tensor:
    """The loss given to `compile`, without regularisers and `add_loss`."""
    return model._compile_loss(y, y_pred, sample_weight)


def additional_loss(model: Any) -> Tensor:
    """The sum of a model's regularisers and `add_loss`."""
    losses = [model._aggregate_additional_loss(loss) for loss in model.losses]
    return keras.ops.sum(losses) if losses else keras.ops.zeros(())


def label_metrics(model: Any) -> list:
    """Metrics made by `compile` that only labels can update."""
    metrics = [] if model._compile_metrics is None else [model._compile_metrics]
    losses = model._compile_loss.metrics if model._compile_loss else []
    return metrics + losses


class Compiled(NamedTuple):
    """What `compile` got, and what it made of that, new each time."""

    loss: Any
    metrics: Any
    weighted_metrics: Any
    made: tuple


def compiled(model: Any) -> Compiled:
    """What losses and metrics a model was compiled with."""
    loss, metrics = model._compile_loss, model._compile_metrics
    return Compiled(
        model.loss,
        metrics and metrics._user_metrics,
        metrics and metrics._user_weighted_metrics,
        (loss, metrics),
    )


def loss_tracker(model: Any) -> Any:
    """The metric that Keras logs as `loss`."""
    return model._loss_tracker


def results(metrics: Iterable) -> dict:
    """The values of metrics by name, as `keras.Model` puts them into logs."""
    found: dict = {}
    for metric in metrics:
        result = metric.result()
        nested = isinstance(result, dict)
        found.update(result if nested else {metric.name: result})
    return found


def replicas() -> int:
    """By how many Keras has divided the losses of the present step."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync
