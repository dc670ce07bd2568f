"""The search over ways to distil, with keras-tuner."""

import gc
import inspect
import zipfile

import keras
import keras_tuner as kt
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd
from keras_distill import _search

# keras-tuner 1.4.8 calls threading.currentThread().getName() all the time.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:(currentThread|getName)\(\) is deprecated:DeprecationWarning"
)
HyperModel = kd.tuner.DistillationHyperModel
best_student = kd.tuner.best_student
X, _ = models.data(32)
TOP_2 = kt.Objective("val_top_2", "max")


def top_2():
    return keras.metrics.SparseTopKCategoricalAccuracy(2, name="top_2")


def settings():
    return {
        "optimizer": keras.optimizers.Adam(0.1),
        "loss": models.CROSSENTROPY,
        "metrics": ["accuracy", top_2()],
        "run_eagerly": True,
    }


@pytest.fixture(autouse=True, scope="module")
def _fast_collection():
    """keras-tuner collects garbage twice per trial; leave it our own."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def teacher():
    teacher = models.sequential(units=32)
    teacher.layers[-1].kernel.assign(teacher.layers[-1].kernel * 3)
    return teacher


@pytest.fixture(scope="module")
def labels(teacher):
    return models.logits(teacher, X).argmax(axis=-1)


def student(hp):
    return models.sequential(units=4, seed=hp.Int("seed", 1, 99))


def hypermodel(teacher=None, build=student, compile=None, **kwargs):
    return HyperModel(build, teacher, compile=compile or settings(), **kwargs)


def built(values=None, **kwargs):
    """A Distiller made of the given values, and the space it declared."""
    hp = kt.HyperParameters()
    hp.values = dict(values or {})
    return hypermodel(**kwargs).build(hp), hp


def space(hp):
    return {parameter.name: parameter for parameter in hp.space}


# The space.


def test_defaults_search_loss_temperature_and_weight():
    distiller, hp = built()
    loss, temperature, weight, seed = hp.space
    assert loss.name == "distillation_loss"
    assert loss.values == ["SoftTargets", "TTM", "WTTM", "LogitMatching"]
    assert temperature.name == "temperature"
    assert (temperature.min_value, temperature.max_value) == (1, 20)
    assert temperature.sampling == "log"
    assert weight.name == "soft_loss_weight"
    assert (weight.min_value, weight.max_value) == (0.1, 1)
    assert weight.sampling == "linear"
    assert seed.name == "seed"
    assert type(distiller) is kd.Distiller


@pytest.mark.parametrize("name", ["SoftTargets", "TTM", "WTTM"])
def test_loss_and_temperature_are_those_of_the_trial(name):
    distiller, _ = built({"distillation_loss": name, "temperature": 7.0})
    assert type(distiller.distillation_loss) is getattr(kd.losses, name)
    assert distiller.distillation_loss.temperature == 7


def test_logit_matching_has_no_temperature():
    distiller, hp = built({"distillation_loss": "LogitMatching"})
    assert type(distiller.distillation_loss) is kd.losses.LogitMatching
    assert "temperature" not in hp
    (condition,) = space(hp)["temperature"].conditions
    assert condition.name == "distillation_loss"
    assert condition.values == ["SoftTargets", "TTM", "WTTM"]


def test_logit_matching_alone_declares_no_temperature():
    _, hp = built(losses=["LogitMatching"])
    assert set(space(hp)) == {"distillation_loss", "soft_loss_weight", "seed"}


def test_tuner_finds_the_temperature_behind_a_first_loss_without(tmp_path):
    model = hypermodel(losses=["LogitMatching", "TTM"])
    tuner = random_search(model, tmp_path)
    assert "temperature" in space(tuner.oracle.get_space())


def test_numbers_are_fixed():
    distiller, hp = built(
        losses=["TTM"], temperature=3, soft_loss_weight=2, hard_loss_weight=1
    )
    fixed = {"distillation_loss": "TTM", "temperature": 3.0}
    fixed |= {"soft_loss_weight": 2.0}
    for name, value in fixed.items():
        assert type(space(hp)[name]).__name__ == "Fixed"
        assert hp[name] == value
    assert distiller.distillation_loss.temperature == 3
    assert distiller.soft_loss_weight == 2
    assert distiller.hard_loss_weight == 1


def test_losses_of_functions_have_hyperparameters_of_their_own(tmp_path):
    def mixed(hp):
        return kd.losses.WTTM(hp.Float("T", 2.0, 8.0))

    found = {"plain": lambda hp: kd.losses.LogitMatching(), "mixed": mixed}
    model = hypermodel(losses=found)
    declared = space(random_search(model, tmp_path).oracle.get_space())
    assert declared["distillation_loss"].values == ["plain", "mixed"]
    (condition,) = declared["T"].conditions
    assert (condition.name, condition.values) == (
        "distillation_loss",
        ["mixed"],
    )
    assert "temperature" not in declared
    distiller, hp = built({"distillation_loss": "plain"}, losses=found)
    assert type(distiller.distillation_loss) is kd.losses.LogitMatching
    assert "T" not in hp
    values = {"distillation_loss": "mixed", "T": 5.0}
    distiller, hp = built(values, losses=found)
    assert type(distiller.distillation_loss) is kd.losses.WTTM
    assert distiller.distillation_loss.temperature == hp["T"] == 5


def test_one_loss_of_a_function_has_no_condition():
    found = {"mine": lambda hp: kd.losses.TTM(hp.Float("T", 2.0, 8.0))}
    distiller, hp = built({"T": 3.0}, losses=found)
    assert distiller.distillation_loss.temperature == 3
    assert hp["distillation_loss"] == "mine"
    assert not space(hp)["T"].conditions


def test_a_loss_that_is_added_is_found(monkeypatch):
    class Later(kd.losses.SoftTargets):
        pass

    monkeypatch.setattr(kd.losses, "Later", Later, raising=False)
    monkeypatch.setattr(kd.losses, "__all__", [*kd.losses.__all__, "Later"])
    found = list(_search.built_in())
    # Those that have a temperature come first.
    assert found.index("Later") == found.index("HardLabels") - 1


def test_a_search_is_among_the_losses_of_both_papers():
    assert "DKD" in _search.BUILT_IN
    assert "SigmoidTargets" not in _search.BUILT_IN
    by_default = ("SoftTargets", "TTM", "WTTM", "LogitMatching")
    assert by_default == _search.BY_DEFAULT
    assert hypermodel().losses == list(by_default)
    with pytest.raises(ValueError, match="different names out of.*'DKD'"):
        hypermodel(losses=["SigmoidTargets"])


def test_a_loss_that_uses_labels_is_searched_by_name():
    distiller, hp = built(losses=["DKD"])
    assert isinstance(distiller.distillation_loss, kd.losses.DKD)
    assert distiller.distillation_loss.temperature == hp["temperature"]


def test_sigmoid_heads_are_searched_with_losses_of_functions():
    def one_unit(hp=None):
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])

    found = {"mine": lambda hp: kd.losses.SigmoidTargets(hp.Float("T", 1, 8))}
    compiled = {"loss": keras.losses.BinaryCrossentropy(from_logits=True)}
    distiller, _ = built(
        losses=found, teacher=one_unit(), build=one_unit, compile=compiled
    )
    logs = distiller.train_on_batch(X, X[:, :1] > 0, return_dict=True)
    assert np.isfinite(float(logs["soft_loss"]))


def test_hard_loss_weight_is_the_rest_to_one():
    distiller, _ = built({"soft_loss_weight": 0.25})
    assert distiller.soft_loss_weight == 0.25
    assert distiller.hard_loss_weight == 0.75


def test_hard_loss_weight_may_be_fixed():
    distiller, hp = built(
        {"soft_loss_weight": 3.0},
        hard_loss_weight=1.0,
        soft_loss_weight=(0.5, 8.0),
    )
    assert (distiller.hard_loss_weight, distiller.soft_loss_weight) == (1, 3)
    assert space(hp)["soft_loss_weight"].sampling == "log"
    _, hp = built(hard_loss_weight=1.0, soft_loss_weight=(0, 8))
    assert space(hp)["soft_loss_weight"].sampling == "linear"


@pytest.mark.parametrize("losses", [["TTM"], ["WTTM"], ["TTM", "WTTM"]])
def test_beside_labels_of_one_a_weight_may_be_large(losses):
    distiller, hp = built({"soft_loss_weight": 60.0}, losses=losses)
    found = distiller.hard_loss_weight, distiller.soft_loss_weight
    assert found == (1.0, 60.0)
    weight = space(hp)["soft_loss_weight"]
    assert (weight.min_value, weight.max_value) == (0.1, 100)
    assert weight.sampling == "log"


@pytest.mark.parametrize(
    "losses",
    [
        ["SoftTargets"],
        ["TTM", "SoftTargets"],  # One range serves both.
        {"TTM": lambda hp: kd.losses.TTM(2.0)},
    ],
    ids=["alone", "of both kinds", "of functions"],
)
def test_other_losses_share_one_with_the_labels(losses):
    distiller, hp = built({"soft_loss_weight": 0.25}, losses=losses)
    found = distiller.hard_loss_weight, distiller.soft_loss_weight
    assert found == (0.75, 0.25)
    weight = space(hp)["soft_loss_weight"]
    assert (weight.min_value, weight.max_value) == (0.1, 1)


def test_left_out_weights_are_those_of_a_distiller():
    for name, cls in _search.BUILT_IN.items():
        loss = cls(temperature=2.0) if _search.has_temperature(cls) else cls()
        both = models.sequential(), models.sequential()
        alone = kd.Distiller(*both, loss).hard_loss_weight == 1
        searched = hypermodel(losses=[name]).hard_loss_weight
        assert searched == (1.0 if alone else None)


@pytest.mark.parametrize(
    "weights, found, bounds",
    [
        ({"hard_loss_weight": 2.0}, (2.0, 0.5), (0.1, 100)),
        ({"hard_loss_weight": 0.0}, (0.0, 0.5), (0.1, 1)),
        ({"soft_loss_weight": (0.2, 0.9)}, (0.5, 0.5), (0.2, 0.9)),
    ],
    ids=str,
)
def test_a_weight_that_is_given_holds(weights, found, bounds):
    given = {"soft_loss_weight": 0.5}
    distiller, hp = built(given, losses=["TTM"], **weights)
    assert found == (distiller.hard_loss_weight, distiller.soft_loss_weight)
    weight = space(hp)["soft_loss_weight"]
    assert (weight.min_value, weight.max_value) == bounds


def test_asking_for_default_weights_names_no_loss():
    keras.utils.clear_session()
    hypermodel(losses=["TTM"])
    assert kd.losses.TTM(2.0).name == "ttm"


def test_functions_may_read_what_is_searched():
    seen = []

    def compile(hp):
        seen.append((hp.get("temperature"), hp.get("seed")))
        return {**settings(), "optimizer": "sgd"}

    distiller, _ = built({"temperature": 5.0, "seed": 8}, compile=compile)
    assert seen == [(5.0, 8)]
    assert isinstance(distiller.optimizer, keras.optimizers.SGD)
    expected = models.snapshot(models.sequential(units=4, seed=8))
    models.assert_same(models.snapshot(distiller.student), expected)


def test_what_the_tuner_is_given_replaces_a_range_by_a_grid(tmp_path):
    grid = kt.HyperParameters()
    grid.Choice("temperature", [2.0, 8.0])
    grid.Choice("soft_loss_weight", [0.1, 0.5, 0.9])
    grid.Fixed("seed", 2)
    model = hypermodel(losses=["TTM"])
    options = {"hyperparameters": grid, "directory": tmp_path}
    tuner = kt.GridSearch(model, "val_accuracy", **options)
    tuner.run_trial = lambda trial, **kwargs: {"val_accuracy": 0.5}
    tuner.search(verbose=0)
    tried = [t.hyperparameters for t in tuner.oracle.trials.values()]
    pairs = {(hp["temperature"], hp["soft_loss_weight"]) for hp in tried}
    assert pairs == {(t, w) for t in (2.0, 8.0) for w in (0.1, 0.5, 0.9)}
    assert len(tried) == 6


# The Distiller of a trial.


def test_each_trial_has_its_own_optimizer_and_metrics():
    compile = settings()
    model = hypermodel(compile=compile)
    first, second = (model.build(kt.HyperParameters()) for _ in range(2))
    given = compile["optimizer"]
    assert len({id(given), id(first.optimizer), id(second.optimizer)}) == 3
    assert not given.built
    assert first.optimizer.learning_rate == given.learning_rate
    for distiller in (first, second):
        # Built, so that a checkpoint with its state can be loaded.
        assert distiller.optimizer.built
        models.step(distiller, kd.WithTeacherLogits(X, X[:, :3]), X[:, 0] > 0)
    metrics = [m for d in (first, second) for m in d._compile_metrics.metrics]
    assert compile["metrics"][1] not in metrics
    assert len({id(metric) for metric in metrics}) == 4


def test_trials_that_share_a_student_are_refused():
    shared = models.sequential()
    model = hypermodel(build=lambda hp: shared)
    model.build(kt.HyperParameters())
    with pytest.raises(kt.errors.FatalError, match="`build_student` must make"):
        model.build(kt.HyperParameters())


def test_trials_that_share_an_optimizer_are_refused():
    shared = settings()
    model = hypermodel(compile=lambda hp: shared)
    model.build(kt.HyperParameters())
    with pytest.raises(kt.errors.FatalError, match="`compile` must make new"):
        model.build(kt.HyperParameters())


@pytest.mark.parametrize("kind", [models.sequential, models.functional])
@pytest.mark.parametrize("build", [models.unbuilt, models.Subclassed])
def test_unbuilt_student_takes_its_inputs_from_the_teacher(kind, build):
    distiller, _ = built(teacher=kind(), build=lambda hp: build())
    assert distiller.student.built and distiller.built
    assert models.logits(distiller.student, X).shape == (32, 3)


def test_unbuilt_student_takes_named_inputs_from_the_teacher():
    class Student(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = layers.Dense(models.CLASSES)

        def call(self, inputs):
            return self.head(inputs["a"] - inputs["b"])

    distiller, _ = built(
        teacher=models.two_inputs(named=True), build=lambda hp: Student()
    )
    assert distiller.student.built


def test_dtype_policy_survives_a_cleared_session():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = hypermodel()
        keras.backend.clear_session()
        assert keras.config.dtype_policy().name == "float32"
        distiller = model.build(kt.HyperParameters())
    finally:
        keras.config.set_dtype_policy(before)
    assert distiller.student.dtype_policy.name == "mixed_bfloat16"
    assert distiller.dtype_policy.name == "mixed_bfloat16"


def test_distribution_survives_a_cleared_session(monkeypatch):
    state = {"distribution": "data parallel"}
    get, put = "distribution", "set_distribution"
    monkeypatch.setattr(keras.distribution, get, lambda: state["distribution"])
    monkeypatch.setattr(
        keras.distribution, put, lambda new: state.update(distribution=new)
    )
    model = hypermodel()
    state["distribution"] = None
    model.build(kt.HyperParameters())
    assert state["distribution"] == "data parallel"


def test_is_a_hypermodel_and_can_be_subclassed():
    class Mine(HyperModel):
        def fit(self, hp, model, *args, **kwargs):
            return super().fit(hp, model, *args, epochs=3, **kwargs)

    mine = Mine(student, compile=settings())
    for base in (Mine, HyperModel, kt.HyperModel):
        assert isinstance(mine, base)
    assert type(hypermodel()) is type(hypermodel())
    assert list(inspect.signature(HyperModel).parameters)[0] == "build_student"
    data = kd.WithTeacherLogits(X, X[:, :3])
    distiller = mine.build(kt.HyperParameters())
    history = mine.fit(None, distiller, data, X[:, 0] > 0, verbose=0)
    assert history.epoch == [0, 1, 2]


# Searches.


def random_search(model, folder, trials=3, objective="val_accuracy", **kwargs):
    options = {"max_trials": trials, "seed": 1, "directory": folder, **kwargs}
    return kt.RandomSearch(model, objective, **options)


def bayesian_optimization(model, folder):
    options = {"max_trials": 3, "num_initial_points": 2, "seed": 1}
    options["directory"] = folder
    return kt.BayesianOptimization(model, "val_loss", **options)


def hyperband(model, folder):
    options = {"max_epochs": 2, "factor": 2, "seed": 1, "directory": folder}
    return kt.Hyperband(model, TOP_2, **options)


def search(tuner, labels, teacher=None):
    """Searches with a teacher's logits attached, or else without."""
    data = (X, labels)
    if teacher:
        x = kd.WithTeacherLogits(X, models.logits(teacher, X))
        data = ((x, labels),)
    keras.utils.set_random_seed(3)
    options = {"validation_data": (X, labels), "epochs": 2, "verbose": 0}
    tuner.search(*data, **options)
    trials = list(tuner.oracle.trials.values())
    assert [t.status for t in trials] == ["COMPLETED"] * len(trials), trials
    return trials


def score(student, labels, objective):
    """What evaluation logs for a student, without keras_distill."""
    student.compile(**{**settings(), "optimizer": "sgd"})
    logs = student.evaluate(X, labels, verbose=0, return_dict=True)
    return logs[objective.removeprefix("val_")]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "make", [random_search, bayesian_optimization, hyperband]
)
@pytest.mark.once
def test_best_student_has_the_best_score(make, teacher, labels, tmp_path):
    tuner = make(hypermodel(), tmp_path)
    trials = search(tuner, labels, teacher)
    objective = tuner.oracle.objective
    best = {"max": max, "min": min}[objective.direction]
    expected = best(trial.score for trial in trials)
    assert len({trial.score for trial in trials}) > 1
    student = best_student(tuner)
    assert score(student, labels, objective.name) == models.near(expected)
    if make is hyperband:
        rounds = [t.hyperparameters["tuner/initial_epoch"] for t in trials]
        assert max(rounds) > 0


def test_a_search_without_labels_is_by_what_a_callback_logs(teacher, tmp_path):
    compile = {"optimizer": "sgd", "run_eagerly": True}
    model = hypermodel(teacher, compile=compile, soft_loss_weight=1.0)
    objective = kt.Objective("val_kl", "min")
    tuner = random_search(model, tmp_path, objective=objective)
    watch = kd.callbacks.Fidelity(teacher, (X,))
    tuner.search(X, epochs=2, verbose=0, callbacks=[watch])
    scores = [trial.score for trial in tuner.oracle.trials.values()]
    found = kd.evaluate_fidelity(teacher, best_student(tuner), (X,), verbose=0)
    assert found["kl_divergence"] == pytest.approx(min(scores), rel=1e-4)
    assert len(set(scores)) == 3


def test_best_student_is_a_plain_model(teacher, labels, tmp_path, monkeypatch):
    tuner = random_search(hypermodel(), tmp_path, trials=1)
    search(tuner, labels, teacher)
    student = best_student(tuner)
    assert type(student) is keras.Sequential
    student.save(tmp_path / "student.keras")
    with zipfile.ZipFile(tmp_path / "student.keras") as file:
        assert b"keras_distill" not in file.read("config.json")
    monkeypatch.setattr(keras.saving, "get_custom_objects", dict)
    loaded = keras.models.load_model(tmp_path / "student.keras")
    expected = models.logits(student, X)
    np.testing.assert_array_equal(models.logits(loaded, X), expected)


def test_live_teacher_and_attached_logits_give_the_same_trials(
    teacher, labels, tmp_path
):
    before = models.snapshot(teacher), teacher.trainable
    live = random_search(hypermodel(teacher), tmp_path / "live")
    attached = random_search(hypermodel(), tmp_path / "attached")
    pairs = zip(
        search(live, labels), search(attached, labels, teacher), strict=True
    )
    for one, other in pairs:
        assert one.hyperparameters.values == other.hyperparameters.values
        logs = {"val_loss", "val_accuracy", "loss", "hard_loss", "soft_loss"}
        assert logs <= set(one.metrics.metrics)
        for name in logs:
            expected = other.metrics.get_best_value(name)
            actual = one.metrics.get_best_value(name)
            assert actual == pytest.approx(expected, abs=1e-5)
    models.assert_same(models.snapshot(teacher), before[0])
    assert teacher.trainable == before[1]


def test_unbuilt_students_are_found_again(teacher, labels, tmp_path):
    model = hypermodel(teacher, build=lambda hp: models.unbuilt())
    trials = search(random_search(model, tmp_path, trials=1), labels)
    again = hypermodel(teacher, build=lambda hp: models.unbuilt())
    student = best_student(random_search(again, tmp_path, trials=1))
    found = score(student, labels, "val_accuracy")
    assert found == models.near(trials[0].score)


# Interruption.


def interrupted_in(trial):
    """Builds students until the given trial, which the user interrupts."""
    calls = []

    def build(hp):
        calls.append(dict(hp.values))
        if len(calls) > trial + 1:  # The tuner builds one before the first.
            raise KeyboardInterrupt
        return student(hp)

    return build


def test_interrupted_search_goes_on(teacher, labels, tmp_path):
    build = interrupted_in(trial=1)
    tuner = random_search(hypermodel(teacher, build), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        search(tuner, labels)
    first = tuner.oracle.trials["0"]
    tried = []

    def recording(hp):
        tried.append(dict(hp.values))
        return student(hp)

    resumed = random_search(hypermodel(teacher, recording), tmp_path)
    trials = {trial.trial_id: trial for trial in search(resumed, labels)}
    assert sorted(trials) == ["0", "1", "2"]
    assert trials["0"].score == first.score
    values = [trials[i].hyperparameters.values for i in "12"]
    assert tried == values


def test_finished_search_needs_no_teacher_and_no_data(
    teacher, labels, tmp_path
):
    tuner = random_search(hypermodel(teacher), tmp_path, trials=1)
    (trial,) = search(tuner, labels)
    for again in (None, teacher):
        tuner = random_search(hypermodel(again), tmp_path, trials=1)
        student = best_student(tuner)
        found = score(student, labels, "val_accuracy")
        assert found == models.near(trial.score)
    other = hypermodel(models.sequential(units=32, seed=5))
    with pytest.raises(ValueError, match="trained by another teacher"):
        best_student(random_search(other, tmp_path, trials=1))


# Bad input.

SOFTMAX = keras.Sequential([keras.Input((4,)), layers.Dense(3, "softmax")])


class WithoutConfig(keras.metrics.Mean):
    def __init__(self, unit):
        super().__init__(name=unit)


REFUSED = [
    (
        TypeError,
        {"build_student": models.sequential()},
        "`build_student` must be a func",
    ),
    (TypeError, {"build_student": 3}, "Received: build_student=3 of type int"),
    (TypeError, {"teacher": "teacher"}, "`teacher` must be a keras.Model"),
    (ValueError, {"teacher": SOFTMAX}, "Pass kd.as_logits(teacher)"),
    (ValueError, {"teacher": models.unbuilt()}, "which has no weights yet"),
    (TypeError, {"compile": None}, "`compile` must be a function of hp"),
    (ValueError, {"compile": {"optimiser": "adam"}}, "Received: ['optimiser']"),
    (
        ValueError,
        {"compile": {"loss": "sparse_categorical_crossentropy"}},
        "another that takes logits",
    ),
    (
        ValueError,
        {"compile": {"metrics": [WithoutConfig("s")]}},
        "Received: a WithoutConfig; ",
    ),
    (ValueError, {"losses": "WTTM"}, "Received: losses='WTTM'"),
    (ValueError, {"losses": []}, "Received: losses=[]"),
    (ValueError, {"losses": ["KL"]}, "out of ('DIST', "),
    (ValueError, {"losses": ["TTM", "TTM"]}, "a list of different names"),
    (ValueError, {"losses": 1}, "Received: losses=1"),
    (
        ValueError,
        {"losses": [["TTM"]]},
        "or a dict from names to functions of hp",
    ),
    (ValueError, {"losses": {}}, "Received: losses={}"),
    (
        ValueError,
        {"losses": {1: student}},
        "a dict from one or more strings to functions",
    ),
    (
        TypeError,
        {"losses": {"a": "TTM"}},
        "`losses['a']` must be a function of hp that",
    ),
    (
        TypeError,
        {"losses": {"a": kd.losses.TTM(2.0)}},
        "Received: losses['a']=<keras_distill.losses._ttm.TTM",
    ),
    (
        ValueError,
        {"losses": {"a": student}, "temperature": 3},
        "Received: temperature=3 and a dict of losses",
    ),
    (ValueError, {"temperature": 0}, "`temperature` must be greater than 0"),
    (
        ValueError,
        {"temperature": (0, 2)},
        "`temperature` must be greater than 0",
    ),
    (ValueError, {"temperature": (4, 4)}, "Received: temperature=(4, 4)"),
    (ValueError, {"temperature": (4, 1)}, "or a number to fix the temperature"),
    (
        ValueError,
        {"temperature": (1, 2, 3)},
        "must be a pair (low, high), a list of values, or a number",
    ),
    (TypeError, {"temperature": "hot"}, "`temperature` must be a real number"),
    (
        ValueError,
        {"soft_loss_weight": (-1, 1)},
        "`soft_loss_weight` must not be negative",
    ),
    (
        ValueError,
        {"soft_loss_weight": (0.5, 2)},
        "`soft_loss_weight` must not exceed 1",
    ),
    (ValueError, {"soft_loss_weight": 2}, "Pass hard_loss_weight=1.0"),
    (
        ValueError,
        {"hard_loss_weight": -1},
        "`hard_loss_weight` must not be negative",
    ),
    (
        ValueError,
        {"hard_loss_weight": 0, "soft_loss_weight": (0, 1)},
        "must not both be 0",
    ),
]


@pytest.mark.parametrize(("error", "arguments", "text"), REFUSED)
def test_bad_arguments_are_refused_at_construction(error, arguments, text):
    good = {"build_student": student, "compile": settings()}
    with pytest.raises(error) as caught:
        HyperModel(**{**good, **arguments})
    assert text in str(caught.value)
    assert "eceived" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "arguments", "text"),
    [
        (
            TypeError,
            {"build": lambda hp: None},
            "`build_student(hp)` must be a keras.M",
        ),
        (
            ValueError,
            {"build": lambda hp: models.unbuilt()},
            "and no teacher to take it",
        ),
        (
            TypeError,
            {"losses": {"a": lambda hp: None}},
            "`losses['a'](hp)` must be a keras.losses.Loss. Received: None",
        ),
        (
            TypeError,
            {"compile": lambda hp: None},
            "`compile` must be a dict, or a func",
        ),
        (ValueError, {"compile": lambda hp: {"los": 1}}, "Received: ['los']"),
    ],
)
def test_bad_functions_are_refused_when_the_tuner_is_made(
    error, arguments, text, tmp_path
):
    with pytest.raises(error) as caught:
        random_search(hypermodel(**arguments), tmp_path)
    assert text in str(caught.value)


def test_student_of_no_tuner_or_of_no_trial_is_refused(tmp_path):
    with pytest.raises(TypeError, match="Received: tuner=3"):
        best_student(3)
    tuner = random_search(hypermodel(), tmp_path)
    with pytest.raises(ValueError, match="Received: a tuner without trials"):
        best_student(tuner)


def test_what_made_all_trials_fail_is_told(labels, tmp_path):
    def broken(hp):
        return keras.Sequential([keras.Input((5,)), layers.Dense(7)])

    data = kd.WithTeacherLogits(X, X[:, :3])
    tuner = random_search(hypermodel(build=broken), tmp_path, trials=1)
    tuner.search(data, labels, validation_data=(X, labels), verbose=0)
    with pytest.raises(ValueError, match="(?s)FAILED.*received input with"):
        best_student(tuner)


def test_student_of_another_hypermodel_is_refused(labels, tmp_path):
    def plain(hp):
        model = models.sequential()
        model.compile("sgd", models.CROSSENTROPY, metrics=["accuracy"])
        return model

    tuner = random_search(plain, tmp_path, trials=1)
    search(tuner, labels)
    with pytest.raises(TypeError, match="a tuner of Sequential models"):
        best_student(tuner)
