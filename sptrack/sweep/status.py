"""How each instance of a sweep ended, found from its results and from its swept values."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from sptrack.sweep.axes import Grid

NOT_RUN, OK, DIVERGED, INVALID = -1, 0, 1, 2
MEANINGS = {NOT_RUN: "not_run", OK: "ok", DIVERGED: "diverged", INVALID: "invalid"}


class Rule(NamedTuple):
    """When an instance counts as diverged.

    Attributes:
      finite: results that must be finite.
      steps: result -> its axis that counts steps, counted from the result's first.
    """

    finite: tuple[str, ...]
    steps: dict[str, int]


def invalid_points(
    grid: Grid, validate: Callable[..., Any] | None
) -> tuple[np.ndarray, dict[tuple[int, ...], str]]:
    """Which points have parameters that make no sense, and why.

    Raises:
      ValueError: if no point is valid.
    """
    reasons = {at: why for at, why in _objections(grid, validate) if why}
    invalid = np.zeros(grid.shape, bool)
    for at in reasons:
        invalid[at] = True
    if invalid.all():
        first = next(iter(reasons.values()))
        raise ValueError(f"sweep: no point has valid parameters. The first: {first}")
    return invalid, reasons


def _objections(
    grid: Grid, validate: Callable[..., Any] | None
) -> Iterator[tuple[tuple[int, ...], str]]:
    columns = {name: column for axis in grid.axes for name, column in axis.columns.items()}
    if validate is None and not any(np.isnan(column).any() for column in columns.values()):
        return
    for at in itertools.product(*map(range, grid.shape)):
        values = {
            name: column[i].item()
            for axis, i in zip(grid.axes, at, strict=True)
            for name, column in axis.columns.items()
        }
        yield at, _objection(values, validate)


def _objection(values: Mapping[str, Any], validate: Callable[..., Any] | None) -> str:
    if missing := [name for name, value in values.items() if value != value]:
        return f"{missing[0]}=nan is no number"
    try:
        if validate is not None:
            validate(**values)
    except ValueError as error:
        return str(error) or "refused by validate"
    return ""


def judge(
    results: Mapping[str, np.ndarray], invalid: np.ndarray, rule: Rule
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Results with those of invalid instances taken out, and `status` and `diverged_at`.

    Args:
      results: name -> array whose first axes are those of `invalid`.
      invalid: which instances have invalid parameters.
      rule: when an instance counts as diverged.
    """
    dims, never = invalid.ndim, np.iinfo(np.int32).max
    diverged, first = np.zeros(invalid.shape, bool), np.full(invalid.shape, never)
    for name in rule.finite:
        wrong = ~np.isfinite(results[name])
        diverged |= wrong.any(axis=tuple(range(dims, wrong.ndim)))
        if name in rule.steps:
            others = tuple(n for n in range(dims, wrong.ndim) if n != dims + rule.steps[name])
            at_step = wrong.any(axis=others)
            here = np.where(at_step.any(-1), at_step.argmax(-1), never)
            first = np.minimum(first, here)
    status = np.full(invalid.shape, OK, np.int8)
    status[diverged] = DIVERGED
    status[invalid] = INVALID
    report: dict[str, np.ndarray] = {"status": status}
    if rule.steps:
        known = (status == DIVERGED) & (first < never)
        report["diverged_at"] = np.where(known, first, -1).astype(np.int32)
    return {name: _without(values, invalid) for name, values in results.items()}, report


def _without(values: np.ndarray, invalid: np.ndarray) -> np.ndarray:
    mask = invalid.reshape(invalid.shape + (1,) * (values.ndim - invalid.ndim))
    return np.where(mask, fill(values.dtype), values)


def fill(dtype: np.dtype) -> np.generic:
    """What stands where there is no result: NaN, 0 or False."""
    return dtype.type(np.nan if dtype.kind == "f" else 0)
