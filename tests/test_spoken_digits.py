"""The example of spoken digits runs, in short mode."""

import importlib.util
import pathlib
import sys

ROOT = pathlib.Path(__file__).parent.parent


def load(folder):
    path = ROOT / folder / "spoken_digits.py"
    name = f"{folder}_spoken_digits"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up.
    spec.loader.exec_module(module)
    return module


example = load("examples")


def test_the_example_runs(tmp_path, capsys):
    example.main(["--short", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    for arm in ("single", "ensemble", "distilled"):
        assert f"\n{arm}" in printed
    png = (tmp_path / "spoken_digits.png").read_bytes()
    assert png.startswith(b"\x89PNG") and len(png) > 20_000
