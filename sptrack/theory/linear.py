"""Exact results for cells with affine response: what zero-shifting does to them, pulse by pulse.

In the error e = w - w* of a cell with q_up = F* - s_up e and q_down = F* + s_down e,

    F = F* + f1 e,   G = a e,   a = (s_up + s_down) / 2,   f1 = (s_down - s_up) / 2

so a pulse is an affine map of e, and everything below is closed form: no expansion in dw_min. It
holds while no cell is clipped at a bound; without noise a pulse takes no cell there if
dw_min s <= 1, and steeper cells are outside this theory. Cycle noise is included, additive and
relative.

Any number of cyclic pulses in one step is `spt.zero_shift(..., method="aggregate")`.

arXiv 2602.21321 only has upper bounds for this (Theorems 2.2, C.2 to C.4, in
`sptrack.theory.zero_shift_bounds`). Against them: the number of pulses is logarithmic in the
accuracy, not inverse, and the squared error of cyclic pulsing is of order dw_min^2, not dw_min.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from sptrack._typing import Array
from sptrack.devices.affine import AffineDevice
from sptrack.theory._numeric import decay


class LinearCells(NamedTuple):
    """Coefficients of affine cells around their symmetric points; the module has the equations.

    Attributes:
      dw_min: weight change of one pulse where the response is 1; scalar.
      point: symmetric point w*; NaN where a cell has none.
      a: slope of G, per weight unit.
      f1: slope of F, per weight unit.
      f_star: F(w*), the response at the symmetric point.
      slope_up, slope_down: s_up and s_down, per weight unit.
      noise: variance of one pulse's step that does not depend on the weight, over dw_min^2.
      relative_noise: variance of one pulse's step relative to the step squared.

    Example:
      >>> import jax, sptrack as spt
      >>> spec = spt.LinearResponse(alpha_down=0.6)
      >>> cell = spt.theory.linear_cells(spt.sample_device(jax.random.key(0), spec, ()))
      >>> print(cell.a, cell.f1.round(3), cell.f_star, cell.point)
      0.8 -0.2 0.75 0.25
    """

    dw_min: Array
    point: Array
    a: Array
    f1: Array
    f_star: Array
    slope_up: Array
    slope_down: Array
    noise: Array
    relative_noise: Array


class Moments(NamedTuple):
    """E[w - w*] and E[(w - w*)^2] of every cell.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.theory.Moments(mean=jnp.array(0.5), second=jnp.array(0.25))._fields
      ('mean', 'second')
    """

    mean: Array
    second: Array


class TwoCycle(NamedTuple):
    """Where cyclic pulsing ends: the weights after an up pulse and after a down pulse.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.theory.TwoCycle(after_up=jnp.array(0.1), after_down=jnp.array(-0.1))._fields
      ('after_up', 'after_down')
    """

    after_up: Array
    after_down: Array


def linear_cells(device: Any) -> LinearCells:
    """The coefficients a, f1, F*, w* of a device with affine response (linear, soft bounds).

    Args:
      device: a `spt.devices.AffineDevice`.

    Returns:
      `LinearCells`, differentiable in the device.

    Raises:
      TypeError: for any other device.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.SoftBounds(), (3,))
      >>> spt.theory.linear_cells(device).a.shape
      (3,)
    """
    if not isinstance(device, AffineDevice):
        raise TypeError(
            f"a device with affine response is needed (AffineDevice), got {type(device).__name__}; "
            "for others there are bounds, e.g. sptrack.theory.stochastic_error_bound."
        )
    point = device.symmetric_point()
    additive = jnp.zeros_like(point)
    if device.noise_up is not None and device.noise_down is not None:
        additive = (device.noise_up**2 + device.noise_down**2) / 2
    relative = 0.0 if device.relative_noise is None else device.relative_noise**2
    return LinearCells(
        dw_min=device.dw_min,
        point=point,
        a=(device.up_slope + device.down_slope) / 2,
        f1=(device.down_slope - device.up_slope) / 2,
        f_star=device.up - device.up_slope * point,
        slope_up=device.up_slope,
        slope_down=device.down_slope,
        noise=additive,
        relative_noise=jnp.asarray(relative, point.dtype),
    )


def stochastic_moments(device: Any, w: Array, num_pulses: Any) -> Moments:
    """Mean and second moment of w_n - w* after n pulses of random direction, exactly.

        E e_n     = (1 - a dw)^n e_0
        E e_n+1^2 = (1 - x) E e_n^2 + 2 dw^2 (1 + s^2) f1 F* E e_n + dw^2 ((1 + s^2) F*^2 + v)
        x         = 2 a dw - dw^2 (1 + s^2) (a^2 + f1^2)

    solved for any n (science/4, 4.0); s^2 is relative and v additive cycle noise. Differentiable.

    Args:
      device: an `AffineDevice`.
      w: hidden weights at the start, of the device's shape.
      num_pulses: pulses per cell n >= 0; may be traced.

    Returns:
      `Moments(mean, second)` per cell.

    Raises:
      TypeError: if the device is not affine.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(dw_min=0.01)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> print(spt.theory.stochastic_moments(device, jnp.array(0.5), 100).mean.round(4))  # 0.99^n
      0.183
    """
    cells = linear_cells(device)
    n = jnp.asarray(num_pulses, cells.point.dtype)
    error = w - cells.point
    lost, lost_squared, cross, source = _recursion(cells)
    left, left_squared = decay(lost, n), decay(lost_squared, n)
    gap = lost_squared - lost
    equal = jnp.abs(gap) <= 1e-6 * lost
    mixed = jnp.where(  # sum over k of (1 - x)^(n-1-k) (1 - a dw)^k
        equal,
        n * left / (1 - lost),
        (left - left_squared) / jnp.where(equal, 1, gap),
    )
    flat = lost_squared == 0
    lost_by_n = -jnp.expm1(n * jnp.log1p(-lost_squared))
    summed = jnp.where(flat, n, lost_by_n / jnp.where(flat, 1, lost_squared))
    second = error**2 * left_squared + cross * error * mixed + source * summed
    return Moments(error * left, second)


def stationary_variance(device: Any) -> Array:
    """E (w - w*)^2 once random pulsing has forgotten its start, exactly.

        dw F*^2 / (2 a - dw (a^2 + f1^2))    without cycle noise

    E G^2 is a^2 times this, about a dw F*^2 / 2. arXiv 2602.21321 calls Theta(dw) the "minimal
    achievable error" of Theorem 2.2 but proves only that it is not more; for affine cells it is
    right, with this constant. Differentiable.

    Args:
      device: an `AffineDevice`.

    Returns:
      Variances per cell; infinite where a = 0.

    Raises:
      TypeError: if the device is not affine.

    Example:
      >>> import jax, sptrack as spt
      >>> spec = spt.LinearResponse(dw_min=0.01, alpha_down=0.6)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> print(spt.theory.stationary_variance(device).round(6))
      0.003531
    """
    _, lost_squared, _, source = _recursion(linear_cells(device))
    return source / lost_squared


def pair_contraction(device: Any) -> Array:
    """(1 - dw s_up)(1 - dw s_down): the factor by which a pair of pulses shrinks the error.

    About exp(-2 a dw). So the square shrinks by exp(-4 a dw) per pair, which is the rate that
    arXiv 2602.21321 prints in Theorem C.4; its proof gives half of it. Differentiable.

    Args:
      device: an `AffineDevice`.

    Returns:
      Factors per cell.

    Raises:
      TypeError: if the device is not affine.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.1), ())
      >>> print(spt.theory.pair_contraction(device))
      0.81
    """
    cells = linear_cells(device)
    return (1 - cells.dw_min * cells.slope_up) * (1 - cells.dw_min * cells.slope_down)


def two_cycle(device: Any) -> TwoCycle:
    """The limit of cyclic pulsing without noise, exactly.

        after up:  w* + dw F* x_up / z,    after down:  w* - dw F* x_down / z
        x = dw s,  z = x_up + x_down - x_up x_down

    Its width is dw F* (x_up + x_down) / z, about dw F*; its middle is off by
    -dw F* f1 / (2 a) to first order, zero for equal slopes. Differentiable.

    Args:
      device: an `AffineDevice`.

    Returns:
      `TwoCycle(after_up, after_down)`, weights per cell; NaN where a = 0.

    Raises:
      TypeError: if the device is not affine.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.1), ())
      >>> ends = spt.theory.two_cycle(device)
      >>> print(ends.after_up.round(4), ends.after_down.round(4))
      0.0526 -0.0526
    """
    cells = linear_cells(device)
    up, down = _cycle_errors(cells)
    return TwoCycle(cells.point + up, cells.point + down)


def pulses_to_accuracy(device: Any, w: Array, error: Array) -> Array:
    """Pulses of random direction after which the mean is `error` away from w*.

        N = ln(|w - w*| / error) / -ln(1 - a dw)  ~  ln(|w - w*| / error) / (a dw)

    Inverse in dw but only logarithmic in the accuracy, unlike the O(1 / (error dw)) of
    Theorem 2.2. It says nothing about the spread, whose floor is `stationary_variance`.
    Differentiable.

    Args:
      device: an `AffineDevice`.
      w: hidden weights at the start, of the device's shape.
      error: wanted |E w_N - w*|; weight units, > 0.

    Returns:
      Numbers of pulses, floating, >= 0.

    Raises:
      TypeError: if the device is not affine.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.LinearResponse(dw_min=1e-3, alpha_down=0.6)
      >>> device = spt.sample_device(jax.random.key(0), spec, ())
      >>> print(spt.theory.pulses_to_accuracy(device, jnp.array(-0.5), 0.0025).round())
      7127.0
    """
    cells = linear_cells(device)
    ratio = jnp.abs(w - cells.point) / error
    return jnp.log(jnp.maximum(ratio, 1)) / -jnp.log1p(-cells.a * cells.dw_min)


def _recursion(cells: LinearCells) -> tuple[Array, Array, Array, Array]:
    """Loss of the mean and of the second moment per pulse, cross term, source term."""
    dw, noisy = cells.dw_min, 1 + cells.relative_noise
    lost = cells.a * dw
    lost_squared = 2 * lost - dw**2 * noisy * (cells.a**2 + cells.f1**2)
    cross = 2 * dw**2 * noisy * cells.f1 * cells.f_star
    source = dw**2 * (noisy * cells.f_star**2 + cells.noise)
    return lost, lost_squared, cross, source


def _cycle_errors(cells: LinearCells) -> tuple[Array, Array]:
    """Errors after an up and after a down pulse in the limit of cyclic pulsing."""
    x_up, x_down = cells.dw_min * cells.slope_up, cells.dw_min * cells.slope_down
    step = cells.dw_min * cells.f_star / (x_up + x_down - x_up * x_down)
    return step * x_up, -step * x_down
