"""A Distiller with features: one pass, one objective, one optimizer."""

import backend
import feature_models as nets
import keras
import models
import numpy as np
import pytest
import reference_features as reference
from feature_models import X, Y, close, hint
from keras import layers, ops

import keras_distill as kd

BACKEND = keras.backend.backend()
LOGS = {"loss", "hard_loss", "soft_loss", "feature_loss"}


# The objective.


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_the_objective_is_the_sum_of_weighted_terms(run_eagerly):
    head = kd.losses.Feature("head", "head", kd.losses.CosineDistance())
    features = [hint(weight=0.5), head]
    model = nets.still(*features, hard=0.3, soft=0.7, run_eagerly=run_eagerly)
    parts = model.teacher, model.student
    hidden = nets.mean_square(*parts, model.projectors["0"]).mean()
    logits = [models.logits(part, X) for part in parts]
    cosine = reference.cosine_distance(*logits).mean()
    logs = models.step(model, X, Y)
    assert logs.keys() == LOGS
    close(logs["feature_loss"], hidden + cosine)
    terms = 0.3 * logs["hard_loss"] + 0.7 * logs["soft_loss"]
    close(logs["loss"], terms + 0.5 * hidden + cosine)


def test_values_are_those_of_keras_where_shapes_agree():
    model = nets.still(hint(), teacher=nets.net(6, seed=2))
    assert not model.projectors
    loss = keras.distillation.FeatureDistillation("mse", "hidden", "hidden")
    parts = model.teacher, model.student
    expected = loss.compute_loss(*[nets.given(p, "hidden") for p in parts])
    close(models.step(model, X, Y)["feature_loss"], float(expected))


@pytest.mark.parametrize(
    "name", ["mse", "mean_absolute_error", "huber", "cosine_similarity"]
)
def test_losses_of_keras_by_name(name):
    model = nets.still(hint(loss=name), teacher=nets.net(6, seed=2))
    parts = [nets.given(p, "hidden") for p in (model.teacher, model.student)]
    losses = keras.losses.get(name)(*map(ops.convert_to_tensor, parts))
    expected = np.mean(backend.to_numpy(losses))
    close(models.step(model, X, Y)["feature_loss"], expected)


def test_features_alone_train_a_student():
    head = kd.losses.Feature("head", "head")
    model = nets.distiller(hint(), head, hard=0, soft=0, loss=None)
    history = models.fit(model, X, epochs=20)
    assert history.keys() == {"loss", "feature_loss"}
    assert history["feature_loss"][-1] < 0.9 * history["feature_loss"][0]
    close(history["loss"], history["feature_loss"])


# The projector.


def test_a_projector_is_trained_by_the_optimizer_of_the_student():
    model = nets.distiller(hint(weight=0.5))
    kernel, bias = nets.arrays(model.projectors["0"])
    f, g = (nets.given(p, "hidden") for p in (model.teacher, model.student))
    residual = 0.5 * 2 * (g @ kernel + bias - f) / f.size
    models.step(model, X, Y)
    new_kernel, new_bias = nets.arrays(model.projectors["0"])
    close(new_kernel, kernel - nets.RATE * g.T @ residual)
    close(new_bias, bias - nets.RATE * residual.sum(axis=0))


def test_the_gradient_of_a_feature_reaches_the_student():
    student = nets.net()
    student.get_layer("head").trainable = False
    model = nets.distiller(hint(), student=student, hard=0, soft=0, loss=None)
    before = nets.arrays(student)
    f, g = (nets.given(p, "hidden") for p in (model.teacher, model.student))
    kernel, bias = nets.arrays(model.projectors["0"])
    residual = 2 * (g @ kernel + bias - f) / f.size
    slope = (residual @ kernel.T) * (g > 0)
    models.step(model, X)
    after = nets.arrays(model.student)
    close(after[0], before[0] - nets.RATE * X.T @ slope)


def test_the_student_has_no_projector():
    projector = keras.Sequential([layers.Dense(7, "relu"), layers.Dense(5)])
    model = nets.distiller(hint(projector=projector))
    assert model.projectors["0"] is projector
    before = nets.arrays(projector)
    models.step(model, X, Y)
    assert models.changed(before, nets.arrays(projector))
    assert len(model.student.weights) == 4
    assert len(model.trainable_variables) == 8


def test_a_frozen_projector_stays():
    projector = layers.Dense(5, trainable=False)
    model = nets.distiller(hint(projector=projector))
    before = nets.arrays(projector)
    models.step(model, X, Y)
    models.assert_same(nets.arrays(projector), before)


@pytest.mark.parametrize("others", [1, 0])
def test_a_projector_without_a_use_stays_and_is_not_warned_of(others):
    model = nets.distiller(hint(), hint(loss="mae", weight=others))
    before = nets.arrays(model.projectors["0"])
    model.feature_losses[0].weight = 0
    models.step(model, X, Y)
    models.assert_same(nets.arrays(model.projectors["0"]), before)


# One pass.


def counted(**kwargs):
    """A Distiller whose models count their passes."""
    teacher = nets.net(5, 2, nets.Counting(name="count"))
    student = nets.net(6, 1, nets.Counting(name="count"))
    model = nets.distiller(
        hint(), teacher=teacher, student=student, run_eagerly=True, **kwargs
    )
    layers_ = [m.get_layer("count") for m in (teacher, student)]
    for layer in layers_:
        layer.calls.clear()
    return model, *(layer.calls for layer in layers_)


def test_each_model_runs_once_in_a_step():
    model, teacher, student = counted()
    model.fit(X, Y, batch_size=8, verbose=0)
    teacher.clear(), student.clear()
    models.step(model, X, Y)
    assert (teacher, student) == ([False], [True])


@pytest.mark.parametrize("soft, expected", [(1.0, [False]), (0.0, [])])
def test_a_feature_of_weight_0_is_not_computed(soft, expected):
    model, teacher, student = counted(soft=soft)
    model.feature_losses[0].weight = 0
    models.step(model, X, Y)
    teacher.clear(), student.clear()
    logs = models.step(model, X, Y)
    assert logs.keys() >= LOGS - {"feature_loss", "soft_loss"}
    assert "feature_loss" not in logs
    assert (teacher, student) == (expected, [True])


def test_evaluation_computes_no_feature():
    model, teacher, student = counted()
    expected = models.snapshot(model)
    logs = models.evaluate(model, X, Y)
    model.predict(X, verbose=0)
    assert teacher == [] and set(student) == {False}
    assert logs.keys() == {"loss"}
    models.assert_same(models.snapshot(model.student), expected[:4])


def normed(**kwargs):
    norm = layers.BatchNormalization(name="norm")
    student = nets.net(6, 1, norm)
    return nets.still(
        kd.losses.Feature("hidden", "norm"), student=student, **kwargs
    )


def test_batch_normalisation_moves_as_in_plain_training():
    model = normed()
    plain = keras.models.clone_model(model.student)
    plain.set_weights(model.student.get_weights())
    plain.compile(keras.optimizers.SGD(0.0), models.CROSSENTROPY)
    for each in (model, plain):
        models.fit(each, X, Y, validation_data=(X, Y), batch_size=4)
    assert models.changed(nets.arrays(nets.net(6, 1)), nets.arrays(plain))
    models.assert_same(nets.arrays(model.student), nets.arrays(plain), 1e-6)


def test_a_feature_has_the_dropout_of_the_outputs():
    def dropping(rate, seed):
        keras.utils.set_random_seed(seed)
        drop = layers.Dropout(rate, name="drop")
        stack = [keras.Input((models.FEATURES,)), drop]
        same = layers.Dense(4, kernel_initializer="identity", use_bias=False)
        return keras.Sequential([*stack, same])

    model = kd.Distiller(
        dropping(0.0, 1),
        dropping(0.5, 2),
        keras.losses.MeanSquaredError(),
        feature_losses=[kd.losses.Feature("drop", "drop")],
    )
    model.compile("sgd")
    logs = models.step(model, X)
    assert logs["feature_loss"] == logs["soft_loss"] > 0.1


def test_the_teacher_does_not_change():
    teacher = models.noisy(seed=2)
    name = teacher.layers[2].name
    before = models.snapshot(teacher)
    flags = [layer.trainable for layer in teacher.layers]
    feature = kd.losses.Feature(name, "hidden")
    models.fit(nets.distiller(feature, teacher=teacher), X, Y)
    models.assert_same(models.snapshot(teacher), before)
    assert [layer.trainable for layer in teacher.layers] == flags


def test_no_model_keeps_anything_of_a_step():
    model = nets.distiller(hint())
    parts = [m.get_layer("hidden") for m in (model.teacher, model.student)]
    models.step(model, X, Y)
    assert [type(vars(part).get("call")) for part in parts] == [type(None)] * 2


# Evaluation.


def test_evaluation_is_that_of_the_student():
    projector = layers.Dense(5, kernel_regularizer="l2")
    regularised = layers.Dense(4, kernel_regularizer="l2", name="more")
    student = nets.net(6, 1, regularised)
    model = nets.still(hint(projector=projector), student=student)
    plain = keras.models.clone_model(student)
    plain.set_weights(student.get_weights())
    plain.compile("sgd", models.CROSSENTROPY)
    assert models.evaluate(model, X, Y) == pytest.approx(
        models.evaluate(plain, X, Y), rel=1e-6
    )
    logs = models.fit(model, X, Y, validation_data=(X, Y))
    assert logs.keys() == LOGS | {"val_loss"}
    close(logs["val_loss"], [models.evaluate(plain, X, Y)["loss"]])
    kernels = [projector.get_weights()[0], regularised.get_weights()[0]]
    penalty = sum(np.sum(0.01 * kernel**2) for kernel in kernels)
    terms = sum(logs[name][0] for name in LOGS - {"loss"})
    close(logs["loss"][0], terms + penalty)


# Without a teacher, and in a loop of one's own.


def test_attached_logits_have_no_features():
    teacher = nets.net(5, seed=2)
    logits = models.logits(teacher, X)
    model = nets.still(hint(), teacher=teacher)
    model.teacher = None
    x = kd.WithTeacherLogits(X, logits)
    with pytest.raises(ValueError, match="logits that were stored have none"):
        model.fit(x, Y, verbose=0)
    model.feature_losses[0].weight = 0
    logs = model.fit(x, Y, verbose=0).history
    assert logs.keys() == LOGS - {"feature_loss"}


def test_a_loop_of_ones_own_is_told_that_it_has_no_features():
    model = nets.still(hint())
    y_pred = ops.stop_gradient(model(X, training=True))
    with pytest.raises(ValueError, match="in the steps of `fit`.*Received"):
        model.compute_loss(X, Y, y_pred)
    model.feature_losses[0].weight = 0
    assert backend.to_numpy(model.compute_loss(X, Y, y_pred)) > 0


# Another teacher.


def test_another_teacher_brings_its_features():
    model = nets.still(hint())
    model.teacher = nets.net(5, seed=3)
    parts = model.teacher, model.student
    expected = nets.mean_square(*parts, model.projectors["0"]).mean()
    close(models.step(model, X, Y)["feature_loss"], expected)


def test_a_teacher_in_the_middle_of_a_fit_brings_its_features():
    model, other = nets.still(hint()), nets.net(5, seed=3)
    seen = []

    def change(epoch, logs):
        seen.append(logs["feature_loss"])
        model.teacher = other

    callback = keras.callbacks.LambdaCallback(on_epoch_end=change)
    models.fit(model, X, Y, epochs=2, callbacks=[callback])
    expected = nets.mean_square(other, model.student, model.projectors["0"])
    close(seen[1], expected.mean())


def test_a_teacher_whose_feature_does_not_fit_is_refused():
    model = nets.still(hint())
    before = model.teacher
    with pytest.raises(ValueError, match=r"Received: \(None, 5\).*\(None, 7\)"):
        model.teacher = nets.net(7, seed=3)
    assert model.teacher is before


def test_a_projector_cannot_come_after_training_has_begun():
    model = nets.still(hint(), teacher=nets.net(6, seed=2))
    models.step(model, X, Y)
    with pytest.raises(ValueError, match="cannot come after training"):
        model.teacher = nets.net(7, seed=3)
    fresh = kd.Distiller(
        None, nets.net(), kd.losses.SoftTargets(2.0), feature_losses=[hint()]
    )
    fresh.teacher = nets.net(7, seed=3)
    assert fresh.projectors["0"].units == 7
