"""Pictures: small PNG files. Only these functions need matplotlib."""

import io
import pathlib
from collections.abc import Callable
from typing import Any

from benchmarks.harness.results import RESULTS, load


def new_figure(width: float, height: float) -> Any:
    """An empty figure of that many inches."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"font.size": 12, "axes.titlesize": 13})
    return Figure((width, height), layout="constrained")


def draw(
    name: str, figure: Callable[[Any], Any], folder: str | None = None
) -> None:
    """Draws the result of that name, into a PNG beside it."""
    path = pathlib.Path(folder or RESULTS) / f"{name}.png"
    save_picture(figure(load(name, folder)), path)


def save_picture(figure: Any, path: pathlib.Path, dpi: int = 110) -> None:
    """Writes a PNG of 256 colours, a third as large as one of all of them."""
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=dpi)
    # The other methods lose the colours of the smallest dots.
    method, undithered = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    picture = Image.open(drawn).convert("RGB")
    picture = picture.quantize(256, method, dither=undithered)
    picture.save(path, optimize=True)
