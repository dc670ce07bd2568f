"""Tables 3 and 4 of the paper, from the results of each seed."""

import numpy as np

from benchmarks.harness import summary

# Table 3: conditional and overall accuracy. Table 4: relative improvement by
# the number of specialists that cover the true class, the last of 10 and more.
PAPER = {
    "baseline": [0.431, 0.250],
    "specialists": [0.459, 0.261],
    "relative improvement": 0.044,
    "by cover": [0.0, 3.4, 7.4, 8.8, 10.5, 11.1, 11.3, 12.8, 13.6, 16.6, 14.1],
}
MOST = len(PAPER["by cover"]) - 1


def gathered(results: list[dict]) -> dict:
    """Means and deviations over the seeds, and the relative improvements."""
    first = results[0]["arms"]
    arms = {
        name: {
            kind: summary(r["arms"][name][kind] for r in results)
            for kind in ("overall", "conditional")
        }
        | {
            "relative improvement": summary(
                r["arms"][name]["overall"] / r["arms"]["generalist"]["overall"]
                - 1
                for r in results
            )
        }
        for name in first
    }
    return {"arms": arms, "by cover": by_cover(results)}


def by_cover(results: list[dict]) -> dict:
    """Table 4, of the seeds that have classes of a cover, for each arm."""
    table: dict[str, dict] = {}
    for name in results[0]["arms"]:
        table[name] = {}
        for k in range(MOST + 1):
            found = [improvement(result, name, k) for result in results]
            values = [value for value in found if value is not None]
            if values:
                table[name][str(k)] = summary(values)
    return table


def improvement(result: dict, name: str, cover: int) -> float | None:
    """Relative, on the pairs whose class so many specialists cover.

    The last cover stands for itself and more, as in the paper.
    """
    pairs = np.array(result["pairs by cover"], float)
    chosen = np.minimum(np.arange(len(pairs)), MOST) == cover
    if not pairs[chosen].sum():
        return None

    def right(arm: str) -> float:
        shares = np.array(result["arms"][arm]["by cover"], float)
        return float(np.sum((shares * pairs)[chosen & (pairs > 0)]))

    return right(name) / right("generalist") - 1
