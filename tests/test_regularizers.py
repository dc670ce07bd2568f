"""Students on few labels or wrong ones: the benchmark and its parts."""

import json

import keras
import numpy as np
import pytest
import scripts

from benchmarks.harness import Runs
from benchmarks.paper import regularizers
from benchmarks.paper.regularizers_tasks import SHORT

pytestmark = pytest.mark.benchmark


LABELS = np.repeat(np.arange(10), 40)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 1.0])
def test_exactly_the_asked_share_gets_a_wrong_label(share):
    noisy = regularizers.flip_labels(LABELS, share, 10, seed=0)
    assert np.sum(noisy != LABELS) == round(share * len(LABELS))
    assert set(noisy) <= set(range(10))


def test_every_wrong_class_occurs_and_the_input_is_kept():
    labels = np.zeros(900, "int32")
    noisy = regularizers.flip_labels(labels, 1.0, 10, seed=1)
    counts = np.bincount(noisy, minlength=10)
    assert counts[0] == 0 and counts[1:].min() > 50
    assert not labels.any()


def test_noise_depends_on_the_seed_alone():
    first, again, other = (
        regularizers.flip_labels(LABELS, 0.4, 10, seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_subset_holds_as_many_of_each_class(share):
    rows = regularizers.balanced_subset(LABELS, share, seed=0)
    assert len(set(rows)) == len(rows)
    assert set(np.bincount(LABELS[rows])) == {max(1, round(share * 40))}


def test_a_subset_depends_on_the_seed_alone():
    first, again, other = (
        regularizers.balanced_subset(LABELS, 0.1, seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def speech(frames=3):
    """A task whose units, recordings, have several rows each."""
    unit_of_row = np.repeat(np.arange(len(LABELS)), frames)
    return regularizers.Task(
        name="speech",
        train=(np.zeros((len(unit_of_row), 2)), LABELS[unit_of_row]),
        held_out=(),
        test=(),
        unit_of_row=unit_of_row,
        unit_labels=LABELS,
        student=lambda: None,
    )


def test_recordings_are_drawn_whole():
    rows = regularizers.rows_of(speech(), 0.1, seed=0)
    assert len(rows) == 0.1 * len(LABELS) * 3
    assert set(np.bincount(rows // 3)) == {0, 3}
    assert len(regularizers.rows_of(speech(), 1.0, seed=0)) == len(LABELS) * 3


def test_the_best_state_is_the_one_of_the_best_round():
    keras.utils.set_random_seed(0)
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    x, y = np.random.rand(30, 4).astype("float32"), np.arange(30) % 3
    data = (regularizers.kd.WithTeacherLogits(x, np.eye(3)[y]), y)
    how = regularizers.setting(0.1)
    curve, best = regularizers.train(student, how, data, (x, y), 40, 10)
    assert len(curve) == regularizers.ROUNDS
    assert regularizers.accuracy(student, (x, y)) == curve[-1]
    student.set_weights(best)
    assert regularizers.accuracy(student, (x, y)) == max(curve)


def test_a_finished_student_is_not_trained_again(tmp_path):
    data = (
        regularizers.kd.WithTeacherLogits(np.eye(4), 4 * np.eye(4)),
        np.arange(4),
    )
    scored = []

    def scores(model):
        scored.append(model)
        return {"test": 0.5}

    def student(name, how):
        students = regularizers.Students(Runs(tmp_path), SHORT)
        return students(
            name,
            lambda: keras.Sequential(
                [keras.Input((4,)), keras.layers.Dense(4)]
            ),
            how,
            data,
            (np.eye(4), np.arange(4)),
            0,
            scores,
        )

    labels, soft = regularizers.setting(0.1), regularizers.setting(0.1, 2.0)
    first = student("labels", labels)
    assert set(first) == {"last", "best", "held_out_by_round"}
    assert len(scored) == 2
    assert student("labels", labels) == first and len(scored) == 2
    assert "best" not in student("soft", soft) and len(scored) == 3
    student("soft", {**soft, "temperature": 3.0})
    assert len(scored) == 4


def test_short_mode_reports_every_arm(tmp_path):
    result = run(tmp_path)
    arms = result["mnist"]["shares"]["0.1"]
    assert arms["labels"]["train"]["mean"] > arms["labels"]["test"]["mean"]
    assert arms["soft targets + labels"]["test"]["mean"] > 0.5
    assert "soft targets" in arms
    by_steps = result["mnist"]["held_out_by_steps"]
    for arm, points in by_steps.items():
        assert list(points) == ["30", "60"]
        # Of as many steps as all students have: a run that chose the setting.
        assert points["60"] in [
            tried["held_out"]
            for tried in result["mnist"]["held_out_scores"]
            if (tried["temperature"] is None) == (arm == "labels")
        ]
    assert set(result["mnist"]["shares"]["1.0"]) == {
        "labels",
        "labels, early stopping",
    }
    speech = result["spoken_digits"]["shares"]["0.1"]["labels"]
    assert 0 <= speech["utterance error"]["mean"] < 0.8
    noise = result["label_noise"]["levels"]["0.4"]
    assert "soft targets, noisy teacher" in noise
    for arm in (
        "labels",
        "soft targets + labels, clean teacher",
        "soft targets + labels, noisy teacher",
    ):
        given = noise[arm]["train, labels as given"]["mean"]
        assert given < noise[arm]["train, true labels"]["mean"]
    assert (tmp_path / "soft_targets_as_regularizers.png").stat().st_size


def run(folder):
    scripts.run_module(
        "benchmarks.paper.soft_targets_as_regularizers",
        *("--short", "--out", folder, "--work", folder / "work"),
        # Students of one shape are compiled once, quickly and not well.
        JAX_COMPILATION_CACHE_DIR=str(folder / "compiled"),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
        XLA_FLAGS="--xla_backend_optimization_level=0",
    )
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())
