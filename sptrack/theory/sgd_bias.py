"""Where training without a reference ends: analog SGD's fixed point and its implicit penalty.

The mean of an analog update under gradient noise vanishes where

    E g = -E|g| R(w),    R = G / F

so analog SGD settles between the optimum and the symmetric point, and the more so the noisier its
gradients are. Wu et al. 2025 (2502.06309, Theorems 1 and 5) read the right side as the gradient of
a penalty <Sigma, R_c(W)>, Sigma = E|grad f(W*)|, R_c' = R.
"""

from typing import Any

import jax
import jax.numpy as jnp

from sptrack._typing import Array
from sptrack.devices.device import asymmetric_part, symmetric_part, symmetric_point
from sptrack.theory._numeric import integral_from_point, mean_magnitude, rising_root


def asymmetry_ratio(device: Any, w: Array) -> Array:
    """R(w) = G / F, in [-1, 1]: the bias of training per unit of mean |gradient|.

    Zero where F is (a stuck cell). Differentiable.

    Args:
      device: a device.
      w: weights, of the device's shape.

    Returns:
      R per cell.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(), ())
      >>> print(spt.theory.asymmetry_ratio(device, jnp.array(0.5)))
      0.5
    """
    f = symmetric_part(device, w)
    stuck = f == 0
    return jnp.where(stuck, 0, asymmetric_part(device, w) / jnp.where(stuck, 1, f))


def analog_sgd_fixed_point(
    device: Any, optimum: Array, *, curvature: Array | float, gradient_std: Array | float
) -> Array:
    """Where analog SGD settles on a quadratic: the mean of its stationary law, up to O(alpha).

        mu (w - w_opt) = -E|g| R(w),    g = mu (w - w_opt) + sigma xi
        E|m + sigma xi| = sigma sqrt(2/pi) exp(-m^2 / 2 sigma^2) + m erf(m / sigma sqrt 2)

    The left side minus the right rises with w between optimum and symmetric point, so there is one
    solution, between the two (science/4, 4.10). Differentiable by the implicit function theorem.

    Args:
      device: a device.
      optimum: optimal weights, of the device's shape.
      curvature: second derivative mu of the loss; > 0.
      gradient_std: std sigma of the gradient's noise; >= 0.

    Returns:
      Weights per cell; NaN for a cell without a symmetric point.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(asymmetry_mean=0.3)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> for sigma in (0.0, 1.0, 100.0):  # from the optimum to the symmetric point at 0.3
      ...     print(spt.theory.analog_sgd_fixed_point(
      ...         device, jnp.array(-0.2), curvature=1.0, gradient_std=sigma).round(3))
      -0.2
      0.026
      0.294
    """
    point = symmetric_point(device)

    def imbalance(w):
        mean = curvature * (w - optimum)
        return mean + mean_magnitude(mean, gradient_std) * asymmetry_ratio(device, w)

    return rising_root(imbalance, jnp.minimum(point, optimum), jnp.maximum(point, optimum))


def implicit_penalty(device: Any, w: Array, gradient_magnitude: Array | float) -> Array:
    """What analog SGD adds to the loss, per cell: Sigma R_c(w), R_c = integral of G/F from w* to w.

    Its sum over cells is <Sigma, R_c(W)> of Wu et al. 2025, Theorem 1. By quadrature with 16 nodes.
    Differentiable; the derivative is Sigma R(w).

    Args:
      device: a device.
      w: weights, of the device's shape.
      gradient_magnitude: Sigma = E|grad f| at the optimum, per cell or one number; >= 0.

    Returns:
      Penalties per cell, in units of the loss.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(), ())
      >>> print(spt.theory.implicit_penalty(device, jnp.array(0.5), 2.0))  # F = 1: Sigma w^2 / 2
      0.25
    """
    ratio = integral_from_point(lambda v: asymmetry_ratio(device, v), device, w)
    return gradient_magnitude * ratio


def penalized_optimum(
    device: Any, optimum: Array, *, hessian: Array | float, gradient_magnitude: Array | float
) -> Array:
    """The penalised loss' minimum to first order: Wu et al. 2025, after Theorem 5.

        (H + Sigma R')^-1 (H w_opt + Sigma R' w*),    R' = G'(w*) / F(w*)

    R is linearised at w* and Sigma taken at the optimum, so it is right where the cell's own
    nonlinearity and the loss' slope are small; `analog_sgd_fixed_point` needs neither, but is for
    diagonal H only. Differentiable.

    Args:
      device: a device.
      optimum: optimal weights, of the device's shape.
      hessian: H; a number or an array like the weights for a diagonal one, or a matrix (n, n) for
        n weights in a vector.
      gradient_magnitude: Sigma = E|grad f| at the optimum, per cell or one number; >= 0.

    Returns:
      Weights per cell.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(center_mean=0.3)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> print(spt.theory.penalized_optimum(
      ...     device, jnp.array(-0.1), hessian=1.0, gradient_magnitude=1.0))
      0.1
    """
    point = symmetric_point(device)
    pull = gradient_magnitude * _slope_of_ratio(device, point)
    hessian = jnp.asarray(hessian)
    if optimum.ndim == 1 and hessian.ndim == 2:
        return jnp.linalg.solve(hessian + jnp.diag(pull), hessian @ optimum + pull * point)
    return (hessian * optimum + pull * point) / (hessian + pull)


def _slope_of_ratio(device: Any, point: Array) -> Array:
    """R'(w*) = G'(w*) / F(w*), since G(w*) = 0."""
    return jax.jvp(lambda v: asymmetry_ratio(device, v), (point,), (jnp.ones_like(point),))[1]
