"""What is not installed is missed where it is used, and named."""

import importlib
import subprocess
import sys

import pytest

import keras_distill as kd

pytestmark = pytest.mark.once


# Modules that are imported on demand: the package that each needs, as it is
# imported and as it is installed, and the extra.
ON_DEMAND = {
    "plotting": ("matplotlib", "matplotlib", "plot"),
    "tuner": ("keras_tuner", "keras-tuner", "tuner"),
}
each = pytest.mark.parametrize("name", ON_DEMAND)


@pytest.fixture
def without(monkeypatch):
    """Makes it as in a new process that has not the package of a module."""

    def make(name):
        package, _, _ = ON_DEMAND[name]
        importlib.import_module(f"keras_distill.{name}")
        for module in [m for m in sys.modules if m.startswith(f"{package}.")]:
            monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.setitem(sys.modules, package, None)
        own = f"keras_distill.{name}"
        for module in [m for m in sys.modules if f"{m}.".startswith(f"{own}.")]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.delattr(kd, name)

    return make


@pytest.mark.parametrize(
    "code",
    ["kd.{0}", "from keras_distill import {0}", "import keras_distill.{0}"],
)
@each
def test_whatever_asks_for_a_module_is_told_the_extra(name, code, without):
    without(name)
    with pytest.raises(ImportError) as caught:
        exec(code.format(name), {"kd": kd})
    _, package, extra = ON_DEMAND[name]
    text = str(caught.value)
    assert text.startswith(f"kd.{name} needs {package}, which could not be")
    assert f'Run: pip install "keras-distill[{extra}]"' in text


BARE = """
import importlib.util, pydoc
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: (
    None if name in ("matplotlib", "keras_tuner") else find(name)
)
from keras_distill import *
import keras_distill as kd
assert not {"plotting", "tuner"} & {*dir(kd), *kd.__all__}
assert "class Distiller" in pydoc.render_doc(kd, renderer=pydoc.plaintext)
assert Distiller is kd.Distiller
"""


def test_a_star_import_and_help_need_no_extra():
    subprocess.run([sys.executable, "-W", "ignore", "-c", BARE], check=True)


@each
def test_modules_are_listed_and_imported_when_they_are_asked_for(
    name, monkeypatch
):
    monkeypatch.delattr(kd, name, raising=False)
    assert dir(kd) == sorted({*kd.__all__, "__version__"})
    assert name in kd.__all__
    assert getattr(kd, name) is sys.modules[f"keras_distill.{name}"]


def test_what_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'keras_distill'.*'tunner'"):
        getattr(kd, "tunner")  # noqa: B009
