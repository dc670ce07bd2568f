"""The package: its public surface, what it imports, and what it ships."""

import ast
import importlib.metadata
import importlib.resources
import inspect
import json
import pathlib
import subprocess
import sys

import pytest

import keras_distill as kd

PACKAGE = pathlib.Path(kd.__file__).parent
# DESIGN section 4: a module imports only from modules above it.
ORDER = ["transforms", "losses", "ensemble", "distiller", "fidelity"]
ORDER += ["cache", "tuner", "bias", "plotting", "specialists"]
BACKENDS = {"jax", "tensorflow", "torch"}
OPTIONAL = {"dask", "distributed", "keras_tuner", "matplotlib", "sklearn"}
OPTIONAL |= {"scipy"}


def public(module):
    """The classes and functions that a module defines for its users."""
    names = [name for name in vars(module) if not name.startswith("_")]
    found = [getattr(module, name) for name in names]
    return [
        thing
        for thing in found
        if inspect.isclass(thing) or inspect.isfunction(thing)
        if thing.__module__ == module.__name__
    ]


def issubclass_of_tuple(thing):
    """Whether it is a record, whose docstring lists attributes."""
    return inspect.isclass(thing) and issubclass(thing, tuple)


EXPORTS = [getattr(kd, name) for name in kd.__all__]
DOCUMENTED = [t for t in EXPORTS if not inspect.ismodule(t)]
DOCUMENTED += public(kd.bias) + public(kd.losses)
DOCUMENTED += public(kd.tuner) + public(kd.plotting)
SPECIALISTS = [getattr(kd.specialists, n) for n in kd.specialists.__all__]
DOCUMENTED += [t for t in SPECIALISTS if not issubclass_of_tuple(t)]


def test_exports():
    assert list(kd.__all__) == sorted(set(kd.__all__))
    assert not [name for name in kd.__all__ if name.startswith("_")]
    assert set(kd.__all__) <= set(dir(kd))


@pytest.mark.parametrize("name", kd.__all__)
def test_exports_have_docstrings(name):
    assert inspect.getdoc(getattr(kd, name))


@pytest.mark.parametrize("thing", DOCUMENTED, ids=lambda t: t.__name__)
def test_docstrings_have_args_and_an_example(thing):
    text = inspect.getdoc(thing)
    assert "\nArgs:\n" in text
    assert "\nReturns:\n" in text
    if thing is not kd.LogProbabilities:
        assert "\nExample:\n" in text and ">>> " in text


@pytest.mark.parametrize("thing", DOCUMENTED, ids=lambda t: t.__name__)
def test_docstrings_name_every_parameter(thing):
    text = inspect.getdoc(thing)
    for name, parameter in inspect.signature(thing).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        assert f"\n    {name}:" in text, name


# What importing costs.

SCRIPT = """
import json, sys
import keras
before = set(sys.modules)
import keras_distill
print(json.dumps([sorted(before), sorted(set(sys.modules) - before)]))
"""


def test_importing_brings_in_nothing_but_keras():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        check=True,
        capture_output=True,
        text=True,
    )
    before, added = json.loads(done.stdout.splitlines()[-1])
    assert "keras" in before
    roots = {name.partition(".")[0] for name in added}
    assert "keras_distill" in roots
    assert not roots & (BACKENDS | OPTIONAL)
    # Nothing of a backend or an extra, even if Keras has imported its root.
    assert not [n for n in added if n.startswith(("keras.src.backend.", "jax"))]


# Who imports whom.


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported(tree):
    """Full names of all that a module imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{a.name}" for a in node.names)


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


MODULES = sorted(PACKAGE.rglob("*.py"))
INNER = [
    path
    for path in MODULES
    if path.parent != PACKAGE or path.stem != "__init__"
]


@pytest.mark.parametrize("path", INNER, ids=lambda p: p.stem)
def test_modules_import_only_from_above(path):
    name = module_name(path)
    assert name.startswith("_") or name in ORDER, "add it to ORDER"
    above = [] if name.startswith("_") else ORDER[: ORDER.index(name)]
    for full in imported(parse(path)):
        package, _, rest = full.partition(".")
        if package == "keras_distill":
            target = rest.partition(".")[0]
            allowed = target.startswith("_") or target in [*above, name]
            assert allowed, f"{name} imports {target}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_backends_and_extras_are_imported_inside_functions_only(path):
    tree = parse(path)
    outside = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and not any(
            node in ast.walk(function)
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef)
        )
    ]
    roots = {
        name.partition(".")[0]
        for name in imported(ast.Module(outside, type_ignores=[]))
    }
    assert not roots & (BACKENDS | OPTIONAL)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_nothing_private_to_keras_is_imported(path):
    names = list(imported(parse(path)))
    assert not [name for name in names if name.startswith("keras.src")]


# What is shipped.


def test_type_hints_are_shipped():
    assert (
        importlib.resources.files("keras_distill")
        .joinpath("py.typed")
        .is_file()
    )


def test_version_is_that_of_the_distribution():
    assert kd.__version__ == importlib.metadata.version("keras-distill")


def test_requirements_name_no_backend():
    needed = importlib.metadata.requires("keras-distill")
    always = [line for line in needed if "extra ==" not in line]
    assert sorted(line.split(">")[0] for line in always) == ["keras", "numpy"]
