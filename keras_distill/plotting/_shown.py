"""A figure that notebooks show."""

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """Notebooks show other figures only once they have imported pyplot."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
