"""The manifest of a run: what somebody else needs to get the same numbers again."""

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
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from sptrack._files import write_whole
from sptrack._random import is_key

_MAX_LISTED = 1000  # a larger array stands in the manifest as its shape and hash
_PACKAGES = ("sptrack", "jax", "jaxlib", "optax", "flax", "numpy")


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
        "git": _git_state(Path(__file__).parents[1]),
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
    write_whole(Path(path), lambda part: part.write_text(text, encoding="utf-8"))


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
    if is_key(value):
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
    elif is_key(seed) and seed.ndim == 0:
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
