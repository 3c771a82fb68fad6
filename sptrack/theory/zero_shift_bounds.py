"""Upper bounds for zero-shifting on any response: Theorems 2.2, C.2, C.3 and C.4, corrected.

The theorems (arXiv 2602.21321) are about sums over D cells. Cells are independent, so they hold
cell by cell, and that is how they are evaluated here: a function returns one number per cell, and
`.sum()` over them is the theorem. That sum is at most D times the largest, which is the factor D
that the printed last terms lack.

Constants are those of a range that the weights visit (`response_constants`), because soft bounds
have q = 0 at a bound, where Definition 2.1 asks for q_min > 0. All bounds need that range to hold
the whole trajectory. They are compared with what happens in docs/theory.md; for affine cells
`sptrack.theory.linear` has the exact values instead.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from sptrack._typing import Array
from sptrack.devices.device import asymmetric_part, bounds, response, symmetric_point
from sptrack.theory._numeric import decay, integral_from_point


class ResponseConstants(NamedTuple):
    """Constants of a response over a visited range, per cell.

    Attributes:
      q_min, q_max: smallest and largest mean step of a pulse over dw_min, both directions.
      l_q: largest |G'|, per weight unit. (The paper prints "max Delta G" for it.)
      mu_q: largest mu with mu (w - w*)^2 <= G(w) (w - w*); NaN for a cell without w*.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(), ())
      >>> spt.theory.response_constants(device, jnp.array(-0.5), jnp.array(0.5)).kappa.tolist()
      3.0
    """

    q_min: Array
    q_max: Array
    l_q: Array
    mu_q: Array

    @property
    def kappa(self) -> Array:
        """q_max / q_min, the condition number kappa_2 of Theorem 3.7."""
        return self.q_max / self.q_min


def response_constants(
    device: Any, low: Array | None = None, high: Array | None = None, *, points: int = 129
) -> ResponseConstants:
    """q_min, q_max, L_q and mu_q of every cell over the weights it visits.

    Found on `points` weights from low to high: exact for affine responses, and for monotone ones in
    q_min and q_max; otherwise to the resolution of the grid.

    Args:
      device: a device.
      low: lower end of the visited range, of the device's shape, e.g. `trace.min(0)`; the device's
        bound if None.
      high: upper end, likewise.
      points: number of weights, >= 2.

    Returns:
      `ResponseConstants` per cell.

    Raises:
      ValueError: if the range is not finite or `points` below 2.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(), ())
      >>> found = spt.theory.response_constants(device, jnp.array(-0.5), jnp.array(0.5))
      >>> print(found.q_min, found.q_max, found.l_q, found.mu_q)
      0.5 1.5 1.0 1.0
    """
    if points < 2:
        raise ValueError(f"points must be at least 2, got {points}.")
    bottom, top = bounds(device)
    low = jnp.asarray(bottom if low is None else low)
    high = jnp.asarray(top if high is None else high)
    for name, edge in (("low", low), ("high", high)):
        if not isinstance(edge, Tracer) and not np.all(np.isfinite(edge)):
            raise ValueError(f"the device has no finite bounds: give the visited range ({name}).")
    point = symmetric_point(device)

    def visit(found, share):
        w = low + share * (high - low)
        q_up, q_down = response(device, w)
        g, slope = jax.jvp(lambda v: asymmetric_part(device, v), (w,), (jnp.ones_like(w),))
        error = w - point
        near = jnp.abs(error) < 1e-3 * (high - low)
        secant = jnp.where(near, slope, g / jnp.where(near, 1, error))
        return ResponseConstants(
            q_min=jnp.minimum(found.q_min, jnp.minimum(q_up, q_down)),
            q_max=jnp.maximum(found.q_max, jnp.maximum(q_up, q_down)),
            l_q=jnp.maximum(found.l_q, jnp.abs(slope)),
            mu_q=jnp.minimum(found.mu_q, secant),
        ), None

    worst = jnp.full_like(point, jnp.inf)
    start = ResponseConstants(worst, jnp.zeros_like(point), jnp.zeros_like(point), worst)
    return jax.lax.scan(visit, start, jnp.linspace(0, 1, points, dtype=point.dtype))[0]


def asymmetry_potential(device: Any, w: Array) -> Array:
    """phi(w) = integral of G from w* to w: what zero-shifting descends; >= 0 for a rising G.

    a (w - w*)^2 / 2 for affine cells. By quadrature with 16 nodes. Differentiable.

    Args:
      device: a device.
      w: weights, of the device's shape.

    Returns:
      phi per cell, weight units; NaN for a cell without w*.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(), ())
      >>> print(spt.theory.asymmetry_potential(device, jnp.array(0.5)))
      0.125
    """
    return integral_from_point(lambda v: asymmetric_part(device, v), device, w)


def stochastic_asymmetry_bound(
    device: Any, w: Array, num_pulses: Any, constants: ResponseConstants
) -> Array:
    """Theorem 2.2: bounds the mean of E G(w_n)^2 over n = 0 ... N - 1 of random pulsing.

        phi(w_0) / (N dw) + L_q dw q_max^2 / 2

    Errata: L_q is max |G'|; summed over cells the last term has the factor D; that the error can't
    be smaller than Theta(dw) is not proved (`stationary_variance` proves it for affine cells).

    Args:
      device: a device.
      w: hidden weights at the start.
      num_pulses: pulses per cell N.
      constants: of the range that the weights visit.

    Returns:
      Bounds per cell; their sum is the theorem's.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.01), ())
      >>> constants = spt.theory.response_constants(device, jnp.array(-0.5), jnp.array(0.5))
      >>> print(spt.theory.stochastic_asymmetry_bound(device, jnp.array(0.5), 100, constants))
      0.13625
    """
    dw = device.dw_min
    start = asymmetry_potential(device, w) / (num_pulses * dw)
    return start + constants.l_q * dw * constants.q_max**2 / 2


def stochastic_error_bound(
    device: Any, w: Array, num_pulses: Any, constants: ResponseConstants
) -> Array:
    """Theorem C.2: bounds E (w_N - w*)^2 after random pulsing of a strongly monotone G.

        (1 - 2 dw mu_q)^N (w_0 - w*)^2 + dw q_max^2 / mu_q,    if mu_q < 1 / (2 dw)

    Errata: it holds for N at least (not at most) ln(2 (w_0 - w*)^2 / delta) / (2 mu_q dw);
    mu_g is mu_q; per coordinate the noise is dw^2 (F^2 + G^2) <= dw^2 q_max^2, half of what the
    last term allows; summed over cells the last term has the factor D.

    Args:
      device: a device.
      w: hidden weights at the start.
      num_pulses: pulses per cell N.
      constants: of the range that the weights visit.

    Returns:
      Bounds per cell, infinite where the condition fails; their sum is the theorem's.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.01), ())
      >>> constants = spt.theory.response_constants(device, jnp.array(-0.5), jnp.array(0.5))
      >>> print(spt.theory.stochastic_error_bound(device, jnp.array(0.5), 10**4, constants))
      0.0225
    """
    dw, mu = device.dw_min, constants.mu_q
    left = decay(2 * dw * mu, num_pulses) * (w - symmetric_point(device)) ** 2
    bound = left + dw * constants.q_max**2 / mu
    return jnp.where((mu > 0) & (2 * dw * mu < 1), bound, jnp.inf)


def cyclic_asymmetry_bound(
    device: Any, w: Array, num_pulses: Any, constants: ResponseConstants
) -> Array:
    """Theorem C.3: bounds the mean of G(w_n)^2 over n = 0 ... N - 1 of alternating pulses.

        phi(w_0) / (N dw) + 3 dw q_max^2 L_q / 2

    N counts pulses (the paper's N counts pairs). Errata: the condition N = O(dw^-2 kappa^-2) is
    never used; an intermediate "q_+ - q_-" is q_- - q_+; summed over cells the last term has the
    factor D. For affine cells the floor is of order dw^2 (`two_cycle`), so this one is loose.

    Args:
      device: a device.
      w: hidden weights at the start.
      num_pulses: pulses per cell N, even.
      constants: of the range that the weights visit.

    Returns:
      Bounds per cell; their sum is the theorem's.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.01), ())
      >>> constants = spt.theory.response_constants(device, jnp.array(-0.5), jnp.array(0.5))
      >>> print(spt.theory.cyclic_asymmetry_bound(device, jnp.array(0.5), 100, constants))
      0.15875
    """
    dw = device.dw_min
    start = asymmetry_potential(device, w) / (num_pulses * dw)
    return start + 3 * dw * constants.q_max**2 * constants.l_q / 2


def cyclic_error_bound(
    device: Any, w: Array, num_pulses: Any, constants: ResponseConstants
) -> Array:
    """Theorem C.4: bounds (w_N - w*)^2 after N alternating pulses of a strongly monotone G.

        (1 - mu_q dw)^N (w_0 - w*)^2 + dw q_max^2 (4 + L_q^2 / mu_q + 2 mu_q) / mu_q
        if mu_q <= 1 / (3 dw) and dw <= 1/3

    Errata: the left side is missing in print; the condition is garbled; the recursion gives
    (1 - mu_q dw)^2 per pair, and the printed rate, twice that, is true of affine cells
    (`pair_contraction`) but not proved; summed over cells the last term has the factor D.

    Args:
      device: a device.
      w: hidden weights at the start.
      num_pulses: pulses per cell N, even.
      constants: of the range that the weights visit.

    Returns:
      Bounds per cell, infinite where the conditions fail; their sum is the theorem's.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.01), ())
      >>> constants = spt.theory.response_constants(device, jnp.array(-0.5), jnp.array(0.5))
      >>> print(spt.theory.cyclic_error_bound(device, jnp.array(0.5), 10**4, constants))
      0.1575
    """
    dw, mu = device.dw_min, constants.mu_q
    left = decay(dw * mu, num_pulses) * (w - symmetric_point(device)) ** 2
    bound = left + dw * constants.q_max**2 * (4 + constants.l_q**2 / mu + 2 * mu) / mu
    return jnp.where((mu > 0) & (3 * dw * mu <= 1) & (3 * dw <= 1), bound, jnp.inf)
