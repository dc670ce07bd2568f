"""The losses: one contract for all, golden values, equations, identities."""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Callable
from dataclasses import dataclass, field

import backend
import keras
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_distill as kd
from keras_distill.losses._standardized import standardized

T = 3.0
SHAPES = [(4, 5), (4, 3, 5)]
RANDOM_SHAPES = [(3, 1), (4, 5), (4, 3, 5), (4, 100), (2, 2000)]
HUGE = [("float32", 1e4), ("bfloat16", 1e4), ("float16", 6e4)]
BAD_TEMPERATURES = dict.fromkeys(
    [0, -1, float("nan"), float("inf")], ValueError
) | dict.fromkeys(["4", None, True, 1j], TypeError)
GOLDEN = pathlib.Path(__file__).parent / "golden" / "logit_losses.json"


@dataclass(frozen=True)
class Case:
    """A loss class, its hyperparameters, its optimum and its equations."""

    cls: type
    function: Callable
    optimum: Callable | None  # None where the loss has no minimum of 0.
    value: Callable
    gradient: Callable
    config: dict = field(default_factory=dict)
    uses_labels: bool = False
    named: str = ""  # What beside the class makes the case.
    fixed: dict = field(default_factory=dict)  # Part of each call of the class.

    def __str__(self):
        return f"{self.cls.__name__} {self.named}".strip()

    def loss(self, **kwargs):
        return self.cls(**self.config | self.fixed | kwargs)

    def make(self, reduction=None, **kwargs):
        """The loss, as a function of two sets of logits."""
        return self.called(self.loss(reduction=reduction, **kwargs))

    def calls(self):
        """By Keras, and by the method that computes."""
        loss = self.loss(reduction=None)
        return self.called(loss), self.called(loss.call)

    def called(self, loss, labels=None):
        if not self.uses_labels:
            return loss
        given = labels_of if labels is None else lambda v: labels
        return lambda v, z, *w, **k: loss((v, given(v)), z, *w, **k)

    def per_example(self, teacher, student, labels=None):
        loss = self.called(self.loss(reduction=None), labels)
        return backend.to_numpy(loss(teacher, student))


def labels_of(logits):
    """A class number for each distribution, all classes in turn."""
    *positions, classes = logits.shape or (1,)
    if positions[:1] == [None]:
        return keras.Input(positions[1:], dtype="int32")
    return np.arange(math.prod(positions)).reshape(positions) % classes


def with_labels(function):
    """A function of two sets of logits, which has labels for the third."""
    return lambda v, z, **config: function(v, z, labels_of(v), **config)


@keras.saving.register_keras_serializable("tests")
def of_label(teacher_logits, temperature, labels):
    """A weight of one's own: the teacher's probability of the label."""
    p = kd.transforms.power_transform(teacher_logits, temperature)
    mask = ops.one_hot(labels, p.shape[-1], dtype=p.dtype)
    return ops.sum(p * mask, axis=-1)


def weighed(case, name):
    """The case of a loss whose examples weigh as their teacher answers."""
    weight = getattr(kd.example_weights, name, of_label)
    expected = getattr(reference, f"{name}_weight")
    labels = weight is of_label

    def function(v, z, temperature):
        own = functools.partial(weight, labels=labels_of(v)) if labels else None
        return case.function(v, z, temperature, own or weight)

    def times_weight(value):
        def product(v, z, temperature):
            extra = [labels_of(v)] if labels else []
            weights = expected(v, temperature, *extra)
            values = value(v, z, temperature)
            # A gradient has the classes beside.
            return values * (
                weights[..., None] if values.ndim == v.ndim else weights
            )

        return product

    return dataclasses.replace(
        case,
        function=function,
        value=times_weight(case.value),
        gradient=times_weight(case.gradient),
        fixed={"example_weight": weight},
        uses_labels=labels,
        named=name,
    )


SOFT_TARGETS = Case(
    kd.losses.SoftTargets,
    kd.losses.soft_targets,
    lambda v: v,
    reference.soft_targets,
    reference.soft_targets_gradient,
    {"temperature": T},
    fixed={"example_weight": None},
)
TTM = Case(
    kd.losses.TTM,
    kd.losses.ttm,
    lambda v: v / T,
    reference.ttm,
    reference.gradient_20,
    {"temperature": T},
    fixed={"example_weight": None},
)
CASES = [
    SOFT_TARGETS,
    TTM,
    Case(
        kd.losses.LogitMatching,
        kd.losses.logit_matching,
        lambda v: v,
        reference.logit_matching,
        reference.logit_matching_gradient,
    ),
    Case(
        kd.losses.WTTM,
        kd.losses.wttm,
        lambda v: v / T,
        reference.wttm,
        reference.wttm_gradient,
        {"temperature": T},
    ),
    Case(
        kd.losses.SigmoidTargets,
        kd.losses.sigmoid_targets,
        lambda v: v,
        reference.sigmoid_targets,
        reference.sigmoid_targets_gradient,
        {"temperature": T},
    ),
    Case(
        kd.losses.DKD,
        with_labels(kd.losses.dkd),
        lambda v: v,
        with_labels(reference.dkd),
        with_labels(reference.dkd_gradient),
        {"target_weight": 1.0, "nontarget_weight": 8.0, "temperature": T},
        uses_labels=True,
    ),
    Case(
        kd.losses.ReverseKL,
        kd.losses.reverse_kl,
        lambda v: v,
        reference.reverse_kl,
        reference.reverse_kl_gradient,
        {"temperature": T},
    ),
    Case(
        kd.losses.JensenShannon,
        kd.losses.jensen_shannon,
        lambda v: v,
        reference.jensen_shannon,
        reference.jensen_shannon_gradient,
        {"teacher_share": 0.3, "temperature": T},
    ),
    Case(
        kd.losses.HardLabels,
        kd.losses.hard_labels,
        None,
        reference.hard_labels,
        reference.hard_labels_gradient,
    ),
    Case(
        kd.losses.NKD,
        with_labels(kd.losses.nkd),
        None,
        with_labels(reference.nkd),
        with_labels(reference.nkd_gradient),
        {"nontarget_weight": 1.5, "temperature": T},
        uses_labels=True,
    ),
    Case(
        kd.losses.Standardized,
        lambda v, z: kd.losses.soft_targets(
            standardized(v), standardized(z), T
        ),
        lambda v: 3.0 * v + 1.0,
        lambda v, z: reference.soft_targets(
            reference.standardized(v), reference.standardized(z), T
        ),
        lambda v, z: reference.through_standardized(
            reference.soft_targets_gradient(
                reference.standardized(v), reference.standardized(z), T
            ),
            z,
        ),
        fixed={"loss": kd.losses.SoftTargets(T)},
    ),
    Case(
        kd.losses.Sum,
        lambda v, z: (
            2.0 * kd.losses.soft_targets(v, z, T)
            + 0.5 * kd.losses.logit_matching(v, z)
        ),
        lambda v: v,
        lambda v, z: (
            2.0 * reference.soft_targets(v, z, T)
            + 0.5 * reference.logit_matching(v, z)
        ),
        lambda v, z: (
            2.0 * reference.soft_targets_gradient(v, z, T)
            + 0.5 * reference.logit_matching_gradient(v, z)
        ),
        fixed={
            "losses": [kd.losses.SoftTargets(T), kd.losses.LogitMatching()],
            "weights": [2.0, 0.5],
        },
    ),
    weighed(SOFT_TARGETS, "entropy"),
    weighed(TTM, "confidence"),
    weighed(TTM, "of_label"),
]
# Losses of whole batches have tests of their own.
OF_BATCHES = {kd.losses.DIST}
WITH_OPTIMUM = [case for case in CASES if case.optimum]
TEMPERED = [case for case in CASES if case.config]
OF_CLASSES = [case for case in CASES if case.loss().compares == "classes"]
OF_LABELS = [case for case in CASES if case.loss().compares == "labels"]
each_loss = pytest.mark.parametrize("case", CASES, ids=str)
each_tempered = pytest.mark.parametrize("case", TEMPERED, ids=str)


def draw(shape=(4, 5), scale=3.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, scale, (2, *shape)).astype("float32")


def close(actual, expected, tolerance):
    """Relative to the largest entry: small ones are differences of large."""
    scale = np.max(np.abs(expected))
    np.testing.assert_allclose(actual, expected, 0, tolerance * scale)


def total(loss):
    """The sum of a loss over the examples, of one stacked pair of logits."""
    return lambda pair: ops.sum(loss(pair[0], pair[1]))


def student_gradient(loss, teacher, student):
    _, gradient = backend.value_and_grad(
        lambda z: ops.sum(loss(teacher, z)), student
    )
    return gradient


@each_tempered
def test_a_temperature_may_be_a_scalar_tensor_and_traced(case):
    teacher, student = draw()
    expected = case.per_example(teacher, student)

    def loss(temperature):
        config = case.config | {"temperature": temperature}
        return case.function(teacher, student, **config)

    for function in (loss, backend.compiled(loss)):
        found = backend.to_numpy(function(ops.convert_to_tensor(T)))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@each_tempered
def test_a_temperature_for_each_example_is_refused(case):
    temperatures = ops.convert_to_tensor([T] * 4)
    with pytest.raises(ValueError, match=r"must be one number.*shape \(4,\)"):
        case.function(*draw(), temperature=temperatures)


@each_tempered
def test_a_temperature_may_be_set_and_is_checked(case):
    loss = case.loss(reduction=None)
    loss.temperature = 2
    assert loss.get_config()["temperature"] == 2.0
    teacher, student = draw()
    np.testing.assert_array_equal(
        backend.to_numpy(case.called(loss)(teacher, student)),
        backend.to_numpy(
            case.function(
                teacher, student, **case.config | {"temperature": 2.0}
            )
        ),
    )
    tensor = ops.convert_to_tensor(T)
    for value, error in [*BAD_TEMPERATURES.items(), (tensor, TypeError)]:
        with pytest.raises(error, match="`temperature` must be"):
            loss.temperature = value
    assert loss.temperature == 2.0


def test_every_loss_class_is_under_contract():
    public = {
        value
        for name, value in vars(kd.losses).items()
        if isinstance(value, type)
        and issubclass(value, keras.losses.Loss)
        and not name.startswith("_")
        # Those of features are in test_feature_losses.py.
        and getattr(value, "compares", None) != "values"
    }
    assert public == {case.cls for case in CASES} | OF_BATCHES


@pytest.mark.parametrize("case", WITH_OPTIMUM, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_zero_at_its_optimum_and_positive_elsewhere(case, shape):
    teacher, student = draw(shape)
    best = case.optimum(teacher)
    np.testing.assert_allclose(case.per_example(teacher, best), 0, 0, 1e-6)
    assert np.all(case.per_example(teacher, student) > 1e-2)
    assert np.all(case.per_example(teacher, best + 0.1 * student) > 1e-5)
    gradient = student_gradient(case.make(), teacher, best)
    np.testing.assert_allclose(gradient, 0, 0, 1e-5)


@each_loss
class TestContract:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_one_number_per_distribution(self, case, shape):
        teacher, student = draw(shape)
        assert case.per_example(teacher, student).shape == shape[:-1]
        symbols = [keras.Input(shape[1:]), keras.Input(shape[1:])]
        result = case.function(*symbols, **case.config)
        assert tuple(result.shape) == (None, *shape[1:-1])

    def test_order_of_the_classes_changes_nothing(self, case):
        teacher, student = draw()
        order = [3, 0, 4, 1, 2]
        labels = labels_of(teacher)
        moved = np.argsort(order)[labels]
        # Sums in another order are off by some eps, up to four of them in turn.
        close(
            case.per_example(teacher[:, order], student[:, order], moved),
            case.per_example(teacher, student, labels),
            32 * np.finfo("float32").eps,
        )

    @pytest.mark.parametrize("dtype, size", HUGE)
    def test_huge_logits_are_finite(self, case, dtype, size):
        signs = np.sign(draw())
        pair = ops.cast(size * signs, dtype)
        for loss in case.calls():
            value, gradient = backend.value_and_grad(total(loss), pair)
            assert np.isfinite(value)
            assert np.all(np.isfinite(gradient))
            assert np.any(gradient[1] != 0)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_computes_in_at_least_float32(self, case, dtype):
        pair = ops.cast(draw(), dtype)
        exact = backend.to_numpy(ops.cast(pair, "float32"))
        for loss in case.calls():
            result = loss(pair[0], pair[1])
            assert keras.backend.standardize_dtype(result.dtype) == "float32"
            close(
                backend.to_numpy(result),
                case.value(*exact, **case.config),
                1e-5,
            )

    def test_sample_weight(self, case):
        teacher, student = draw()
        each = case.per_example(teacher, student)
        weight = np.float32([1.0, 0.0, 2.0, 0.5])
        loss = case.make("sum_over_batch_size")
        value = loss(teacher, student, sample_weight=weight)
        close(backend.to_numpy(value), np.mean(weight * each), 1e-6)
        doubled = loss(teacher, student, sample_weight=2 * weight)
        close(backend.to_numpy(doubled), np.mean(2 * weight * each), 1e-6)
        student[1] = -student[1]
        without = loss(teacher, student, sample_weight=weight)
        close(backend.to_numpy(without), backend.to_numpy(value), 1e-6)

    def test_keras_mask(self, case):
        teacher, student = draw((4, 3, 5))
        keep = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0]], bool)
        student[~keep] = 0.0
        masked = keras.layers.Masking()(ops.convert_to_tensor(student))
        value = case.make("sum_over_batch_size")(teacher, masked)
        each = case.per_example(teacher, student)
        close(backend.to_numpy(value), np.mean(each[keep]), 1e-6)

    @pytest.mark.parametrize(
        "reduction, reduce",
        [
            (None, lambda each, w: each * w),
            ("none", lambda each, w: each * w),
            ("sum", lambda each, w: np.sum(each * w)),
            ("mean", lambda each, w: np.mean(each * w)),
            ("sum_over_batch_size", lambda each, w: np.mean(each * w)),
            (
                "mean_with_sample_weight",
                lambda each, w: np.sum(each * w) / np.sum(w),
            ),
        ],
    )
    def test_reduction(self, case, reduction, reduce):
        teacher, student = draw((4, 3, 5))
        weight = np.arange(12.0, dtype="float32").reshape(4, 3)
        each = case.per_example(teacher, student)
        loss = case.make(reduction)
        value = loss(teacher, student, sample_weight=weight)
        close(backend.to_numpy(value), reduce(each, weight), 1e-6)

    @pytest.mark.parametrize(
        "save, load",
        [
            (keras.losses.serialize, keras.losses.deserialize),
            (
                keras.saving.serialize_keras_object,
                keras.saving.deserialize_keras_object,
            ),
        ],
    )
    def test_json_round_trip(self, case, save, load):
        loss = case.loss(reduction="sum", name="renamed")
        restored = load(json.loads(json.dumps(save(loss))))
        assert type(restored) is case.cls
        assert restored.get_config() == {
            "name": "renamed",
            "reduction": "sum",
            **case.config,
            **keras.saving.serialize_keras_object(case.fixed),
        }
        teacher, student = draw()
        values = [case.called(it)(teacher, student) for it in (loss, restored)]
        assert float(values[0]) == float(values[1])

    @pytest.mark.parametrize("shape", SHAPES)
    def test_compiled_equals_eager(self, case, shape):
        teacher, student = map(ops.convert_to_tensor, draw(shape))
        loss = case.make()
        result = backend.compiled(loss)(teacher, student)
        eager = case.per_example(teacher, student)
        close(backend.to_numpy(result), eager, 1e-6)

    def test_no_gradient_to_the_teacher(self, case):
        for loss in case.calls():
            _, gradient = backend.value_and_grad(total(loss), draw())
            assert np.all(gradient[0] == 0)
            assert np.any(gradient[1] != 0)

    @pytest.mark.parametrize(
        "dtype, tolerance", [("float32", 1e-5), ("float64", 1e-10)]
    )
    def test_matches_the_equation(self, case, dtype, tolerance):
        teacher, student = draw((4, 3, 5)).astype(dtype)
        with backend.float64():
            loss = case.make(dtype=dtype)
            value = case_value(loss, teacher, student)
            gradient = student_gradient(loss, teacher, student)
        assert value.dtype == gradient.dtype == dtype
        close(value, case.value(teacher, student, **case.config), tolerance)
        expected = case.gradient(teacher, student, **case.config)
        close(gradient, expected, tolerance)

    @pytest.mark.parametrize(
        "shapes",
        [
            [(2, 3), (2, 4)],
            [(2, 3), (1, 3)],
            [(2, 3), (2, 1)],
            [(2, 3), (3,)],
            [(2, 4, 3), (2, 3)],
            [(), ()],
        ],
    )
    def test_other_shapes_are_refused(self, case, shapes):
        arrays = [np.zeros(shape, "float32") for shape in shapes]
        for loss in case.calls():
            with pytest.raises(ValueError, match="same shape") as error:
                loss(*arrays)
            for shape in shapes:
                assert str(shape) in str(error.value)


def case_value(loss, teacher, student):
    return backend.to_numpy(loss(teacher, student))


def of_kind(cases):
    return pytest.mark.parametrize("case", cases, ids=str)


@of_kind(OF_CLASSES)
@pytest.mark.parametrize("shift", [-1e3, 1e3])
def test_shift_of_the_logits_changes_nothing(case, shift):
    # Multiples of 1/256 below 2^11 plus the shift are exact in float32.
    # Dividing them by T is not: v/T is off by eps/2 (|v| + |shift|)/T.
    teacher, student = np.round(draw() * 256) / 256
    still = case.per_example(teacher, student)
    tolerance = 2 * np.finfo("float32").eps * 1e3
    for moved in (
        case.per_example(teacher + shift, student),
        case.per_example(teacher, student + shift),
    ):
        close(moved, still, tolerance)


@of_kind(OF_LABELS)
def test_a_label_and_its_opposite_are_alike(case):
    teacher, student = draw()
    close(
        case.per_example(-teacher, -student),
        case.per_example(teacher, student),
        1e-6,
    )


@of_kind([SOFT_TARGETS, TTM])
def test_a_missing_temperature_is_that_of_the_class_called(case):
    name = case.cls.__name__
    with pytest.raises(TypeError, match=rf"^{name}\.__init__.*'temperature'"):
        case.cls()


@each_tempered
@pytest.mark.parametrize("value", BAD_TEMPERATURES, ids=repr)
def test_bad_temperature_is_named(case, value):
    logits = np.zeros((1, 2), "float32")
    for attempt in (
        lambda: case.cls(temperature=value),
        lambda: case.function(logits, logits, temperature=value),
    ):
        with pytest.raises(BAD_TEMPERATURES[value], match="temperature") as e:
            attempt()
        assert f"temperature={value!r}" in str(e.value)


METHODS = {
    "soft_targets": (kd.losses.SoftTargets, kd.losses.soft_targets),
    "ttm": (kd.losses.TTM, kd.losses.ttm),
    "wttm": (kd.losses.WTTM, kd.losses.wttm),
    "dkd": (kd.losses.DKD, kd.losses.dkd),
}


def golden():
    for n, batch in enumerate(json.loads(GOLDEN.read_text())["cases"]):
        pair = np.array([batch["teacher_logits"], batch["student_logits"]])
        for result in batch["results"]:
            method, params = result["method"], result["params"]
            if method not in METHODS:  # A loss of whole batches.
                continue
            yield pytest.param(
                *METHODS[method],
                pair,
                np.array(batch["labels"]),
                params,
                result,
                id=f"{method}-{params['temperature']}-{n}",
            )


@pytest.mark.parametrize(
    "cls, function, pair, labels, params, expected", list(golden())
)
@pytest.mark.parametrize(
    "dtype, tolerance", [("float32", 1e-5), ("float64", 1e-10)]
)
def test_authors_values(
    cls, function, pair, labels, params, expected, dtype, tolerance
):
    # The file holds gradients to 12 decimals, so each is off by up to 5e-13.
    floor = 5e-13 + tolerance * np.max(np.abs(expected["grad_student_logits"]))
    teacher, student = pair.astype(dtype)
    names = {"alpha": "target_weight", "beta": "nontarget_weight"}
    config = {names.get(k, k): v for k, v in params.items() if k != "gamma"}
    # Summed and divided here: Keras takes means of float64 in float32.
    loss = cls(**config, reduction="sum", dtype=dtype)
    targets, extra = teacher, ()
    if cls is kd.losses.DKD:
        targets, extra = (teacher, labels), (labels,)
    for attempt in (
        lambda z: loss(targets, z) / len(pair[0]),
        lambda z: (
            ops.sum(function(teacher, z, *extra, **config)) / len(pair[0])
        ),
    ):
        with backend.float64():
            value, gradient = backend.value_and_grad(attempt, student)
        np.testing.assert_allclose(value, expected["loss"], tolerance)
        np.testing.assert_allclose(
            gradient, expected["grad_student_logits"], 0, floor
        )


def in_float64(fn, *args):
    with backend.float64():
        return backend.to_numpy(fn(*args))


def test_high_temperature_tends_to_logit_matching():
    teacher, student = draw(scale=1.0).astype("float64")
    limit = in_float64(kd.losses.logit_matching, teacher, student)
    gaps = [
        np.max(np.abs(value / limit - 1))
        for value in (
            in_float64(kd.losses.soft_targets, teacher, student, temperature)
            for temperature in (1e2, 1e3, 1e4)
        )
    ]
    # The expansion of T^2 KL in 1/T has a first-order term: 10x T, gap / 10.
    assert gaps[0] < 0.1
    np.testing.assert_allclose(np.divide(gaps[:-1], gaps[1:]), 10, 0.1)


def test_all_agree_at_temperature_one():
    teacher, student = draw().astype("float64")
    expected = reference.kl_divergence(
        reference.softmax(teacher), reference.softmax(student)
    )
    for function in (kd.losses.soft_targets, kd.losses.ttm, kd.losses.wttm):
        actual = in_float64(function, teacher, student, 1.0)
        close(actual, expected, 1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.25, 4.0, 10.0])
class TestIdentities:
    def test_wttm_is_ttm_times_power_sum(self, temperature):
        teacher, student = draw().astype("float64")
        weight = in_float64(kd.transforms.power_sum, teacher, temperature)
        ttm = in_float64(kd.losses.ttm, teacher, student, temperature)
        wttm = in_float64(kd.losses.wttm, teacher, student, temperature)
        close(wttm, weight * ttm, 1e-12)

    def test_wttm_is_ttm_with_the_power_sum_as_weight(self, temperature):
        teacher, student = draw().astype("float64")
        weight = kd.example_weights.power_sum
        ttm = kd.losses.TTM(temperature, weight, reduction=None)
        wttm = kd.losses.WTTM(temperature, reduction=None)
        for value in (in_float64, student_gradient):
            expected = value(wttm, teacher, student)
            np.testing.assert_array_equal(
                value(ttm, teacher, student), expected
            )

    def test_equation_15(self, temperature):
        teacher, student = draw().astype("float64")
        ttm = in_float64(kd.losses.ttm, teacher, student, temperature)
        expected = reference.identity_15(teacher, student, temperature)
        close(ttm, expected, 1e-12)

    def test_equation_15_within_the_package(self, temperature):
        teacher, student = draw().astype("float64")
        args = teacher, student, temperature
        ttm = in_float64(kd.losses.ttm, *args)
        soft = in_float64(kd.losses.soft_targets, *args) / temperature
        entropy = kd.transforms.renyi_entropy
        bonus = in_float64(entropy, student, 1 / temperature)
        constant = in_float64(entropy, teacher / temperature, 1.0)
        close(ttm, soft - (temperature - 1) * (bonus - constant), 1e-12)

    def test_equations_20_and_21(self, temperature):
        teacher, student = draw().astype("float64")
        for function, equation, factor in (
            (kd.losses.ttm, reference.gradient_20, 1.0),
            (kd.losses.soft_targets, reference.gradient_21, temperature**2),
        ):
            with backend.float64():
                gradient = student_gradient(
                    lambda v, z, f=function: f(v, z, temperature),
                    teacher,
                    student,
                )
            expected = factor * equation(teacher, student, temperature)
            close(gradient, expected, 1e-12)


def test_confidently_wrong_student_gets_the_full_gradient():
    teacher = np.float32([[0.0, -30.0, -60.0]])
    student = np.float32([[-60.0, -30.0, 0.0]])
    gradient = student_gradient(kd.losses.TTM(1.0), teacher, student)
    np.testing.assert_allclose(gradient, [[-1.0, 0.0, 1.0]], 0, 1e-6)


def test_one_unit_is_two_classes_of_which_one_has_the_logit_0():
    teacher, student = draw((6, 1)).astype("float64")
    v, z = (np.concatenate([0 * a, a], axis=1) for a in (teacher, student))
    found = in_float64(kd.losses.sigmoid_targets, teacher, student, T)
    close(found, in_float64(kd.losses.soft_targets, v, z, T), 1e-12)


@pytest.mark.parametrize("size", [30.0, 1e3, 1e8])
def test_a_confidently_wrong_label_gets_the_full_gradient(size):
    teacher = np.float32([[size, -size, size, 0.0]])
    student = np.float32([[-size, size, size, 0.0]])
    gradient = student_gradient(kd.losses.SigmoidTargets(1.0), teacher, student)
    expected = [[-0.25, 0.25, 0.0, 0.0]]
    np.testing.assert_allclose(gradient, expected, 0, 1e-6)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from(RANDOM_SHAPES),
    scale=st.floats(0.01, 100.0),
    log_temperature=st.integers(-1, 4),
)
def test_any_logits(seed, shape, scale, log_temperature):
    # In multiples of 2^-8 below 2^10, shifted by 2^8 and divided by a power of
    # two, all logits are exact in float32.
    temperature = 2.0**log_temperature
    classes = shape[-1]
    pair = np.round(draw(shape, scale, seed) * 256) / 256
    teacher, student = np.clip(pair, -1000, 1000)
    # Rounding the exponents is a change of logits, which leaves a KL a KL.
    # What remains is a relative eps on each log p_i and log q_i. Weighted by
    # p_i this is eps H(p) <= eps log(classes) on one side and, on the other,
    # eps (KL + H(p)), so KL may fall below zero by 2 eps log(classes) and be
    # off by eps KL more. Adding up costs a few eps of the same terms, hence
    # the factor 16. T^2 and U scale all of it.
    eps = 16 * np.finfo("float32").eps
    floor = eps * (1 + np.log(classes))
    weights = {
        kd.losses.SoftTargets: temperature**2,
        kd.losses.WTTM: max(1.0, classes ** (1 - 1 / temperature)),
        kd.losses.SigmoidTargets: temperature**2,
        kd.losses.DKD: 9 * temperature**2,
        kd.losses.ReverseKL: temperature**2,
        kd.losses.JensenShannon: temperature**2,
        kd.losses.NKD: 1 + 1.5 * temperature**2,
        kd.losses.Standardized: T**2,
        kd.losses.Sum: 2 * T**2,
    }
    for case in CASES:
        config = {"temperature": temperature} if case.config else {}
        loss = case.called(case.loss(**config, reduction=None))
        value = case_value(loss, teacher, student)
        assert value.shape == teacher.shape[:-1]
        assert np.all(np.isfinite(value))
        slack = weights.get(case.cls, 1.0) * floor
        assert np.all(value >= -slack)
        if case.cls is kd.losses.Standardized:
            continue  # It divides by what may be rounding alone.
        pair = (teacher + 256, student - 256)
        if case in OF_LABELS:
            pair = (-teacher, -student)
        moved = case_value(loss, *pair)
        np.testing.assert_allclose(moved, value, 2 * eps, 2 * slack)
