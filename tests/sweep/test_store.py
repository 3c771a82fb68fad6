"""Results on disk: written block by block, continued to the same bits, never mixed or lost."""

import errno
import json
import shutil

import jax
import numpy as np
import pytest

import sptrack as spt
from sptrack.sweep import driver, store
from tests.sweep.runs import AXES, OPTIONS, calibrate

xarray = pytest.importorskip("xarray")
pytest.importorskip("zarr")

BLOCKS = 5  # 15 points in chunks of 3


@pytest.fixture(scope="module")
def root():
    return jax.random.key(21)


def sweep(root, path, **options):
    return spt.sweep(calibrate, AXES, root, **{"chunk": 3, "store": path} | OPTIONS | options)


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """A store that was never disturbed; read only."""
    path = tmp_path_factory.mktemp("finished") / "study.zarr"
    sweep(root, path)
    return path


def hash_of(path):
    return spt.results.digest(spt.results.load(path))


def files(path):
    return {str(file): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def calls(monkeypatch):
    """Counts blocks that are computed; raises what `calls.stop` says at its time."""

    class Calls(list):
        stop = (None, None)

    calls, compiled = Calls(), driver.compiled

    def counting(program, devices):
        compute = compiled(program, devices)

        def counted(blocks):
            calls.extend(blocks)
            after, error = calls.stop
            if len(calls) == after:
                raise error
            return compute(blocks)

        return counted

    monkeypatch.setattr(driver, "compiled", counting)
    return calls


def test_a_store_holds_what_memory_would(root, finished):
    kept = spt.sweep(calibrate, AXES, root, chunk=3, **OPTIONS)
    assert spt.results.load(finished).identical(kept)


def test_a_store_opens_with_xarray_alone(finished):
    opened = xarray.open_zarr(finished)
    assert dict(opened.sizes) == {"seed": 5, "mean": 3, "read": 3, "cell": 3}
    assert opened.error.attrs["units"] == "weight"
    assert (opened.status == 0).all()


def test_text_and_zipped_axes_survive(root, tmp_path):
    axes = {"offset": {"low": [0.1, 0.2], "high": [0.5, 0.6]}}
    labels = {"dims": {"x": "layer"}, "coords": {"layer": ["first", "second"]}}
    run = lambda key, low, high: {"x": low * np.ones(2, np.float32), "n": high > 0.55}
    memory = spt.sweep(run, axes, root, **labels)
    stored = spt.sweep(run, axes, root, store=tmp_path / "s", **labels)
    assert stored.load().identical(memory)
    assert stored.high.dims == ("offset",) and list(stored.layer.values) == ["first", "second"]
    spt.results.save(stored, tmp_path / "s.nc")
    assert spt.results.load(tmp_path / "s.nc").equals(memory)


def test_a_finished_store_is_read_not_computed(root, finished, calls):
    before = files(finished.parent)
    assert spt.results.digest(sweep(root, finished)) == hash_of(finished)
    assert not calls and files(finished.parent) == before


def test_ctrl_c_keeps_what_finished_and_resume_does_the_rest(root, finished, tmp_path, calls):
    path = tmp_path / "study.zarr"
    calls.stop = (3, KeyboardInterrupt())
    with pytest.raises(
        KeyboardInterrupt, match=r"6 of 15 instances finished, kept in .*study\.zarr"
    ):
        sweep(root, path)
    half = spt.results.load(path)
    assert (half.status == 0).sum() == 6 and (half.status == -1).sum() == 9
    assert np.isnan(half.error.where(half.status == -1)).all()
    assert "ended" not in json.loads((tmp_path / "study.manifest.json").read_text())
    calls.clear()
    calls.stop = (None, None)
    sweep(root, path)
    assert calls == [2, 3, 4]
    assert hash_of(path) == hash_of(finished)


def test_ctrl_c_without_a_store_hands_out_what_finished(root, calls):
    calls.stop = (2, KeyboardInterrupt())
    with pytest.raises(spt.SweepInterrupted, match="3 of 15 instances") as stop:
        spt.sweep(calibrate, AXES, root, chunk=3, **OPTIONS)
    assert (stop.value.dataset.status == 0).sum() == 3


def test_a_full_disk_is_explained_and_loses_nothing(root, finished, tmp_path, monkeypatch):
    path = tmp_path / "study.zarr"
    flush, writes = store.Store._flush, []

    def full(self, array, block):
        writes.append(block)
        if len(writes) == 5:  # the second of three arrays of the second block
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(self, array, block)

    monkeypatch.setattr(store.Store, "_flush", full)
    with pytest.raises(
        OSError, match=r"can't write to the store .*finished blocks are kept.*No space"
    ):
        sweep(root, path)
    assert (spt.results.load(path).status == 0).sum() == 3
    monkeypatch.undo()
    sweep(root, path)
    assert hash_of(path) == hash_of(finished)


def test_a_place_that_can_not_be_written_is_refused_before_anything_runs(root, tmp_path, calls):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=r"can't make the store .*file/study\.zarr"):
        sweep(root, tmp_path / "file" / "study.zarr")
    assert not calls and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_block_without_status_is_computed_again(root, finished, tmp_path, calls):
    """As after a kill between the writes of a block: data half there, status not."""
    path = tmp_path / "study.zarr"
    shutil.copytree(finished, path)
    shutil.copy(finished.with_name("study.manifest.json"), tmp_path)
    chunk = next(p for p in sorted((path / "status" / "c").rglob("*")) if p.is_file())
    chunk.unlink()
    (path / "error" / chunk.relative_to(path / "status") / "0").unlink()
    sweep(root, path)
    assert calls == [0] and hash_of(path) == hash_of(finished)


# Another sweep


CHANGED = {
    "root_key": {"key": jax.random.key(22)},
    "axes": {"axes": {**AXES, "mean": [0.0, 0.4, 0.9]}},
    "block": {"chunk": 6},
    "config": {"config": {"epochs": 3}},
    "units": {"units": {"error": "V"}},
    "exact": {"exact": True},
    "the program": {"run": lambda key, seed, mean: calibrate(key, seed, 2 * mean)},
}


@pytest.mark.parametrize("name", CHANGED)
def test_the_store_of_another_sweep_is_refused_and_left_alone(root, finished, name):
    arguments = {"run": calibrate, "axes": AXES, "key": root, "chunk": 3} | OPTIONS | CHANGED[name]
    before = files(finished.parent)
    with pytest.raises(FileExistsError, match=rf"holds another sweep.*different: .*{name}"):
        spt.sweep(**arguments, store=finished)
    assert files(finished.parent) == before


def test_a_constant_that_a_run_closes_over_makes_another_sweep(root, tmp_path):
    def make(gain):
        return lambda key: gain * jax.random.normal(key, (3,))

    gain = np.array([1.0, 2.0, 3.0], np.float32)
    spt.sweep(make(gain), {"n": 2}, root, store=tmp_path / "s")
    spt.sweep(make(gain.copy()), {"n": 2}, root, store=tmp_path / "s")
    with pytest.raises(FileExistsError, match="the run, or something that it closes over"):
        spt.sweep(make(gain + 1), {"n": 2}, root, store=tmp_path / "s")


def test_what_is_no_sweep_is_refused_and_left_alone(root, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("notes", "file"):
        with pytest.raises(FileExistsError, match="is not the store of a sweep"):
            sweep(root, tmp_path / name)
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"


def test_without_resume_a_store_is_refused(root, finished):
    with pytest.raises(FileExistsError, match="continue it with resume=True"):
        sweep(root, finished, resume=False)


def test_a_missing_package_names_the_extra(root, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(ImportError, match=r"zarr.*sptrack\[results\]"):
        sweep(root, tmp_path / "s")


# Shares and manifest


def test_shares_of_processes_that_do_not_know_of_each_other_merge(root, finished, tmp_path, calls):
    path = tmp_path / "study.zarr"
    first = sweep(root, path, shard=(1, 2))
    assert calls == [1, 3] and (first.status == 0).sum() == 6
    second = sweep(root, path, shard=(0, 2))
    assert calls == [1, 3, 0, 2, 4]
    assert spt.results.digest(second) == hash_of(finished)
    assert "ended" in json.loads((tmp_path / "study.manifest.json").read_text())


def test_a_manifest_lies_beside_the_store(finished, root):
    manifest = json.loads(finished.with_name("study.manifest.json").read_text())
    assert manifest["results_sha256"] == hash_of(finished)
    assert manifest["status"] == {"ok": 15, "diverged": 0, "invalid": 0, "not_run": 0}
    assert manifest["key_data"] == jax.random.key_data(root).tolist()
    assert manifest["config"]["sweep"]["axes"]["mean"]["mean"]["values"] == AXES["mean"]
    assert manifest["ended"] >= manifest["started"]
