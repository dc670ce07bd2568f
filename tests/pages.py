"""The pages of the repository, and what stands in them."""

import pathlib
import re
from typing import NamedTuple

from benchmarks.tables import pages

ROOT = pages.ROOT
README = ROOT / "README.md"
PAGES = pages.pages()
_FENCED = re.compile(
    r"^(?:<!-- ([^>\n]*) -->\n)?```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
    """A block of code or text between fences, after a comment that names it."""

    page: str
    name: str
    language: str
    text: str


def title(page: pathlib.Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: pathlib.Path) -> list[Block]:
    return [
        Block(title(page), *found)
        for found in _FENCED.findall(page.read_text())
    ]


def block(page: pathlib.Path, name: str) -> Block:
    (found,) = [one for one in blocks(page) if one.name == name]
    return found


BLOCKS = [one for page in PAGES for one in blocks(page)]
EXAMPLES = [one for one in BLOCKS if one.language == "python"]
