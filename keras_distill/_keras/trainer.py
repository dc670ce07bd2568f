"""Logs that hold what was measured, and nothing else, in each phase."""

from collections.abc import Callable
from typing import Any

import keras

from keras_distill._keras.jax import keep_state


class PhaseLogs(keras.Model):
    """A model whose training logs hold other metrics than its evaluation.

    Keras reports all metrics of a model in both phases, those that nothing has
    updated as 0, and asks for them once more, outside the step, when an epoch
    ends. So each call of a step function notes which phase it belongs to, and
    each step notes, when it is traced, whether there were labels.
    """

    train_function: Any
    test_function: Any
    predict_function: Any

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.in_training = False
        self._labelled_training = True
        self._labelled_evaluation = True

    def metrics_without_value(self, labelled: bool) -> list:
        """Metrics that the current phase does not update; for subclasses."""
        raise NotImplementedError

    def wrap_train_function(self, function: Callable) -> Callable:
        """What a subclass adds to the compiled training function."""
        return function

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict:
        labelled = y is not None
        if self.in_training:
            self._labelled_training = labelled
        else:
            self._labelled_evaluation = labelled
        if not labelled:
            return self.get_metrics_result()
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self) -> dict:
        hidden = {id(metric) for metric in self._hidden_metrics()}
        results: dict = {}
        for metric in self.metrics:
            if id(metric) not in hidden:
                result = metric.result()
                nested = isinstance(result, dict)
                results.update(result if nested else {metric.name: result})
        return results

    def _hidden_metrics(self) -> list:
        labelled = self._labelled_evaluation
        if self.in_training:
            labelled = self._labelled_training
        hidden = self.metrics_without_value(labelled)
        if not labelled:
            hidden += [self._compile_metrics]
            hidden += self._compile_loss.metrics if self._compile_loss else []
        return hidden

    def make_train_function(self, force: bool = False) -> None:
        if self.train_function is None or force:
            super().make_train_function(force)
            function = self.wrap_train_function(self.train_function)
            self.train_function = self._noting_phase(function, training=True)

    def make_test_function(self, force: bool = False) -> None:
        if self.test_function is None or force:
            super().make_test_function(force)
            function = self.test_function
            self.test_function = self._noting_phase(function, training=False)

    def make_predict_function(self, force: bool = False) -> None:
        if self.predict_function is None or force:
            super().make_predict_function(force)
            self.predict_function = keep_state(self, self.predict_function)

    def _noting_phase(self, function: Callable, training: bool) -> Callable:
        function = keep_state(self, function)

        def call(*args: Any) -> Any:
            self.in_training = training
            return function(*args)

        return call
