"""Losses around others: their numbers, labels, kinds and configs."""

import json

import keras
import models
import numpy as np
import pytest
import reference

import keras_distill as kd

SOFT = kd.losses.SoftTargets
X, Y = models.data(8)


def draw(shape=(8, 3)):
    rng = np.random.default_rng(0)
    return rng.normal(0.0, 3.0, (2, *shape)).astype("float32")


def distilled(loss, compiled=models.CROSSENTROPY, **weights):
    weights = {"hard_loss_weight": 1.0, "soft_loss_weight": 1.0} | weights
    teacher, student = models.linear(seed=2), models.linear()
    model = kd.Distiller(teacher, student, loss, **weights)
    model.compile(keras.optimizers.SGD(0.0), compiled)
    return model


def soft_loss(model, *data, **kwargs):
    return models.step(model, *data, **kwargs)["soft_loss"]


def logits(model):
    return [models.logits(m, X) for m in (model.teacher, model.student)]


def around(loss):
    """Both kinds of losses made of one, and what they are at a temperature."""
    yield (
        kd.losses.Standardized(loss),
        lambda v, z, t: reference.soft_targets(
            reference.standardized(v), reference.standardized(z), t
        ),
    )
    yield (
        kd.losses.Sum([loss, kd.losses.LogitMatching()], [2.0, 1.0]),
        lambda v, z, t: (
            2.0 * reference.soft_targets(v, z, t)
            + reference.logit_matching(v, z)
        ),
    )


@pytest.mark.parametrize("which", [0, 1], ids=["Standardized", "Sum"])
def test_a_number_of_the_other_loss_may_be_set_at_any_moment(which):
    inner = SOFT(2.0)
    loss, expected = list(around(inner))[which]
    model = distilled(loss)
    v, z = logits(model)
    name = ["temperature", "loss_0_temperature"][which]
    for set_one in (
        lambda: None,
        lambda: setattr(inner, "temperature", 3.0),
        lambda: setattr(loss, name, 5.0),
    ):
        set_one()
        found = soft_loss(model, X, Y)
        t = inner.temperature
        assert getattr(loss, name) == t
        assert found == pytest.approx(expected(v, z, t).mean(), rel=1e-5)
    assert inner.temperature == 5.0
    with pytest.raises(ValueError, match="temperature"):
        setattr(loss, name, 0.0)


def test_a_weight_of_a_sum_may_be_set_and_scheduled():
    rising = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.0, 4.0])
    losses = [SOFT(2.0), kd.losses.LogitMatching()]
    loss = kd.losses.Sum(losses, [1.0, rising])
    model = distilled(loss)
    v, z = logits(model)
    parts = [
        reference.soft_targets(v, z, 2.0).mean(),
        reference.logit_matching(v, z).mean(),
    ]
    assert soft_loss(model, X, Y) == pytest.approx(parts[0], rel=1e-5)
    found = soft_loss(model, X, Y)
    assert found == pytest.approx(parts[0] + 4.0 * parts[1], rel=1e-5)
    loss.loss_0_weight = 0.0
    found = soft_loss(model, X, Y)
    assert found == pytest.approx(4.0 * parts[1], rel=1e-5)
    with pytest.raises(ValueError, match="loss_0_weight"):
        loss.loss_0_weight = -1.0


def test_a_scheduled_number_is_logged_under_its_name():
    falling = keras.optimizers.schedules.PiecewiseConstantDecay([0], [4.0, 2.0])
    loss = kd.losses.Sum([SOFT(falling), kd.losses.LogitMatching()])
    history = distilled(loss).fit(X, Y, verbose=0).history
    assert history["loss_0_temperature"] == [2.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda dkd: kd.losses.Standardized(dkd),
        lambda dkd: kd.losses.Sum([dkd, kd.losses.LogitMatching()], [1.0, 0.0]),
    ],
)
def test_labels_reach_a_loss_that_uses_them(make):
    dkd = kd.losses.DKD(temperature=2.0)
    loss = make(dkd)
    assert loss.uses_labels
    model = distilled(loss)
    v, z = logits(model)
    if isinstance(loss, kd.losses.Standardized):
        v, z = reference.standardized(v), reference.standardized(z)
    expected = reference.dkd(v, z, Y, 1.0, 8.0, 2.0).mean()
    assert soft_loss(model, X, Y) == pytest.approx(expected, rel=1e-4)
    pair = logits(model)
    found = float(loss((pair[0], Y), pair[1]))
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_sum_of_a_whole_batch_refuses_weights():
    loss = kd.losses.Sum([SOFT(2.0), kd.losses.DIST()])
    v, z = draw()
    expected = reference.soft_targets(v, z, 2.0).mean()
    expected += reference.dist(v, z, 1.0, 1.0, 1.0)
    assert float(loss(v, z)) == pytest.approx(expected, rel=1e-5)
    for weigh in (
        lambda: loss(v, z, sample_weight=np.ones(8)),
        lambda: models.step(distilled(loss), X, Y, sample_weight=np.ones(8)),
    ):
        with pytest.raises(ValueError, match="Sum compares.*not weighed"):
            weigh()


def test_a_sum_of_losses_of_values():
    teacher, student = models.linear(seed=2), models.linear()
    error, huber = keras.losses.MeanSquaredError(), keras.losses.Huber()
    loss = kd.losses.Sum([error, huber], [1.0, 3.0])
    model = kd.Distiller(teacher, student, loss)
    model.compile(keras.optimizers.SGD(0.0))
    v, z = logits(model)
    expected = float(error(v, z)) + 3.0 * float(huber(v, z))
    assert soft_loss(model, X) == pytest.approx(expected, rel=1e-5)


def test_the_default_weights_are_those_of_the_first():
    assert kd.losses.Standardized(SOFT(2.0)).default_weights == (0.1, 0.9)
    both = kd.losses.Sum([kd.losses.TTM(2.0), kd.losses.DIST()])
    assert both.default_weights == (1.0, 1.0)


def test_a_saved_distiller_has_the_losses_and_their_numbers(tmp_path):
    inner = kd.losses.Standardized(SOFT(2.0))
    loss = kd.losses.Sum([inner, kd.losses.DIST(temperature=3.0)], [1.0, 0.5])
    model = distilled(loss)
    loss.loss_0_temperature = 7.0
    model.save(tmp_path / "model.keras")
    found = keras.saving.load_model(tmp_path / "model.keras").distillation_loss
    assert found.losses[0].loss.temperature == 7.0
    assert found.losses[1].temperature == 3.0
    assert (found.loss_0_weight, found.loss_1_weight) == (1.0, 0.5)


def test_a_config_holds_schedules():
    falling = keras.optimizers.schedules.CosineDecay(8.0, 10)
    soft = SOFT(falling)
    for loss in (
        kd.losses.Standardized(soft),
        kd.losses.Sum([soft, SOFT(2.0)], [falling, 1.0]),
    ):
        written = json.loads(json.dumps(keras.losses.serialize(loss)))
        copy = keras.losses.deserialize(written)
        assert copy.get_config() == loss.get_config()
        for name in loss.numbers:
            kinds = type(getattr(copy, name)), type(getattr(loss, name))
            assert kinds[0] is kinds[1]


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda: kd.losses.Standardized("KD"), TypeError, "`loss` must hold"),
        (
            lambda: kd.losses.Standardized(kd.losses.DIST()),
            ValueError,
            "DIST, which compares whole batches",
        ),
        (
            lambda: kd.losses.Standardized(kd.losses.SigmoidTargets(2.0)),
            ValueError,
            "SigmoidTargets, which compares labels",
        ),
        (
            lambda: kd.losses.Standardized(SOFT(2.0, reduction="sum")),
            ValueError,
            "reduction='sum'",
        ),
        (lambda: kd.losses.Sum([SOFT(2.0)]), ValueError, "two or more"),
        (lambda: kd.losses.Sum(SOFT(2.0)), ValueError, "two or more"),
        (lambda: kd.losses.Sum([SOFT(2.0), "KD"]), TypeError, "`losses` must"),
        (
            lambda: kd.losses.Sum([SOFT(2.0), kd.losses.SigmoidTargets(2.0)]),
            ValueError,
            "compare the same.*'classes', 'labels'",
        ),
        (
            lambda: kd.losses.Sum([SOFT(2.0), SOFT(3.0)], [1.0]),
            ValueError,
            "`weights` must be a list of 2",
        ),
        (
            lambda: kd.losses.Sum([SOFT(2.0), SOFT(3.0)], [1.0, -1.0]),
            ValueError,
            "loss_1_weight",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_what_there_is_not_has_no_value():
    loss = kd.losses.Standardized(kd.losses.LogitMatching())
    with pytest.raises(AttributeError, match="temperature"):
        _ = loss.temperature
