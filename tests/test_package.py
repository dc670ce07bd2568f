"""The package: its public surface, what it imports, and what it ships."""

import ast
import graphlib
import importlib.metadata
import importlib.resources
import inspect
import json
import pathlib
import re
import subprocess
import sys

import pytest

import keras_distill as kd

PACKAGE = pathlib.Path(kd.__file__).parent
# A room imports only from rooms before it.
ROOMS = ["_optional", "_registration", "_kinds", "_numpy", "_files"]
ROOMS += ["_checksums", "_schedules", "_keras", "_compiled", "_inputs"]
ROOMS += ["_validation", "_data_checks", "_attached", "_data", "_predictions"]
ROOMS += ["_features", "_objective", "_model", "transforms", "_label_masks"]
ROOMS += ["example_weights", "losses", "_as_logits", "_select_classes"]
ROOMS += ["ensemble", "distiller", "_measures", "fidelity", "bias", "cache"]
ROOMS += ["_watched", "_following", "_diagnosis", "callbacks"]
ROOMS += ["_search", "_space", "_trials", "tuner", "plotting", "specialists"]
BACKENDS = {"jax", "tensorflow", "torch"}
OPTIONAL = {"dask", "distributed", "keras_tuner", "matplotlib", "sklearn"}
OPTIONAL |= {"scipy"}
# Modules that are imported when they are first asked for, and what they need.
ON_DEMAND = {"plotting": {"matplotlib"}, "tuner": {"keras_tuner"}}
# Helpers of other modules.
INTERNAL = {"at_least_float32"}
once = pytest.mark.once


def listed(module):
    return [getattr(module, name) for name in module.__all__]


def is_record(thing):
    """Its docstring lists attributes."""
    return inspect.isclass(thing) and issubclass(thing, tuple)


FACES = [thing for thing in listed(kd) if inspect.ismodule(thing)]
DOCUMENTED = [thing for thing in listed(kd) if thing not in FACES]
DOCUMENTED += [t for face in FACES for t in listed(face) if not is_record(t)]


def test_exports():
    assert list(kd.__all__) == sorted(set(kd.__all__))
    assert not [name for name in kd.__all__ if name.startswith("_")]
    assert set(kd.__all__) <= set(dir(kd))


@once
@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_public_modules_list_what_is_public(face):
    assert list(face.__all__) == sorted(set(face.__all__))
    own = {
        name
        for name, thing in vars(face).items()
        if getattr(thing, "__module__", None) == face.__name__
        and (inspect.isclass(thing) or inspect.isfunction(thing))
        and not name.startswith("_")
    }
    assert own - INTERNAL <= set(face.__all__)


@once
@pytest.mark.parametrize("name", kd.__all__)
def test_exports_have_docstrings(name):
    assert inspect.getdoc(getattr(kd, name))


@once
@pytest.mark.parametrize("thing", DOCUMENTED, ids=lambda t: t.__name__)
def test_docstrings_have_args_and_an_example(thing):
    text = inspect.getdoc(thing)
    assert "\nArgs:\n" in text
    assert "\nReturns:\n" in text
    if thing is not kd.LogProbabilities:
        assert "\nExample:\n" in text and ">>> " in text


@once
@pytest.mark.parametrize("thing", DOCUMENTED, ids=lambda t: t.__name__)
def test_docstrings_name_every_parameter(thing):
    text = inspect.getdoc(thing)
    for name, parameter in inspect.signature(thing).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        assert f"\n    {name}:" in text, name


@once
@pytest.mark.parametrize("thing", DOCUMENTED, ids=lambda t: t.__name__)
def test_tables_of_docstrings_are_whole(thing):
    """An `||` in a formula ends a cell of Markdown."""
    lines = inspect.getdoc(thing).splitlines()
    cells = [line.count("|") for line in lines if line.startswith("|")]
    assert set(cells) <= {3}


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
    # Its 130 small modules take 35 ms. Any other package would take longer.
    assert roots - sys.stdlib_module_names == {"keras_distill"}
    assert not {f"keras_distill.{name}" for name in ON_DEMAND} & set(added)
    # Nothing of a backend or an extra, even if Keras has imported its root.
    assert not [n for n in added if n.startswith(("keras.src.backend.", "jax"))]


# Who imports whom.

FACE = PACKAGE / "__init__.py"
MODULES = sorted(PACKAGE.rglob("*.py"))
INNER = [path for path in MODULES if path != FACE]


def where(path):
    """The room of a module, and its name in the room, which may be empty."""
    room, *inside = path.relative_to(PACKAGE).with_suffix("").parts
    return room, "".join(inside).replace("__init__", "")


def label(path):
    return ".".join(filter(None, where(path)))


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


def of_ours(path):
    """Room and name of each thing of the package that a module imports."""
    for full in imported(parse(path)):
        package, *parts = full.split(".")
        if package == "keras_distill":
            yield parts[0], (parts[1] if len(parts) > 1 else "")


@once
@pytest.mark.parametrize("path", INNER, ids=label)
def test_modules_import_only_from_rooms_below(path):
    room, _ = where(path)
    assert room in ROOMS, "add it to ROOMS"
    below = ROOMS[: ROOMS.index(room)]
    others = {other for other, _ in of_ours(path)} - {room}
    assert others <= set(below), f"{room} imports {others - set(below)}"


@once
@pytest.mark.parametrize("path", INNER, ids=label)
def test_other_rooms_are_entered_by_their_face(path):
    room, _ = where(path)
    behind = {
        f"{other}.{name}"
        for other, name in of_ours(path)
        if other not in (room, "_keras") and name.startswith("_")
    }
    assert not behind


@once
@pytest.mark.parametrize(
    "face", sorted(PACKAGE.glob("*/__init__.py")), ids=label
)
def test_modules_of_a_room_do_not_import_each_other_in_a_circle(face):
    room, names = face.parent.name, {p.stem for p in face.parent.glob("*.py")}
    arrows = {
        path.stem: {
            name if name in names else "__init__"
            for other, name in of_ours(path)
            if other == room
        }
        for path in face.parent.glob("*.py")
    }
    list(graphlib.TopologicalSorter(arrows).static_order())


def outside_functions(tree):
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef):
            yield node
            yield from outside_functions(node)


@once
@pytest.mark.parametrize("path", MODULES, ids=label)
def test_backends_and_extras_are_imported_inside_functions_only(path):
    kinds = ast.Import | ast.ImportFrom
    found = [n for n in outside_functions(parse(path)) if isinstance(n, kinds)]
    names = imported(ast.Module(found, type_ignores=[]))
    roots = {name.partition(".")[0] for name in names}
    allowed = ON_DEMAND.get(where(path)[0], set())
    assert not roots & (BACKENDS | OPTIONAL) - allowed


@once
@pytest.mark.parametrize("path", MODULES, ids=label)
def test_nothing_private_to_keras_is_imported(path):
    names = list(imported(parse(path)))
    assert not [name for name in names if name.startswith("keras.src")]


# What is shipped.


@once
def test_type_hints_are_shipped():
    assert (
        importlib.resources.files("keras_distill")
        .joinpath("py.typed")
        .is_file()
    )


def test_version_is_that_of_the_distribution():
    assert kd.__version__ == importlib.metadata.version("keras-distill")


@once
@pytest.mark.parametrize(
    "file, line",
    [
        ("CITATION.cff", r"^version: (.*)$"),
        ("CHANGELOG.md", r"^## \[(.*)\]"),
    ],
)
def test_version_is_the_newest_that_is_written_about(file, line):
    text = (pathlib.Path(__file__).parents[1] / file).read_text()
    assert re.search(line, text, re.MULTILINE)[1] == kd.__version__


@once
def test_requirements_name_no_backend():
    needed = importlib.metadata.requires("keras-distill")
    always = [line for line in needed if "extra ==" not in line]
    assert sorted(line.split(">")[0] for line in always) == ["keras", "numpy"]
