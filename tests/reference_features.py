"""Losses between features in float64 NumPy, example by example.

[A] Zagoruyko, Komodakis 2017. [R] Park, Kim, Lu, Cho 2019. Written from the
equations, with loops, and sharing nothing with the package.
"""

import itertools

import numpy as np


def cosine_distance(f, g):
    f, g = np.asarray(f, "float64"), np.asarray(g, "float64")
    lengths = np.linalg.norm(f, axis=-1) * np.linalg.norm(g, axis=-1)
    return 1 - (f * g).sum(axis=-1) / lengths


def attention(feature):
    """[A] eq. (1), p = 2, as a vector of length 1: `Q / |Q|` in eq. (2)."""
    vector = (np.abs(feature) ** 2).sum(axis=-1).ravel()
    return vector / np.linalg.norm(vector)


def attention_transfer(f, g):
    """[A] eq. (2), squared and a mean over positions, for each example."""
    pairs = zip(np.asarray(f, "float64"), np.asarray(g, "float64"), strict=True)
    return np.array(
        [np.mean((attention(a) - attention(b)) ** 2) for a, b in pairs]
    )


def huber(x, y):
    """[R] eq. (6)."""
    if abs(x - y) <= 1:
        return (x - y) ** 2 / 2
    return abs(x - y) - 1 / 2


def distances(vectors):
    """[R] eq. (4) and (5): over the mean of those that are not 0."""
    n = len(vectors)
    found = np.array(
        [[np.linalg.norm(a - b) for b in vectors] for a in vectors]
    )
    return found / found[found > 0].mean() if n > 1 else found


def cosine(a, b, c):
    """[R] eq. (8): of the angle at `b`."""
    one, other = a - b, c - b
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return one @ other / lengths if lengths > 0 else 0.0


def rkd_parts(f, g):
    """[R] eq. (7) and (9), as means over all pairs and all triples."""
    f, g = (np.asarray(x, "float64").reshape(len(x), -1) for x in (f, g))
    pairs = zip(distances(f).ravel(), distances(g).ravel(), strict=True)
    triples = itertools.product(range(len(f)), repeat=3)
    angles = [
        huber(cosine(f[i], f[j], f[k]), cosine(g[i], g[j], g[k]))
        for i, j, k in triples
    ]
    return np.mean([huber(a, b) for a, b in pairs]), np.mean(angles)


def rkd(f, g, distance_weight=25.0, angle_weight=50.0):
    distance, angle = rkd_parts(f, g)
    return distance_weight * distance + angle_weight * angle


def mean_squared_error(f, g):
    return ((np.asarray(f, "float64") - g) ** 2).mean(axis=-1)


def resized(feature, sizes):
    """Each new position the mean of an area, counted in common parts."""
    for axis, size in enumerate(sizes, start=1):
        old = feature.shape[axis]
        parts = np.repeat(np.asarray(feature, "float64"), size, axis=axis)
        groups = np.split(parts, size, axis=axis)
        feature = np.stack([g.mean(axis=axis) for g in groups], axis=axis)
        assert parts.shape[axis] == old * size
    return feature
