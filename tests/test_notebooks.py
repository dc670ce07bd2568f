"""The notebooks are their scripts, with what a run puts out; their maker."""

import json
import pathlib
import re

import nbformat
import pages
import pytest
from scripts import percentages

from examples.notebooks import __main__ as maker
from examples.notebooks import from_script, running

ADDRESS = "https://github.com/owner/name"
NAMES = [script.stem for script in from_script.scripts()]
SCRIPT = '''# %% [markdown]
"""Small: it prints and draws.

    A=b KERAS_BACKEND=jax python examples/small.py  # seconds

Needs much: `pip install -e
".[jax,examples,plot]" pydub` in a clone.
"""

# %%
import os
import sys

SHORT = "--short" in sys.argv

# %% [markdown]
# ## Text
# of a cell


# %%
def one():
    return 1


print(os.environ["KERAS_BACKEND"], os.environ["A"], SHORT)
print("log", file=sys.stderr)
print("again")
open("file", "w").close()
one()
'''
PICTURE = """
# %%
from matplotlib import pyplot

figure, axes = pyplot.subplots()
figure.savefig("small.png")
"""
once = pytest.mark.once


def script_of(name):
    return from_script.EXAMPLES / f"{name}.py"


def committed(name):
    path = from_script.NOTEBOOKS / f"{name}.ipynb"
    return nbformat.read(path, as_version=4)


def without_outputs(notebook):
    for cell in running.code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    return notebook


# Those in the repository.


@once
def test_each_example_has_a_notebook():
    made = {path.stem for path in from_script.NOTEBOOKS.glob("*.ipynb")}
    assert made == set(NAMES), "run: python -m examples.notebooks NAME"


@once
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_its_script(name):
    address = from_script.repository()
    made = from_script.notebook(script_of(name), address)
    said = without_outputs(committed(name))
    assert said == made, f"run: python -m examples.notebooks {name}"


@once
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_has_run_from_top_to_bottom(name):
    cells = running.code_cells(committed(name))
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1))
    assert cells[0].outputs == [] and any(cell.outputs for cell in cells)
    for output in sum([cell.outputs for cell in cells], []):
        assert output.get("name") == "stdout" or "image/png" in output.data


@once
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_small_and_names_no_machine(name):
    text = (from_script.NOTEBOOKS / f"{name}.ipynb").read_text()
    assert len(text) < 300_000
    for path in ("/tmp/", str(pages.ROOT), str(pathlib.Path.home()), " at 0x"):
        assert path not in re.sub('"image/png": ".*"', "", text)


@once
@pytest.mark.parametrize("name", NAMES)
def test_tables_in_a_header_are_indented_so_that_pages_show_them(name):
    header = committed(name).cells[0].source
    for line in header.splitlines():
        assert "  " not in line or line.startswith("    "), line


# The maker.


@pytest.fixture
def small(tmp_path):
    """Makes the notebook of a script, and of a project with these lines."""

    def make(script=SCRIPT, project="", **options):
        (tmp_path / "small.py").write_text(script)
        (tmp_path / "pyproject.toml").write_text(f"[project]\n{project}")
        maker.make(
            tmp_path / "small.py",
            folder=tmp_path,
            project=tmp_path / "pyproject.toml",
            **options,
        )
        return nbformat.read(tmp_path / "small.ipynb", as_version=4)

    return make


@once
def test_outputs_are_what_a_script_prints_and_draws(small, tmp_path):
    *_, code, text, prints, picture = small(SCRIPT + PICTURE).cells
    assert code.outputs == []
    assert text.source == "## Text\nof a cell"
    (printed,) = prints.outputs
    assert printed.text == "jax b False\nagain\n"
    assert prints.source.startswith("def one():")
    (drawn,) = picture.outputs
    assert drawn.data["image/png"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"small.py", "small.ipynb", "pyproject.toml"}


@once
def test_the_first_cells_say_what_it_is_and_install_from_the_clone(small):
    made = small()
    top, setup = made.cells[:2]
    assert top.source.startswith("# Small: it prints and draws\n\n    A=b")
    assert "colab" not in json.dumps(made)
    assert setup.source == (
        "import os\n\n"
        'backend = "jax"  # The text above says which others do.\n'
        'os.environ["KERAS_BACKEND"] = backend\n'
        'os.environ["A"] = "b"\n'
        '%pip install --quiet "../..[{backend},examples,plot]" pydub'
    )


@once
@pytest.mark.parametrize("form", ["urls = { Repository = %r }", ""])
def test_with_an_address_it_installs_from_there_and_opens_in_colab(form, small):
    made = small(project=form % ADDRESS if form else "")
    top, setup = made.cells[:2]
    badge = re.search(
        r"\n\n\[!\[Open in Colab\]\((.*)\)\]\((.*)\)\n\n", top.source
    )
    assert bool(badge) == bool(form)
    source = "keras-distill[{backend},examples,plot] @ git+" + ADDRESS
    assert (f'"{source}" pydub' in setup.source) == bool(form)
    if form:
        colab = "https://colab.research.google.com/"
        place = "github/owner/name/blob/main/examples/notebooks/small.ipynb"
        assert badge.groups() == (
            f"{colab}assets/colab-badge.svg",
            colab + place,
        )


@once
def test_an_address_that_colab_cannot_open_is_refused(small):
    with pytest.raises(ValueError, match="'https://x.org/a/b'.*OWNER/NAME"):
        small(project='urls = { Repository = "https://x.org/a/b" }')


@once
@pytest.mark.parametrize("part", ["pip install", "    A=b"])
def test_a_header_that_does_not_say_what_it_needs_is_refused(part, small):
    with pytest.raises(ValueError, match="header of small.py does not say"):
        small(SCRIPT.replace(part, ""))


@once
def test_a_run_that_fails_leaves_the_notebook_that_was_there(small, tmp_path):
    before = small()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        small(SCRIPT + "\n# %%\n1 / 0\n")
    assert nbformat.read(tmp_path / "small.ipynb", as_version=4) == before


@once
def test_texts_are_made_anew_without_a_run(small):
    address = f"urls = {{ Repository = {ADDRESS!r} }}"
    script = SCRIPT.replace("of a cell", "anew")
    before = small()
    after = small(script, address, run=False)
    assert "anew" in after.cells[3].source
    assert ADDRESS in after.cells[1].source
    assert after.cells[4] == before.cells[4]
    with pytest.raises(
        ValueError, match="not that of its script.*notebooks sm"
    ):
        small(script.replace("again", "another"), run=False)


@once
def test_unknown_names_are_refused(capsys):
    with pytest.raises(SystemExit):
        maker.main(["quickstart", "quick"])
    assert "no example is called quick; known are" in capsys.readouterr().err


# As a reader runs them.


def printed(outputs):
    return "".join(o.text for cell in outputs for o in cell if "text" in o)


@pytest.mark.example
def test_the_quickstart_runs_in_short_mode():
    rows = percentages(
        printed(running.outputs(committed("quickstart"), short=True))
    )
    assert rows["soft targets"][0] > rows["labels only"][0] + 2


@pytest.mark.example
def test_the_specialists_run_in_short_mode_and_show_a_picture():
    found = running.outputs(committed("specialists"), short=True)
    pictures = [o for cell in found for o in cell if "data" in o]
    assert [list(picture.data) for picture in pictures] == [
        ["text/plain", "image/png"]
    ]
    assert "generalist and specialists" in percentages(printed(found))
