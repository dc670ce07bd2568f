"""A search over ways to distil, for keras-tuner.

    hypermodel = kd.tuner.DistillationHyperModel(build_student, teacher, ...)
    tuner = keras_tuner.RandomSearch(hypermodel, "val_accuracy", max_trials=20)
    tuner.search(x, y, validation_data=validation, epochs=10)
    kd.tuner.best_student(tuner).save("student.keras")

It needs keras-tuner, `pip install "keras-distill[tuner]"`, and is imported when
it is first asked for, not with the package.
"""

import weakref
from collections.abc import Callable
from typing import Any

import keras

from keras_distill import (
    _data_checks,
    _optional,
    _search,
    _space,
    _trials,
    _validation,
)
from keras_distill._keras.jax import compiled_programs_kept
from keras_distill.distiller import Distiller

with _optional.imports_of("tuner", "kd.tuner"):
    import keras_tuner

__all__ = ["DistillationHyperModel", "best_student"]


class DistillationHyperModel(keras_tuner.HyperModel):
    """A `keras_tuner.HyperModel` that searches loss, temperature and weight.

    Formula: each trial trains `kd.Distiller(teacher, build_student(hp),
    loss(temperature), hard_loss_weight=h, soft_loss_weight=s)`, with `h = 1 -
    s` (Hinton et al. 2015, section 2), or a fixed `h` (Zheng and Yang 2024, eq.
    (2) and (23), with `h = 1`).

    Pass it to a tuner of keras-tuner, without that tuner's own `optimizer`,
    `loss` and `metrics`, and to `search` what `Distiller.fit` takes. Choose by
    what does not depend on the searched loss: a compiled metric, such as
    `objective="val_accuracy"`, or `"val_loss"`, which is the compiled loss
    alone. `"loss"`, which losses and weights scale, is refused. Students of
    `TTM` and `WTTM` are less sure than they are right until
    `kd.bias.fit_temperature` calibrates them, so `"val_loss"` puts them behind
    others: compare them by `"val_accuracy"`. Without labels,
    `kd.callbacks.Fidelity` logs `"val_kl"` and `"val_agreement"`.

    The hyperparameters are named "distillation_loss", "temperature" and
    "soft_loss_weight". Those that `build_student` and `compile` add need other
    names; they may read these with `hp.get`. The temperature is active only
    with a loss that has one. It is sampled on a log scale, as is the weight if
    `hard_loss_weight` is a number and the range does not start at 0. Lists
    of values and `keras_tuner.GridSearch` make a grid. What `hyperparameters`
    of the tuner hold goes first, where all `losses` have a temperature.

    Trials of one student and one loss run the same programs, whatever their
    temperatures, learning rates and weights; a weight of 0 makes another. On
    JAX the first trial compiles them, and JAX's persistent compilation cache
    keeps them in the folder "compiled" of the tuner's project, for the trials
    that follow and for a search that goes on later. JAX runs unchecked what
    lies there; each worker of a parallel search has its own. The cache is set
    while a trial is fitted; one that is set already, or switched off, is left
    as it is. On TensorFlow each trial traces its steps, and compiles them if
    asked to, as any new model does: nothing is spared. Torch compiles nothing
    unless asked to.

    A tuner goes on with what it finds in its `directory`, whatever the teacher:
    give each teacher a directory of its own, or pass `overwrite=True`. What was
    found is drawn by `kd.plotting.search(tuner)`.

    keras-tuner clears Keras's global state before each trial. The dtype policy
    and the distribution that were set when this object was made are set again.

    Args:
        build_student: Makes a new student of `hp`, a
            `keras_tuner.HyperParameters`, each time it is called. A student
            without an Input layer takes its inputs from the teacher.
        teacher: A Keras model that ends in logits, or `None` to search on data
            with teacher logits attached, which spares running it in every
            trial; see `kd.WithTeacherLogits`.
        compile: Arguments of `Distiller.compile`: a dict, of whose optimizer
            and metrics each trial gets a copy made from their configs, or a
            function of `hp` that returns a new dict each time.
        losses: Names of one or more of the classes of `kd.losses` between
            classes that exclude each other, by default `SoftTargets`, `TTM`,
            `WTTM` and `LogitMatching`; or a dict from names to functions of
            `hp` that return a `keras.losses.Loss`. What such a function adds is
            active only with its loss.
        temperature: Lowest and highest temperature of the losses that `losses`
            names, a list of temperatures to choose from, or a number to fix it.
        soft_loss_weight: Lowest and highest weight of the distillation loss, a
            list of weights to choose from, or a number to fix it. Left out, it
            is from 0.1 to 1; of losses given by name, beside all of which a
            Distiller gives labels the weight 1, such as `["TTM", "WTTM"]`, it
            is from 0.1 to 100, on a log scale.
        hard_loss_weight: Weight of the compiled loss. `None` stands for `1 -
            soft_loss_weight`; for 1 where both are left out with such losses.

    Returns:
        From `build(hp)`: a compiled `kd.Distiller`.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If a range is empty or out of bounds, if a loss or an
            argument of `compile` is unknown or cannot be copied, or if the
            teacher ends in probabilities or is not built.

    Example:

    >>> import keras_tuner
    >>> def classifier(units):
    ...     layers = [keras.Input((4,)), keras.layers.Dense(units, "relu")]
    ...     return keras.Sequential([*layers, keras.layers.Dense(3)])
    >>> hypermodel = kd.tuner.DistillationHyperModel(
    ...     lambda hp: classifier(hp.Int("units", 2, 8)),
    ...     teacher=classifier(32),
    ...     compile={
    ...         "loss": keras.losses.SparseCategoricalCrossentropy(True),
    ...         "metrics": ["accuracy"],
    ...     },
    ... )
    >>> hp = keras_tuner.HyperParameters()
    >>> distiller = hypermodel.build(hp)
    >>> sorted(hp.values)
    ['distillation_loss', 'soft_loss_weight', 'temperature', 'units']
    """

    def __init__(
        self,
        build_student: Callable[[Any], keras.Model],
        teacher: keras.Model | None = None,
        *,
        compile: dict[str, Any] | Callable[[Any], dict[str, Any]],
        losses: _search.Losses = _search.BY_DEFAULT,
        temperature: _search.Range = _search.TEMPERATURE,
        soft_loss_weight: _search.Range | None = None,
        hard_loss_weight: float | None = None,
    ) -> None:
        super().__init__()
        _search.check_function("build_student", build_student, "keras.Model")
        if teacher is not None:
            _search.check_teacher(teacher, losses)
        if isinstance(compile, dict):
            _search.check_settings(_search.copied(compile))
        else:
            _search.check_function(
                "compile", compile, "dict of compile arguments"
            )
        self.build_student = build_student
        self.teacher = teacher
        self.compile = compile
        self.losses = _search.checked_losses(losses, temperature)
        if isinstance(compile, dict):
            _search.check_compiled(compile, self.losses, teacher)
        self.temperature = _search.checked_range(
            "temperature", temperature, lambda _, t: _validation.temperature(t)
        )
        weights = _search.checked_loss_weights(
            hard_loss_weight, soft_loss_weight, self.losses
        )
        self.hard_loss_weight, self.soft_loss_weight = weights
        self._made: weakref.WeakSet = weakref.WeakSet()
        self._dtype_policy = keras.config.dtype_policy()
        self._distribution = keras.distribution.distribution()

    def build(self, hp: Any) -> Distiller:
        """Returns the compiled Distiller of one trial."""
        keras.config.set_dtype_policy(self._dtype_policy)
        if self._distribution is not None:
            keras.distribution.set_distribution(self._distribution)
        loss = _space.distillation_loss(hp, self.losses, self.temperature)
        weights = self.hard_loss_weight, self.soft_loss_weight
        hard, soft = _space.loss_weights(hp, *weights)
        distiller = Distiller(
            self.teacher,
            self._student(hp),
            loss,
            hard_loss_weight=hard,
            soft_loss_weight=soft,
        )
        distiller.compile(**self._settings(hp))
        # Weights are saved with the state of the optimizer, which a new one
        # can take back only if it is built.
        self._only_once("compile", distiller.optimizer)
        distiller.optimizer.build(distiller.trainable_variables)
        return distiller

    def fit(self, hp: Any, model: Distiller, *args: Any, **kwargs: Any) -> Any:
        """Trains the Distiller of one trial, as a tuner asks it to."""
        tuner = _trials.tuner_of(kwargs.get("callbacks"))
        wrong = _trials.incomparable(tuner)
        if wrong:
            raise keras_tuner.errors.FatalValueError(wrong)
        with compiled_programs_kept(_trials.folder_of_programs(tuner)):
            try:
                return super().fit(hp, model, *args, **kwargs)
            except ValueError as error:
                if _data_checks.is_of_source(error):
                    wrong = _trials.without_a_source(error)
                    raise keras_tuner.errors.FatalValueError(wrong) from error
                raise

    def _student(self, hp: Any) -> keras.Model:
        student = self.build_student(hp)
        _validation.is_model("build_student(hp)", student)
        self._only_once("build_student", student)
        if not student.built:
            student(_symbolic_inputs(self.teacher))
        return student

    def _settings(self, hp: Any) -> dict[str, Any]:
        if isinstance(self.compile, dict):
            return _search.copied(self.compile)
        settings = self.compile(hp)
        _search.check_settings(settings)
        return settings

    def _only_once(self, function: str, made: Any) -> None:
        """Refuses a student or an optimizer that another trial has used."""
        if made in self._made:
            raise keras_tuner.errors.FatalValueError(
                f"`{function}` must make new objects each time it is called. "
                f"Received: the {type(made).__name__} {made.name!r} for a "
                "second time, with what an earlier trial left in it. Create it "
                "inside the function."
            )
        self._made.add(made)


def best_student(tuner: Any) -> keras.Model:
    """Returns the student of the best trial, with its trained weights.

    The weights are those of the trial's best epoch. The student is a plain
    Keras model, not compiled; `student.save` stores nothing of this package.
    Like keras-tuner's `get_best_models`, this clears Keras's global state.

    Args:
        tuner: A `keras_tuner.Tuner` with a `DistillationHyperModel`, after
            `search`, or made anew for the directory of an earlier search.

    Returns:
        The student.

    Raises:
        TypeError: If `tuner` is no such tuner.
        ValueError: If none of its trials was completed.

    Example:

    >>> kd.tuner.best_student("search")
    Traceback (most recent call last):
    ...
    TypeError: `tuner` must be a keras_tuner.Tuner. Received: tuner='search'.
    """
    if not isinstance(tuner, keras_tuner.Tuner):
        raise TypeError(
            f"`tuner` must be a keras_tuner.Tuner. Received: tuner={tuner!r}."
        )
    trials = tuner.oracle.get_best_trials(1)
    if not trials or trials[0].status != "COMPLETED":
        raise ValueError(_nothing_completed(tuner, trials))
    (distiller,) = tuner.get_best_models(1)
    if not isinstance(distiller, Distiller):
        raise TypeError(
            "`tuner` must search with a kd.tuner.DistillationHyperModel. "
            f"Received: a tuner of {type(distiller).__name__} models."
        )
    return distiller.student


def _nothing_completed(tuner: Any, trials: list) -> str:
    where = f"`tuner` has no completed trial in {tuner.project_dir!r}."
    if not trials:
        return (
            f"{where} Received: a tuner without trials. Call tuner.search() "
            "first. After a parallel search call this in the chief's process, "
            "or set KERASTUNER_TUNER_ID to the chief's before making the tuner."
        )
    return (
        f"{where} Received: trial {trials[0].trial_id} of status "
        f"{trials[0].status}. {trials[0].message or ''}"
    )


def _symbolic_inputs(teacher: Any) -> Any:
    """Returns inputs like those of a Functional or Sequential teacher."""
    if not getattr(teacher, "inputs", None):
        raise ValueError(
            "The student's input shape is not known. Received: a student from "
            "`build_student` that is not built, and "
            f"{'no teacher' if teacher is None else 'a teacher'} to take it "
            "from. Start the student with keras.Input(shape), or build it in "
            "`build_student`."
        )
    single = isinstance(teacher, keras.Sequential)
    return keras.tree.map_structure(
        lambda tensor: keras.KerasTensor(tensor.shape, tensor.dtype),
        teacher.inputs[0] if single else teacher.input,
    )
