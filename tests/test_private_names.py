"""Private names of Keras are used in one room, and each has a test."""

import ast
import inspect
import pathlib
import re
from typing import NamedTuple

import keras
import models
import pytest

import keras_distill as kd

pytestmark = pytest.mark.once


class Record(NamedTuple):
    value: int


PACKAGE = pathlib.Path(kd.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOM = [path for path in MODULES if path.parent.name == "_keras"]
# Methods of Keras that one of ours calls by `super`.
EXTENDED = {"_get_jax_state", "_get_regularization_losses"}
# What Python promises of a named tuple.
PROMISED = set(dir(Record))


def private(name):
    return bool(re.fullmatch(r"_[a-z]\w*", name))


def used(tree):
    """Private attributes that are read or written, also by `getattr`."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name):
                names = [name]
            case ast.Call(
                func=ast.Name(id="getattr" | "hasattr" | "setattr"),
                args=[_, ast.Constant(value=str(name)), *_],
            ):
                names = [name]
            case _:
                names = []
        yield from filter(private, names)


def defined(tree):
    """Names that a module gives to its own functions and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if ast.unparse(node.value) in ("self", "cls"):
                yield node.attr


def foreign(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return set(used(tree)) - set(defined(tree)) - PROMISED


@pytest.fixture(scope="module")
def names_of_keras():
    sources = pathlib.Path(keras.__file__).parent.rglob("*.py")
    texts = [path.read_text(encoding="utf-8") for path in sources]
    return set().union(*(re.findall(r"\b_[a-z]\w*", t) for t in texts))


def test_private_names_of_keras_are_used_in_one_room(names_of_keras):
    outside = [path for path in MODULES if path not in ROOM]
    found = {p.name: foreign(p) & names_of_keras for p in outside}
    assert {name: names for name, names in found.items() if names} == {}


def test_private_names_used_in_the_room_have_a_test(names_of_keras):
    here = pathlib.Path(__file__).with_name("test_keras_internals.py")
    named = set(used(ast.parse(here.read_text(encoding="utf-8"))))
    found = set().union(*map(foreign, ROOM)) & names_of_keras
    assert "_compile_loss" in found
    assert sorted(found - named) == []


def layers_of_ours(cls=keras.layers.Layer):
    for sub in cls.__subclasses__():
        if sub.__module__.startswith("keras_distill."):
            yield sub
        yield from layers_of_ours(sub)


def test_no_attribute_of_ours_has_a_private_name_of_keras():
    """Else an attribute of ours overwrites one that Keras needs."""
    model = models.linear()
    model.compile()
    taken = set(dir(model))
    ours = set(layers_of_ours())
    assert kd.Distiller in ours
    for cls in ours:
        names = set(defined(ast.parse(inspect.getsource(cls))))
        assert sorted(filter(private, names & taken - EXTENDED)) == [], cls
