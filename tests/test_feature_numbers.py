"""The numbers of features: set at any moment, scheduled."""

import feature_models as nets
import keras
import models
import reference_features as reference
from feature_models import X, Y, close, hint

import keras_distill as kd

BACKEND = keras.backend.backend()


def test_a_weight_may_be_set_at_any_moment_and_compiles_nothing():
    student = nets.net(6, 1, nets.Counting(name="count"))
    model = nets.still(hint(), student=student)
    seen, calls = [], student.get_layer("count").calls

    def change(step, logs):
        seen.append((dict(logs), len(calls)))
        model.feature_losses[0].weight = 3.0

    callback = keras.callbacks.LambdaCallback(on_epoch_end=change)
    models.fit(model, X, Y, epochs=2, callbacks=[callback])
    (first, traced), (second, traced_in_all) = seen
    close(second["loss"] - first["loss"], 2 * first["feature_loss"], 1e-4)
    if BACKEND != "torch":
        assert traced_in_all == traced


def test_a_weight_of_0_becomes_another_in_the_same_fit():
    model = nets.still(hint(weight=0))
    seen = []

    def change(epoch, logs):
        seen.append(dict(logs))
        model.feature_losses[0].weight = 2.0

    callback = keras.callbacks.LambdaCallback(on_epoch_end=change)
    models.fit(model, X, Y, epochs=2, callbacks=[callback])
    assert "feature_loss" not in seen[0]
    added = seen[1]["loss"] - seen[0]["loss"]
    close(added, 2 * seen[1]["feature_loss"], 1e-4)
    assert added > 0.1


def test_numbers_of_a_loss_may_be_set_at_any_moment():
    loss = kd.losses.RKD(1.0, 2.0)
    model = nets.still(hint(loss=loss))
    f, g = (nets.given(m, "hidden") for m in (model.teacher, model.student))
    distance, angle = reference.rkd_parts(f, g)
    found = models.step(model, X, Y)["feature_loss"]
    close(found, distance + 2 * angle, 1e-4)
    loss.distance_weight = 5.0
    found = models.step(model, X, Y)["feature_loss"]
    close(found, 5 * distance + 2 * angle, 1e-4)


def test_a_schedule_stands_for_a_weight_and_is_logged():
    schedules = keras.optimizers.schedules
    falling = schedules.PolynomialDecay(1.0, 4, 0.0)
    rkd = kd.losses.RKD(distance_weight=falling)
    relations = kd.losses.Feature("head", "head", rkd, weight=0.0)
    model = nets.still(hint(weight=falling), relations)
    logs = models.fit(model, X, Y, batch_size=4)
    close(logs["hidden_feature_weight"], [0.5])
    close(logs["distance_weight"], [0.5])
    terms = sum(logs[name][0] for name in ("hard_loss", "soft_loss"))
    # The steps were made at 1 and 0.75, with different halves of the data.
    hidden = nets.mean_square(
        model.teacher, model.student, model.projectors["0"]
    )
    weighed = (1.0 * hidden[:4].mean() + 0.75 * hidden[4:].mean()) / 2
    close(logs["loss"][0] - terms, weighed, 1e-4)
