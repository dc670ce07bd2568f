"""A student that is watched: against evaluate_fidelity, and equation (15)."""

import copy
import csv

import backend
import keras
import models
import numpy as np
import pytest
import reference

import keras_distill as kd

T = 4.0
X, Y = models.data(20)
LABELLED = [
    ("agreement", "agreement_at_1"),
    ("kl", "kl_divergence"),
    ("nll", "student_nll"),
    ("ece", "student_ece"),
]


def distilled(loss=None, teacher=None, student=None, **weights):
    teacher = teacher or models.sequential(seed=2)
    student = student or models.sequential(units=4)
    model = kd.Distiller(teacher, student, loss or kd.losses.TTM(T), **weights)
    model.compile(keras.optimizers.SGD(0.1), models.CROSSENTROPY)
    return model


def fitted(model, callbacks, epochs=2, data=(X, Y), **kwargs):
    fit = {"batch_size": 10, "shuffle": False, "verbose": 0}
    fit |= {"epochs": epochs, "callbacks": callbacks} | kwargs
    return model.fit(*data, **fit).history


def watched(model, data, **kwargs):
    watch = kd.callbacks.Fidelity(model.teacher, data, batch_size=8, **kwargs)
    return fitted(model, [watch])


def expected(model, data, **kwargs):
    found = kd.evaluate_fidelity(
        model.teacher, model.student, data, verbose=0, **kwargs
    )
    return {f"val_{n}": found[k] for n, k in LABELLED if k in found}


def last(history, names):
    return {name: history[name][-1] for name in names}


def as_dataset(data):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return tuple(part[5 * i : 5 * i + 5] for part in data)

    return Batches()


WEIGHTS = np.linspace(0, 2, 20, dtype="float32")
DATA = {
    "x": (X,),
    "pairs": (X, Y),
    "weighted": (X, Y, WEIGHTS),
    "one-hot": (X, np.eye(3, dtype="float32")[Y]),
    "PyDataset": as_dataset((X, Y)),
}


@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_fidelity_is_that_of_evaluate_fidelity(data):
    model = distilled()
    history = watched(model, data)
    found = expected(model, data)
    assert last(history, found) == pytest.approx(found, rel=1e-5)
    assert set(found) <= set(history) and len(history["val_kl"]) == 2
    assert ("val_nll" in history) == (data is not DATA["x"])
    assert history["val_kl"][0] != history["val_kl"][1]


@pytest.mark.once
def test_what_the_student_masks_does_not_count():
    words, labels = models.sequences()
    model = distilled(
        teacher=models.tagger(seed=2), student=models.tagger(mask_zero=True)
    )
    watch = kd.callbacks.Fidelity(model.teacher, (words, labels), batch_size=3)
    history = fitted(model, [watch], data=(words, labels))
    found = expected(model, (words, labels))
    assert last(history, found) == pytest.approx(found, rel=1e-5)


@pytest.mark.once
def test_labels_of_a_sigmoid():
    y = (np.random.default_rng(0).random((20, 3)) < 0.5).astype("float32")
    model = distilled(kd.losses.SigmoidTargets(T))
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    watch = kd.callbacks.Fidelity(model.teacher, (X, y), kind="labels")
    history = fitted(model, [watch], data=(X, y))
    found = expected(model, (X, y), kind="labels")
    assert last(history, found) == pytest.approx(found, rel=1e-5)


@pytest.mark.once
def test_void_labels_and_wrong_ones():
    labels = np.where(np.arange(20) % 3 == 0, -1, Y)
    model = distilled()
    history = watched(model, (X, labels), ignore_class=-1)
    found = expected(model, (X, labels), ignore_class=-1)
    assert last(history, found) == pytest.approx(found, rel=1e-5)
    # Of the first batch, before a step is made.
    with pytest.raises(ValueError, match="3 labels that are not"):
        watched(model, (X, labels))


@pytest.mark.once
def test_data_without_any_label_that_counts_have_no_likelihood():
    history = watched(distilled(), (X, np.full(20, -1)), ignore_class=-1)
    assert {n for n in history if n.startswith("val_")} == {
        "val_agreement",
        "val_kl",
    }


@pytest.fixture
def cache(tmp_path):
    def build(teacher, data):
        return kd.TeacherCache.build(
            teacher, data, tmp_path, dtype="float32", verbose=0
        )

    return build


def test_a_cache_in_the_place_of_the_teacher(cache):
    model = distilled()
    teacher = model.teacher
    by_teacher = kd.callbacks.Fidelity(teacher, (X, Y))
    by_cache = kd.callbacks.Fidelity(
        cache(teacher, (X, Y)), (X, Y), prefix="cached_"
    )
    history = fitted(model, [by_teacher, by_cache])
    for name, _ in LABELLED:
        expected = pytest.approx(history[f"val_{name}"], rel=1e-5)
        assert history[f"cached_{name}"] == expected


def test_logits_that_come_with_the_data():
    model = distilled()
    logits = models.logits(model.teacher, X)
    data = (kd.WithTeacherLogits(X, logits), Y)
    watch = kd.callbacks.Fidelity(None, data)
    history = fitted(model, [watch])
    found = expected(model, (X, Y))
    assert last(history, found) == pytest.approx(found, rel=1e-5)


def test_a_plain_student_is_watched_as_well():
    student, teacher = models.sequential(), models.sequential(seed=2)
    student.compile("sgd", models.CROSSENTROPY)
    watch = kd.callbacks.Fidelity(teacher, (X, Y))
    history = fitted(student, [watch])
    found = kd.evaluate_fidelity(teacher, student, (X, Y), verbose=0)
    assert history["val_kl"][-1] == models.near(found["kl_divergence"])


def test_training_stops_by_what_is_logged():
    class Rises(kd.callbacks.Fidelity):
        def on_epoch_end(self, epoch, logs):
            super().on_epoch_end(epoch, logs)
            logs["val_kl"] = float(epoch)

    model = distilled()
    stop = keras.callbacks.EarlyStopping("val_kl", mode="min", patience=1)
    history = fitted(model, [Rises(model.teacher, (X,)), stop], epochs=9)
    assert history["val_kl"] == [0.0, 1.0]


@pytest.mark.once
def test_the_entries_reach_a_file(tmp_path):
    model = distilled()
    watches = [
        kd.callbacks.Fidelity(model.teacher, (X, Y)),
        kd.callbacks.Diagnostics(model.teacher, (X, Y)),
    ]
    log = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    history = fitted(model, [*watches, log])
    lines = (tmp_path / "log.csv").read_text().splitlines()
    rows = list(csv.DictReader(lines))
    for name in ("val_kl", "val_ece", "divergence", "hard_gradient_norm"):
        assert [float(row[name]) for row in rows] == history[name]


class Counted(keras.Model):
    """Logits by a matrix; counts how often it is traced or run."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.head = keras.layers.Dense(models.CLASSES)

    def call(self, inputs):
        self.calls += 1
        return self.head(inputs)


def counted():
    model = Counted()
    model(X)
    model.calls = 0
    return model


def test_all_is_compiled_once_and_shared_by_copies():
    """As keras-tuner copies callbacks for each trial."""
    teacher = counted()
    watch = kd.callbacks.Fidelity(teacher, (X[:16], Y[:16]), batch_size=8)
    for trial in range(3):
        own = copy.deepcopy([watch])[0] if trial else watch
        student = counted()
        student.compile("sgd", models.CROSSENTROPY)
        student.fit(X, Y, batch_size=10, epochs=1, verbose=0, callbacks=[own])
        before = student.calls
        student.fit(X, Y, batch_size=10, epochs=3, verbose=0, callbacks=[own])
        if keras.backend.backend() != "torch":
            assert student.calls == before  # Neither fit nor watch traced it.
            assert teacher.calls == 1
        assert own._watched.teacher is teacher
    assert watch.model is not own.model


def test_a_teacher_is_not_copied_with_its_callback():
    teacher = models.sequential()
    for cls in (kd.callbacks.Fidelity, kd.callbacks.Diagnostics):
        watch = cls(teacher, (X,))
        fresh = copy.deepcopy(watch)
        assert type(fresh) is cls and fresh is not watch
        assert fresh._watched is watch._watched


# Diagnostics.


def diagnosed(model, data=(X, Y), epochs=2, **kwargs):
    watch = kd.callbacks.Diagnostics(
        model.teacher, data, batch_size=8, **kwargs
    )
    return fitted(model, [watch], epochs)


@pytest.mark.parametrize(
    "loss", [kd.losses.SoftTargets(T), kd.losses.TTM(T), kd.losses.WTTM(T)]
)
def test_equation_15_holds_on_the_log_of_a_run(loss):
    log = {k: np.array(v) for k, v in diagnosed(distilled(loss)).items()}
    bonus = log["student_renyi_entropy"] - log["tempered_teacher_entropy"]
    right = T * log["tempered_divergence"] - (T - 1) * bonus
    # Each term is off by some eps of its own size, which is about 3 here.
    np.testing.assert_allclose(log["divergence"], right, 0, 3e-6)


def test_every_entry():
    model = distilled()
    log = last(diagnosed(model, (X, Y, WEIGHTS)), ENTRIES)
    v, z = (
        models.logits(m, X).astype("float64")
        for m in (model.teacher, model.student)
    )
    p, q = reference.softmax(v), reference.softmax(z)
    p_t, q_t = reference.softmax(v, T), reference.softmax(z, T)
    each = {
        "student_entropy": reference.shannon_entropy(q),
        "student_renyi_entropy": reference.renyi_entropy(q, 1 / T),
        "teacher_entropy": reference.shannon_entropy(p),
        "tempered_teacher_entropy": reference.shannon_entropy(p_t),
        "divergence": reference.kl_divergence(p_t, q),
        "tempered_divergence": reference.kl_divergence(p_t, q_t),
        "power_sum": reference.power_sum(p, 1 / T),
    }
    means = {k: np.average(v, weights=WEIGHTS) for k, v in each.items()}
    spread = each["power_sum"] - means["power_sum"]
    means["power_sum_sd"] = np.average(spread**2, weights=WEIGHTS) ** 0.5
    assert {n: log[n] for n in means} == pytest.approx(means, rel=1e-4)


ENTRIES = [
    "student_entropy",
    "student_renyi_entropy",
    "teacher_entropy",
    "tempered_teacher_entropy",
    "divergence",
    "tempered_divergence",
    "power_sum",
    "power_sum_sd",
]


@pytest.mark.parametrize("loss", [kd.losses.TTM(T), kd.losses.WTTM(T)])
def test_norms_of_the_gradients(loss):
    """Of logits `x @ kernel` the gradient is `x' g`."""
    model = distilled(
        loss,
        student=models.linear(),
        hard_loss_weight=0.5,
        soft_loss_weight=3.0,
    )
    log = last(diagnosed(model), ["hard_gradient_norm", "soft_gradient_norm"])
    v, z = (
        models.logits(m, X).astype("float64")
        for m in (model.teacher, model.student)
    )
    hard = reference.softmax(z) - np.eye(3)[Y]
    soft = reference.gradient_20(v, z, T)
    if isinstance(loss, kd.losses.WTTM):
        soft = reference.wttm_gradient(v, z, T)
    norms = [
        weight * np.linalg.norm(X.T.astype("float64") @ g / len(X))
        for weight, g in ((0.5, hard), (3.0, soft))
    ]
    assert list(log.values()) == pytest.approx(norms, rel=1e-4)


def test_diagnostics_leave_out_what_the_student_masks():
    words, labels = models.sequences()
    teacher, student = models.tagger(seed=2), models.tagger(mask_zero=True)
    model = distilled(teacher=teacher, student=student)
    # One batch, in which Keras's losses are means over what counts.
    watch = kd.callbacks.Diagnostics(teacher, (words, labels))
    history = fitted(model, [watch], epochs=1, data=(words, labels))
    v, z = (
        models.logits(m, words).astype("float64") for m in (teacher, student)
    )
    counts = words != 0
    each = {
        "student_entropy": reference.shannon_entropy(reference.softmax(z)),
        "divergence": reference.ttm(v, z, T),
    }
    means = {name: np.mean(value[counts]) for name, value in each.items()}
    assert last(history, means) == pytest.approx(means, rel=1e-4)
    everything = np.mean(each["student_entropy"])
    assert abs(means["student_entropy"] - everything) > 1e-3


def test_a_student_of_an_embedding_has_gradients():
    """Whose gradient is sparse on TensorFlow, and a sum over its words."""
    words, labels = models.sequences()
    teacher, student = models.tagger(seed=2), models.tagger()
    model = distilled(teacher=teacher, student=student, soft_loss_weight=1.0)
    watch = kd.callbacks.Diagnostics(teacher, (words, labels), batch_size=3)
    history = fitted(model, [watch], epochs=1, data=(words, labels))
    v, z = (
        models.logits(m, words).astype("float64") for m in (teacher, student)
    )
    slope = reference.gradient_20(v, z, T) / words.size
    table, kernel, _ = (w.astype("float64") for w in student.get_weights())
    of_table = np.zeros_like(table)
    np.add.at(of_table, words, slope @ kernel.T)
    of_kernel = np.einsum("bti,btj->ij", table[words], slope)
    parts = [of_table, of_kernel, slope.sum((0, 1))]
    norm = np.sqrt(sum(np.sum(part**2) for part in parts))
    assert history["soft_gradient_norm"] == pytest.approx([norm], rel=1e-4)


def test_a_student_whose_call_knows_no_training():
    model = distilled(student=models.Subclassed())
    log = last(diagnosed(model), ["student_entropy"])
    z = models.logits(model.student, X).astype("float64")
    entropy = np.mean(reference.shannon_entropy(reference.softmax(z)))
    assert log["student_entropy"] == pytest.approx(entropy, rel=1e-4)


def test_numbers_that_change_are_followed():
    model = distilled(kd.losses.TTM(T), soft_loss_weight=1.0)

    class Change(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            model.distillation_loss.temperature = [T, 1.0, 1.0][epoch]
            model.soft_loss_weight = [1.0, 1.0, 0.0][epoch]

    watch = kd.callbacks.Diagnostics(model.teacher, (X, Y))
    log = fitted(model, [Change(), watch], epochs=3)
    assert log["power_sum"][0] > 1.1
    assert log["power_sum"][1:] == pytest.approx([1.0, 1.0], abs=1e-5)
    assert log["soft_gradient_norm"][1] > 0
    assert log["soft_gradient_norm"][2] == 0
    # At T = 1 the Renyi entropy is Shannon's.
    entropy = pytest.approx(log["student_entropy"][1], rel=1e-5)
    assert log["student_renyi_entropy"][1] == entropy


def test_a_scheduled_temperature_is_that_of_the_next_step():
    falling = keras.optimizers.schedules.PiecewiseConstantDecay([1], [T, 1.0])
    model = distilled(kd.losses.TTM(falling), soft_loss_weight=1.0)
    log = diagnosed(model, epochs=1)
    assert log["power_sum"] == pytest.approx([1.0], abs=1e-5)


def test_the_step_of_training_is_left_as_it_is():
    plain, watched_ = distilled(), distilled()
    fitted(plain, [])
    diagnosed(watched_)
    for one, other in zip(
        plain.student.get_weights(), watched_.student.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_state_of_the_student_is_left_as_it_is():
    model = distilled(student=models.noisy())
    watch = kd.callbacks.Diagnostics(model.teacher, (X, Y))
    fitted(model, [watch], epochs=1)
    before = [backend.to_numpy(v.value) for v in model.student.variables]
    watch.on_epoch_end(1, {})
    for variable, value in zip(model.student.variables, before, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(variable.value), value)


def test_unlabelled_data_have_no_hard_gradient():
    log = diagnosed(distilled(), (X,))
    assert "hard_gradient_norm" not in log
    assert log["soft_gradient_norm"][0] > 0


def test_a_loss_without_a_temperature_needs_one():
    with pytest.raises(ValueError, match="LogitMatching.*temperature=4.0"):
        diagnosed(distilled(kd.losses.LogitMatching()))
    log = diagnosed(distilled(kd.losses.LogitMatching()), temperature=1.0)
    assert log["power_sum"] == pytest.approx([1.0, 1.0], abs=1e-5)


def test_a_model_compiled_anew_has_other_terms():
    model = distilled()
    watch = kd.callbacks.Diagnostics(model.teacher, (X, Y))
    first = fitted(model, [watch], epochs=1)

    def doubled(y_true, y_pred):
        return 2.0 * models.CROSSENTROPY(y_true, y_pred)

    model.compile(keras.optimizers.SGD(0.0), kd.losses.on_logits(doubled))
    second = fitted(model, [watch], epochs=1)
    third = fitted(model, [watch], epochs=1)
    assert second["soft_gradient_norm"] == third["soft_gradient_norm"]
    name = "hard_gradient_norm"
    assert second[name] == pytest.approx([2 * first[name][0]], rel=1e-4)


# What is refused.


@pytest.mark.parametrize(
    "cls", [kd.callbacks.Fidelity, kd.callbacks.Diagnostics]
)
class TestRefused:
    def test_a_teacher_of_probabilities(self, cls):
        softmax = keras.layers.Dense(3, "softmax")
        teacher = keras.Sequential([keras.Input((4,)), softmax])
        with pytest.raises(ValueError, match="must end in logits"):
            cls(teacher, (X, Y))

    @pytest.mark.parametrize("teacher", ["teacher", lambda x: x])
    def test_no_model(self, cls, teacher):
        with pytest.raises(TypeError, match="`teacher_or_cache` must be"):
            cls(teacher, (X, Y))

    def test_a_generator(self, cls):
        data = ((X, Y) for _ in range(3))
        with pytest.raises(ValueError, match="can be read only once"):
            cls(models.sequential(), data)

    def test_no_data(self, cls):
        for data in (None, (), (X[:0], Y[:0])):
            with pytest.raises(ValueError, match="at least one batch"):
                cls(models.sequential(), data)

    def test_an_output_in_a_dict(self, cls):
        inputs = keras.Input((4,))
        logits = keras.layers.Dense(3)(inputs)
        teacher = keras.Model(inputs, {"digit": logits})
        with pytest.raises(ValueError, match="one in a dict.*outputs.0."):
            cls(teacher, (X, Y))
        with pytest.raises(ValueError, match="one in a dict"):
            kd.evaluate_fidelity(teacher, teacher, (X, Y))

    def test_other_classes(self, cls):
        student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        teacher = models.sequential(seed=2)
        watch = cls(teacher, (X, Y))
        watch.set_model(distilled(student=student, teacher=student_like(2)))
        with pytest.raises(ValueError, match="teacher.*student"):
            watch.on_train_begin()

    def test_logits_from_nowhere_and_from_two_places(self, cls):
        logits = np.zeros((20, 3), "float32")
        teacher = models.sequential(seed=2)
        attached = (kd.WithTeacherLogits(X, logits), Y)
        for args, found in (
            ((None, (X, Y)), "neither"),
            ((teacher, attached), "both"),
        ):
            with pytest.raises(ValueError, match=f"Received: {found}"):
                fitted(distilled(), [cls(*args)])


def student_like(units):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])


def test_diagnostics_of_a_plain_student_are_refused():
    student = models.sequential()
    student.compile("sgd", models.CROSSENTROPY)
    watch = kd.callbacks.Diagnostics(models.sequential(seed=2), (X, Y))
    with pytest.raises(ValueError, match="needs the fit of a kd.Distiller"):
        fitted(student, [watch])


def test_a_cache_of_other_data_is_refused(cache):
    teacher = models.sequential()
    found = cache(teacher, (X, Y))
    with pytest.raises(ValueError, match="not those that the teacher saw"):
        kd.callbacks.Fidelity(found, (X + 1, Y))


@pytest.mark.parametrize("wrong", [{"kind": "values"}, {"ignore_class": 0.5}])
def test_fidelity_checks_its_arguments(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kd.callbacks.Fidelity(models.sequential(), (X, Y), **wrong)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_diagnostics_checks_its_temperature(value):
    with pytest.raises(ValueError, match="temperature"):
        kd.callbacks.Diagnostics(models.sequential(), (X,), temperature=value)
