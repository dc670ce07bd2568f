"""Data that a callback looks at in each epoch, with a teacher's logits."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import keras

from keras_distill import (
    _attached,
    _data,
    _data_checks,
    _kinds,
    _validation,
)
from keras_distill._inputs import same_inputs
from keras_distill._keras import graph
from keras_distill._keras.frozen import FrozenModel
from keras_distill.cache import TeacherCache
from keras_distill.distiller import Distiller

Tensor = Any
Teacher: TypeAlias = keras.Model | TeacherCache | None
_INFINITE = -1  # As tf.data.INFINITE_CARDINALITY


class Batch(NamedTuple):
    """Tensors; None for labels and weights that are not there."""

    x: Any
    teacher_logits: Tensor
    y: Any
    weight: Any


class Watched:
    """A dataset and the teacher's logits for it, read anew at each pass.

    Args:
        teacher: A model, which runs for each batch; a cache of its logits for
            these data; or None for data that have logits attached.
        data: As `evaluate_fidelity` takes it, but no generator.
        batch_size: Of arrays.
        kind: What the logits are of, "classes" or "labels".
    """

    def __init__(
        self, teacher: Teacher, data: Any, batch_size: int, kind: str
    ) -> None:
        _kinds.one_of_both("kind", kind)
        _can_be_read_again(data)
        if isinstance(data, _attached.WithTeacherLogits):
            data = (data,)
        first = data[:1] if isinstance(data, tuple) else data
        _data_checks.not_empty("data", first)
        self._run = None
        self._batch_size, self._kind = batch_size, kind
        self.teacher = teacher
        if isinstance(teacher, TeacherCache):
            data = teacher.attach(data)
        elif teacher is not None:
            _require_teacher(teacher, kind)
            self._run = FrozenModel(teacher).compiled()
        self._data = data

    def __iter__(self) -> Iterator[Batch]:
        for x, y, weight in _data.batches(self._data, self._batch_size):
            x, logits = _attached.split(x)
            _one_source(self._run, logits)
            x, y, weight = (_tensors(part) for part in (x, y, weight))
            if self._run is None:
                logits = _attached.dense(_tensors(logits), self._kind)
            else:
                logits = self._run(x)
            yield Batch(x, logits, y, weight)

    def first(self, student: keras.Model) -> Iterator[Batch]:
        """One batch, for what is wrong to show before an epoch is over.

        None for a student that has no variables before its first step, as some
        that run eagerly.
        """
        return itertools.islice(self, int(student.built))

    def require_student_of(self, model: keras.Model) -> None:
        """Refuses a student that cannot be compared with the teacher."""
        student = student_of(model)
        _validation.bare_output("student", student)
        if isinstance(model, Distiller):
            _require_kind(model.objective.kind, self._kind)
        graph.require_logits("student", student, self._kind, _kinds.BY_KIND)
        if isinstance(self.teacher, keras.Model):
            models = [("teacher", self.teacher), ("student", student)]
            _validation.same_outputs(models)
            same_inputs(models)


def student_of(model: keras.Model) -> keras.Model:
    """The student of a Distiller; any other model is one itself."""
    return model.student if isinstance(model, Distiller) else model


def _require_teacher(teacher: Any, kind: str) -> None:
    if not isinstance(teacher, keras.Model):
        raise TypeError(
            "`teacher_or_cache` must be a Keras model, a kd.TeacherCache, or "
            "None for data with logits attached. Received: "
            f"{type(teacher).__name__}."
        )
    _validation.bare_output("teacher_or_cache", teacher)
    graph.require_logits("teacher_or_cache", teacher, kind, _kinds.BY_KIND)


def _require_kind(compared: str, kind: str) -> None:
    if compared in (_kinds.CLASSES, _kinds.LABELS) and compared != kind:
        raise ValueError(
            "The callback must be of what the distillation loss compares. "
            f"Received: a loss that compares {compared}, and a callback of "
            f"{kind}. Pass kd.callbacks.Fidelity(..., kind={compared!r}); "
            "kd.callbacks.Diagnostics is of classes alone."
        )


def require_weight(found: Any) -> None:
    """Refuses data none of which counted."""
    if not found:
        raise ValueError(
            "`data` must hold at least one batch of positive weight. Received: "
            "none in this epoch. Pass data that can be read again, and leave "
            "out weights of 0."
        )


def _can_be_read_again(data: Any) -> None:
    tf_data = _data.is_tf_dataset(data)
    if (
        tf_data
        and int(data.cardinality()) == _INFINITE
        or (
            isinstance(data, keras.utils.PyDataset) and data.num_batches is None
        )
    ):
        raise ValueError(
            "`data` is read to its end in each epoch. Received: "
            f"{type(data).__name__}, which has none. Pass what comes before "
            "`repeat()`, or take a number of batches."
        )
    if isinstance(data, Iterator):
        raise ValueError(
            "`data` is read once in each epoch. Received: "
            f"{type(data).__name__}, which can be read only once. Pass arrays, "
            "a tf.data.Dataset or a keras.utils.PyDataset."
        )


def _one_source(run: Any, attached: Any) -> None:
    if (run is None) == (attached is None):
        found = "both" if run else "neither"
        raise ValueError(
            "The teacher's logits must come from `teacher_or_cache` or with "
            f"`data`. Received: {found}. Pass a teacher or a kd.TeacherCache "
            "and plain data, or None and data with logits attached, as "
            "kd.WithTeacherLogits."
        )


def _tensors(part: Any) -> Any:
    def tensor(leaf: Any) -> Any:
        return None if leaf is None else keras.ops.convert_to_tensor(leaf)

    return keras.tree.map_structure(tensor, part)
