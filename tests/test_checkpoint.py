"""Checkpoints of long runs: continued to the same bits, refused to others, never half written."""

import errno
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from sptrack import _checkpoint


class State(NamedTuple):
    """One leaf of every kind that a state may have."""

    w: Any
    key: Any
    keys: Any
    count: Any
    half: Any
    flag: Any
    nothing: Any


def start(key):
    w = jnp.arange(6.0).reshape(2, 3)
    keys = jax.vmap(spt.random.fast_key)(jnp.arange(2))
    half, flag = jnp.full(3, 0.3, jnp.bfloat16), jnp.array([True, False])
    return {"net": State(w, key, keys, jnp.zeros((), jnp.int32), half, flag, ()), "lr": 0.1}


def step(state, t, data):
    net = state["net"]
    noise = jax.random.normal(jax.random.fold_in(net.key, t), (3,))
    members = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, t)))(net.keys)
    w = 0.9 * net.w + state["lr"] * noise[None] + members[:, None] + data["drive"]
    net = net._replace(w=w, count=net.count + 1, half=net.half * 1.5, flag=~net.flag)
    return {**state, "net": net}


def record(state, data):
    net = state["net"]
    return {"w": net.w, "drawn": jax.random.key_data(net.keys), "half": net.half * 2}


DATA = {"drive": jnp.array(0.25)}


def run(key, path=None, **options):
    options = {"outer_steps": 5, "inner_steps": 2, "record": record, "data": DATA} | options
    return spt.simulate.run(options.pop("step", step), start(key), checkpoint=path, **options)


def assert_same(one, other):
    """Equal trees, bit for bit."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture
def writes(monkeypatch):
    """The outer steps after which a checkpoint is written; `fail` says at which and how not."""

    class Writes(list):
        fail = (None, None)

    writes, write = Writes(), _checkpoint.Checkpoint.write

    def watched(self, done, state, records):
        at, error = writes.fail
        if done == at:
            raise error
        write(self, done, state, records)
        writes.append(done)

    monkeypatch.setattr(_checkpoint.Checkpoint, "write", watched)
    return writes


@pytest.mark.parametrize(
    ("every", "stopped", "resumed"), [(1, [0, 1, 2], [3, 4, 5]), (2, [0, 2], [4, 5])]
)
def test_a_stopped_run_continues_to_the_same_bits(tmp_path, key, writes, every, stopped, resumed):
    """Stopped in the fourth outer step at the latest, every kind of leaf in the state."""
    path = tmp_path / "runs" / "long.npz"
    undisturbed = run(key)
    writes.fail = (2 + every, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(key, path, checkpoint_every=every)
    assert writes == stopped
    writes.clear()
    writes.fail = (None, None)
    assert_same(run(key, path, checkpoint_every=every), undisturbed)
    assert writes == resumed
    assert [file.name for file in path.parent.iterdir()] == ["long.npz"]


def test_a_finished_run_is_read_and_can_be_extended(tmp_path, key, writes):
    path = tmp_path / "long.npz"
    run(key, path, outer_steps=3)
    assert_same(run(key, path, outer_steps=3), run(key, outer_steps=3))
    assert writes == [0, 1, 2, 3]
    assert_same(run(key, path), run(key))
    assert writes == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"long\.npz has 5 outer steps, not 4"):
        run(key, path, outer_steps=4)


def test_without_a_record(tmp_path, key):
    path = tmp_path / "long.npz"
    run(key, path, record=None, outer_steps=2)
    final, records = run(key, path, record=None)
    assert records is None
    assert_same(final, run(key)[0])


CHANGED = {
    "program": {"step": lambda state, t, data: step(state, 2 * t, data)},
    "inner_steps": {"inner_steps": 3},
    "data": {"data": {"drive": jnp.array(0.5)}},
    "state": {},  # another key
}


@pytest.mark.parametrize("name", CHANGED)
def test_the_checkpoint_of_another_run_is_refused_and_left_alone(tmp_path, key, name):
    path = tmp_path / "long.npz"
    run(key, path, outer_steps=2)
    before = path.read_bytes()
    other = jax.random.key(1) if name == "state" else key
    with pytest.raises(FileExistsError, match=rf"another run.*different: .*{name}"):
        run(other, path, **CHANGED[name])
    assert path.read_bytes() == before


def test_what_is_no_checkpoint_is_refused_and_left_alone(tmp_path, key):
    names = ("text", "array.npy", "arrays.npz", "cut", "dir")
    text, array, arrays, cut, folder = (tmp_path / name for name in names)
    text.write_text("mine")
    np.save(array, np.zeros(3))
    np.savez(arrays, w=np.zeros(3))
    run(key, cut, outer_steps=1)
    cut.write_bytes(cut.read_bytes()[:-200])
    folder.mkdir()
    before = {path: path.read_bytes() for path in (text, array, arrays, cut)}
    for path in (*before, folder):
        with pytest.raises(FileExistsError, match=r"is no checkpoint; choose another path"):
            run(key, path)
    assert {path: path.read_bytes() for path in before} == before


def test_a_full_disk_is_explained_and_the_last_checkpoint_stays(tmp_path, key, monkeypatch):
    path, save, calls = tmp_path / "long.npz", np.savez, []

    def full(file, **arrays):
        calls.append(int(arrays["done"]))
        if calls[-1] == 3:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"can't write the checkpoint .*the last one is kept.*No sp"):
        run(key, path)
    monkeypatch.undo()
    assert int(np.load(path)["done"]) == 2 and [p.name for p in tmp_path.iterdir()] == ["long.npz"]
    assert_same(run(key, path), run(key))


def test_a_place_that_can_not_be_written_is_refused_before_the_work(tmp_path, key):
    (tmp_path / "file").write_text("mine")
    stepped = []

    def counted(state, t, data):
        jax.debug.callback(stepped.append, t)
        return step(state, t, data)

    with pytest.raises(OSError, match=r"can't write to .*long\.npz"):
        run(key, tmp_path / "file" / "long.npz", step=counted)
    jax.effects_barrier()
    assert not stepped


def test_a_donated_state_is_gone_and_the_result_the_same(key):
    state = start(key) | {"lr": jnp.array(0.1)}
    given = jax.tree.map(lambda x: jnp.array(x, copy=True), state)
    options = {"outer_steps": 5, "inner_steps": 2, "data": DATA}
    donated, _ = spt.simulate.run(step, given, donate=True, **options)
    assert given["net"].w.is_deleted() and not state["net"].w.is_deleted()
    assert_same(donated, spt.simulate.run(step, state, **options)[0])


@pytest.mark.parametrize("every", [0, -1, 2.0])
def test_the_interval_is_a_positive_integer(tmp_path, key, every):
    with pytest.raises(ValueError, match="checkpoint_every must be an integer >= 1"):
        run(key, tmp_path / "long.npz", checkpoint_every=every)
