"""Pages with places, marked by comments, for what the results say."""

import pathlib
import re

from benchmarks.tables.parts import PARTS

ROOT = pathlib.Path(__file__).parents[2]
_NAME = r"<!-- ((?:table|finding): [^>]*) -->"
_MARKED = re.compile(
    _NAME + r"\n.*?^( *)<!-- end -->", re.DOTALL | re.MULTILINE
)


def pages() -> list[pathlib.Path]:
    """The pages of the repository that hold something of the results."""
    found = [ROOT / "README.md"]
    for folder in ("benchmarks", "examples"):
        found += sorted((ROOT / folder).rglob("*.md"))
    return found


def names(text: str) -> list[str]:
    """What a page shows, in its order."""
    return re.findall(_NAME, text)


def rewritten(text: str) -> str:
    """The page with everything between its markers made anew."""
    for name in names(text):
        if name not in PARTS:
            known = ", ".join(PARTS)
            raise ValueError(
                f"No part of a page is called {name!r}. Known are: {known}."
            )
    new, count = _MARKED.subn(_part, text)
    if count != len(names(text)):
        raise ValueError("Each marker of a table or finding needs its own end.")
    return new


def _part(match: re.Match) -> str:
    name = match[1]
    return f"<!-- {name} -->\n{PARTS[name]()}\n{match[2]}<!-- end -->"
