"""What a Distiller logs.

Keras reports all metrics of a model in both phases, those that nothing has
updated as 0, and asks for them once more, outside of any step, when an epoch
ends.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_distill._keras import trainer
from keras_distill._objective import (
    Objective,
    Targets,
    soft_outputs,
    without_features,
)

Tensor = Any


class Logged(trainer.FedModel):
    """A student and an objective, whose terms are logged.

    Abstract: a subclass calls `_start_logs` once.
    """

    student: keras.Model
    _objective: Objective

    def _start_logs(self) -> None:
        self.hard_loss_tracker = keras.metrics.Mean(name="hard_loss")
        self.soft_loss_tracker = keras.metrics.Mean(name="soft_loss")
        if self._objective.features:
            self.feature_loss_tracker = keras.metrics.Mean(name="feature_loss")
        self._soft_trackers: dict[str, Any] = {}
        self._track_outputs()
        self._in_training = True
        self._labelled = True

    def _has_new_losses(self) -> None:
        self._track_outputs()

    def _track_outputs(self) -> None:
        """A metric for each output, where several have a distillation loss."""
        names = soft_outputs(self._objective, self.student)
        new = [name for name in names if name not in self._soft_trackers]
        if len(names) < 2 or not new:
            return
        for name in new:
            tracker = keras.metrics.Mean(name=f"{name}_soft_loss")
            self._soft_trackers[name] = tracker
        self.state_has_changed()

    def _soft_trackers_in_use(self) -> list:
        found = soft_outputs(self._objective, self.student)
        if len(found) < 2 or not self._in_training:
            return []
        return [self._soft_trackers[name] for name, on in found.items() if on]

    def _record_soft(self, found: list, batch_size: Any) -> None:
        for soft in found:
            if soft.output in self._soft_trackers:
                tracker = self._soft_trackers[soft.output]
                self._record(tracker, soft.value, batch_size)
        total = sum(soft.value for soft in found)
        self._record(self.soft_loss_tracker, total, batch_size)

    def _record(self, tracker: Any, loss: Tensor, batch_size: Any) -> None:
        # Keras divides losses by the number of TensorFlow replicas.
        loss = loss * trainer.replicas()
        tracker.update_state(loss, sample_weight=batch_size)

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
        y_pred, _ = without_features(y_pred)
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
        if self._objective.features and not (
            training and self._objective.has_features
        ):
            hidden += [self.feature_loss_tracker]
        shown = {id(metric) for metric in self._soft_trackers_in_use()}
        hidden += [
            metric
            for metric in self._soft_trackers.values()
            if id(metric) not in shown
        ]
        if not (training or compiled):
            hidden += [trainer.loss_tracker(self)]
        return hidden
