"""Labels that fit, files that are whole or absent, manifests that say what happened."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sptrack import results
from sptrack.results import labelled, manifests

xarray = pytest.importorskip("xarray")


def has_netcdf():
    try:
        labelled._import_xarray(*labelled._NETCDF)
    except ImportError:
        return False
    return True


needs_netcdf = pytest.mark.skipif(not has_netcdf(), reason="h5netcdf or h5py is not installed")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Spec:
    dw_min: float = 0.1
    w_max: float = float("inf")


class Point(typing.NamedTuple):
    x: int
    y: float


def dataset():
    return results.to_dataset(
        {
            "test_accuracy": (("method", "seed"), np.array([[0.5, np.nan, 0.6], [0.9, 0.8, 1.0]])),
            "pulses": ("method", np.array([10, 2**40]), {"units": "pulses per cell"}),
            "wall_time": ((), 1.5, {"units": "seconds"}),
            "finished": ("seed", np.array([True, False, True])),
            "status": ("seed", ["ok", "diverged", "ok"]),
            "weight": ("seed", jnp.ones(3)),
        },
        coords={"method": ["sgd", "erider"], "seed": ("seed", [0, 1, 2], {"long_name": "seed"})},
        attrs={"title": "a trial", "epochs": 3, "rates": [0.1, 0.5]},
    )


# to_dataset


def test_to_dataset_names_axes_and_units():
    ds = dataset()
    assert dict(ds.sizes) == {"method": 2, "seed": 3}
    assert ds.test_accuracy.dims == ("method", "seed")
    assert {k: v.attrs.get("units") for k, v in ds.variables.items()} == {
        "test_accuracy": "1",
        "pulses": "pulses per cell",
        "wall_time": "seconds",
        "finished": None,
        "status": None,
        "weight": "1",
        "method": None,
        "seed": "1",
    }
    assert ds.test_accuracy.sel({"method": "erider", "seed": 1}) == 0.8
    assert all(type(v.values) is np.ndarray for v in ds.variables.values())
    assert ds.weight.dtype == np.float32


def test_to_dataset_leaves_its_arguments_alone():
    attrs = {"long_name": "loss"}
    results.to_dataset({"loss": ("step", np.zeros(2), attrs)})
    assert attrs == {"long_name": "loss"}


ZEROS = np.zeros((2, 3))
MISTAKES = {
    "too few dims": ({"a": (("x",), ZEROS)}, {}, {}, r"'a': dims \('x',\).*\(2, 3\).*2 different"),
    "one name for two axes": ({"a": ("xy", ZEROS)}, {}, {}, "2 different names"),
    "repeated dims": ({"a": (("x", "x"), np.zeros((2, 2)))}, {}, {}, "2 different names"),
    "lengths disagree": (
        {"a": (("x", "y"), ZEROS), "b": ("y", np.zeros(4))},
        {},
        {},
        "'y' is 4 long in 'b' and 3 long in 'a'",
    ),
    "coordinate of another length": ({"a": ("x", [1, 2])}, {"x": [1, 2, 3]}, {}, "'x' is 2 long"),
    "bare array": ({"a": ZEROS}, {}, {}, r"'a': expected \(dims, array\)"),
    "variable and coordinate": ({"x": ("x", [1])}, {"x": [1]}, {}, r"\['x'\] given as a variable"),
    "objects": ({"a": ("x", [None, 1])}, {}, {}, "'a' has dtype object.*astype"),
    "complex": ({"a": ("x", [1j])}, {}, {}, "'a' has dtype complex128"),
    "bfloat16": ({"a": ("x", jnp.zeros(2, jnp.bfloat16))}, {}, {}, "'a' has dtype bfloat16"),
    "bool attribute": ({}, {}, {"ok": True}, "attribute 'ok' of the dataset is True"),
    "None attribute": ({"a": ("x", [1], {"u": None})}, {}, {}, "attribute 'u' of 'a' is None"),
    "dict attribute": ({}, {}, {"config": {"a": 1}}, "json.dumps"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_to_dataset_refuses(case):
    variables, coords, attrs, message = MISTAKES[case]
    with pytest.raises(ValueError, match=message):
        results.to_dataset(variables, coords, attrs)


def test_to_dataset_refuses_keys(key):
    with pytest.raises(ValueError, match=r"'keys' holds keys.*key_data"):
        results.to_dataset({"keys": ("x", jax.random.split(key, 2))})


# save and load


@needs_netcdf
def test_what_is_loaded_is_what_was_saved(tmp_path):
    path = tmp_path / "new" / "folder" / "run.nc"
    results.save(dataset(), path)
    loaded = results.load(path)
    xarray.testing.assert_identical(loaded, dataset())
    assert loaded.finished.dtype == bool and loaded.pulses.dtype == np.int64
    assert loaded.wall_time.dtype == np.float64  # a number in seconds, not a timedelta


@needs_netcdf
def test_a_loaded_file_can_be_saved_over_itself(tmp_path):
    path = tmp_path / "run.nc"
    results.save(dataset(), path)
    results.save(results.load(path).isel(seed=[0]), path)
    assert results.load(path).sizes["seed"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]


@needs_netcdf
def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.nc"
    results.save(dataset(), path)
    before = path.read_bytes()
    bad = dataset().assign_attrs(config={"a": 1})
    with pytest.raises(TypeError):
        results.save(bad, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]


def test_a_write_that_is_killed_leaves_the_old_file(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text("old")
    program = (
        "import os, pathlib, sys; from sptrack._files import write_whole\n"
        "def write(part):\n"
        "    part.write_text('half'); os._exit(9)\n"
        "write_whole(pathlib.Path(sys.argv[1]), write)"
    )
    root = pathlib.Path(results.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=root, check=False)
    assert done.returncode == 9
    assert path.read_text() == "old"


@needs_netcdf
@pytest.mark.parametrize("keep", [0, 100, 3000])
def test_load_refuses_a_broken_file(tmp_path, keep):
    path = tmp_path / "run.nc"
    results.save(dataset(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"run\.nc is not a whole NetCDF file"):
        results.load(path)


@needs_netcdf
def test_load_of_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results at"):
        results.load(tmp_path / "run.nc")


@pytest.mark.parametrize("module", ["xarray", "h5netcdf", "h5py"])
def test_a_missing_package_names_the_extra(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"(h5|{module}).*sptrack\[results\]"):
        results.load("run.nc")


# canonical_json


def test_canonical_json_does_not_depend_on_order_or_container():
    one = {"a": 1, "spec": Spec(), "shape": (2, 3)}
    two = {"shape": [2, 3], "spec": Spec(), "a": np.int64(1)}
    assert results.canonical_json(one) == results.canonical_json(two)


CASES = {
    "null": (None, "null"),
    "bool": (np.bool_(True), "true"),
    "text": ("é", '"\\u00e9"'),
    "path": (pathlib.PurePosixPath("a/b"), '"a/b"'),
    "float": (0.1, "0.1"),
    "minus infinity": (-np.inf, '{"__float__":"-inf"}'),
    "not a number": (np.float32("nan"), '{"__float__":"nan"}'),
    "jax number": (jnp.int32(3), "3"),
    "bfloat16": (jnp.bfloat16(1.5), "1.5"),
    "tuple": (((1, 2), []), "[[1,2],[]]"),
    "dataclass": (Spec(), '{"__type__":"Spec","dw_min":0.1,"w_max":{"__float__":"inf"}}'),
    "named tuple": (Point(1, 2.5), '{"__type__":"Point","x":1,"y":2.5}'),
    "array": (
        np.array([[1.0, np.nan]]),
        '{"__array__":"float64","shape":[1,2],"values":[[1.0,{"__float__":"nan"}]]}',
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_canonical_json_of(case):
    value, text = CASES[case]
    assert results.canonical_json(value) == text


def test_canonical_json_of_a_key_and_a_large_array(key):
    plain = json.loads(results.canonical_json({"key": key, "w": jnp.zeros((40, 40))}))
    assert plain["key"] == {
        "__key__": str(jax.random.key_impl(key)),
        "data": jax.random.key_data(key).tolist(),
    }
    assert plain["w"]["shape"] == [40, 40] and len(plain["w"]["sha256"]) == 64
    other = jnp.zeros((40, 40)).at[3, 4].set(1)
    assert json.loads(results.canonical_json({"w": other}))["w"] != plain["w"]


WRONG = {
    "function": ({"a": [1, {"f": len}]}, r"config\['a'\]\[1\]\['f'\] is <built-in.*name of a func"),
    "in a dataclass": (Spec(dw_min={1}), r"config\['dw_min'\] is \{1\} of type set"),
    "bytes": ({"a": b"x"}, "of type bytes"),
    "class": ({"a": Spec}, "of type type"),
    "number as a key": ({1: 2}, "config has the key 1: JSON keys are strings"),
    "complex": ({"a": 1j}, "of type complex"),
    "objects": ({"a": np.array([None])}, r"config\['a'\] is an array of object"),
    "dates": ({"a": np.array(["2020-01-01"], "M8[D]")}, "is an array of datetime64"),
}


@pytest.mark.parametrize("case", WRONG)
def test_canonical_json_refuses_and_says_where(case):
    value, message = WRONG[case]
    with pytest.raises(TypeError, match=message):
        results.canonical_json(value)


def test_canonical_json_refuses_traced_values():
    def hashed(x):
        results.canonical_json({"rate": x})
        return x

    with pytest.raises(TypeError, match=r"config\['rate'\] is traced.*outside jit"):
        jax.jit(hashed)(1.0)


# manifest


def test_manifest_holds_what_a_repetition_needs():
    m = results.manifest({"spec": Spec(), "epochs": 2}, seed=7)
    assert m["schema"] == 1
    assert set(m["versions"]) == {"python", "sptrack", "jax", "jaxlib", "optax", "flax", "numpy"}
    assert m["versions"]["jax"] == jax.__version__
    assert m["config"]["spec"] == {"__type__": "Spec", "dw_min": 0.1, "w_max": {"__float__": "inf"}}
    assert m["seed"] == 7
    assert m["key_impl"] == str(jax.random.key_impl(jax.random.key(7)))
    assert m["key_data"] == jax.random.key_data(jax.random.key(7)).tolist()
    assert m["x64"] is False and m["matmul_precision"] == "default"
    assert m["device"]["kind"] == jax.devices()[0].device_kind
    assert m["device"]["count"] == jax.device_count()
    assert m["command"].startswith("python ")
    assert m["started"].endswith("+00:00")
    assert json.loads(json.dumps(m, allow_nan=False)) == m


def test_manifest_hash_is_of_the_config_alone():
    a = results.manifest({"a": 1, "b": 2.0}, seed=0)
    b = results.manifest({"b": 2.0, "a": 1}, seed=1, command=["other", "a word"])
    c = results.manifest({"b": 2.0, "a": 2}, seed=0)
    assert a["config_sha256"] == b["config_sha256"] != c["config_sha256"]
    # The recorded configuration alone gives the hash again, also after a trip through a file.
    again = json.loads(json.dumps(a))
    assert results.manifest(again["config"], seed=0)["config_sha256"] == a["config_sha256"]
    assert b["command"] == "other 'a word'"


def test_manifest_of_a_key(key):
    m = results.manifest({}, seed=key)
    assert m["seed"] is None
    assert m["key_data"] == jax.random.key_data(key).tolist()
    jax.random.normal(key)  # looking at a key does not use it up


def test_manifest_sees_switches(x64):
    with jax.default_matmul_precision("highest"):
        m = results.manifest({}, seed=np.int64(3))
    assert m["x64"] is True and m["matmul_precision"] == "highest" and m["seed"] == 3


@pytest.mark.parametrize("seed", [None, 1.0, True, "0", np.zeros(2, np.uint32)])
def test_manifest_wants_a_resolved_seed(seed):
    with pytest.raises(TypeError, match="seed must be an integer or a typed key"):
        results.manifest({}, seed=seed)


def test_manifest_wants_a_mapping():
    with pytest.raises(TypeError, match="config must be a mapping, got Spec"):
        results.manifest(Spec(), seed=0)


def test_manifest_command_does_not_tell_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "orig_argv", ["/x/python3", "-m", "run", f"--out={tmp_path}/a b"])
    assert results.manifest({}, seed=0)["command"] == "python -m run '--out=~/a b'"


def git(folder, *words):
    options = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *options, "-C", folder, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_git_state_follows_the_tree(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    package = tmp_path / "package"
    package.mkdir()
    assert manifests._git_state(package) is None  # no repository
    git(tmp_path, "init")
    (package / "a.py").write_text("1")
    assert manifests._git_state(package) is None  # nothing tracked: an installed copy
    git(tmp_path, "add", ".")
    assert manifests._git_state(package) is None  # no commit yet
    git(tmp_path, "commit", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "results.csv").write_text("output beside the package is no change of the program")
    assert manifests._git_state(package) == {"commit": head, "dirty": False}
    (package / "b.py").write_text("2")
    assert manifests._git_state(package) == {"commit": head, "dirty": True}
    (package / "b.py").unlink()
    (package / "a.py").write_text("2")
    assert manifests._git_state(package) == {"commit": head, "dirty": True}


def test_git_state_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert manifests._git_state(tmp_path) is None


def test_save_manifest_is_sorted_json_and_whole(tmp_path):
    path = tmp_path / "new" / "manifest.json"
    m = results.manifest({"z": 1, "a": 2}, seed=0)
    results.save_manifest(m | {"failed": np.int64(0), "spec": Spec()}, path)
    text = path.read_text()
    assert json.loads(text)["config"] == m["config"] and json.loads(text)["failed"] == 0
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=2) + "\n"
    with pytest.raises(TypeError, match=r"manifest\['f'\]"):
        results.save_manifest(m | {"f": len}, path)
    assert path.read_text() == text
    assert [p.name for p in path.parent.iterdir()] == ["manifest.json"]
