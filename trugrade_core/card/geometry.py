"""Points, lines and polygons in a plane; all in float64, (x, y)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Line = tuple[Array, Array]
"""A point (2,) and a direction (2,)."""


def apply(matrix: Array, points: ArrayLike) -> Array:
    """(N, 2) points through a (3, 3) matrix."""
    xy = np.asarray(points, np.float64)
    found = xy @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(found[..., :2] / found[..., 2:])


def inverse(matrix: Array) -> Array:
    return np.asarray(np.linalg.inv(matrix), np.float64)


def homography(source: Array, target: Array) -> Array:
    """The (3, 3) matrix that maps four points to four points (OpenCV's takes float32 points)."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1.0).reshape(3, 3)


def side_lengths(corners: Array) -> Array:
    """(4,) from each corner to the next."""
    return np.asarray(np.hypot(*(np.roll(corners, -1, axis=0) - corners).T))


def meet(one: Line, other: Line) -> Array:
    """Where two lines cross (2,); not a number when they are parallel."""
    (p, u), (q, v) = one, other
    turn = u[0] * v[1] - u[1] * v[0]
    if abs(turn) < 1e-9:
        return np.full(2, np.nan)
    return np.asarray(p + u * ((q - p)[0] * v[1] - (q - p)[1] * v[0]) / turn)


def signed_area(points: ArrayLike) -> float:
    """Of a polygon (N, 2); positive when it runs clockwise as seen (y down)."""
    xy = np.asarray(points, np.float64).reshape(-1, 2)
    following = np.roll(xy, -1, axis=0)
    return float((xy[:, 0] * following[:, 1] - following[:, 0] * xy[:, 1]).sum()) / 2


def area(points: ArrayLike) -> float:
    return abs(signed_area(points))


def clip(points: Array, xyxy: tuple[float, float, float, float]) -> Array:
    """The polygon (N, 2) inside a box, by Sutherland and Hodgman; (0, 2) when nothing is. Of a polygon that reaches in
    more than once the parts come out joined along the box's sides."""
    for axis, limit, sign in ((0, xyxy[0], 1), (1, xyxy[1], 1), (0, xyxy[2], -1), (1, xyxy[3], -1)):
        depth = sign * (points[:, axis] - limit)
        found = []
        for n in range(len(points)):
            if (depth[n - 1] < 0) != (depth[n] < 0):
                share = depth[n - 1] / (depth[n - 1] - depth[n])
                crossing = points[n - 1] + share * (points[n] - points[n - 1])
                crossing[axis] = limit
                found.append(crossing)
            if depth[n] >= 0:
                found.append(points[n])
        points = np.array(found).reshape(-1, 2)
    return points
