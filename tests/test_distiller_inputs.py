"""Every kind of model, of data and of step that a Distiller takes."""

import keras
import models
import numpy as np
import pytest
import reference

import keras_distill as kd

pytestmark = pytest.mark.internals

BACKEND = keras.backend.backend()
EXAMPLES = 20


def noisy_distiller(**kwargs):
    # Without dropout, which XLA draws in its own way.
    return models.distiller(
        models.noisy(seed=2), models.noisy(rate=0.0), **kwargs
    )


@pytest.fixture(scope="module")
def expected():
    """What a plain, compiled fit on arrays makes of the student."""
    model = noisy_distiller(run_eagerly=False)
    logs = models.fit(model, *models.data(EXAMPLES))
    return models.snapshot(model.student), logs


# Kinds of model.


@pytest.mark.parametrize(
    "teacher_kind, student_kind",
    [(kind, kind) for kind in models.KINDS]
    + [
        (models.sequential, models.unbuilt),
        (models.unbuilt, models.Subclassed),
    ],
)
def test_every_kind_of_teacher_and_student(teacher_kind, student_kind):
    model = models.distiller(
        teacher_kind(seed=2), student_kind(), run_eagerly=False
    )
    usual = models.distiller(models.functional(seed=2), models.functional())
    x, y = models.data()
    logs, expected = models.fit(model, x, y), models.fit(usual, x, y)
    assert logs == {k: pytest.approx(v, rel=1e-5) for k, v in expected.items()}
    models.assert_same(
        models.snapshot(model.student), models.snapshot(usual.student), 1e-6
    )


@pytest.mark.parametrize("named", [True, False], ids=["dict", "tuple"])
@pytest.mark.parametrize("labelled", [True, False])
def test_dict_and_tuple_inputs(named, labelled):
    teacher, student = models.two_inputs(named, 2), models.two_inputs(named)
    x, y = models.data(8)
    inputs = {"a": x, "b": 2 * x} if named else (x, 2 * x)
    soft = kd.losses.SoftTargets(models.TEMPERATURE)(
        models.logits(teacher, inputs), models.logits(student, inputs)
    )
    model = models.distiller(
        teacher, student, loss=models.CROSSENTROPY if labelled else None
    )
    logs = models.step(model, inputs, y if labelled else None)
    assert logs["soft_loss"] == pytest.approx(float(soft), rel=1e-5)


# Several outputs.


def soft_losses_of_two_outputs(model, x, weights=(None, None)):
    teacher = models.logits(model.teacher, x)
    student = models.logits(model.student, x)
    loss = kd.losses.SoftTargets(models.TEMPERATURE)
    return [
        float(loss(*group))
        for group in zip(teacher, student, weights, strict=True)
    ]


def two_output_distiller(**kwargs):
    teacher, student = models.two_outputs(seed=2), models.two_outputs()
    return models.distiller(teacher, student, **kwargs)


def test_soft_losses_of_several_outputs_are_added():
    model = two_output_distiller(loss=None)
    x, _ = models.data(8)
    soft = sum(soft_losses_of_two_outputs(model, x))
    assert models.step(model, x)["soft_loss"] == pytest.approx(soft, rel=1e-5)


def test_several_outputs_have_their_own_labels_and_losses():
    model = two_output_distiller(loss=[models.CROSSENTROPY] * 2)
    x, y = models.data(8)
    soft = sum(soft_losses_of_two_outputs(model, x))
    logs = models.step(model, x, [y, 2 - y])
    assert logs["soft_loss"] == pytest.approx(soft, rel=1e-5)
    assert logs["loss"] == models.near(
        0.3 * logs["hard_loss"] + 0.7 * logs["soft_loss"]
    )


@pytest.mark.parametrize("own", [False, True], ids=["one_weight", "own_weight"])
def test_sample_weight_applies_to_several_outputs(own):
    model = two_output_distiller(loss=[models.CROSSENTROPY] * 2)
    x, y = models.data(8)
    first = np.arange(8, dtype="float32")
    weights = [first, first[::-1].copy() if own else first]
    soft = sum(soft_losses_of_two_outputs(model, x, weights))
    logs = models.step(
        model, x, [y, y], sample_weight=weights if own else first
    )
    assert logs["soft_loss"] == pytest.approx(soft, rel=1e-5)


def test_a_teacher_with_other_outputs_is_refused():
    with pytest.raises(ValueError, match="a teacher with the 2 outputs"):
        models.distiller(models.two_outputs(), models.linear())


def test_subclassed_models_with_other_outputs_are_refused_at_the_first_step():
    teacher = models.Recorder(models.linear(seed=2))
    student = models.two_outputs()
    model = models.distiller(teacher, student, loss=None)
    with pytest.raises(ValueError, match="a teacher with one output"):
        models.step(model, models.data(8)[0])


# Kinds of step.

STEPS = {
    "run_eagerly": {"run_eagerly": True},
    "jit_compile": {"jit_compile": True},
    "no_jit_compile": {"jit_compile": False},
    "steps_per_execution": {"steps_per_execution": 2},
}


def not_on_torch(name):
    return pytest.mark.skipif(
        BACKEND == "torch" and name == "steps_per_execution",
        reason="on torch Keras refuses several steps per execution",
    )


# What the compiler of torch says of torch, and of Keras's own steps.
@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is deprecated",
    "ignore:The .grad attribute of a Tensor that is not a leaf",
)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=not_on_torch(name))
        for name, options in STEPS.items()
    ],
)
def test_every_kind_of_step_gives_the_result_of_a_plain_fit(options, expected):
    model = noisy_distiller(**({"run_eagerly": False} | options))
    logs = models.fit(model, *models.data(EXAMPLES))
    weights, expected_logs = expected
    models.assert_same(models.snapshot(model.student), weights, atol=1e-5)
    for name, value in expected_logs.items():
        assert logs[name] == pytest.approx(value, rel=1e-5)


def test_train_on_batch_gives_the_result_of_a_plain_fit(expected):
    model = noisy_distiller()
    x, y = models.data(EXAMPLES)
    for batch in batches(x, y):
        models.step(model, *batch)
    weights, _ = expected
    models.assert_same(models.snapshot(model.student), weights, atol=1e-5)


def test_test_on_batch_gives_the_result_of_evaluate():
    model = models.distiller(models.linear(seed=2), models.linear())
    x, y = models.data(8)
    logs = model.test_on_batch(x, y, return_dict=True)
    assert float(logs["loss"]) == models.near(
        models.evaluate(model, x, y)["loss"]
    )


# Kinds of data.


def batches(x, y):
    for start in range(0, len(x), 8):
        yield x[start : start + 8], y[start : start + 8]


def tf_data(x, y):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)


def data_loader(x, y):
    import torch

    pairs = torch.utils.data.TensorDataset(*map(torch.tensor, (x, y)))
    return torch.utils.data.DataLoader(pairs, batch_size=8)


def only_on(backend):
    reason = f"a kind of data of {backend}"
    return pytest.mark.skipif(backend != BACKEND, reason=reason)


@pytest.mark.parametrize(
    "source",
    [
        models.Batches,
        batches,
        pytest.param(tf_data, marks=only_on("tensorflow")),
        pytest.param(data_loader, marks=only_on("torch")),
    ],
)
def test_every_source_of_data_gives_the_result_of_arrays(source, expected):
    model = noisy_distiller()
    dataset = source(*models.data(EXAMPLES))
    logs = models.fit(model, dataset, steps_per_epoch=3)
    weights, expected_logs = expected
    models.assert_same(models.snapshot(model.student), weights, atol=1e-5)
    for name, value in expected_logs.items():
        assert logs[name] == pytest.approx(value, rel=1e-5)


def test_unlabelled_batches_from_a_dataset():
    x, _ = models.data(EXAMPLES)
    model = models.distiller(models.linear(seed=2), models.linear(), loss=None)
    logs = models.fit(model, models.Batches(x), epochs=2)
    assert set(logs) == {"loss", "soft_loss"}


# Precision.

MIXED = [
    ("mixed_bfloat16", "float32"),
    ("float32", "mixed_bfloat16"),
    ("mixed_float16", "float32"),
    ("float32", "mixed_float16"),
]


@pytest.mark.parametrize("teacher_policy, student_policy", MIXED)
def test_losses_of_mixed_precision_models_are_computed_in_float32(
    teacher_policy, student_policy
):
    teacher = models.with_policy(teacher_policy, models.linear, seed=2)
    student = models.with_policy(student_policy, models.linear)
    x, y = models.data(8)
    z, v = models.logits(student, x), models.logits(teacher, x)
    hard = -np.log(reference.softmax(z)[np.arange(8), y])
    soft = reference.soft_targets(v, z, models.TEMPERATURE)
    logs = models.step(models.distiller(teacher, student), x, y)
    assert logs["hard_loss"] == pytest.approx(hard.mean(), rel=1e-5)
    assert logs["soft_loss"] == pytest.approx(soft.mean(), rel=1e-5)


@pytest.mark.parametrize("teacher_policy, student_policy", MIXED)
def test_the_student_policy_decides_on_loss_scaling(
    teacher_policy, student_policy
):
    teacher = models.with_policy(teacher_policy, models.linear, seed=2)
    student = models.with_policy(student_policy, models.linear)
    full = models.linear()
    model = models.distiller(teacher, student, run_eagerly=False)
    models.fit(model, *models.data())
    models.fit(models.distiller(teacher, full), *models.data())

    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (student_policy == "mixed_float16")
    models.assert_same(models.snapshot(student), models.snapshot(full), 0.01)
