"""Makes the notebooks of the examples, with what a run of each puts out.

Command: python -m examples.notebooks            each example's
         python -m examples.notebooks NAME...    of these, such as quickstart
         python -m examples.notebooks --texts    runs nothing: all but outputs

Needs `pip install -e ".[jax,examples,notebooks]"` and what the headers of the
examples say. Takes as long as they do.
"""

import argparse
import os
import pathlib

import nbformat

from examples.notebooks import from_script, running


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = [script.stem for script in from_script.scripts()]
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="by default all"
    )
    parser.add_argument("--texts", action="store_true", help="run nothing")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in known]:
        names = ", ".join(known)
        parser.error(f"no example is called {unknown[0]}; known are {names}")
    for name in given.names or known:
        make(from_script.EXAMPLES / f"{name}.py", run=not given.texts)


def make(
    script: pathlib.Path,
    folder: pathlib.Path = from_script.NOTEBOOKS,
    project: pathlib.Path = from_script.PROJECT,
    run: bool = True,
) -> None:
    """Writes the notebook of a script to a folder, whole or not at all."""
    path = folder / f"{script.stem}.ipynb"
    made = from_script.notebook(script, from_script.repository(project))
    found = running.outputs(made) if run else kept_outputs(path, made)
    cells = running.code_cells(made)
    for i, (cell, shown) in enumerate(zip(cells, found, strict=True), 1):
        cell.outputs, cell.execution_count = shown, i
    part = path.with_suffix(".part")
    nbformat.write(made, part)
    os.replace(part, path)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)


def kept_outputs(
    path: pathlib.Path, made: nbformat.NotebookNode
) -> list[list[nbformat.NotebookNode]]:
    """Those of the notebook that is there, if its code is the script's."""
    old = running.code_cells(nbformat.read(path, as_version=4))
    new = running.code_cells(made)
    if [c.source for c in old[1:]] != [c.source for c in new[1:]]:
        raise ValueError(
            f"The code of {path.name} is not that of its script, so its "
            "outputs are not either. Run: python -m examples.notebooks "
            f"{path.stem}"
        )
    return [cell.outputs for cell in old]


if __name__ == "__main__":
    main()
