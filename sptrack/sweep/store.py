"""Where a sweep keeps its results: in memory, or block by block in a zarr store on disk.

A block in a store is one file per variable, written whole and flushed to the disk before it gets
its name; `status` comes last. So a block whose status is written is finished, at whatever moment a
process is killed, and any number of processes can write blocks of one store side by side.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sptrack._files import explained
from sptrack.results import load
from sptrack.sweep.axes import Tiling
from sptrack.sweep.status import NOT_RUN

if TYPE_CHECKING:
    import xarray

IDENTITY = "sweep"  # the attribute that says which sweep it is


class Memory:
    """Results as NumPy arrays; gone with the process."""

    whereabouts = "kept in this exception's `dataset`. Give a store to be able to continue."

    def __init__(self, empty: xarray.Dataset, tiling: Tiling):
        self.empty, self.tiling = empty, tiling
        self.arrays = {name: np.array(v.values) for name, v in empty.data_vars.items()}

    def finished(self, block: int) -> bool:
        """Whether a block has been written."""
        return bool((self.arrays["status"][self.tiling.region(block)] != NOT_RUN).all())

    def write(self, block: int, values: Mapping[str, np.ndarray]) -> None:
        """Keeps a block."""
        for name, array in values.items():
            self.arrays[name][self.tiling.region(block)] = array

    def dataset(self) -> xarray.Dataset:
        """What has been written so far."""
        filled = {
            name: (variable.dims, self.arrays[str(name)], variable.attrs)
            for name, variable in self.empty.data_vars.items()
        }
        return self.empty.assign(filled)


class Store:
    """Results in a zarr group that `xarray.open_zarr` opens, finished or not.

    Raises:
      FileExistsError: something else is there: another sweep, or no sweep.
      OSError: the place can't be written to.
      ImportError: zarr is not installed.
    """

    def __init__(self, path: Path, empty: xarray.Dataset, tiling: Tiling, resume: bool):
        self.path, self.tiling = path, tiling
        self.zarr = _import_zarr()
        if not path.exists():
            self._create(empty)
        elif not resume:
            raise FileExistsError(f"sweep: {path} exists; continue it with resume=True.")
        _check_same(path, empty.attrs)
        self.whereabouts = f"kept in {path}. The same call continues."
        self.group = self.zarr.open_group(path, mode="r+", use_consolidated=False)
        self.status = self.group["status"][...]

    def finished(self, block: int) -> bool:
        """Whether a block was in the store when it was opened or has been written since."""
        return bool((self.status[self.tiling.region(block)] != NOT_RUN).all())

    def write(self, block: int, values: Mapping[str, np.ndarray]) -> None:
        """Writes a block to disk, its status last."""
        region = self.tiling.region(block)
        try:
            for name in sorted(values, key=lambda name: name == "status"):
                array = self.group[name]
                array[region] = values[name]
                self._flush(array, block)
        except OSError as error:
            raise explained(
                error,
                f"sweep: can't write to the store {self.path}; all finished blocks are kept, and "
                "the same call continues when there is space",
            ) from error
        self.status[region] = values["status"]

    def dataset(self) -> xarray.Dataset:
        """What is in the store now; variables are read from disk when they are used."""
        return load(self.path)

    def _create(self, empty: xarray.Dataset) -> None:
        """Makes the empty store under another name, then gives it its own; the first one wins."""
        part = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            group = self.zarr.create_group(
                part, attributes={**empty.attrs, "coordinates": " ".join(_other_coords(empty))}
            )
            for name, variable in empty.variables.items():
                self._create_array(group, str(name), variable, str(name) in empty.data_vars)
            with warnings.catch_warnings():  # zarr says that this is not in the standard yet
                warnings.simplefilter("ignore")
                self.zarr.consolidate_metadata(part)
            os.rename(part, self.path)
        except OSError as error:
            if not (self.path / "zarr.json").exists():
                raise explained(error, f"sweep: can't make the store {self.path}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _create_array(self, group: Any, name: str, variable: Any, result: bool) -> None:
        """One array; chunks of a result are blocks, coordinates are whole and filled."""
        grid = self.tiling.tile if result else ()
        text = variable.dtype.kind == "U"
        array = group.create_array(
            name,
            shape=variable.shape,
            chunks=tuple(max(n, 1) for n in (*grid, *variable.shape[len(grid) :])),
            dtype=str if text else variable.dtype,
            fill_value=variable.values.flat[0] if result and variable.size else "" if text else 0,
            dimension_names=variable.dims,
            attributes=_plain(variable.attrs),
            config={"write_empty_chunks": True},
        )
        if not result:
            array[...] = variable.values

    def _flush(self, array: Any, block: int) -> None:
        """Returns when a block of an array is on the disk."""
        corner = np.unravel_index(block, self.tiling.counts)
        inner = (0,) * (array.ndim - len(corner))
        file = self.path.joinpath(array.path, "c", *(str(int(n)) for n in (*corner, *inner)))
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_same(path: Path, attrs: Mapping[str, Any]) -> None:
    """Refuses a store that is not exactly this sweep's."""
    try:
        there = json.loads((path / "zarr.json").read_text())["attributes"][IDENTITY]
        theirs, ours = json.loads(there), json.loads(attrs[IDENTITY])
    except (OSError, KeyError, ValueError, TypeError):
        raise FileExistsError(
            f"sweep: {path} is not the store of a sweep; choose another path."
        ) from None
    if differences := [name for name in ours if theirs.get(name) != ours[name]]:
        raise FileExistsError(
            f"sweep: {path} holds another sweep, which is left as it is; different: "
            f"{'; '.join(_difference(n, theirs.get(n), ours[n]) for n in differences)}. Choose "
            "another store, or delete this one."
        )


def _difference(name: str, theirs: Any, ours: Any) -> str:
    if name == "program":
        return "the program (the run, or something that it closes over, or JAX's version)"
    texts = [json.dumps(value) for value in (theirs, ours)]
    return f"{name} ({texts[0]}, now {texts[1]})" if max(map(len, texts)) < 60 else name


def _other_coords(dataset: xarray.Dataset) -> list[str]:
    """Coordinates that are not dimensions; CF lists them in an attribute."""
    return [str(name) for name in dataset.coords if name not in dataset.dims]


def _plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: getattr(value, "tolist", lambda v=value: v)() for name, value in attrs.items()}


def _import_zarr() -> Any:
    try:
        import zarr
    except ImportError:
        raise ImportError("a sweep's store needs zarr: pip install 'sptrack[results]'") from None
    return zarr
