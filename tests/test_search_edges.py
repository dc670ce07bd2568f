"""What stops a search at once, and lists of values in the place of ranges."""

import keras
import keras_tuner as kt
import models
import numpy as np
import pytest

import keras_distill as kd

# keras-tuner 1.4.8 calls threading.currentThread().getName() all the time.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:(currentThread|getName)\(\) is deprecated:DeprecationWarning"
)
X, Y = models.data(16)
EAGER = {"loss": models.CROSSENTROPY, "metrics": ["accuracy"]}
EAGER |= {"run_eagerly": True}


def hypermodel(teacher=None, **kwargs):
    def build_student(hp):
        return models.sequential(units=4)

    return kd.tuner.DistillationHyperModel(
        build_student, teacher, compile=EAGER, **kwargs
    )


slow = pytest.mark.slow  # Searches.


def search(folder, model, x=X, objective="val_accuracy"):
    tuner = kt.RandomSearch(model, objective, max_trials=1, directory=folder)
    tuner.search(x, Y, validation_data=(X, Y), verbose=0)
    return tuner


def multi(*names):
    return [kt.Objective(name, "max") for name in names]


@slow
@pytest.mark.parametrize(
    "objective, name",
    [
        ("loss", "loss"),
        (kt.Objective("soft_loss", "min"), "soft_loss"),
        (kt.Objective("head_soft_loss", "min"), "head_soft_loss"),
        (multi("val_accuracy", "loss"), "loss"),
    ],
    ids=["loss", "soft_loss", "of an output", "one of two"],
)
def test_an_objective_of_training_is_refused(objective, name, tmp_path):
    message = f"can be compared by. Received: objective='{name}', of training"
    with pytest.raises(kt.errors.FatalValueError, match=message):
        search(tmp_path, hypermodel(models.sequential()), objective=objective)


@slow
@pytest.mark.parametrize("objective", ["val_loss", "accuracy"])
def test_other_objectives_are_not(objective, tmp_path):
    tuner = search(
        tmp_path, hypermodel(models.sequential()), objective=objective
    )
    statuses = [trial.status for trial in tuner.oracle.trials.values()]
    assert statuses == ["COMPLETED"]


def attached():
    logits = models.logits(models.sequential(seed=2), X)
    return kd.WithTeacherLogits(X, logits)


@slow
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "live, x, message",
    [
        (False, X, "This Distiller has no teacher. Received"),
        (True, attached(), "There are two sorts of teacher logits. Received"),
    ],
    ids=["neither", "both"],
)
def test_data_that_no_trial_can_train_on_stop_a_search(
    live, x, message, compiled, tmp_path, monkeypatch
):
    monkeypatch.setitem(EAGER, "run_eagerly", not compiled)
    model = hypermodel(models.sequential() if live else None)
    message = f"No trial can train on these data: {message}.*In a search"
    with pytest.raises(kt.errors.FatalValueError, match=message):
        search(tmp_path, model, x)


@slow
def test_another_error_fails_its_trial_alone(tmp_path):
    def build_student(hp):
        units = hp.Choice("units", [3, 4])
        return keras.Sequential(
            [keras.Input((models.FEATURES,)), keras.layers.Dense(units)]
        )

    model = kd.tuner.DistillationHyperModel(
        build_student, compile=EAGER, temperature=2.0, losses=["SoftTargets"]
    )
    tuner = kt.GridSearch(
        model,
        "val_accuracy",
        hyperparameters=_only_units(),
        tune_new_entries=False,
        directory=tmp_path,
    )
    tuner.search(attached(), Y, validation_data=(X, Y), verbose=0)
    found = {
        trial.hyperparameters["units"]: trial.status
        for trial in tuner.oracle.trials.values()
    }
    assert found == {3: "COMPLETED", 4: "FAILED"}


def _only_units():
    hp = kt.HyperParameters()
    hp.Choice("units", [3, 4])
    return hp


# Lists.


@slow
def test_lists_are_what_to_choose_from(tmp_path):
    model = hypermodel(
        models.sequential(),
        losses=["TTM"],
        temperature=[2, 8.0, 4],
        soft_loss_weight=[0.5, 0.1],
    )
    tuner = kt.GridSearch(model, "val_accuracy", directory=tmp_path)
    tuner.run_trial = lambda trial, **kwargs: {"val_accuracy": 0.5}
    tuner.search(verbose=0)
    tried = [t.hyperparameters for t in tuner.oracle.trials.values()]
    pairs = [(hp["temperature"], hp["soft_loss_weight"]) for hp in tried]
    expected = {(t, w) for t in (2.0, 4.0, 8.0) for w in (0.1, 0.5)}
    assert len(pairs) == 6 and set(pairs) == expected


def test_one_value_in_a_list_is_fixed():
    hp = kt.HyperParameters()
    distiller = hypermodel(
        models.sequential(), losses=["TTM"], temperature=[3.0]
    ).build(hp)
    assert distiller.distillation_loss.temperature == 3.0


@pytest.mark.parametrize("values", [[], [2.0, 4.0, 2]])
def test_a_list_needs_different_values(values):
    message = "`temperature` must be a list of one or more different values"
    with pytest.raises(ValueError, match=message):
        hypermodel(temperature=values)


def test_each_value_of_a_list_is_checked():
    with pytest.raises(ValueError, match="`temperature` must be greater"):
        hypermodel(temperature=[1.0, 0.0])
    with pytest.raises(ValueError, match="must not exceed 1"):
        hypermodel(soft_loss_weight=[0.5, 2.0])


# The picture.


RISING = tuple(np.linspace(0.1, 0.8, 8))


def finished(folder, scores=RISING, **kwargs):
    kwargs = {"losses": ["TTM", "LogitMatching"], **kwargs}
    model = hypermodel(models.sequential(), **kwargs)
    tuner = kt.RandomSearch(
        model, "val_accuracy", max_trials=8, seed=1, directory=folder
    )
    scores = iter(scores)
    tuner.run_trial = lambda trial, **kw: {"val_accuracy": next(scores)}
    tuner.search(verbose=0)
    return tuner


@slow
def test_a_search_is_drawn_by_what_was_searched(tmp_path):
    tuner = finished(tmp_path)
    figure = kd.plotting.search(tuner, tmp_path / "search.png")
    assert (tmp_path / "search.png").stat().st_size > 5000
    temperature, weight, loss = figure.axes
    names = [axes.get_xlabel() for axes in figure.axes]
    assert names == ["temperature", "soft_loss_weight", "distillation_loss"]
    assert temperature.get_ylabel() == "val_accuracy"
    assert temperature.get_xscale() == "log"
    assert [t.get_text() for t in loss.get_xticklabels()] == [
        "LogitMatching",
        "TTM",
    ]
    trials = list(tuner.oracle.trials.values())
    tempered = [
        trial
        for trial in trials
        if trial.hyperparameters["distillation_loss"] == "TTM"
    ]
    assert 0 < len(tempered) < 8
    assert temperature.get_title() == f"{8 - len(tempered)} trials without"
    [line] = [line for line in temperature.lines if line.get_label() == "TTM"]
    drawn = set(zip(*line.get_data(), strict=True))
    assert drawn == {
        (trial.hyperparameters["temperature"], trial.score)
        for trial in tempered
    }
    rings = [line for line in weight.lines if line.get_markersize() == 13]
    [[best]] = [ring.get_ydata() for ring in rings]
    assert best == pytest.approx(0.8)
    [legend] = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [
        "LogitMatching",
        "TTM",
    ]


@slow
def test_of_equal_scores_the_first_is_the_best(tmp_path):
    tuner = finished(tmp_path, scores=[0.5, 0.9, 0.1, 0.9, *[0.2] * 4])
    figure = kd.plotting.search(tuner)
    first, *_ = tuner.oracle.get_best_trials(1)
    rings = [
        [*line.get_xdata(), *line.get_ydata()]
        for line in figure.axes[1].lines
        if line.get_markersize() == 13
    ]
    assert rings == [[first.hyperparameters["soft_loss_weight"], 0.9]]


@slow
def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(TypeError, match="Received: tuner=3"):
        kd.plotting.search(3)
    model = hypermodel(models.sequential())
    tuner = kt.RandomSearch(model, "val_accuracy", directory=tmp_path)
    with pytest.raises(ValueError, match="Received: 0 of 0 in"):
        kd.plotting.search(tuner)
    tuner = finished(tmp_path / "one")
    for trial in tuner.oracle.trials.values():
        trial.hyperparameters.values.update(
            tuner.oracle.get_best_trials(1)[0].hyperparameters.values
        )
    with pytest.raises(ValueError, match="8 trials with the same"):
        kd.plotting.search(tuner)
