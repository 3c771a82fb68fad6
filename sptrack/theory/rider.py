"""What RIDER and its relatives converge to: the convergence metric, its bound, the landing point.

Theorem 3.7 of arXiv 2602.21321 concludes that RIDER's

    E_K = mean over k of E[ |W_k - W_opt|^2 + |P_k - Q_k|^2 + |G_p(P_k)|^2 ]

falls like 1/sqrt(K). That is false on an ideal W array, which its Definition 2.1 allows: W and Q
are driven by the same P_{k+1} - Q_k, so W - (beta/eta) Q never changes, and no K helps. The theorem
survives because its hypothesis, E|g| >= 4 sqrt(2) sigma kappa_2^(3/2) for every cell, can't hold
near the optimum, where E|g| <= sigma. E-RIDER's chopper breaks the invariant, and its E_K falls.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sptrack._typing import Array
from sptrack.devices.device import asymmetric_part, symmetric_point
from sptrack.theory._numeric import mean_magnitude, rising_root
from sptrack.theory.sgd_bias import asymmetry_ratio


class ConvergenceTerms(NamedTuple):
    """The three terms of E_K, squared, per cell: their sum's mean over k is E_K with unit weights.

    Attributes:
      weight: (W - W_opt)^2.
      residual: (P - R)^2, R what stands for the symmetric point.
      asymmetry: G_p(P)^2.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> one = jnp.ones(2)
      >>> print(sum(spt.theory.ConvergenceTerms(weight=one, residual=one, asymmetry=one)))
      [3. 3.]
    """

    weight: Array
    residual: Array
    asymmetry: Array


class LandingPoint(NamedTuple):
    """Where RIDER's fast phase ends: W and Q of every cell.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.theory.LandingPoint(weight=jnp.zeros(2), tracked_sp=jnp.zeros(2))._fields
      ('weight', 'tracked_sp')
    """

    weight: Array
    tracked_sp: Array


def convergence_terms(
    device: Any, *, weight: Array, residual: Array, reference: Array, optimum: Array
) -> ConvergenceTerms:
    """The terms of E_K in one state of training, per cell; average them over steps and cells.

    Args:
      device: the device of the residual array P.
      weight: W.
      residual: P.
      reference: Q, or the reference of an algorithm that does not track.
      optimum: optimal weights W_opt.

    Returns:
      `ConvergenceTerms`. Differentiable.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(center_mean=0.2)
      >>> tx = spt.rider(0.1, residual_spec=spec, weight_spec=spec, transfer_rate=0.01,
      ...                key=jax.random.key(0))
      >>> state = tx.init(jnp.zeros(2))
      >>> arrays = spt.read_arrays(state)
      >>> terms = spt.theory.convergence_terms(
      ...     state.residual.device, weight=arrays["weight"], residual=arrays["residual"],
      ...     reference=arrays["tracked_sp"], optimum=jnp.array([0.1, 0.3]))
      >>> print(sum(terms).round(3))  # (0 - 0.1)^2 + 0 + 0.2^2, ...
      [0.05 0.13]
    """
    return ConvergenceTerms(
        weight=(weight - optimum) ** 2,
        residual=(residual - reference) ** 2,
        asymmetry=asymmetric_part(device, residual) ** 2,
    )


def rider_invariant(weight: Array, tracked_sp: Array, ratio: Array | float) -> Array:
    """W - r Q, r = beta / eta: constant in RIDER on an ideal W array, whatever P and gradients do.

    Args:
      weight: W.
      tracked_sp: Q.
      ratio: r = beta / eta.

    Returns:
      The conserved quantity per cell.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> print(spt.theory.rider_invariant(jnp.array(0.5), jnp.array(0.1), 2.0).round(3))
      0.3
    """
    return weight - ratio * tracked_sp


def rider_lower_bound(
    device: Any,
    *,
    weight: Array,
    tracked_sp: Array,
    optimum: Array,
    ratio: Array | float,
    mu_q: Array | float,
) -> Array:
    """What RIDER's E_K can't fall below on an ideal W array, per cell and for every K.

        h c^2 / (h + r^2),    c = W_0 - W_opt + r (W* - Q_0),    h = mu_q^2 / (1 + mu_q^2)

    the least (W - W_opt)^2 + (P - Q)^2 + mu_q^2 (P - W*)^2 with W - r Q as it was at the start
    (unit weights). c^2 / (1 + 2 r^2) for mu_q = 1. It is zero only if the start happens to lie
    right. Differentiable.

    Args:
      device: the device of the residual array P.
      weight: W_0.
      tracked_sp: Q_0.
      optimum: W_opt.
      ratio: r = beta / eta.
      mu_q: |G(P)| >= mu_q |P - W*|; `linear_cells(device).a` or `response_constants(...).mu_q`.

    Returns:
      Bounds per cell; their mean bounds the mean over cells.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(center_mean=0.3)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> zero = jnp.array(0.0)
      >>> print(spt.theory.rider_lower_bound(
      ...     device, weight=zero, tracked_sp=zero, optimum=zero, ratio=2.0, mu_q=1.0).round(4))
      0.04
    """
    start = rider_invariant(weight - optimum, tracked_sp - symmetric_point(device), ratio)
    stiffness = mu_q**2 / (1 + mu_q**2)
    return stiffness * start**2 / (stiffness + ratio**2)


def rider_landing_point(
    device: Any,
    *,
    weight: Array,
    tracked_sp: Array,
    optimum: Array,
    ratio: Array | float,
    curvature: Array | float,
    gradient_std: Array | float,
) -> LandingPoint:
    """Where RIDER goes on a quadratic: neither the optimum nor the symmetric point, in general.

        mu (W - W_opt) + E|g| R_p(Q) = 0   on the line   W - r Q = W_0 - r Q_0

    with g = mu (W - W_opt) + sigma xi and R = G/F (science/4, 4.8.7), right up to O(alpha), with
    alpha well above beta and eta. r >> 1 moves W and hardly Q, r << 1 the other way round. On an
    ideal W array training stays there. On a real one this is the end of the fast phase, and W then
    creeps to the symmetric point of its own array with a rate of order beta E|P - Q|. One solution,
    because the left side rises with Q on the line. Differentiable (implicit function theorem).

    Args:
      device: the device of the residual array P.
      weight: W_0.
      tracked_sp: Q_0.
      optimum: W_opt.
      ratio: r = beta / eta; > 0.
      curvature: second derivative mu of the loss; > 0.
      gradient_std: std sigma of the gradient's noise; > 0.

    Returns:
      `LandingPoint(weight, tracked_sp)` per cell; NaN for a cell without a symmetric point.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(asymmetry_mean=0.3)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> zero = jnp.array(0.0)
      >>> where = spt.theory.rider_landing_point(
      ...     device, weight=zero, tracked_sp=zero, optimum=jnp.array(-0.1), ratio=1.0,
      ...     curvature=1.0, gradient_std=1.0)
      >>> print(where.weight.round(3), where.tracked_sp.round(3))  # W_opt = -0.1, W* = 0.3
      0.082 0.082
    """
    conserved = jax.lax.stop_gradient(rider_invariant(weight, tracked_sp, ratio))
    point = symmetric_point(device)
    at_optimum = (optimum - conserved) / ratio  # Q where W is optimal

    def imbalance(q):
        mean = curvature * (rider_invariant(weight, tracked_sp, ratio) + ratio * q - optimum)
        return mean + mean_magnitude(mean, gradient_std) * asymmetry_ratio(device, q)

    q = rising_root(imbalance, jnp.minimum(point, at_optimum), jnp.maximum(point, at_optimum))
    return LandingPoint(rider_invariant(weight, tracked_sp, ratio) + ratio * q, q)
