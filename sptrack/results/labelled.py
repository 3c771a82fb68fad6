"""Datasets with names and units on, and their files."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sptrack._files import write_whole
from sptrack._random import is_key

if TYPE_CHECKING:
    import xarray

_NETCDF = ("h5netcdf", "h5py")


def to_dataset(
    variables: Mapping[str, tuple],
    coords: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xarray.Dataset:
    """Put names and units on arrays.

    Args:
        variables: name -> `(dims, array)` or `(dims, array, attrs)`. `dims` names each axis (a
            string for a single axis, `()` for a number); `attrs` may give "units" ("1", a pure
            number, where it does not) and "long_name", which figures use.
        coords: name -> the values along the dimension of that name (1-D), or a tuple as above.
            Numbers or strings. A dimension may go without.
        attrs: facts about the whole dataset: strings, numbers, or lists of numbers.

    Returns:
        An `xarray.Dataset` of NumPy arrays with "units" on every numeric variable.

    Raises:
        ValueError: names and axes do not match, two variables disagree about the length of a
            dimension, or something can't be written to NetCDF.
        ImportError: xarray is not installed.

    Example:
        >>> accuracy = np.array([[0.5, 0.9], [0.4, 0.8]])
        >>> variables = {"accuracy": (("seed", "epoch"), accuracy)}
        >>> ds = spt.results.to_dataset(variables, coords={"epoch": [1, 2]})
        >>> dict(ds.sizes), ds.accuracy.attrs
        ({'seed': 2, 'epoch': 2}, {'units': '1'})
    """
    xr = _import_xarray()
    coords = {k: v if isinstance(v, tuple) else ((k,), v) for k, v in (coords or {}).items()}
    if both := set(variables) & set(coords):
        raise ValueError(f"{sorted(both)} given as a variable and as a coordinate: drop one")
    checked = {k: _check_variable(k, v) for k, v in {**coords, **variables}.items()}
    sizes: dict[str, tuple[int, str]] = {}
    for name, (dims, array, _) in checked.items():
        for dim, size in zip(dims, array.shape, strict=True):
            first, by = sizes.setdefault(dim, (size, name))
            if size != first:
                raise ValueError(
                    f"dimension {dim!r} is {size} long in {name!r} and {first} long in {by!r}: "
                    f"give the axes different names or the arrays the same length"
                )
    return xr.Dataset(
        {k: checked[k] for k in variables},
        coords={k: checked[k] for k in coords},
        attrs=_check_attrs("the dataset", attrs or {}),
    )


def _check_variable(name: str, value: Any) -> tuple[tuple[str, ...], np.ndarray, dict]:
    """The checked parts of one `(dims, array[, attrs])`, with units."""
    if not isinstance(value, tuple) or len(value) not in (2, 3):
        raise ValueError(f"{name!r}: expected (dims, array) or (dims, array, attrs), got {value!r}")
    dims = (value[0],) if isinstance(value[0], str) else tuple(value[0])
    if is_key(value[1]):
        raise ValueError(f"{name!r} holds keys: store jax.random.key_data(keys)")
    array = np.asarray(value[1])
    if len(dims) != array.ndim or len(set(dims)) != len(dims):
        raise ValueError(
            f"{name!r}: dims {dims} do not fit an array of shape {array.shape}: "
            f"expected {array.ndim} different names"
        )
    if array.dtype.kind not in "biufUM":
        raise ValueError(
            f"{name!r} has dtype {array.dtype}, which NetCDF can't hold: convert it first, for "
            f"instance with .astype(np.float32)"
        )
    attrs = _check_attrs(repr(name), value[2] if len(value) == 3 else {})
    if array.dtype.kind in "iuf":
        attrs.setdefault("units", "1")
    return dims, array, attrs


def _check_attrs(owner: str, attrs: Mapping[str, Any]) -> dict:
    for key, value in attrs.items():
        kind = "U" if isinstance(value, str) else np.asarray(value).dtype.kind
        if kind not in "iufU":
            raise ValueError(
                f"attribute {key!r} of {owner} is {value!r}: expected a string, a number or a list "
                f"of one of them; write true as 1, and a structure with json.dumps"
            )
    return dict(attrs)


def save(dataset: xarray.Dataset, path: str | os.PathLike) -> None:
    """Write a dataset as one NetCDF file, all or nothing.

    Args:
        dataset: what to write.
        path: the file, usually `*.nc`; missing folders are made, an old file is replaced.

    Raises:
        ImportError: xarray, h5netcdf or h5py is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> ds = spt.results.to_dataset({"loss": ("step", np.array([2.0, 1.0]))})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     spt.results.save(ds, pathlib.Path(folder) / "run.nc")
        ...     spt.results.load(pathlib.Path(folder) / "run.nc").identical(ds)
        True
    """
    _import_xarray(*_NETCDF)
    write_whole(Path(path), lambda part: dataset.to_netcdf(part, engine="h5netcdf"))


def load(path: str | os.PathLike) -> xarray.Dataset:
    """Read a dataset that `save` wrote, or the store of a sweep, finished or not.

    Args:
        path: the NetCDF file, or the folder of a zarr store.

    Returns:
        The dataset. A file is read into memory and closed; the variables of a store are read
        when they are used, so it may be larger than memory.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no NetCDF file or zarr store, or damaged.
        ImportError: xarray, h5netcdf, h5py or zarr is not installed.

    Example:
        >>> spt.results.load("no_such_run.nc")
        Traceback (most recent call last):
        ...
        FileNotFoundError: no results at no_such_run.nc
    """
    if Path(path).is_dir():
        return _open_store(Path(path))
    xr = _import_xarray(*_NETCDF)
    if not Path(path).is_file():
        raise FileNotFoundError(f"no results at {path}")
    try:
        # A duration in seconds stays a number with units.
        with xr.open_dataset(path, engine="h5netcdf", decode_timedelta=False) as dataset:
            return dataset.load()
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is not a whole NetCDF file: {error}") from error


def _open_store(path: Path) -> xarray.Dataset:
    """A zarr group; fill values are results like others, text is text of fixed length."""
    xr = _import_xarray("zarr")
    try:
        dataset = xr.open_zarr(
            path, chunks=None, mask_and_scale=False, decode_times=False, decode_timedelta=False
        )
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a zarr store: {error}") from error
    text = {
        name: (variable.dims, np.array(variable.values.tolist()), variable.attrs)
        for name, variable in dataset.coords.items()
        if variable.dtype.kind in "OT"
    }
    return dataset.assign_coords(text)


def _import_xarray(*others: str) -> Any:
    try:
        for name in others:
            importlib.import_module(name)
        return importlib.import_module("xarray")
    except ImportError as error:
        message = f"labelled results need {error.name}: pip install 'sptrack[results]'"
        raise ImportError(message) from error
