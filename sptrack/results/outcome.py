"""What came out of a sweep: how many instances ended how, which failed, and a hash of it all."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray


def status_counts(dataset: xarray.Dataset) -> dict[str, int]:
    """Count the instances of a sweep by how they ended.

    Args:
        dataset: what `sweep` returned, or its store as `load` reads it.

    Returns:
        Number of instances by word: not_run, ok, diverged, invalid.

    Raises:
        ValueError: the dataset has no status.

    Example:
        >>> ds = spt.sweep(lambda key, x: {"y": 1 / x}, {"x": [0.0, 1.0]}, jax.random.key(0))
        >>> spt.results.status_counts(ds)
        {'not_run': 0, 'ok': 1, 'diverged': 1, 'invalid': 0}
    """
    values, words = _status(dataset)
    return {word: int((values == flag).sum()) for flag, word in words.items()}


def failures(dataset: xarray.Dataset) -> list[dict[str, Any]]:
    """List the instances of a sweep that diverged or had invalid parameters.

    Args:
        dataset: what `sweep` returned, or its store as `load` reads it.

    Returns:
        For each, its coordinates and `status`; `diverged_at` where the sweep knows the step, and
        `reason` where the parameters were invalid (for the first thousand).

    Raises:
        ValueError: the dataset has no status.

    Example:
        >>> run = lambda key, x: {"y": 1 / x}
        >>> ds = spt.sweep(run, {"x": [0.0, 1.0, np.nan]}, jax.random.key(0))
        >>> for failure in spt.results.failures(ds):
        ...     print(failure)
        {'x': 0.0, 'status': 'diverged'}
        {'x': nan, 'status': 'invalid', 'reason': 'x=nan is no number'}
    """
    values, words = _status(dataset)
    reasons = {tuple(at): why for at, why in json.loads(dataset.attrs.get("invalid", "[]"))}
    steps = dataset["diverged_at"].values if "diverged_at" in dataset else None
    failed = []
    for at in zip(*np.nonzero(values > 0), strict=True):
        position = tuple(int(n) for n in at)
        point = dataset["status"][position]
        about: dict[str, Any] = {str(n): v.values.item() for n, v in point.coords.items()}
        about["status"] = words[int(values[position])]
        if steps is not None and steps[position] >= 0:
            about["diverged_at"] = int(steps[position])
        if position in reasons:
            about["reason"] = reasons[position]
        failed.append(about)
    return failed


def digest(dataset: xarray.Dataset) -> str:
    """Hash all names and numbers of a dataset; attributes don't count.

    Args:
        dataset: any dataset of numbers and strings.

    Returns:
        SHA-256 in hexadecimal digits. Equal if and only if every bit of every variable is.

    Example:
        >>> one = spt.results.to_dataset({"loss": ("step", np.array([2.0, 1.0]))})
        >>> spt.results.digest(one) == spt.results.digest(one.copy(deep=True))
        True
    """
    total = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        variable = dataset.variables[name]
        values = np.ascontiguousarray(variable.values)
        values = values.astype(values.dtype.newbyteorder("<"))
        total.update(f"{name} {variable.dims} {values.dtype.str} {values.shape} ".encode())
        total.update(values.tobytes())
    return total.hexdigest()


def _status(dataset: xarray.Dataset) -> tuple[np.ndarray, dict[int, str]]:
    """The status of every instance, and what its numbers mean."""
    try:
        status = dataset["status"]
        flags, words = status.attrs["flag_values"], status.attrs["flag_meanings"].split()
    except KeyError:
        raise ValueError("the dataset has no status: it doesn't come from a sweep") from None
    return status.values, dict(zip(map(int, flags), words, strict=True))
