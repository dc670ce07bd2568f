"""Every example in a docstring of the package runs."""

import doctest
import importlib
import pkgutil

import keras
import numpy as np
import pytest

import keras_distill as kd

MODULES = ["keras_distill"] + [
    module.name
    for module in pkgutil.walk_packages(kd.__path__, "keras_distill.")
]


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = {"kd": kd, "keras": keras, "np": np}
    for name in MODULES:
        for test in finder.find(importlib.import_module(name), globs=names):
            if test.examples:
                yield pytest.param(test, id=test.name)


@pytest.mark.parametrize("example", list(examples()))
def test_example_runs(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.DocTestRunner().run(example)
    assert result.attempted > 0
    assert result.failed == 0
