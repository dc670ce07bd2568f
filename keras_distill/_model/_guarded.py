"""What a Distiller looks at before one of Keras's loops begins."""

import inspect
import math
from typing import Any

import keras

from keras_distill import _attached, _data_checks
from keras_distill._compiled import Checked
from keras_distill._keras import layout, processes, trainer
from keras_distill._model._logs import Logged
from keras_distill._model._ported import (
    refuse_losses_of_others,
    refuse_names_of_others,
)
from keras_distill._model._student import warn_of_augmentation
from keras_distill._model._terms import Termed
from keras_distill._objective import losses_of, require_something

_BATCH_SIZE = 32  # That of Keras.


class Guarded(Logged, Termed):
    """`fit`, `evaluate` and `predict`, which refuse early what would fail late.

    Abstract: a subclass calls `_start_logs` and `_set_objective` once, and has
    a `_checked`.
    """

    _checked: Checked

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        # Before Python misses an argument that another Distiller has not.
        refuse_names_of_others(kwargs, cls)
        refuse_losses_of_others([args, kwargs.get("distillation_loss")])
        return super().__new__(cls, *args, **kwargs)

    def make_train_function(self, force: bool = False) -> None:
        """Called by Keras before it trains; with `force` by anyone."""
        processes.require_one_rank()
        if not force:  # In the middle of a change the two need not fit yet.
            self._check_compiled()
            # The weight of a feature may have been set since.
            require_something(self._objective)
        super().make_train_function(force)

    def make_test_function(self, force: bool = False) -> None:
        """Called by Keras before each `evaluate`."""
        self._check_compiled()
        super().make_test_function(force)

    def _check_compiled(self) -> None:
        """Before Keras builds what it then fails on; again for one batch."""
        trainer.forget_replaced_loss(self)
        losses = losses_of(self._objective, self.student)
        self._checked.check(self, losses)

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """As `keras.Model.fit`; weights without labels come in a dataset.

        The first step, and each one with `compile(run_eagerly=True)`, is
        checked for outputs that are not finite or are probabilities, and for
        labels that are no class numbers. On JAX both models run once more for
        it; on TensorFlow a refused compiled step has already updated the
        student. Later, outputs that are not finite give a loss of NaN, which
        `keras.callbacks.TerminateOnNaN` stops; a label out of range counts 0 in
        the cross-entropy on JAX, and on TensorFlow is an error on a CPU or NaN.

        Raises:
            RuntimeError: On torch, if torch.distributed has several ranks.
        """
        _data_checks.not_empty("x", x)
        x, y = _attached.unpack(x, y, kwargs)
        _data_checks.weights_used(y, kwargs)
        trainer.forget_replaced_loss(self)
        self._check_validation(y, **kwargs)
        if self._objective.has_soft_loss or self._objective.has_features:
            warn_of_augmentation(self.student)
        self._check_compiled()
        given = inspect.signature(keras.Model.fit).bind_partial
        _require_divided(given(self, x, y, *args, **kwargs).arguments)
        self._first_step.report.ask()
        with layout.divided():
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
        with self._phase(training=False), layout.divided():
            return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.predict`; also of what a cache attached."""
        x = x[0] if _attached.is_attached(x) else x
        with layout.divided():
            return super().predict(x, *args, **kwargs)


def _require_divided(given: dict) -> None:
    """Refuses arrays whose last batch the devices would not share evenly."""
    size = given.get("batch_size") or _BATCH_SIZE
    sizes = {"x": size, "validation_data": given.get("validation_batch_size")}
    rows = _rows(given.get("x"))
    held_out = given.get("validation_data")
    others = None
    if isinstance(held_out, tuple | list):
        others = _rows(held_out[0])
    elif held_out is None and rows and given.get("validation_split"):
        kept = math.floor(rows * (1.0 - given["validation_split"]))
        rows, others = kept, rows - kept
    for name, count in {"x": rows, "validation_data": others}.items():
        if count is not None:
            layout.require_divided(name, count, sizes[name] or size)


def _rows(x: Any) -> int | None:
    """How many examples arrays have; None where only a batch would tell."""
    if isinstance(x, _attached.WithTeacherLogits):
        x = x.inputs
    first = keras.tree.flatten(x)[0]
    return len(first) if hasattr(first, "shape") else None
