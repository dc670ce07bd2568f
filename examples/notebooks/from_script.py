"""The notebook of an example, as yet without outputs.

An example says once, in its header, what it needs: how it is installed in a
clone, `pip install -e ".[jax,examples]"`, and in its command the environment,
`KERAS_BACKEND=jax`. The first code cell of its notebook is made of these.
"""

import pathlib
import re
import shlex
import tomllib

import jupytext
import nbformat

NOTEBOOKS = pathlib.Path(__file__).parent
EXAMPLES = NOTEBOOKS.parent
PROJECT = EXAMPLES.parent / "pyproject.toml"
_METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}
_INSTALL = re.compile(r'`pip install -e "\.\[([\w,]+)\]"([^`]*)`')
_COMMAND = re.compile(r"^ {4}((?:\w+=\S+ )+)python examples/", re.MULTILINE)
_GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)")
_COLAB = "https://colab.research.google.com"


def scripts() -> list[pathlib.Path]:
    return sorted(EXAMPLES.glob("*.py"))


def repository(project: pathlib.Path = PROJECT) -> str | None:
    """The project's address on GitHub, None as long as it has none."""
    urls = tomllib.loads(project.read_text())["project"].get("urls", {})
    address = urls.get("Repository")
    if address is not None and not _GITHUB.fullmatch(address):
        raise ValueError(
            f"{project.name}, [project.urls]: Repository is {address!r}. "
            "Expected: 'https://github.com/OWNER/NAME', as Colab opens only "
            "what is there. Correct it, or leave it out."
        )
    return address


def notebook(
    script: pathlib.Path, address: str | None = None
) -> nbformat.NotebookNode:
    """What a script says, cell by cell, after a cell that installs its needs.

    Args:
        script: An example in the percent format, which begins with its header.
        address: What `repository` returns. With it the notebook installs from
            there and has a badge that opens it in Colab; without it, it
            installs from the clone that it lies in.
    """
    header, *cells = jupytext.read(script).cells
    title, text = header.source.split("\n", 1)
    top = nbformat.v4.new_markdown_cell(
        f"# {title.rstrip('.')}\n{_badge(script, address)}{text}"
    )
    setup = nbformat.v4.new_code_cell(_setup(script, header.source, address))
    made = nbformat.v4.new_notebook(cells=[top, setup, *cells])
    made.metadata = nbformat.from_dict(_METADATA)
    for i, cell in enumerate(made.cells):
        cell.id, cell.metadata = f"cell-{i}", nbformat.NotebookNode()
    return made


def _badge(script: pathlib.Path, address: str | None) -> str:
    if address is None:
        return ""
    place = f"{_GITHUB.fullmatch(address)[1]}/blob/main/examples/notebooks"
    link = f"{_COLAB}/github/{place}/{script.stem}.ipynb"
    return f"\n[![Open in Colab]({_COLAB}/assets/colab-badge.svg)]({link})\n"


def _setup(script: pathlib.Path, header: str, address: str | None) -> str:
    """Code that picks the backend and installs, before Keras is imported."""
    needs = _INSTALL.search(" ".join(header.split()))
    command = _COMMAND.search(header)
    if not (needs and command):
        raise ValueError(
            f"The header of {script.name} does not say what it needs. "
            'Expected: `pip install -e ".[jax,examples]"` between backquotes, '
            f"and a command such as KERAS_BACKEND=jax python examples/"
            f"{script.name}, indented by four spaces."
        )
    variables = dict(v.split("=", 1) for v in shlex.split(command[1]))
    backend = variables.pop("KERAS_BACKEND")
    extras = ["{backend}" if e == backend else e for e in needs[1].split(",")]
    return "\n".join(
        [
            "import os",
            "",
            f'backend = "{backend}"  # The text above says which others do.',
            'os.environ["KERAS_BACKEND"] = backend',
            *(f'os.environ["{n}"] = "{v}"' for n, v in variables.items()),
            f"%pip install --quiet {_source(extras, address)}{needs[2]}",
        ]
    )


def _source(extras: list[str], address: str | None) -> str:
    if address is None:
        return f'"../..[{",".join(extras)}]"'
    return f'"keras-distill[{",".join(extras)}] @ git+{address}"'
