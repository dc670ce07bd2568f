"""Eq. (5) of Hinton et al. 2015 in float32, as it is solved on a TPU.

No TPU is here: the solver is told that it is on one.
"""

import keras
import numpy as np
import pytest
import test_specialist_combine as float64
from keras import ops

import keras_distill as kd
from keras_distill._keras import jax as of_jax
from keras_distill.specialists import _solver

SEEDS = 4


@pytest.fixture
def tpu(monkeypatch):
    monkeypatch.setattr(of_jax, "on_tpu", lambda: True)


def combined(layout, logits):
    tensors = [ops.convert_to_tensor(part) for part in logits]
    n = layout.n
    compiled = float64.backend.compiled(
        lambda g, *s: kd.specialists.combine_logits(g, s, layout.sets, n)
    )
    return float64.backend.to_numpy(compiled(*tensors)).astype("float64")


@pytest.mark.parametrize("name", float64.SMALL)
def test_the_gradient_is_0_but_for_rounding(tpu, name):
    layout = float64.LAYOUTS[name]
    each = [float64.of_all_kinds(layout, seed) for seed in range(SEEDS)]
    logits = [np.concatenate(parts) for parts in zip(*each, strict=True)]
    log_q = combined(layout, logits)
    np.testing.assert_allclose(np.exp(log_q).sum(axis=1), 1, atol=1e-6)
    assert float64.residual(layout, logits, log_q).max() < 2e-5


def test_the_best_step_is_kept():
    """The last ones move within the rounding, some of them away."""
    sets = np.array([[[1, 1, 1, 0, 0]], [[1, 1, 0, 1, 0]]], "float32")
    inside = np.repeat(sets.transpose(1, 0, 2), 32, axis=0)
    rng = np.random.default_rng(0)
    problem = _solver.Problem(
        cells=rng.dirichlet(np.ones(5), 32).astype("float32"),
        dustbins=rng.uniform(0.1, 0.9, (32, 2)).astype("float32"),
        on=np.ones((32, 2), "float32"),
        inside=inside,
    )
    problem = _solver.Problem(*map(ops.convert_to_tensor, problem))
    point, kept = _solver._start(problem), 0
    for _ in range(20):
        before, point = point, _solver._next(problem, point)
        old, new = (float64.backend.to_numpy(p.error) for p in (before, point))
        assert (new <= old).all()
        changed = [
            float64.backend.to_numpy(ops.any(a != b, axis=1))
            for a, b in [(before.best, point.best), (before.q, point.q)]
        ]
        assert not changed[0][new == old].any()
        kept += (changed[1] & (new == old)).sum()
    assert kept > 0


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="JAX is lowered for a TPU in test_lowering.py",
)
def test_no_float64_is_asked_of_tensorflow(tpu):
    import tensorflow as tf

    layout = float64.LAYOUTS["disjoint"]
    graph = tf.function(
        lambda g, *s: kd.specialists.combine_logits(g, s, layout.sets, layout.n)
    )
    logits = map(ops.convert_to_tensor, float64.of_all_kinds(layout, 0))
    made = graph.get_concrete_function(*logits).graph.as_graph_def()
    assert "DT_DOUBLE" not in str(made)
