"""What the README says is so."""

import importlib.util
import pathlib
import re

import pytest

import keras_distill as kd

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_first_example_runs_and_is_short(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "student.keras").exists()
    assert "soft_loss" in capsys.readouterr().out


def test_tables_are_those_of_the_result_files():
    path = ROOT / "benchmarks" / "tables.py"
    spec = importlib.util.spec_from_file_location("tables", path)
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    assert tables.rewritten(README) == README


@pytest.mark.parametrize("name", kd.__all__)
def test_public_name_is_in_the_api_table(name):
    assert f"kd.{name}" in README


@pytest.mark.parametrize("module", [kd.losses, kd.transforms])
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


def test_files_that_the_readme_names_exist():
    named = re.findall(r"(?:benchmarks|examples|tests)/[\w./]+\w", README)
    for path in named:
        assert (ROOT / path).exists(), path
