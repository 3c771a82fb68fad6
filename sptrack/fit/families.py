"""Families of cells that can be fitted: parameters of a cell, its device, a start from the data.

A family's parameters are those of one cell, in weight units: steps in place of gains, so that
dw_min has no meaning yet. `specs.py` turns their distribution over cells into a spec.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from sptrack._typing import Array
from sptrack.devices.affine import AffineDevice
from sptrack.devices.pow_step import PowDevice

Cells = dict[str, Any]  # values by name of parameter, each of shape (cells,)


class Parameter(NamedTuple):
    """How one parameter of a cell is searched for.

    Attributes:
      sign: 1 or -1 for one that is always positive or negative, whose logarithm is searched; 0 for
        one that can be both.
      power: of the weight unit in its own unit.
      steady: power of the parameter whose error hardly depends on its value (0: its logarithm).
    """

    sign: int
    power: int
    steady: int = 0

    def coordinate(self, value: Any) -> Any:
        """What is searched for."""
        return jnp.log(self.sign * value) if self.sign else value

    def value(self, coordinate: Any) -> Any:
        """The parameter at a coordinate."""
        return self.sign * jnp.exp(coordinate) if self.sign else coordinate

    def slope(self, value: Any) -> Any:
        """Derivative of the parameter with respect to its coordinate."""
        return value if self.sign else jnp.ones_like(value)


class Curve(NamedTuple):
    """A first look at each cell: steps up - up_slope w and down + down_slope w, and the range."""

    up: np.ndarray
    up_slope: np.ndarray
    down: np.ndarray
    down_slope: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Family(NamedTuple):
    """A family of cells.

    Attributes:
      parameters: of one cell, by name.
      device: (cells, noise fields) -> device with dw_min = 1; `size` below names what the std of
        additive cycle noise is relative to.
      size: (cells) -> steps up and down that dw_min_std is relative to.
      start: (curve) -> cells to start the search from.
    """

    parameters: dict[str, Parameter]
    device: Callable[[Cells, dict[str, Any]], Any]
    size: Callable[[Cells], tuple[Any, Any]]
    start: Callable[[Curve], Cells]


_STEPS = {"step_up": Parameter(1, 1), "step_down": Parameter(1, 1)}
_BOUNDS = {"w_max": Parameter(1, 1, 1), "w_min": Parameter(-1, 1, 1)}
# Seen in how fast the steps fall, by 1 / bound.
_SOFT = {"w_max": Parameter(1, 1, -1), "w_min": Parameter(-1, 1, -1)}


def _of_steps(cells: Cells) -> tuple[Any, Any]:
    return cells["step_up"], cells["step_down"]


def _affine(up, up_slope, down, down_slope, low, high, noise) -> AffineDevice:
    return AffineDevice(
        dw_min=jnp.ones((), up.dtype), up=up, up_slope=up_slope, down=down, down_slope=down_slope,
        low=low, high=high, **noise,
    )  # fmt: skip


def _constant_device(cells: Cells, noise) -> AffineDevice:
    up, down = _of_steps(cells)
    flat = jnp.zeros_like(up)
    return _affine(up, flat, down, flat, cells["w_min"], cells["w_max"], noise)


def _linear_device(cells: Cells, noise) -> AffineDevice:
    up, down = _of_steps(cells)
    slopes = up * cells["fall_up"], down * cells["fall_down"]
    return _affine(up, slopes[0], down, slopes[1], cells["w_min"], cells["w_max"], noise)


def _soft_device(cells: Cells, noise) -> AffineDevice:
    up, down = _of_steps(cells)
    low, high = cells["w_min"], cells["w_max"]
    return _affine(up, up / high, down, -down / low, low, high, noise)


def _reference_device(cells: Cells, noise) -> AffineDevice:
    step, point = cells["step"], cells["symmetric_point"]
    up_slope, down_slope = step / cells["w_max"], -step / cells["w_min"]
    return _affine(
        step + up_slope * point, up_slope, step - down_slope * point, down_slope,
        cells["w_min"] + point, cells["w_max"] + point, noise,
    )  # fmt: skip


def _power_device(cells: Cells, noise) -> PowDevice:
    up, down = _of_steps(cells)
    return PowDevice(
        dw_min=jnp.ones((), up.dtype), up=up, down=down, gamma_up=cells["gamma_up"],
        gamma_down=cells["gamma_down"], low=cells["w_min"], high=cells["w_max"], **noise,
    )  # fmt: skip


def _middle(curve: Curve) -> np.ndarray:
    return (curve.low + curve.high) / 2


def _steps_at(curve: Curve, w: np.ndarray) -> Cells:
    """Steps at w, no smaller than a twentieth of what they are in the middle of the range."""
    middle = _middle(curve)
    up = [curve.up - curve.up_slope * at for at in (w, middle)]
    down = [curve.down + curve.down_slope * at for at in (w, middle)]
    least = 0.05 * np.median(np.abs([up[1], down[1]]))
    at_w = (np.maximum(at, np.maximum(0.05 * there, least)) for at, there in (up, down))
    return dict(zip(_STEPS, at_w, strict=True))


def _hard_bounds(curve: Curve) -> Cells:
    """A little outside of what was seen."""
    span = curve.high - curve.low
    high = np.maximum(curve.high, 0.02 * span) + 0.02 * span
    return {"w_max": high, "w_min": np.minimum(curve.low, -0.02 * span) - 0.02 * span}


def _soft_bounds(curve: Curve) -> Cells:
    """Where the steps vanish, not far inside of what was seen."""
    bounds = _hard_bounds(curve)
    with np.errstate(divide="ignore", invalid="ignore"):
        high, low = curve.up / curve.up_slope, -curve.down / curve.down_slope
    far = 20 * (curve.high - curve.low)
    high = np.where((curve.up_slope > 0) & (high < far), high, far)
    low = np.where((curve.down_slope > 0) & (low > -far), low, -far)
    return {"w_max": np.maximum(high, bounds["w_max"]), "w_min": np.minimum(low, bounds["w_min"])}


def _start_constant(curve: Curve) -> Cells:
    return _steps_at(curve, _middle(curve)) | _hard_bounds(curve)


def _start_linear(curve: Curve) -> Cells:
    steps = _steps_at(curve, np.zeros_like(curve.up))
    falls = {
        "fall_up": curve.up_slope / steps["step_up"],
        "fall_down": curve.down_slope / steps["step_down"],
    }
    return steps | falls | _hard_bounds(curve)


def _start_soft(curve: Curve) -> Cells:
    return _steps_at(curve, np.zeros_like(curve.up)) | _soft_bounds(curve)


def _start_reference(curve: Curve) -> Cells:
    span = curve.high - curve.low
    slope = curve.up_slope + curve.down_slope
    point = (curve.up - curve.down) / np.where(slope > 0, slope, np.inf)
    point = np.where(slope > 0, point, _middle(curve))
    point = np.clip(point, curve.low - span, curve.high + span)
    moved = Curve(
        curve.up - curve.up_slope * point, curve.up_slope,
        curve.down + curve.down_slope * point, curve.down_slope,
        curve.low - point, curve.high - point,
    )  # fmt: skip
    step = _steps_at(moved, np.zeros_like(point))
    mean = (step["step_up"] + step["step_down"]) / 2
    return {"step": mean, "symmetric_point": point} | _soft_bounds(moved)


def _start_power(curve: Curve) -> Cells:
    bounds = _soft_bounds(curve)
    spans = bounds["w_max"] - bounds["w_min"]
    steps = _steps_at(curve, _middle(curve))
    share = (bounds["w_max"] - _middle(curve)) / spans, (_middle(curve) - bounds["w_min"]) / spans
    one = np.ones_like(spans)
    steps = {"step_up": steps["step_up"] / share[0], "step_down": steps["step_down"] / share[1]}
    return steps | bounds | {"gamma_up": one, "gamma_down": one}


def _of_step(cells: Cells) -> tuple[Array, Array]:
    return cells["step"], cells["step"]


FAMILIES = {
    "constant_step": Family(_STEPS | _BOUNDS, _constant_device, _of_steps, _start_constant),
    "linear_step": Family(
        _STEPS | {"fall_up": Parameter(0, -1, 1), "fall_down": Parameter(0, -1, 1)} | _BOUNDS,
        _linear_device,
        _of_steps,
        _start_linear,
    ),
    "soft_bounds": Family(_STEPS | _SOFT, _soft_device, _of_steps, _start_soft),
    "soft_bounds_reference": Family(
        {"step": Parameter(1, 1), "symmetric_point": Parameter(0, 1, 1)} | _SOFT,
        _reference_device,
        _of_step,
        _start_reference,
    ),
    "pow_step": Family(
        _STEPS | _SOFT | {"gamma_up": Parameter(1, 0), "gamma_down": Parameter(1, 0)},
        _power_device,
        _of_steps,
        _start_power,
    ),
}
