"""Students that bring steps, augmentation or preprocessing of their own."""

import warnings

import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

X, Y = models.data(8)
SIZE = 4


# Steps of its own.


def own(*names):
    """A student whose class overrides methods, by what Keras has."""

    def method(name):
        def call(self, *args, **kwargs):
            return getattr(super(student_class, self), name)(*args, **kwargs)

        return call

    body = {name: method(name) for name in names}
    student_class = type("Own", (models.Subclassed,), body)
    return student_class()


NAMES = ["train_step", "test_step", "compute_loss", "compute_metrics"]


@pytest.mark.parametrize("name", NAMES)
def test_a_student_with_a_step_of_its_own_is_refused(name):
    with pytest.raises(ValueError, match=f"type Own, whose own {name} would"):
        models.distiller(models.linear(), own(name))


def test_the_refusal_names_all_and_the_way_out():
    with pytest.raises(ValueError, match="train_step, compute_loss") as raised:
        models.distiller(models.linear(), own("train_step", "compute_loss"))
    text = str(raised.value)
    assert "compile()" in text and "add_loss" in text
    assert "distillation loss of your own" in text


def test_a_step_that_was_put_on_the_student_itself_is_refused():
    student = models.linear()
    student.train_step = lambda *args: {}
    with pytest.raises(ValueError, match="train_step"):
        models.distiller(models.linear(), student)


def test_a_distiller_is_refused_as_a_student_and_its_student_is_not():
    inner = models.distiller(models.linear(seed=2), models.linear())
    with pytest.raises(ValueError, match="of a Distiller, its student"):
        models.distiller(models.linear(seed=3), inner)
    models.distiller(models.linear(seed=3), inner.student)


@pytest.mark.parametrize("name", ["fit", "predict_step"])
def test_what_else_a_student_overrides_is_its_own_affair(name):
    model = models.distiller(models.linear(), own(name))
    models.fit(model, X, Y)


@pytest.mark.parametrize("kind", models.KINDS)
def test_kinds_of_models_that_keras_has_pass(kind):
    models.distiller(models.linear(seed=2), kind())


def test_a_model_in_the_student_may_have_steps_of_its_own():
    """Keras does not call those either."""
    inner = own(*NAMES)
    student = keras.Sequential([keras.Input((models.FEATURES,)), inner])
    model = models.distiller(models.linear(), student)
    models.fit(model, X, Y)


# Augmentation.


def picture_model(*augmentation, seed=1):
    keras.utils.set_random_seed(seed)
    stack = [layers.Flatten(), layers.Dense(models.CLASSES)]
    inputs = keras.Input((SIZE, SIZE, 3))
    return keras.Sequential([inputs, *augmentation, *stack])


def fit_pictures(student, soft=0.7):
    x = np.random.default_rng(0).random((8, SIZE, SIZE, 3)).astype("float32")
    model = models.distiller(picture_model(seed=2), student, soft=soft)
    models.fit(model, x, Y)


RANDOM = {
    "flip": lambda: layers.RandomFlip("horizontal"),
    "rotation": lambda: layers.RandomRotation(0.1),
    "contrast": lambda: layers.RandomContrast(0.1),
    "nested": lambda: keras.Sequential([layers.RandomFlip()]),
    "pipeline": lambda: layers.Pipeline([layers.RandomFlip()]),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_augmentation_in_the_student_is_warned_of(kind):
    student = picture_model(RANDOM[kind]())
    with pytest.warns(UserWarning, match="Augment the data, so that both"):
        fit_pictures(student)


@pytest.mark.filterwarnings("error:The student augments")
@pytest.mark.parametrize(
    "layer",
    [
        layers.Rescaling(1 / 255),
        layers.CenterCrop(SIZE, SIZE),
        layers.Dropout(0.5),
        layers.GaussianNoise(0.1),
        layers.SpatialDropout2D(0.1),
    ],
    ids=lambda layer: layer.name,
)
def test_preprocessing_dropout_and_noise_are_not(layer):
    fit_pictures(picture_model(layer))


@pytest.mark.filterwarnings("error:The student augments")
def test_augmentation_is_no_matter_without_a_soft_term():
    fit_pictures(picture_model(layers.RandomFlip()), soft=0.0)


@pytest.mark.filterwarnings("error:The student augments")
def test_augmentation_in_the_teacher_is_off():
    student, teacher = picture_model(), picture_model(layers.RandomFlip())
    x = np.ones((8, SIZE, SIZE, 3), "float32")
    models.fit(models.distiller(teacher, student), x, Y)


def test_augmentation_is_warned_of_once_in_a_run():
    student = picture_model(layers.RandomFlip())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        fit_pictures(student)
        fit_pictures(student)
    assert len([w for w in caught if "augments" in str(w.message)]) == 1


# Preprocessing that teacher and student share.


def adapted():
    layer = layers.Normalization()
    layer.adapt(10 * X + 3)
    return layer


def behind(layer, seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((models.FEATURES,))
    return keras.Model(inputs, layers.Dense(models.CLASSES)(layer(inputs)))


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_an_adapted_normalization_may_be_shared(run_eagerly):
    shared = adapted()
    assert shared.trainable
    teacher, student = behind(shared, 2), behind(shared, 1)
    before = models.snapshot(teacher), models.snapshot(student)
    found = models.distiller(teacher, student, run_eagerly=run_eagerly)
    logs = models.fit(found, X, Y, epochs=2)
    models.assert_same(models.snapshot(teacher), before[0])
    assert models.changed(before[1], models.snapshot(student))
    apart = models.distiller(
        behind(adapted(), 2), behind(adapted(), 1), run_eagerly=run_eagerly
    )
    assert logs == models.fit(apart, X, Y, epochs=2)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="only TensorFlow has tensors of strings",
)
def test_an_adapted_vocabulary_may_be_shared():
    import tensorflow as tf

    texts = tf.constant(["a plot", "a fit", "a mean", "a fit"])
    shared = layers.TextVectorization(
        output_mode="tf_idf", pad_to_max_tokens=True, max_tokens=models.FEATURES
    )
    shared.adapt(texts)

    def classifier(seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((), dtype="string")
        logits = layers.Dense(models.CLASSES)(shared(inputs))
        return keras.Model(inputs, logits)

    teacher, student = classifier(2), classifier(1)
    before = models.snapshot(teacher), models.snapshot(student)
    models.fit(models.distiller(teacher, student), texts, Y[:4])
    models.assert_same(models.snapshot(teacher), before[0])
    assert models.changed(before[1], models.snapshot(student))


class Learned(layers.Normalization):
    """Has something to train beside what it adapts to."""

    def build(self, input_shape):
        super().build(input_shape)
        self.scale = self.add_weight(shape=(), initializer="ones")


@pytest.mark.parametrize(
    "layer",
    [Learned, lambda: layers.BatchNormalization(center=False, scale=False)],
    ids=["weights", "moving averages"],
)
def test_what_training_would_change_may_not_be_shared(layer):
    shared = layer()
    if isinstance(shared, Learned):
        shared.adapt(X)
    with pytest.raises(ValueError, match="must not share layers"):
        models.distiller(behind(shared, 2), behind(shared, 1))


# Validation that could only fail.


def pure(student=None, metrics=None):
    """A Distiller without a compiled loss."""
    student = student or models.linear()
    teacher = models.linear(seed=2)
    return models.distiller(teacher, student, 0, 1, loss=None, metrics=metrics)


def dataset(*arrays):
    tf = pytest.importorskip("tensorflow", reason="of tf.data")
    return tf.data.Dataset.from_tensor_slices(arrays).batch(4)


VALIDATION = {
    "arrays": lambda: {"validation_data": (X, Y)},
    "inputs": lambda: {"validation_data": X},
    "split": lambda: {"validation_split": 0.5},
    "PyDataset": lambda: {"validation_data": models.Batches(X, Y)},
    "tf.data": lambda: {"validation_data": dataset(X, Y)},
}
UNLABELLED = {
    "inputs": lambda: {"validation_data": X},
    "tuple": lambda: {"validation_data": (X,)},
    "no labels": lambda: {"validation_data": (X, None)},
    "attached": lambda: {"validation_data": kd.WithTeacherLogits(X, X[:, :3])},
    "split": lambda: {"validation_split": 0.5},
    "tf.data": lambda: {"validation_data": dataset(X)},
}


def refused_at_once(model, y, arguments):
    before, steps = models.snapshot(model.student), []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: steps.append(batch)
    )
    with pytest.raises(ValueError, match="nothing to evaluate.*evaluate_fid"):
        models.fit(model, X, y, callbacks=[count], **arguments)
    assert steps == []
    models.assert_same(models.snapshot(model.student), before)


@pytest.mark.parametrize("kind", VALIDATION)
def test_validation_without_loss_or_metrics_is_refused_at_once(kind):
    refused_at_once(pure(), Y, VALIDATION[kind]())


@pytest.mark.parametrize("kind", UNLABELLED)
def test_validation_without_labels_is_refused_at_once(kind):
    refused_at_once(pure(metrics=["accuracy"]), None, UNLABELLED[kind]())


def test_validation_by_metrics_alone_runs():
    model = pure(metrics=["accuracy"])
    logs = models.fit(model, X, Y, validation_data=(X, Y))
    assert "val_accuracy" in logs
    assert "val_loss" not in logs
    logs = models.fit(model, X, Y, validation_data=models.Batches(X, Y))
    assert "val_accuracy" in logs
