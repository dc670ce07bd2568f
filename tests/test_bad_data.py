"""Data that could not train or measure anything is refused."""

import keras
import models
import numpy as np
import pytest

import keras_distill as kd


def distiller(**kwargs):
    return models.distiller(models.linear(seed=2), models.linear(), **kwargs)


@pytest.mark.parametrize("rows", [None, np.zeros((0, models.FEATURES))])
def test_fit_without_rows_is_refused(rows):
    with pytest.raises(ValueError, match="`x` must hold at least one batch"):
        distiller(loss=None).fit(rows, verbose=0)


def test_weights_that_keras_would_drop_are_refused():
    x, _ = models.data(8)
    with pytest.raises(ValueError, match="`sample_weight` would be ignored"):
        distiller(loss=None).fit(x, sample_weight=np.ones(8), verbose=0)


def test_a_single_linear_unit_is_refused():
    inputs = keras.Input((models.FEATURES,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    with pytest.raises(ValueError, match="`student`.*two units"):
        kd.Distiller(None, model, kd.losses.TTM(2.0))


def test_labels_without_a_unit_are_refused_in_fidelity():
    data = models.data(8)[0], np.full(8, models.CLASSES)
    with pytest.raises(ValueError, match="Received: 8 labels that are not"):
        kd.evaluate_fidelity(models.linear(), models.linear(), data, verbose=0)
