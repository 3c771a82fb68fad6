"""The labelled dataset that a sweep fills: names, units, coordinates, status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sptrack.results import to_dataset
from sptrack.sweep.axes import Grid
from sptrack.sweep.status import MEANINGS, NOT_RUN, Rule, fill

if TYPE_CHECKING:
    import xarray

REPORTS = ("status", "diverged_at")


class Labels(NamedTuple):
    """What the caller says about names.

    Attributes:
      dims: result -> names of its axes, from `result_dims`.
      units: result, axis or column -> unit.
      coords: dimension of results -> values along it.
    """

    dims: Mapping[str, tuple[str, ...]]
    units: Mapping[str, str]
    coords: Mapping[str, Any]


def layout(grid: Grid, outputs: Mapping[str, Any], labels: Labels, rule: Rule) -> xarray.Dataset:
    """The dataset to fill, checked; its arrays take no memory and must not be written to.

    Raises:
      ValueError: if names don't fit what the run returns.
    """
    if reserved := set(REPORTS) & set(outputs):
        raise ValueError(f"sweep: the run returns {sorted(reserved)}, a name the sweep uses.")
    variables: dict[str, tuple] = {
        name: (
            (*grid.dims, *labels.dims[name]),
            _filled(fill(np.dtype(out.dtype)), (*grid.shape, *out.shape)),
            _attrs(name, labels.units),
        )
        for name, out in outputs.items()
    }
    variables["status"] = (grid.dims, _filled(np.int8(NOT_RUN), grid.shape), _FLAGS)
    if rule.steps:
        about = {"units": "1", "long_name": "first step that is not finite, -1 for none"}
        variables["diverged_at"] = (grid.dims, _filled(np.int32(-1), grid.shape), about)
    coords = {
        name: ((axis.name,), values, _attrs(name, labels.units))
        for axis in grid.axes
        for name, values in {axis.name: axis.labels, **axis.columns}.items()
    }
    if unknown := set(labels.coords) - {dim for names in labels.dims.values() for dim in names}:
        raise ValueError(f"sweep: coords={sorted(unknown)}: no result has such a dimension.")
    if unknown := set(labels.units) - {*variables, *coords, *labels.coords}:
        raise ValueError(f"sweep: units of {sorted(unknown)}: no result or axis is called so.")
    others = {n: (n, values, _attrs(n, labels.units)) for n, values in labels.coords.items()}
    return to_dataset(variables, coords=coords | others)


_FLAGS = {
    "units": "1",
    "flag_values": list(MEANINGS),
    "flag_meanings": " ".join(MEANINGS.values()),
}


def result_dims(outputs: Mapping[str, Any], dims: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The names of the axes of every result; by default `NAME_0`, `NAME_1`, ..."""
    if unknown := set(dims) - set(outputs):
        raise ValueError(
            f"sweep: dims of {sorted(unknown)}: the run returns only {sorted(outputs)}."
        )
    named = {}
    for name, out in outputs.items():
        given = dims.get(name, tuple(f"{name}_{n}" for n in range(len(out.shape))))
        named[name] = (given,) if isinstance(given, str) else tuple(given)
        if len(named[name]) != len(out.shape):
            raise ValueError(
                f"sweep: dims[{name!r}]={given!r} does not fit results of shape {out.shape}."
            )
    return named


def divergence_rule(
    outputs: Mapping[str, Any],
    dims: Mapping[str, tuple[str, ...]],
    step_dim: str | None,
    finite: Sequence[str] | None,
) -> Rule:
    """When an instance counts as diverged; by default, when any result is not finite."""
    floats = [name for name, out in outputs.items() if np.dtype(out.dtype).kind == "f"]
    chosen = floats if finite is None else finite
    if wrong := set(chosen) - set(floats):
        raise ValueError(f"sweep: finite={sorted(wrong)}; floating results are {floats}.")
    steps = {n: dims[n].index(step_dim) for n in chosen if step_dim in dims[n]}
    if step_dim is not None and not steps:
        raise ValueError(
            f"sweep: step_dim={step_dim!r} is no dimension of {list(chosen)}; name it in dims."
        )
    return Rule(tuple(chosen), steps)


def _filled(value: np.generic, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(value, shape)


def _attrs(name: str, units: Mapping[str, str]) -> dict[str, str]:
    return {"units": units[name]} if name in units else {}
