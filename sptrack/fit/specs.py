"""From fitted cells to a spec: the distribution of the parameters, in the fields of its class.

The rules by which a spec draws its cells (`sptrack.devices.pulsed`) are turned around. With the
half sum c and the half difference d of a cell's steps, and bars for means over cells,

    dw_min = c + |d|,   up_down = 2 d / (c + |d|)   (at the means)
    gain of a cell x dw_min = c + |d_mean|,   rho x dw_min = d - d_mean
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from sptrack.devices.constant_step import ConstantStep
from sptrack.devices.linear_step import LinearStep
from sptrack.devices.pow_step import PowStep
from sptrack.devices.soft_bounds import SoftBounds, SoftBoundsReference
from sptrack.inference.population import Estimate, around, normal_population

Population = dict[str, Estimate]
Values = dict[str, np.ndarray]


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    """The estimate times a number that is taken as known."""
    ends = sorted([estimate.low * factor, estimate.high * factor])
    return Estimate(estimate.value * factor, estimate.std_error * abs(factor), *ends)


def _pair(
    up: np.ndarray, down: np.ndarray, variances: np.ndarray, log_normal: bool = False
) -> dict[str, Estimate]:
    """Size, spread, imbalance and its spread, of what a cell has for up and for down pulses.

    Args:
      up: of each cell, shape (cells,).
      down: the same for down pulses.
      variances: covariance of the two, shape (cells, 2, 2).
      log_normal: whether the size is log-normal over cells.
    """
    cross = 2 * variances[:, 0, 1]
    squares = variances[:, 0, 0] + variances[:, 1, 1]
    half, imbalance = (up + down) / 2, (up - down) / 2
    off, off_spread = normal_population(imbalance, (squares - cross) / 4)
    size_variances = (squares + cross) / 4
    sizes = half + abs(off.value)
    if log_normal:
        log_mean, spread = normal_population(np.log(sizes), size_variances / sizes**2)
        size = Estimate(*map(np.exp, (log_mean.value, 0, log_mean.low, log_mean.high)))
        size = size._replace(std_error=size.value * log_mean.std_error)
    else:
        mean, spread = normal_population(half, size_variances)
        error = np.hypot(mean.std_error, off.std_error)
        stretched = error / mean.std_error * (mean.high - mean.value)  # Student's, as for the mean
        value = mean.value + abs(off.value)
        size = Estimate(value, error, value - stretched, value + stretched)
        spread = _scaled(spread, 1 / float(value))
    center = float(size.value) - abs(float(off.value))
    slope = 2 * center / float(size.value) ** 2
    middle = 2 * off.value / size.value
    uneven = Estimate(
        middle,
        slope * off.std_error,
        middle - slope * (off.value - off.low),
        middle + slope * (off.high - off.value),
    )
    return {
        "size": size,
        "spread": spread,
        "imbalance": uneven,
        "imbalance_spread": _scaled(off_spread, 1 / float(size.value)),
    }


def _steps(values: Values, covariance: Callable, log_normal: bool) -> Population:
    found = _pair(
        values["step_up"], values["step_down"], covariance("step_up", "step_down"), log_normal
    )
    names = ("dw_min", "dw_min_dtod", "up_down", "up_down_dtod")
    return dict(zip(names, found.values(), strict=True))


def _bounds(values: Values, covariance: Callable) -> Population:
    fields = {}
    for name in ("w_max", "w_min"):
        mean, spread = normal_population(values[name], covariance(name)[:, 0, 0])
        fields[name] = mean
        fields[f"{name}_dtod"] = _scaled(spread, 1 / abs(float(mean.value)))
    return fields


def _plain(values: Values, covariance: Callable, log_normal: bool) -> Population:
    return _steps(values, covariance, log_normal) | _bounds(values, covariance)


def _linear(values: Values, covariance: Callable, log_normal: bool) -> Population:
    fields = _plain(values, covariance, log_normal)
    for side, bound in (("up", "w_max"), ("down", "w_min")):
        reference = abs(float(fields[bound].value))
        mean, spread = normal_population(
            values[f"fall_{side}"], covariance(f"fall_{side}")[:, 0, 0]
        )
        fields[f"gamma_{side}"] = _scaled(mean, reference)
        fields[f"gamma_{side}_dtod"] = _scaled(spread, reference)
    return fields


def _power(values: Values, covariance: Callable, log_normal: bool) -> Population:
    found = _pair(values["gamma_up"], values["gamma_down"], covariance("gamma_up", "gamma_down"))
    names = ("pow_gamma", "pow_gamma_dtod", "pow_up_down", "pow_up_down_dtod")
    return _plain(values, covariance, log_normal) | dict(zip(names, found.values(), strict=True))


def _reference(values: Values, covariance: Callable, log_normal: bool) -> Population:
    step, variances = values["step"], covariance("step")[:, 0, 0]
    if log_normal:
        mean, spread = normal_population(np.log(step), variances / step**2)
        size = Estimate(*map(np.exp, mean))._replace(std_error=np.exp(mean.value) * mean.std_error)
    else:
        size, spread = normal_population(step, variances)
        spread = _scaled(spread, 1 / float(size.value))
    point, error = normal_population(
        values["symmetric_point"], covariance("symmetric_point")[:, 0, 0]
    )
    return {
        "dw_min": size,
        "dw_min_dtod": spread,
        "up_down": around(0.0, 0.0),  # the state's zero is where up and down steps are equal
        "up_down_dtod": around(0.0, 0.0),
        "reference_mean": _scaled(point, -1.0),
        "reference_std": error,
    } | _bounds(values, covariance)


POPULATIONS = {
    "constant_step": (ConstantStep, _plain),
    "linear_step": (LinearStep, _linear),
    "soft_bounds": (SoftBounds, _plain),
    "soft_bounds_reference": (SoftBoundsReference, _reference),
    "pow_step": (PowStep, _power),
}


def population(name: str, values: Values, covariance: Callable, log_normal: bool) -> Population:
    """Estimates of the fields of a family's spec.

    Args:
      name: of the family.
      values: parameters of the cells, shape (cells,), by name.
      covariance: (names...) -> covariance of these parameters' estimates, shape (cells, n, n).
      log_normal: whether step sizes are log-normal over cells.
    """
    return POPULATIONS[name][1](values, covariance, log_normal)


def spec_of(name: str, fields: Population, noise: dict[str, Any], log_normal: bool) -> Any:
    """The spec whose fields have these values; what is beyond a field's range is put at its end."""
    values = {key: float(estimate.value) for key, estimate in fields.items()}
    for key in ("up_down", "pow_up_down"):
        if key in values:
            values[key] = float(np.clip(values[key], -1, 1))
    if name == "linear_step":
        noise = noise | {"allow_increasing": min(values["gamma_up"], values["gamma_down"]) < 0}
    return POPULATIONS[name][0](**values, **noise, dw_min_dtod_log_normal=log_normal)
