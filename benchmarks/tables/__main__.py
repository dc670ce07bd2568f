"""Writes what the result files say into the pages, between their markers.

Command: python -m benchmarks.tables          rewrites the pages
         python -m benchmarks.tables --check  fails if it would change one
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from benchmarks.tables.pages import pages, rewritten


def main(
    files: Sequence[pathlib.Path], arguments: list[str] | None = None
) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(arguments).check
    changed = [file for file in files if update(file, write=not check)]
    print("changed:", ", ".join(map(str, changed)) or "nothing")
    sys.exit(check and bool(changed))


def update(file: pathlib.Path, write: bool) -> bool:
    """Whether a page is not what the results say; makes it so."""
    text = file.read_text()
    new = rewritten(text)
    if write and new != text:
        file.write_text(new)
    return new != text


if __name__ == "__main__":
    main(pages())
