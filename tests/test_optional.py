"""What is not installed is missed where it is used, and named."""

import importlib
import pydoc
import sys

import pytest

import keras_distill as kd

pytestmark = pytest.mark.once


@pytest.fixture
def no_keras_tuner(monkeypatch):
    """As in a new process that has no keras-tuner."""
    importlib.import_module("keras_distill.tuner")
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    monkeypatch.delitem(sys.modules, "keras_distill.tuner")
    monkeypatch.delattr(kd, "tuner")


@pytest.mark.parametrize(
    "code",
    [
        "kd.tuner",
        "from keras_distill import tuner",
        "import keras_distill.tuner",
        "from keras_distill.tuner import best_student",
    ],
)
def test_whatever_asks_for_the_tuner_is_told_the_extra(code, no_keras_tuner):
    with pytest.raises(ImportError) as caught:
        exec(code, {"kd": kd})
    text = str(caught.value)
    assert text.startswith("kd.tuner needs keras-tuner, which could not be")
    assert 'Run: pip install "keras-distill[tuner]"' in text


def test_help_does_not_need_keras_tuner(no_keras_tuner):
    assert "class Distiller" in pydoc.render_doc(kd, renderer=pydoc.plaintext)
    assert dir(kd) == sorted({*kd.__all__, "__version__"} - {"tuner"})


def test_the_tuner_is_listed_and_imported_when_it_is_asked_for(monkeypatch):
    monkeypatch.delattr(kd, "tuner", raising=False)
    assert dir(kd) == sorted({*kd.__all__, "__version__"})
    assert kd.tuner is sys.modules["keras_distill.tuner"]


def test_what_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'keras_distill'.*'tunner'"):
        getattr(kd, "tunner")  # noqa: B009
