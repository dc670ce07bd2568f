"""The study of TTM and WTTM: its arms, what students see, and a short run."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import reference
import scripts

import keras_distill as kd
from benchmarks.harness import Runs, mlp
from benchmarks.paper import mnist, ttm_wttm
from benchmarks.paper import ttm_wttm_labels as labels
from benchmarks.paper import ttm_wttm_measures as measures
from benchmarks.paper import ttm_wttm_parts as parts
from benchmarks.paper.regularizers import balanced_subset
from benchmarks.paper.ttm_wttm_arms import (
    ALONE,
    ARMS,
    LABELS,
    MAIN,
    SHORT,
    SOFT,
    TTM,
    WEIGHED,
    WTTM,
    Method,
    Regularized,
    Size,
    alone,
    by_default,
    weighted,
)
from benchmarks.paper.ttm_wttm_maps import best_weight, lowest, rule
from benchmarks.paper.ttm_wttm_models import Experiment, Setting, Task
from benchmarks.tables import ttm, ttm_claims, ttm_paper

pytestmark = pytest.mark.benchmark
TINY = replace(SHORT, updates=4, teachers=(4,), teacher_updates=2)


# The arms.


def test_each_arm_has_twelve_candidates_of_their_own_names():
    for methods in ARMS.values():
        assert len(set(map(str, methods))) == len(set(methods)) == 12


@pytest.mark.parametrize("arm", MAIN)
def test_what_is_tuned_is_on_the_map(arm):
    size = Size()
    weights = size.shares if arm == SOFT else size.betas
    on_map = {weighted(arm, t, w) for t in size.temperatures for w in weights}
    assert set(ARMS[arm]) <= on_map


@pytest.mark.parametrize("arm", ALONE)
def test_without_labels_the_temperatures_of_the_map_are_tried(arm):
    tried = set(ARMS[ALONE[arm]])
    assert {alone(arm, t) for t in Size().temperatures} <= tried


def test_weights_of_soft_targets_are_shares():
    method = weighted(SOFT, 4.0, 0.9)
    assert (method.hard, method.soft) == (0.1, 0.9)
    assert weighted(TTM, 4.0, 5.0).hard == 1.0
    assert alone(WTTM, 4.0).hard == 0.0


@pytest.mark.parametrize(
    "method, said",
    [
        (Method(), "labels, rate 0.003"),
        (Method(smoothing=0.1, rate=0.01), "labels, smoothing 0.1, rate 0.01"),
        (
            Method("TTM", 4.0, soft=5.0, example_weight="entropy"),
            "TTM(4, entropy), hard 1, soft 5, rate 0.003",
        ),
        (
            Method("DKD", 2.0, soft=1.0, nontarget_weight=8.0),
            "DKD(2, others 8), hard 1, soft 1, rate 0.003",
        ),
    ],
)
def test_a_method_says_what_it_is(method, said):
    assert str(method) == said


@pytest.mark.parametrize("arm", MAIN)
def test_by_default_weights_are_those_of_a_distiller(arm):
    method = by_default(arm, 3.0)
    students = [mlp(6, 3, classes=4) for _ in range(2)]
    distiller = kd.Distiller(*students, method.soft_loss())
    found = distiller.hard_loss_weight, distiller.soft_loss_weight
    assert (method.hard, method.soft) == found
    assert method.temperature == 3.0


def test_a_method_makes_the_loss_that_it_names():
    found = Method("TTM", 2.0, example_weight="correctness").soft_loss()
    assert isinstance(found, kd.losses.TTM) and found.temperature == 2.0
    assert found.example_weight is kd.example_weights.correctness
    found = Method("DKD", 2.0, nontarget_weight=3.0).soft_loss()
    assert (found.temperature, found.nontarget_weight) == (2.0, 3.0)


@pytest.mark.parametrize("smoothing, penalty", [(0.2, 0.0), (0.0, 0.3)])
def test_labels_are_smoothed_and_confidence_costs(smoothing, penalty):
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(6, 5)), np.arange(6) % 5
    log_q = np.log(reference.softmax(logits))
    targets = (1 - smoothing) * np.eye(5)[labels] + smoothing / 5
    entropy = -np.sum(np.exp(log_q) * log_q, axis=-1)
    expected = -np.sum(targets * log_q, axis=-1) - penalty * entropy
    found = Regularized(smoothing, penalty)(labels, logits)
    assert float(found) == pytest.approx(expected.mean(), rel=1e-5)


# What students see.


def task():
    """Twenty examples for each purpose, whose first values tell their class."""
    y = np.arange(60) % 4
    noise = np.random.default_rng(0).normal(size=(60, 6))
    x = (noise + 2 * np.eye(6)[y]).astype("float32")
    data = [(x[i : i + 20], y[i : i + 20]) for i in (0, 20, 40)]

    def teacher(train, units, updates):
        keras.utils.set_random_seed(0)
        model = mlp(6, units, classes=4)
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    return Task("made up", *data, lambda: mlp(6, 3, classes=4), teacher)


@pytest.fixture
def experiment(tmp_path):
    return Experiment(TINY, task(), Runs(tmp_path))


def weights(experiment, method, setting=None):
    setting = setting or experiment.setting
    distiller = experiment.distiller(method, setting, 0, 4)
    return distiller.student.get_weights()


def same(one, other):
    return all(map(np.array_equal, one, other))


@pytest.mark.parametrize(
    "method, labels, teacher",
    [
        (Method(), True, False),
        (Method(smoothing=0.1), True, False),
        (weighted(SOFT, 4.0, 0.5), True, True),
        (weighted(WTTM, 4.0, 2.0), True, True),
        (alone(TTM, 4.0), False, True),
    ],
    ids=str,
)
def test_what_a_student_learns_from(experiment, method, labels, teacher):
    x, y = experiment.teacher(experiment.setting).train
    before = weights(experiment, method)
    y[:] = (y + 1) % 4
    assert same(before, weights(experiment, method)) is not labels
    y[:] = (y - 1) % 4
    x.teacher_logits[:] = -x.teacher_logits
    assert same(before, weights(experiment, method)) is not teacher


def test_wrong_labels_are_the_teachers_and_the_students(experiment):
    setting = Setting(4, wrong=0.5)
    right, wrong = (
        experiment.teacher(of).train[1] for of in (experiment.setting, setting)
    )
    assert np.sum(right != wrong) == 10
    np.testing.assert_array_equal(right, experiment.task.train[1])
    same_labels = experiment.teacher(setting).held_out[1]
    np.testing.assert_array_equal(same_labels, experiment.task.held_out[1])


def test_of_few_images_no_other_is_seen(experiment):
    setting = Setting(4, share=0.4)
    before = weights(experiment, Method(), setting)
    x, y = experiment.teacher(setting).train
    rows = balanced_subset(y, 0.4, seed=0)
    others = np.setdiff1d(np.arange(20), rows)
    assert len(rows) == 8
    x.inputs[others] = 0
    assert same(before, weights(experiment, Method(), setting))
    x.inputs[rows[0]] = 0
    assert not same(before, weights(experiment, Method(), setting))


def test_settings_are_chosen_where_they_are_used(experiment, monkeypatch):
    experiment.size = replace(TINY, candidates=None, some_seeds=1)
    right, wrong = experiment.setting, replace(experiment.setting, wrong=0.4)
    few = replace(experiment.setting, share=0.2)
    seen = []

    def run(method, seed, setting=None, final=False):
        setting = setting or right
        if final:
            seen.append((setting, method.temperature))
        best = {right: 2.0, wrong: 3.0, few: 4.0}[setting]
        return {"held-out errors": abs(method.temperature - best)}

    monkeypatch.setattr(experiment, "run", run)
    monkeypatch.setattr(experiment, "teacher_scores", lambda setting: {})
    labels.wrong_labels(experiment)
    labels.few_labels(experiment)
    assert set(seen) == {
        *((setting, 1.0) for setting in (right, wrong, few)),  # Of labels.
        (right, 2.0),
        (wrong, 3.0),
        (few, 4.0),
    }


def test_of_few_images_fewer_updates_are_made(experiment, monkeypatch):
    made = []
    monkeypatch.setattr(
        experiment, "distiller", lambda *run: made.append(run[-1]) or 1 / 0
    )
    for share in (0.4, 1.0):
        with pytest.raises(ZeroDivisionError):
            experiment.run(Method(), 0, Setting(4, share=share))
    assert made == [TINY.few_updates, TINY.updates]


# What is measured.


def trained(data, method):
    distiller = kd.Distiller(
        None,
        mlp(6, 8, classes=4),
        method.soft_loss(),
        hard_loss_weight=method.hard,
        soft_loss_weight=method.soft,
    )
    distiller.compile(keras.optimizers.Adam(0.05), method.label_loss())
    distiller.fit(*data, epochs=20, verbose=0)
    return distiller


def with_logits(x, y, seed=0):
    logits = np.random.default_rng(seed).normal(0, 3, (len(x), 4))
    return kd.WithTeacherLogits(x, logits.astype("float32")), y


@pytest.mark.parametrize(
    "method", [Method(), weighted(TTM, 4.0, 2.0), alone(WTTM, 4.0)], ids=str
)
def test_held_out_scores_are_those_of_the_last_update(method):
    made_up = task()
    distiller = trained(with_logits(*made_up.train), method)
    x, y = with_logits(*made_up.held_out, seed=1)
    found = measures.held_out_scores(distiller, (x, y), 4.0)
    logits = distiller.student.predict(x.inputs, verbose=0)
    assert found["held-out errors"] == np.sum(logits.argmax(-1) != y)
    q, p = reference.softmax(logits), reference.softmax(x.teacher_logits, 4.0)
    entropy = np.mean(reference.shannon_entropy(q))
    assert found["student_entropy"] == pytest.approx(entropy, rel=1e-4)
    divergence = np.mean(reference.kl_divergence(p, q))
    assert found["divergence"] == pytest.approx(divergence, rel=1e-4)


def test_test_scores_are_of_both_before_and_after():
    made_up = task()
    distiller = trained(with_logits(*made_up.train), weighted(TTM, 4.0, 2.0))
    student, data = distiller.student, made_up.train
    found = measures.test_scores(student, made_up.test, data)
    logits = student.predict(data[0], verbose=0)
    assert found["errors"] == mnist.errors(student, *data)
    for t, after in ((1.0, ""), (found["fitted temperature"], ", calibrated")):
        p = reference.softmax(logits, t)
        nll = -np.mean(np.log(p[np.arange(20), data[1]]))
        assert found[f"nll{after}"] == pytest.approx(nll, rel=1e-4)
        ece = reference.expected_calibration_error(p, data[1])
        assert found[f"ece{after}"] == pytest.approx(ece, abs=1e-5)


# What is chosen, and what follows.


def given(experiment, monkeypatch, errors):
    """Runs that are not made: their errors are a function of the method."""
    monkeypatch.setattr(
        experiment,
        "run",
        lambda method, seed, setting=None: {"held-out errors": errors(method)},
    )


def test_the_best_on_held_out_images_is_chosen(experiment, monkeypatch):
    experiment.size = Size()
    given(
        experiment,
        monkeypatch,
        lambda m: abs(m.temperature - 3) + abs(m.soft - 5) + abs(m.rate - 0.01),
    )
    assert experiment.rate == 0.01
    expected = replace(weighted(TTM, 3.0, 5.0), rate=0.01)
    assert experiment.chosen(TTM) == expected
    assert experiment.chosen(LABELS) == Method(rate=0.01)


@pytest.mark.parametrize("worst", WEIGHED)
def test_the_worst_weight_of_examples_is_not_tested(
    experiment, monkeypatch, worst
):
    experiment.size = Size()
    given(experiment, monkeypatch, lambda m: int(m.example_weight == worst))
    expected = [arm for arm in ARMS if arm != WEIGHED[worst]]
    assert parts.tested(experiment) == expected


def test_the_lowest_point_is_that_of_a_parabola_over_log_beta():
    betas = np.array([0.5, 1.5, 5.0, 15.0, 50.0])
    assert lowest(betas, 7 * np.log(betas / 4) ** 2) == pytest.approx(4)
    assert lowest(betas, 7 * np.log(betas / 90) ** 2) == pytest.approx(50)
    assert lowest(betas, -np.log(betas)) == pytest.approx(50)
    assert lowest(betas, np.log(betas) - np.log(betas) ** 2 / 10) == 0.5


def test_the_rule_compares_the_best_weights(experiment, monkeypatch):
    """On a map of errors that are least where a weight times U is 6."""
    experiment.size, experiment.rate = Size(), 0.01
    power_sum = {f"{t:g}": t**0.5 for t in Size().temperatures}
    monkeypatch.setattr(
        experiment, "teacher_scores", lambda of: {"power sum": power_sum}
    )

    def run(method, seed):
        total = method.soft
        if method.loss == "WTTM":
            total *= method.temperature**0.5
        numbers = dict.fromkeys(("student_entropy", "divergence"), 0.0)
        return {"held-out errors": 2 * np.log(total / 6) ** 2, **numbers}

    monkeypatch.setattr(experiment, "run", run)
    for t, points in rule(experiment).items():
        assert points["power sum"] == power_sum[t]
        assert points[TTM]["of the mean"] == pytest.approx(6)
        expected = pytest.approx(6 / power_sum[t])
        assert points[WTTM]["of the mean"] == expected
        assert points[WTTM]["of seeds"]["values"] == [expected] * 3


def test_the_best_weight_is_that_of_the_fewest_errors():
    points = {"1": 30.0, "2": 20.0, "4": 25.0}
    cells = {w: {"held-out errors": {"mean": e}} for w, e in points.items()}
    assert best_weight(cells) == "2"


# The tables.


def arms(**errors):
    return {
        name: {"errors": {"values": values, "mean": np.mean(values)}}
        for name, values in errors.items()
    }


@pytest.mark.parametrize(
    "ours, said",
    [
        ([10, 11, 12], "yes"),
        ([20, 21, 12], "no: not clear of chance"),
        ([30, 31, 33], "no: it is more"),
    ],
)
def test_fewer_errors_are_told_from_chance(ours, said):
    found = arms(KD=[20, 20, 21], TTM=ours)
    what, paper, here, verdict, seeds = ttm_claims.fewer_errors(
        "X", found, TTM, SOFT
    )
    assert (what, verdict) == ("X: TTM makes fewer errors than KD", said)
    assert (paper, seeds) == ("on 13 of 13 pairs", "3")
    mean = np.mean(np.subtract(ours, [20, 20, 21]))
    assert here.startswith(f"{mean:+.1f} (")


def test_the_lead_of_wttm_is_compared_between_teachers():
    weak = arms(labels=[90, 90], KD=[50, 51], WTTM=[48, 50])
    good = arms(labels=[90, 90], KD=[50, 51], WTTM=[28, 32])
    units = {"100": (80, weak), "1200": (9, good)}
    found = {
        n: {"teacher": {"errors": e}, **of} for n, (e, of) in units.items()
    }
    _, _, here, verdict, seeds = ttm_claims.stronger({"teachers": found})
    assert here.startswith("-19.0 (") and "teachers of 80, 9 errors" in here
    assert here.endswith("KD 40, 40; WTTM 41, 60")
    assert (verdict, seeds) == ("yes", "2")


@pytest.mark.parametrize(
    "lowest, said", [(0.3, "yes"), (0.6, "partly: 1 of 2")]
)
def test_entropies_are_compared_at_the_same_temperature_and_weight(
    lowest, said
):
    values = {SOFT: [0.1, 0.2], TTM: [lowest, 0.7], WTTM: [0.5, 0.9]}
    entropy = {
        arm: [{"student_entropy": {"mean": value}} for value in both]
        for arm, both in values.items()
    }
    heat = {
        arm: {"4": dict(enumerate(cells))} for arm, cells in entropy.items()
    }
    test = {arm: cells[0] for arm, cells in entropy.items()}
    found = {"heat": heat, "test": test, "size": {"map_seeds": 3}}
    _, _, here, verdict, seeds = ttm_claims.entropies(found)
    assert (verdict, seeds) == (said, "3")
    assert here.endswith(f"; 0.10, {lowest:.2f}, 0.50 as tuned")


def test_the_share_of_the_gap_that_an_arm_closes():
    test = arms(labels=[300, 300], KD=[250, 260])
    result = {"test": test, "teacher": {"errors": 100}}
    assert ttm.closed(result, SOFT) == pytest.approx(45 / 200)


# A short run.


def test_the_benchmark_reports_each_part_and_resumes(tmp_path, monkeypatch):
    out, work = tmp_path / "out", tmp_path / "work"

    def run():
        scripts.run_module(
            "benchmarks.paper.ttm_wttm",
            *("--short", "--out", out, "--work", work),
            # Students of one loss are compiled once.
            JAX_COMPILATION_CACHE_DIR=str(tmp_path / "compiled"),
            JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
        )
        return json.loads((out / "ttm_wttm.json").read_text())

    result = run()
    assert set(ttm_wttm.PARTS) <= set(result)
    assert set(result["test"]) == set(result["tuning"]) == set(SHORT.arms)
    for arm in result["test"].values():
        assert len(arm["errors"]["values"]) == SHORT.seeds
        assert arm["fitted temperature"]["mean"] > 0
    for share in result["wrong"].values():
        assert set(share) == {"teacher", LABELS, *MAIN, *ALONE.values()}
    assert set(result["heat"]["TTM"]["2"]) == {"1.5", "5"}
    without_wrong = result["wrong"]["0"]["KD"]["errors"]
    assert without_wrong == result["test"]["KD"]["errors"]
    assert (out / "ttm_wttm.png").exists()
    lines = (work / "runs.jsonl").read_text()
    assert run() == result
    assert (work / "runs.jsonl").read_text() == lines
    for module in (ttm, ttm_claims):
        monkeypatch.setattr(module, "load", lambda name: result)
    assert {len(row) for row in ttm_claims.claims()} == {5}
    tables = [ttm.table("MNIST"), ttm.wrong_and_few(), ttm.flatness()]
    assert all(arm in tables[0] for arm in SHORT.arms)
    assert all("| KD |" in table for table in tables)
    assert ttm.rule().count("\n") == 1 + len(SHORT.temperatures)
    assert ttm.defaults().count("\n") == 1 + 2 * len(MAIN)


def test_the_papers_pairs_stand_beside_ours(monkeypatch):
    result = {"test": arms(labels=[300, 310], KD=[250, 260])}
    result |= {"teacher": {"errors": 100}, "test_images": 1000}
    for arm in result["test"].values():
        arm["errors"]["sd"] = 5.0
    monkeypatch.setattr(ttm_paper, "load", lambda name: result)
    *_, ours = ttm_paper.table().splitlines()
    assert ours == (
        "| here: CIFAR-10 as JPEG | 90.00% | 69.50% (sd 0.50) | "
        "74.50% (sd 0.50) |  |  |  |"
    )
    # The paper: WTTM without labels beats KD on 5 of these 7 pairs.
    gaps = [pair[5] - pair[2] for pair in ttm_paper.PAIRS.values()]
    assert (len(gaps), sum(gap > 0 for gap in gaps)) == (7, 5)
