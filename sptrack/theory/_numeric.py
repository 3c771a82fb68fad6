"""Small numerical tools of the theory: powers near one, quadrature, roots, folded normals."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._typing import Array
from sptrack.devices.device import symmetric_point

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_BISECTIONS = 60  # halves a bracket to below the spacing of float64


def decay(loss: Array, n: Any) -> Array:
    """(1 - loss)^n, accurate for a tiny loss and a huge n; NaN for a loss above 1."""
    return jnp.exp(jnp.asarray(n, loss.dtype) * jnp.log1p(-loss))


def integral_from_point(function: Callable[[Array], Array], device: Any, w: Array) -> Array:
    """Integral of an elementwise `function` from w* to w, per cell (Gauss-Legendre)."""
    point = symmetric_point(device)
    nodes = jnp.asarray((1 + _NODES) / 2, point.dtype)
    values = jax.vmap(lambda share: function(point + share * (w - point)))(nodes)
    return (w - point) * jnp.tensordot(jnp.asarray(_WEIGHTS / 2, point.dtype), values, axes=1)


def rising_root(function: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Where an elementwise rising function is zero between low and high, per cell.

    By bisection; differentiable with respect to what the function closes over (implicit function
    theorem). NaN where the bracket is.
    """

    def solve(f, start):
        def halve(_, bracket):
            low, high = bracket
            middle = (low + high) / 2
            above = f(middle) > 0
            return jnp.where(above, low, middle), jnp.where(above, middle, high)

        del start
        bracket = jax.lax.fori_loop(0, _BISECTIONS, halve, (low, high))
        return (bracket[0] + bracket[1]) / 2

    def tangent_solve(g, y):
        return y / g(jnp.ones_like(y))

    low, high = jax.lax.stop_gradient((low, high))
    return jax.lax.custom_root(function, (low + high) / 2, solve, tangent_solve)


def mean_magnitude(mean: Array, std: Any) -> Array:
    """E|mean + std xi| for standard normal xi: the folded normal's mean; |mean| for std = 0."""
    quiet = jnp.asarray(std == 0)
    safe = jnp.where(quiet, 1, std)
    z = mean / safe
    spread = safe * (2 / np.pi) ** 0.5 * jnp.exp(-(z**2) / 2)
    return jnp.where(quiet, jnp.abs(mean), spread + mean * jax.lax.erf(z / 2**0.5))
