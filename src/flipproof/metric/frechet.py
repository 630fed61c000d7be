r"""The Fréchet distance between two sets of points, each taken for a sample of a Gaussian.

.. math:: d^2 = \|\mu_x - \mu_y\|^2 + \operatorname{tr}\left( \Sigma_x + \Sigma_y - 2 (\Sigma_x \Sigma_y)^{1/2} \right)

(Dowson and Landau, 1982), with the unbiased covariances of the sets. A covariance is kept as a factor, :math:`\Sigma =
F^T F`, never squared: then :math:`\operatorname{tr} (\Sigma_x \Sigma_y)^{1/2}` is the sum of the singular values of
:math:`F_x F_y^T`, which is exact where there are fewer points than dimensions and a square root of the product of the
covariances is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import ImageError

__all__ = ["Gaussian", "frechet_distance"]


@dataclass(frozen=True)
class Gaussian:
    """The moments of a set of points; memory does not grow with the points.

    Attributes:
        count: How many points.
        mean: Array (D,).
        scatter: A factor S, (R, D) with R at most about D, of the sum of squares :math:`S^T S` around the mean.
    """

    count: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def fit(cls, points: NDArray[np.float64]) -> Gaussian:
        """Returns the moments of at least one point, (N, D)."""
        mean = points.mean(axis=0)
        return cls(len(points), mean, _reduce(points - mean))

    def __add__(self, other: Gaussian) -> Gaussian:
        """The moments of both sets together (Chan, Golub and LeVeque, 1979)."""
        count = self.count + other.count
        step = other.mean - self.mean
        between = np.sqrt(self.count * other.count / count) * step
        rows = np.concatenate([self.scatter, other.scatter, between[None]])
        return Gaussian(count, self.mean + step * (other.count / count), _reduce(rows))

    @property
    def factor(self) -> NDArray[np.float64]:
        """A factor F (R, D) of the unbiased covariance.

        Raises:
            ImageError: A single point has no covariance.
        """
        if self.count < 2:
            raise ImageError(f"expected at least two points to compare, got {self.count}")
        factor: NDArray[np.float64] = self.scatter / np.sqrt(self.count - 1)
        return factor


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """Returns the squared Fréchet distance of two Gaussians, what is called FID on features of Inception.

    Raises:
        ImageError: One of them is of a single point.

    Example:
        >>> line = np.array([[-1.0], [1.0]])  # variance 2
        >>> round(frechet_distance(Gaussian.fit(line), Gaussian.fit(2 * line + 3)), 6)  # 3 ** 2 + 2
        11.0
    """
    x, y = one.factor, other.factor
    cross = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    distance = np.sum((one.mean - other.mean) ** 2) + np.sum(x**2) + np.sum(y**2) - 2 * cross
    return max(float(distance), 0.0)


def _reduce(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Brings a factor to at most as many rows as columns: a triangular one with the same squares."""
    if len(rows) <= rows.shape[1]:
        return rows
    return np.asarray(np.linalg.qr(rows, mode="r"))
