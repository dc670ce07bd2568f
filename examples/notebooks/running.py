"""Runs notebooks from top to bottom, each in a kernel of its own.

Command: python -m examples.notebooks.running BACKEND NAME...

As a newcomer does, but in short mode: their first cells install what they need
into the environment of this Python, which needs ipykernel and nbclient.
"""

import copy
import pathlib
import re
import sys
import tempfile

import nbclient
import nbformat

NOTEBOOKS = pathlib.Path(__file__).parent
_BACKEND = re.compile('^backend = "\\w+"', re.MULTILINE)
_PIP = re.compile("^%pip .*$", re.MULTILINE)


def outputs(
    notebook: nbformat.NotebookNode,
    *,
    short: bool = False,
    install: bool = False,
    backend: str | None = None,
) -> list[list[nbformat.NotebookNode]]:
    """What each code cell prints and draws.

    Args:
        notebook: It stays as it is.
        short: Whether it gets the `--short` of a script.
        install: Whether its first cell installs what it needs.
        backend: Another one than the notebook's.
    """
    ran = copy.deepcopy(notebook)
    setup, *others = code_cells(ran)
    with tempfile.TemporaryDirectory() as folder:  # For what it writes.
        setup.source = _prepared(setup.source, short, install, backend, folder)
        nbclient.NotebookClient(
            ran,
            timeout=None,
            kernel_name="python3",
            coalesce_streams=True,
            record_timing=False,
            # What it installs is found from there.
            resources={"metadata": {"path": str(NOTEBOOKS)}},
        ).execute()
    return [[], *(list(filter(_is_shown, cell.outputs)) for cell in others)]


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _prepared(
    setup: str, short: bool, install: bool, backend: str | None, folder: str
) -> str:
    if backend is not None:
        setup = _BACKEND.sub(f'backend = "{backend}"', setup)
    if not install:
        setup = _PIP.sub("", setup)
    if short:
        setup += "\nimport sys\nsys.argv.append('--short')"
    return f"{setup}\nos.chdir({folder!r})"


def _is_shown(output: nbformat.NotebookNode) -> bool:
    """Prints and pictures, as a script has; no value of a last line."""
    return output.get("name") == "stdout" or "image/png" in output.get(
        "data", {}
    )


def main(backend: str, *names: str) -> None:
    for name in names:
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        found = outputs(notebook, short=True, install=True, backend=backend)
        print(f"{name} on {backend}: {len(found)} cells ran", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
