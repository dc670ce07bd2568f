"""What happens at the ends of epochs: a student watched while it trains.

    watch = kd.callbacks.Fidelity(teacher, (x_val, y_val))
    stop = keras.callbacks.EarlyStopping("val_kl", mode="min", patience=3)
    distiller.fit(x, y, epochs=50, callbacks=[watch, stop])

They put entries into the logs, so that they are listed before what reads these:
`EarlyStopping`, `ModelCheckpoint`, `CSVLogger`, `TensorBoard`. A deep copy, as
keras-tuner makes for each trial, shares the teacher, the data and what is
compiled for both.
"""

import copy
from typing import Any

import keras

from keras_distill import _kinds, _validation
from keras_distill._diagnosis import Diagnosis, require_terms
from keras_distill._following import Comparison, Forward, followed
from keras_distill._keras.trainer import compiled as compiled_with
from keras_distill._watched import Teacher, Watched, require_weight, student_of

__all__ = ["Diagnostics", "Fidelity"]


class _Watching(keras.callbacks.Callback):
    """Puts what `_found` measures into the logs of each epoch.

    Abstract: a subclass says what it measures, and forgets in `_forget` what
    belongs to the model of one fit.
    """

    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self._watched = watched
        self._forget()

    def _forget(self) -> None:
        raise NotImplementedError

    def _found(self) -> dict[str, float]:
        raise NotImplementedError

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        found = self._found()
        if logs is not None:
            logs.update(found)

    def __deepcopy__(self, memo: dict) -> "_Watching":
        fresh: Any = object.__new__(type(self))
        memo[id(self)] = fresh
        vars(fresh).update(params=None, _model=None)
        fresh._forget()
        for name, value in vars(self).items():
            if name not in vars(fresh):
                shared = isinstance(value, Watched | Comparison)
                own = value if shared else copy.deepcopy(value, memo)
                vars(fresh)[name] = own
        return fresh


class Fidelity(_Watching):
    """Logs how closely the student follows its teacher, at each epoch's end.

    | entry | meaning |
    |---|---|
    | `val_agreement` | share of examples with the same most probable class |
    | `val_kl` | `sum p log(p/q)`, `p` the teacher's, T = 1, in nats |
    | `val_nll` | with labels: the student's negative log-likelihood in nats |
    | `val_ece` | with labels: its expected calibration error |

    They are the entries `agreement_at_1`, `kl_divergence`, `student_nll` and
    `student_ece` of `kd.evaluate_fidelity`, which says more of them. What they
    need is compiled once. `val_kl` and `val_agreement` need no labels, and so
    are something to stop or to search by where there are none.

    Args:
        teacher_or_cache: A Keras model that ends in logits, which runs once per
            batch and epoch; a `kd.TeacherCache` built from these data, which
            spares that; or None for data with logits attached.
        data: What is looked at: `(x,)`, `(x, y)`, `(x, y, sample_weight)` of
            arrays, a `tf.data.Dataset` or a `keras.utils.PyDataset`. It is read
            once in each epoch.
        prefix: What the entries' names begin with.
        kind: What the logits are of: "classes" that exclude each other, or
            "labels" that do not, with a sigmoid for each.
        ignore_class: The label of examples that have none, as in
            `keras.losses.SparseCategoricalCrossentropy`; None if there is none.
        batch_size: Of arrays.

    Returns:
        A `keras.callbacks.Callback` for the `fit` of a `kd.Distiller`, or of
        the student by itself.

    Raises:
        TypeError: If `teacher_or_cache` is none of these.
        ValueError: If the data do not belong to the cache, have no end or can
            be read only once; when `fit` begins, if student and teacher do not
            fit together, or `kind` is not that of the distillation loss; and
            when an epoch ends, if no example has a weight above 0.

    Example:

    >>> def classifier(units):
    ...     layers = [keras.Input((4,)), keras.layers.Dense(units, "relu")]
    ...     return keras.Sequential([*layers, keras.layers.Dense(3)])
    >>> teacher, x = classifier(32), np.random.rand(8, 4)
    >>> loss = kd.losses.SoftTargets(4.0)
    >>> distiller = kd.Distiller(teacher, classifier(2), loss)
    >>> distiller.compile("adam")
    >>> watch = kd.callbacks.Fidelity(teacher, (x,))
    >>> history = distiller.fit(x, epochs=2, callbacks=[watch], verbose=0)
    >>> sorted(history.history)
    ['loss', 'soft_loss', 'val_agreement', 'val_kl']
    """

    _NAMES = {
        "agreement_at_1": "agreement",
        "kl_divergence": "kl",
        "student_nll": "nll",
        "student_ece": "ece",
    }

    def __init__(
        self,
        teacher_or_cache: Teacher,
        data: Any,
        *,
        prefix: str = "val_",
        kind: str = _kinds.CLASSES,
        ignore_class: int | None = None,
        batch_size: int = 256,
    ) -> None:
        self._prefix = prefix
        self._compare = Comparison(self._NAMES, kind, ignore_class)
        super().__init__(Watched(teacher_or_cache, data, batch_size, kind))

    def _forget(self) -> None:
        self._forward: Any = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._watched.require_student_of(self.model)
        if self._forward is None or not self._forward.is_of(self.model):
            self._forward = Forward(self.model)
            first = self._watched.first(student_of(self.model))
            followed(first, self._forward, self._compare)

    def _found(self) -> dict[str, float]:
        found = followed(self._watched, self._forward, self._compare)
        require_weight(found)
        return {
            self._prefix + short: found[name]
            for name, short in self._NAMES.items()
            if name in found
        }


class Diagnostics(_Watching):
    """Logs what the terms of a Distiller do, at each epoch's end.

    | entry | meaning |
    |---|---|
    | `student_entropy` | Shannon entropy `H(q)` of the student |
    | `student_renyi_entropy` | its Renyi entropy `H_{1/T}(q)` |
    | `teacher_entropy` | `H(p)` of the teacher at temperature 1 |
    | `tempered_teacher_entropy` | `H(p_T)` |
    | `divergence` | `D(p_T, q) = sum p_T log(p_T/q)`, what `TTM` minimises |
    | `tempered_divergence` | `D(p_T, q_T)`, `SoftTargets` without its `T^2` |
    | `power_sum` | `U_{1/T}(p)`, the weight of an example in `WTTM` |
    | `power_sum_sd` | its standard deviation over the examples |
    | `hard_gradient_norm` | of `hard_loss_weight * compiled loss`, if it is |
    | `soft_gradient_norm` | of `soft_loss_weight * distillation loss` |

    Formula: `D(p_T, q) = T D(p_T, q_T) - (T-1) H_{1/T}(q) + (T-1) H(p_T)` holds
    between them, Zheng and Yang 2024, eq. (15). All are means over the data, in
    nats. The gradients are means of those of the losses of each batch, by
    the student's trainable weights, and take the student in inference mode: a
    pass over the data costs about as much as an epoch of training on them, so
    pass some thousand examples. The step of training is left as it is.

    A term whose gradient is far smaller than the other's does not teach. Where
    `student_entropy` is far above `teacher_entropy`, calibrate the student by
    `kd.bias.fit_temperature` before its probabilities count.

    Args:
        teacher_or_cache: A Keras model that ends in logits of classes, which
            runs once per batch and epoch; a `kd.TeacherCache` built from these
            data; or None for data with logits attached.
        data: What is looked at: `(x,)`, `(x, y)`, `(x, y, sample_weight)` of
            arrays, a `tf.data.Dataset` or a `keras.utils.PyDataset`. It is read
            once in each epoch.
        temperature: `T` of the entries; None for that of the distillation loss,
            also where it is scheduled or set.
        prefix: What the entries' names begin with.
        batch_size: Of arrays.

    Returns:
        A `keras.callbacks.Callback` for the `fit` of a `kd.Distiller` with one
        output.

    Raises:
        TypeError: If `teacher_or_cache` is none of these, or `temperature` no
            real number.
        ValueError: If `temperature` is not above 0, if the data do not belong
            to the cache or can be read only once; and when `fit` begins, if the
            model is no such Distiller, or no temperature is known.

    Example:

    >>> def classifier(units):
    ...     layers = [keras.Input((4,)), keras.layers.Dense(units, "relu")]
    ...     return keras.Sequential([*layers, keras.layers.Dense(3)])
    >>> teacher, x = classifier(32), np.random.rand(8, 4)
    >>> distiller = kd.Distiller(teacher, classifier(2), kd.losses.TTM(4.0))
    >>> distiller.compile("adam")
    >>> watch = kd.callbacks.Diagnostics(teacher, (x,))
    >>> history = distiller.fit(x, callbacks=[watch], verbose=0).history
    >>> bool(history["student_entropy"][0] < np.log(3))
    True
    """

    def __init__(
        self,
        teacher_or_cache: Teacher,
        data: Any,
        *,
        temperature: float | None = None,
        prefix: str = "",
        batch_size: int = 256,
    ) -> None:
        if temperature is not None:
            temperature = _validation.temperature(temperature)
        self._temperature, self._prefix = temperature, prefix
        classes = _kinds.CLASSES
        super().__init__(Watched(teacher_or_cache, data, batch_size, classes))

    def _forget(self) -> None:
        self._diagnosis: Any = None
        self._made: Any = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        model = self.model
        made = model, compiled_with(model).made
        if made == self._made:
            return
        require_terms(model, self._temperature)
        self._watched.require_student_of(model)
        self._diagnosis = Diagnosis(model, self._temperature)
        self._diagnosis.try_out(self._watched)
        self._made = made

    def _found(self) -> dict[str, float]:
        found = self._diagnosis(self._watched)
        return {self._prefix + name: value for name, value in found.items()}
