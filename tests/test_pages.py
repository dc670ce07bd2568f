"""The pages name what exists, and their tables are those of the results."""

import pathlib
import re

import pages
import pytest

import keras_distill as kd
from benchmarks import harness
from benchmarks.tables import formatting
from benchmarks.tables.__main__ import main
from benchmarks.tables.pages import names, rewritten
from benchmarks.tables.parts import PARTS

pytestmark = pytest.mark.once

MOST_LINES = {
    "README.md": 228,
    "benchmarks/README.md": 263,
    "benchmarks/paper/README.md": 300,
    "benchmarks/paper/ttm_wttm.md": 205,
    "examples/README.md": 40,
    "examples/from_a_laptop_to_a_pod.md": 149,
    "examples/porting.md": 90,
    "examples/when_it_does_not_help.md": 60,
}
each_page = pytest.mark.parametrize("page", pages.PAGES, ids=pages.title)


@each_page
def test_page_is_short(page):
    lines = page.read_text().splitlines()
    assert len(lines) <= MOST_LINES[pages.title(page)]


# What they name.


@each_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        path, _, place = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), target
        assert not place or place in headings(found), target


def headings(page):
    """As links name them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in found
    }


@each_page
def test_files_that_a_page_names_exist(page):
    named = re.findall(
        r"(?<![/\w.])(?:benchmarks|examples|tests)/[\w./]+\w", page.read_text()
    )
    bases = [pages.ROOT, page.parent]
    for path in named:
        assert any((base / path).exists() for base in bases), path


@each_page
def test_modules_that_a_page_names_exist(page):
    for module in re.findall(r"benchmarks(?:\.[a-z_]+)+", page.read_text()):
        path = pathlib.Path(pages.ROOT, *module.split("."))
        assert path.is_dir() or path.with_suffix(".py").exists(), module


@each_page
def test_names_of_the_library_that_a_page_uses_exist(page):
    for name in re.findall(r"\bkd(?:\.[A-Za-z_]\w*)+", page.read_text()):
        found = kd
        for part in name.split(".")[1:]:
            assert hasattr(found, part), name
            found = getattr(found, part)


SECTION = pages.README.read_text().split("## Names")[1].split("\n## ")[0]
MODULES = [kd.bias, kd.losses, kd.plotting, kd.specialists, kd.transforms]
MODULES += [kd.tuner]


@pytest.mark.parametrize("name", kd.__all__)
def test_public_name_is_in_the_readme(name):
    assert re.search(rf"`kd\.{name}[`.]", SECTION)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_public_names_of_modules_are_in_the_readme(module):
    for name in module.__all__:
        assert re.search(rf"`(kd\.\w+\.)?{name}`", SECTION), name


# What they say of the results.


@each_page
def test_tables_are_those_of_the_result_files(page):
    assert rewritten(page.read_text()) == page.read_text()


def test_each_table_and_finding_is_on_one_page():
    shown = [name for page in pages.PAGES for name in names(page.read_text())]
    assert sorted(shown) == sorted(PARTS)


def test_a_page_is_rewritten_between_its_markers_alone(tmp_path, capsys):
    page = tmp_path / "page.md"
    old = "a\n<!-- finding: bias -->\nold\n<!-- end -->\nb\n"
    page.write_text(old)
    with pytest.raises(SystemExit) as stopped:
        main([page], ["--check"])
    assert stopped.value.code and page.read_text() == old
    with pytest.raises(SystemExit) as stopped:
        main([page], [])
    assert not stopped.value.code
    assert page.read_text() == old.replace("old", PARTS["finding: bias"]())
    with pytest.raises(SystemExit) as stopped:
        main([page], ["--check"])
    assert not stopped.value.code
    assert capsys.readouterr().out.count(f"changed: {page}") == 2


def test_unknown_and_unended_markers_are_refused():
    with pytest.raises(ValueError, match="'table: x'. Known are: table: bench"):
        rewritten("<!-- table: x -->\n<!-- end -->")
    begin = "<!-- table: digits -->\n"
    with pytest.raises(ValueError, match="needs its own end"):
        rewritten(begin + begin + "<!-- end -->")


@pytest.mark.parametrize(
    "write, expected",
    [
        (harness.percent, "12.3% (sd 4.6)"),
        (formatting.gain, "+12.3 % (sd 4.6)"),
        (formatting.count, "0.1 (sd 0.0)"),
    ],
)
def test_mean_and_deviation_of_seeds(write, expected):
    assert write({"mean": 0.1234, "sd": 0.0456}) == expected


def test_one_seed_has_no_deviation():
    assert harness.percent({"mean": 0.1234, "sd": None}) == "12.3%"
    assert formatting.count({"mean": 71, "sd": None}) == "71"
