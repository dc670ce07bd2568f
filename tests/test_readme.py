"""What the README says is so."""

import importlib.util
import pathlib
import re

import keras
import models
import numpy as np
import pytest

import keras_distill as kd

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


CODE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
FIRST, CACHE, VIEWS, WORKERS, SEARCH, BIAS, SPECIALISTS = CODE


def run(code, names):
    exec(compile(code, "README.md", "exec"), names)


@pytest.mark.filterwarnings("ignore:currentThread", "ignore:getName")
def test_first_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    run(FIRST, names)
    assert (tmp_path / "student.keras").exists()
    run(CACHE, names)
    assert len(names["cache"]) == len(names["x"])
    assert capsys.readouterr().out.count("soft_loss") > 1
    run(SEARCH, names)
    assert isinstance(names["best"], keras.Sequential)
    run(BIAS, names)
    assert isinstance(names["mended"], keras.Sequential)
    run(SPECIALISTS, names)
    assert "accuracy: " in capsys.readouterr().out


def test_workers_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"kd": kd, "teacher": models.sequential(), "data": models.data()}
    names |= {"folder": "cache", "i": 0, "n": 2}
    run(WORKERS, names)
    assert len(names["cache"]) == len(names["data"][0])


@pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow"),
    reason="tf.data needs TensorFlow",
)
def test_fixed_views_example_runs(tmp_path, monkeypatch):
    import tensorflow as tf

    monkeypatch.chdir(tmp_path)
    x = np.random.rand(6, 4, 4, 1).astype("float32")
    examples = tf.data.Dataset.from_tensor_slices((x, np.arange(6) % 3))
    layers = [keras.layers.Flatten(), keras.layers.Dense(3)]
    teacher = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    names = {"tf": tf, "kd": kd, "teacher": teacher, "examples": examples}
    run(VIEWS, names)
    found = [element[0].inputs.numpy() for element in names["train"]]
    assert len(found) == 60
    assert len({view.tobytes() for view in found}) > 6


@pytest.mark.once
def test_tables_are_those_of_the_result_files(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    path = ROOT / "benchmarks" / "tables.py"
    spec = importlib.util.spec_from_file_location("tables", path)
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    assert tables.rewritten(README) == README


@pytest.mark.once
@pytest.mark.parametrize("name", kd.__all__)
def test_public_name_is_in_the_api_table(name):
    assert f"kd.{name}" in README


@pytest.mark.once
@pytest.mark.parametrize(
    "module", [kd.bias, kd.losses, kd.plotting, kd.transforms, kd.tuner]
)
def test_public_functions_are_in_the_api_table(module):
    own = {
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__
        and not name.startswith("_")
    }
    internal = {"at_least_float32"}
    for name in own - internal:
        assert re.search(rf"`(kd\.\w+\.)?{name}\b", README), name


@pytest.mark.once
@pytest.mark.parametrize("name", kd.specialists.__all__)
def test_names_of_specialists_are_in_the_api_table(name):
    assert re.search(rf"`(kd\.specialists\.)?{name}\b", README), name


@pytest.mark.once
def test_files_that_the_readme_names_exist():
    named = re.findall(r"(?:benchmarks|examples|tests)/[\w./]+\w", README)
    for path in named:
        assert (ROOT / path).exists(), path
