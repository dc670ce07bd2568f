"""What the trials of a search compile."""

import collections
import contextlib
import pathlib

import keras
import keras_tuner as kt
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

# keras-tuner 1.4.8 calls threading.currentThread().getName() all the time.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:(currentThread|getName)\(\) is deprecated:DeprecationWarning"
)


def on_jax(test):
    skipped = pytest.mark.skipif(
        keras.backend.backend() != "jax", reason="compiled programs of JAX"
    )
    return pytest.mark.slow(skipped(test))


X, Y = models.data(20)
LOGITS = np.linspace(-3, 3, 60, dtype="float32").reshape(20, 3)
DATA = kd.WithTeacherLogits(X, LOGITS)
FIT = {"validation_data": (X, Y), "batch_size": 10, "epochs": 2, "verbose": 0}
DEFAULTS = {
    "jax_compilation_cache_dir": None,
    "jax_persistent_cache_min_compile_time_secs": 1.0,
    "jax_persistent_cache_min_entry_size_bytes": 0,
    "jax_enable_compilation_cache": True,
}
COUNTS = collections.Counter()
STEPS = 2  # Of training and of validation.


def cache_settings():
    import jax

    return {name: getattr(jax.config, name) for name in DEFAULTS}


def set_cache(**settings):
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def _counting():
    import jax

    def count(event, **_):
        COUNTS[event.removeprefix("/jax/compilation_cache/")] += 1

    jax.monitoring.register_event_listener(count)


@pytest.fixture
def no_cache(_counting):
    """No cache is set, whatever the environment says."""
    before = cache_settings()
    set_cache(**DEFAULTS)
    yield
    set_cache(**before)


class Search(kt.RandomSearch):
    """Counts what happens in each trial."""

    def __init__(self, model, folder, trials=3, **kwargs):
        options = {"max_trials": trials, "seed": 1, "directory": folder}
        super().__init__(model, "val_loss", **options, **kwargs)
        self.counts = []

    def run_trial(self, *args, **kwargs):
        COUNTS.clear()
        try:
            return super().run_trial(*args, **kwargs)
        finally:
            self.counts.append(dict(COUNTS))

    def of_trials(self, event):
        return [counts.get(event, 0) for counts in self.counts]

    @property
    def compiled(self):
        """How many programs each trial compiled."""
        asked = self.of_trials("compile_requests_use_cache")
        found = self.of_trials("cache_hits")
        return [a - b for a, b in zip(asked, found, strict=True)]


def student(hp):
    keras.utils.set_random_seed(1)
    stack = [layers.Dense(6, "relu"), layers.Dropout(0.1), layers.Dense(3)]
    return keras.Sequential([keras.Input((models.FEATURES,)), *stack])


def settings(hp):
    rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
    return {
        "optimizer": keras.optimizers.Adam(rate),
        "loss": models.CROSSENTROPY,
        "metrics": ["accuracy"],
    }


def hypermodel(teacher=None, **kwargs):
    kwargs = {"losses": ["SoftTargets"], **kwargs}
    return kd.tuner.DistillationHyperModel(
        student, teacher, compile=settings, **kwargs
    )


def searched(folder, model=None, x=DATA, **kwargs):
    tuner = Search(model or hypermodel(), folder, **kwargs)
    tuner.search(x, Y, **FIT)
    statuses = {trial.status for trial in tuner.oracle.trials.values()}
    assert statuses == {"COMPLETED"}
    return tuner


def programs(folder):
    """The names of what is kept in a folder, without their digests."""
    files = pathlib.Path(folder).glob("*-cache")
    return collections.Counter(f.name.rsplit("-", 2)[0] for f in files)


def kept(tuner):
    return programs(f"{tuner.project_dir}/compiled/{tuner.tuner_id}")


def compile_something_else():
    import jax

    # Small enough to be kept, if there is where.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.jit(lambda x: x * 2 + 1)(X)


def values(tuner, name):
    trials = tuner.oracle.trials.values()
    return [trial.hyperparameters[name] for trial in trials]


@on_jax
@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize("live", [False, True])
def test_only_the_first_trial_compiles(live, tmp_path):
    teacher = models.sequential(units=32) if live else None
    before = cache_settings()
    tuner = searched(tmp_path, hypermodel(teacher), X if live else DATA)
    for name in ("temperature", "soft_loss_weight", "learning_rate"):
        assert len(set(values(tuner, name))) == 3
    assert tuner.compiled[0] >= STEPS
    assert tuner.compiled[1:] == [0, 0]
    assert tuner.of_trials("cache_hits")[1:] == [STEPS, STEPS]
    found = kept(tuner)
    assert found["jit_train_step"] == found["jit_test_step"] == 1
    assert cache_settings() == before
    compile_something_else()
    assert kept(tuner) == found


@on_jax
@pytest.mark.usefixtures("no_cache")
def test_each_loss_is_compiled_once(tmp_path):
    grid = kt.HyperParameters()
    grid.Choice("distillation_loss", ["TTM", "WTTM"])
    grid.Choice("temperature", [2.0, 4.0])
    grid.Fixed("soft_loss_weight", 0.5)
    model = hypermodel(losses=["TTM", "WTTM"])
    tuner = searched(tmp_path, model, trials=4, hyperparameters=grid)
    tried = values(tuner, "distillation_loss")
    new = [name not in tried[:i] for i, name in enumerate(tried)]
    assert [count > 0 for count in tuner.compiled] == new
    assert kept(tuner)["jit_train_step"] == 2


@on_jax
@pytest.mark.usefixtures("no_cache")
def test_a_search_that_goes_on_compiles_no_step(tmp_path):
    searched(tmp_path, trials=1)
    tuner = searched(tmp_path, trials=2)
    assert tuner.of_trials("cache_hits") == [STEPS]
    assert kept(tuner)["jit_train_step"] == 1


@on_jax
@pytest.mark.usefixtures("no_cache")
def test_what_is_kept_gives_the_same_scores(tmp_path):
    def scores(tuner):
        return [trial.score for trial in tuner.oracle.trials.values()]

    ours = searched(tmp_path / "kept", trials=2)
    set_cache(jax_enable_compilation_cache=False)
    anew = searched(tmp_path / "anew", trials=2)
    assert scores(ours) == scores(anew)
    # Nothing is kept where the cache is switched off.
    assert not kept(anew)


# What was set before.


class Broken(keras.callbacks.Callback):
    """Notes the settings in a fit, and ends it."""

    found: list = []

    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_train_begin(self, logs=None):
        self.found.append(cache_settings())
        raise self.error


@on_jax
@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_cache_is_set_in_a_fit_and_not_after_one_that_broke(error, tmp_path):
    before = cache_settings()
    tuner, Broken.found = Search(hypermodel(), tmp_path, trials=1), []
    # keras-tuner goes on after an exception.
    goes_on = contextlib.nullcontext()
    stops = pytest.raises(KeyboardInterrupt)
    with goes_on if error is ValueError else stops:
        tuner.search(DATA, Y, callbacks=[Broken(error)], **FIT)
    assert Broken.found == [
        {
            "jax_compilation_cache_dir": f"{tuner.project_dir}/compiled/tuner0",
            "jax_persistent_cache_min_compile_time_secs": 0,
            "jax_persistent_cache_min_entry_size_bytes": -1,
            "jax_enable_compilation_cache": True,
        }
    ]
    assert cache_settings() == before


@on_jax
@pytest.mark.usefixtures("no_cache")
def test_cache_of_the_user_is_used(tmp_path):
    set_cache(
        jax_compilation_cache_dir=str(tmp_path / "mine"),
        jax_persistent_cache_min_compile_time_secs=0.0,
    )
    before = cache_settings()
    tuner = searched(tmp_path, trials=2)
    assert cache_settings() == before
    assert tuner.of_trials("cache_hits")[1:] == [STEPS]
    assert programs(tmp_path / "mine")["jit_train_step"] == 1
    assert not kept(tuner)


# Elsewhere nothing can be kept.


def traces(model, x, folder):
    """How often each trial runs the Python of its student's layers."""
    calls = []

    class Counted(layers.Layer):
        def call(self, inputs, training=None):
            # Not where the first step of a fit is looked at on JAX.
            calls.extend([1] if training else [])
            return inputs

    def counted(hp):
        student = models.sequential()
        return keras.Sequential([student.inputs[0], Counted(), student])

    tuner = Search(model(counted), folder, trials=2)
    found = []
    tuner.on_trial_begin = lambda trial: calls.clear()
    ended = tuner.on_trial_end
    tuner.on_trial_end = lambda trial: (found.append(len(calls)), ended(trial))
    tuner.search(x, Y, **FIT)
    return found


@pytest.mark.slow
def test_a_trial_is_traced_as_often_as_one_of_a_plain_model(tmp_path):
    def plain(build):
        def made(hp):
            model = build(hp)
            model.compile(**settings(hp))
            return model

        return made

    def ours(build):
        return kd.tuner.DistillationHyperModel(build, compile=settings)

    theirs = traces(plain, X, tmp_path / "plain")
    assert all(theirs)
    assert traces(ours, DATA, tmp_path / "ours") == theirs
