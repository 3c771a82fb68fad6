"""Results with names on: labelled datasets, and a manifest that says how they came about.

Arrays carry no labels inside the simulator. `to_dataset` puts them on at the edge, once: every
dimension has a name, every number a unit. `save` and `load` keep such a dataset as NetCDF.
`manifest` collects what is needed to get the same numbers again (versions, commit, command, full
configuration with its hash, seed, device), and `save_manifest` writes it as JSON beside the data.

A file is written under another name and then renamed, so a reader sees the old file or the whole
new one, never half of it. The manifest works without xarray; datasets need `sptrack[results]`.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

if TYPE_CHECKING:
    import xarray

__all__ = ["canonical_json", "load", "manifest", "save", "save_manifest", "to_dataset"]

_MAX_LISTED = 1000  # a larger array stands in the manifest as its shape and hash
_NETCDF = ("h5netcdf", "h5py")
_PACKAGES = ("sptrack", "jax", "jaxlib", "optax", "flax", "numpy")


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
    if _is_key(value[1]):
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
    _write_whole(Path(path), lambda part: dataset.to_netcdf(part, engine="h5netcdf"))


def load(path: str | os.PathLike) -> xarray.Dataset:
    """Read a dataset that `save` wrote, into memory.

    Args:
        path: the NetCDF file.

    Returns:
        The dataset; the file is closed again.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no NetCDF file, or damaged.
        ImportError: xarray, h5netcdf or h5py is not installed.

    Example:
        >>> spt.results.load("no_such_run.nc")
        Traceback (most recent call last):
        ...
        FileNotFoundError: no results at no_such_run.nc
    """
    xr = _import_xarray(*_NETCDF)
    if not Path(path).is_file():
        raise FileNotFoundError(f"no results at {path}")
    try:
        # A duration in seconds stays a number with units.
        with xr.open_dataset(path, engine="h5netcdf", decode_timedelta=False) as dataset:
            return dataset.load()
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is not a whole NetCDF file: {error}") from error


def manifest(
    config: Mapping[str, Any], *, seed: int | jax.Array, command: Sequence[str] | None = None
) -> dict[str, Any]:
    """Collect what somebody else needs to get the same numbers again.

    Args:
        config: the full effective configuration, defaults included. May hold numbers, strings,
            None, paths, arrays, lists, mappings, NamedTuples and dataclasses such as device specs.
        seed: the seed that was used, or the typed key made from it (a scalar one). Never None: a
            seed that was drawn by chance is the one fact that can't be found out afterwards.
        command: the command line as a list of words. Default: that of this process, with the
            interpreter's folder left out and the home folder written as `~`.

    Returns:
        A dict of plain JSON values with the keys schema, started (UTC), command, versions, git
        (commit and dirty flag of the source tree that sptrack was imported from, None outside git),
        config, config_sha256 (of `canonical_json(config)`), seed, key_impl, key_data, x64,
        matmul_precision, device (platform, kind, count, processes), host (system, machine, cpus).

    Raises:
        TypeError: `seed` is neither, or `config` holds something that JSON can't represent.

    Example:
        >>> m = spt.results.manifest({"epochs": 3, "learning_rate": 0.1}, seed=7)
        >>> m["seed"], m["config"], m["config_sha256"][:8]
        (7, {'epochs': 3, 'learning_rate': 0.1}, '0119c199')
    """
    if not isinstance(config, Mapping):
        raise TypeError(
            f"config must be a mapping, got {type(config).__name__}: use {{'name': it}}"
        )
    devices = jax.devices()
    return {
        "schema": 1,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(_this_command() if command is None else command),
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in _PACKAGES}},
        "git": _git_state(Path(__file__).parent),
        "config": _jsonable(config, "config"),
        "config_sha256": hashlib.sha256(canonical_json(config).encode()).hexdigest(),
        **_describe_seed(seed),
        "x64": jnp.result_type(float) == jnp.float64,
        "matmul_precision": str(jax.config.jax_default_matmul_precision or "default"),  # pyright: ignore
        "device": {
            "platform": devices[0].platform,
            "kind": devices[0].device_kind,
            "count": len(devices),
            "processes": jax.process_count(),
        },
        "host": dict(system=platform.system(), machine=platform.machine(), cpus=os.cpu_count()),
    }


def save_manifest(manifest: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Write a manifest as JSON with sorted keys, all or nothing.

    Args:
        manifest: from `manifest`; you may add facts, such as the time at which the run ended.
        path: the file, usually `manifest.json`; missing folders are made.

    Raises:
        TypeError: an added fact can't be represented in JSON.

    Example:
        >>> import json, pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "manifest.json"
        ...     trial = spt.results.manifest({}, seed=0) | {"note": "a trial"}
        ...     spt.results.save_manifest(trial, path)
        ...     json.loads(path.read_text())["note"]
        'a trial'
    """
    plain = _jsonable(manifest, "manifest")
    text = json.dumps(plain, sort_keys=True, indent=2, allow_nan=False) + "\n"
    _write_whole(Path(path), lambda part: part.write_text(text, encoding="utf-8"))


def canonical_json(value: Any) -> str:
    """Write a configuration as JSON in the one way that its hash is taken of.

    Keys are sorted and no spaces written. A dataclass or NamedTuple becomes an object with its
    class name under "__type__", a path a string with slashes, an array an object with dtype, shape
    and values (beyond 1000 values, their SHA-256), a key its data, a float that is not finite
    {"__float__": "nan"}. Zero-dimensional arrays are numbers.

    Args:
        value: None, a number, a string, or a structure of the kinds named above.

    Returns:
        ASCII text.

    Raises:
        TypeError: something in it has no representation; the message says where.

    Example:
        >>> spt.results.canonical_json({"b": (1, 2.5), "a": float("inf")})
        '{"a":{"__float__":"inf"},"b":[1,2.5]}'
    """
    plain = _jsonable(value, "config")
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _jsonable(value: Any, where: str) -> Any:
    """`value` as plain JSON types; `where` is how to reach it, for the error."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"__float__": str(float(value))}
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _jsonable_array(value, where)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"__type__": type(value).__qualname__, **_jsonable(fields, where)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        fields = dict(zip(value._fields, value, strict=True))  # pyright: ignore
        return {"__type__": type(value).__qualname__, **_jsonable(fields, where)}
    if isinstance(value, Mapping):
        if wrong := [k for k in value if not isinstance(k, str)]:
            raise TypeError(f"{where} has the key {wrong[0]!r}: JSON keys are strings, convert it")
        return {str(k): _jsonable(v, f"{where}[{k!r}]") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(v, f"{where}[{i}]") for i, v in enumerate(value)]
    raise TypeError(
        f"{where} is {value!r} of type {type(value).__name__}, which JSON can't represent: give "
        f"what it is made from (the name of a function, the arguments of a schedule, a sorted list)"
    )


def _jsonable_array(value: Any, where: str) -> Any:
    if isinstance(value, Tracer):
        raise TypeError(f"{where} is traced: describe the configuration outside jit, vmap and grad")
    if _is_key(value):
        data = np.asarray(jax.random.key_data(value)).tolist()
        return {"__key__": str(jax.random.key_impl(value)), "data": data}
    array = np.asarray(value)
    if array.dtype.kind not in "biufU" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{where} is an array of {array.dtype}, which JSON can't represent")
    if array.ndim == 0:
        return _jsonable(array.item(), where)
    if array.size > _MAX_LISTED:
        content = {"sha256": hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}
    else:
        content = {"values": _jsonable(array.tolist(), where)}
    return {"__array__": array.dtype.name, "shape": list(array.shape), **content}


def _describe_seed(seed: int | jax.Array) -> dict[str, Any]:
    """The seed, if it is one, and the key that it makes."""
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool):
        number, key = int(seed), jax.random.key(seed)
    elif _is_key(seed) and seed.ndim == 0:
        number, key = None, seed
    else:
        message = "seed must be an integer or a typed key such as jax.random.key(0)"
        raise TypeError(f"{message}, got {seed!r}: write down the seed that was drawn")
    data = np.asarray(jax.random.key_data(key)).tolist()
    return {"seed": number, "key_impl": str(jax.random.key_impl(key)), "key_data": data}


def _this_command() -> list[str]:
    """The words of this process's command line, without folders that name a user."""
    home = os.path.expanduser("~")
    return ["python", *(w.replace(home, "~") if len(home) > 1 else w for w in sys.orig_argv[1:])]


def _is_key(value: Any) -> TypeGuard[jax.Array]:
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return getattr(sys.modules.get(package), "__version__", None)


def _git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and dirty flag of the tree that tracks `folder`; None where git tracks nothing."""

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(folder), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout

    try:
        if not git("ls-files", "--", "."):  # an installed copy inside somebody's own repository
            return None
        changed = git("status", "--porcelain", "--untracked-files=no")
        unknown = git("ls-files", "--others", "--exclude-standard", "--", ".")
        return {"commit": git("rev-parse", "HEAD").strip(), "dirty": bool(changed or unknown)}
    except (OSError, subprocess.SubprocessError):
        return None


def _write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a neighbour of `path`, then rename that: all or nothing, if killed too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        write(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())  # on the disk before it gets its name
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _import_xarray(*others: str) -> Any:
    try:
        for name in others:
            importlib.import_module(name)
        return importlib.import_module("xarray")
    except ImportError as error:
        message = f"labelled results need {error.name}: pip install 'sptrack[results]'"
        raise ImportError(message) from error
