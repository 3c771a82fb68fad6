"""What a sweep returns: every point on its own, labels, status, whatever the blocks are."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from tests.sweep.runs import AXES, OPTIONS, calibrate, grow

xarray = pytest.importorskip("xarray")

pytestmark = pytest.mark.optimized  # bits and figures as users have them


@pytest.fixture(scope="module")
def root():
    return jax.random.key(20)


@pytest.fixture(scope="module")
def swept(root):
    """15 calibrations in one block."""
    return spt.sweep(calibrate, AXES, root, **OPTIONS)


def same(one, other):
    """Equal names, dimensions and bits."""
    return spt.results.digest(one) == spt.results.digest(other)


def test_every_point_is_the_run_of_its_own_key(root, swept):
    """Within rounding: another program may contract a product and a sum."""
    single = jax.jit(calibrate)
    for seed, number in [(0, 0), (3, 2)]:
        mean = AXES["mean"][number]
        key = jax.random.fold_in(jax.random.fold_in(root, seed), number)
        alone, point = single(key, seed, jnp.float32(mean)), swept.sel(seed=seed, mean=mean)
        np.testing.assert_allclose(point.error, alone["error"], atol=1e-6)
        np.testing.assert_allclose(point.trace, alone["trace"], atol=1e-6)


def test_results_are_labelled(swept):
    assert swept.trace.dims == ("seed", "mean", "read", "cell")
    assert dict(swept.sizes) == {"seed": 5, "mean": 3, "read": 3, "cell": 3}
    assert swept.error.attrs["units"] == "weight" and swept.trace.attrs["units"] == "1"
    np.testing.assert_array_equal(swept["mean"], AXES["mean"])
    assert spt.results.status_counts(swept) == {"not_run": 0, "ok": 15, "diverged": 0, "invalid": 0}


@pytest.mark.parametrize("chunk", [1, 7])
def test_blocks_change_no_bit(root, swept, chunk):
    assert same(spt.sweep(calibrate, AXES, root, chunk=chunk, **OPTIONS), swept)


@pytest.mark.parametrize("chunk", [1, 7])
def test_one_by_one_is_exact_whatever_the_blocks(root, chunk):
    """Matrix products, whose rounding may depend on the batch."""

    def multiply(key):
        a = jax.random.normal(key, (17, 17))
        return {"product": jnp.tanh(a @ a) @ a, "trace": jnp.trace(a @ a)}

    axes = {"matrix": 15}
    many = spt.sweep(multiply, axes, root, exact=True)
    assert same(spt.sweep(multiply, axes, root, chunk=chunk, exact=True), many)
    np.testing.assert_allclose(
        spt.sweep(multiply, axes, root, chunk=chunk).trace, many.trace, rtol=1e-5
    )


def test_more_points_leave_the_others_alone(root, swept):
    """Seeds by their numbers, other axes by position."""
    axes = {"seed": [9, 3, 1], "mean": [0.0, 0.4]}
    fewer = spt.sweep(calibrate, axes, root, chunk=6, **OPTIONS)
    np.testing.assert_array_equal(
        fewer.error.sel(seed=[3, 1]), swept.error.sel(seed=[3, 1], mean=[0.0, 0.4])
    )


def test_paired_points_share_their_key(root):
    ds = spt.sweep(
        lambda key, gain: {"noise": jax.random.normal(key)},
        {"n": 3, "gain": [1.0, 2.0]}, root, paired=("gain",),
    )  # fmt: skip
    np.testing.assert_array_equal(ds.noise[:, 0], ds.noise[:, 1])
    assert len(np.unique(ds.noise)) == 3


def test_a_hundred_points_are_traced_and_compiled_once(root):
    traced = []

    def run(key, rate):
        traced.append(rate)
        return grow(key, rate)

    rates = np.linspace(0.5, 1.5, 100)
    ds = spt.sweep(run, {"rate": rates}, root, chunk=7)
    assert len(traced) == 1
    expected = (1 + jax.vmap(lambda n: jax.random.uniform(jax.random.fold_in(root, n)))(
        jnp.arange(100)
    )) * rates.astype(np.float32)  # fmt: skip
    np.testing.assert_allclose(ds["size"][:, 0], expected, rtol=1e-6)


# Failures


GROWTH = {"seed": range(3), "rate": [0.5, 1e9, 2.0, np.nan, -1.0]}


def positive(seed, rate):
    if rate <= 0:
        raise ValueError(f"rate={rate} must be positive")


def run_growth(key, seed, rate):
    return grow(key, rate)


@pytest.fixture(scope="module")
def grown(root):
    return spt.sweep(
        run_growth, GROWTH, root, dims={"size": "step"}, step_dim="step", validate=positive
    )


def test_failures_are_named(grown):
    np.testing.assert_array_equal(grown.status, [[0, 1, 0, 2, 2]] * 3)
    # 1e9^4 is finite in float32 and 1e9^5 isn't: the fifth step is number 4.
    np.testing.assert_array_equal(grown.diverged_at, [[-1, 4, -1, -1, -1]] * 3)
    assert np.isfinite(grown["size"].sel(rate=1e9).isel(step=slice(4))).all()
    failed = spt.results.failures(grown)
    assert failed[0] == {"seed": 0, "rate": 1e9, "status": "diverged", "diverged_at": 4}
    assert failed[1]["reason"] == "rate=nan is no number"
    assert failed[2]["reason"] == "rate=-1.0 must be positive"
    assert len(failed) == 9


def test_results_of_invalid_points_are_absent(grown):
    invalid = grown.isel(rate=[3, 4])
    assert np.isnan(invalid["size"]).all() and (invalid["count"] == 0).all()


def test_bad_members_leave_the_others_alone(root, grown):
    good = {**GROWTH, "rate": [0.5, 1.25, 2.0, 1.5, 1.75]}
    undisturbed = spt.sweep(run_growth, good, root, dims={"size": "step"})
    for name in ("size", "count"):
        np.testing.assert_array_equal(
            grown[name].sel(rate=[0.5, 2.0]), undisturbed[name].sel(rate=[0.5, 2.0])
        )


def test_only_what_should_be_finite_counts(root):
    run = lambda key, x: {"loss": x, "sp": jnp.where(x > 1, jnp.nan, x)}
    axes = {"x": [0.5, 1.5]}
    assert spt.sweep(run, axes, root).status.values.tolist() == [0, 1]
    assert spt.sweep(run, axes, root, finite=("loss",)).status.values.tolist() == [0, 0]


def test_no_valid_point_is_an_error(root):
    with pytest.raises(ValueError, match=r"no point has valid.*rate=-1.0 must be positive"):
        spt.sweep(run_growth, {"seed": [0], "rate": [-1.0]}, root, validate=positive)


# Results and arguments


def test_results_are_named_by_their_path(root):
    def run(key):
        return {"b": jnp.zeros(2)}, jnp.ones(())

    assert set(spt.sweep(run, {"n": 2}, root).data_vars) == {"0.b", "1", "status"}
    assert set(spt.sweep(lambda key: 1.0, {"n": 2}, root).data_vars) == {"result", "status"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": {"eror": "cell"}}, r"dims of \['eror'\].*only \['error', 'trace'\]"),
        ({"dims": {"error": ("cell", "read")}}, "does not fit results of shape"),
        ({"units": {"eror": "weight"}}, "units of"),
        ({"coords": {"cel": [1, 2, 3]}}, "no result has such a dimension"),
        ({"coords": {"cell": [1, 2]}, "dims": {"error": "cell"}}, "'cell' is 3 long|'cell' is 2"),
        ({"dims": {"error": "seed"}}, "dims"),
        ({"step_dim": "step"}, "is no dimension of"),
        ({"finite": ("eror",)}, "floating results are"),
        ({"chunk": 0}, "chunk must be"),
        ({"shard": (2, 2)}, "index < count"),
        ({"shard": (0, 2)}, "need a store"),
    ],
)
def test_options_that_do_not_fit_are_refused(root, options, message):
    with pytest.raises(ValueError, match=message):
        spt.sweep(calibrate, AXES, root, **options)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda key: {}, "returns no arrays"),
        (lambda key: {"k": key}, "is a key"),
        (lambda key: {"status": 1}, "a name the sweep uses"),
        (lambda key: {"n": 1.0}, "variable and as a coordinate"),
    ],
)
def test_results_that_can_not_be_kept_are_refused(root, run, message):
    with pytest.raises(ValueError, match=message):
        spt.sweep(run, {"n": 2}, root)


def test_no_key_is_refused():
    with pytest.raises(TypeError, match="A random key is needed"):
        spt.sweep(calibrate, AXES, 0)


def test_no_mesh_is_refused(root):
    with pytest.raises(TypeError, match=r"jax.sharding.Mesh"):
        spt.sweep(calibrate, AXES, root, mesh=jax.devices())


def test_the_fast_generator_works(root):
    fast = spt.random.fast_key(3)
    ds = spt.sweep(calibrate, AXES, fast, chunk=4, **OPTIONS)
    again = spt.sweep(calibrate, AXES, fast, **OPTIONS)
    assert same(ds, again) and not same(ds, spt.sweep(calibrate, AXES, root, **OPTIONS))


# Progress


def test_progress_is_silent_without_a_terminal(root, capsys):
    spt.sweep(lambda key: 1.0, {"n": 4}, root, chunk=2, progress=True)
    assert capsys.readouterr() == ("", "")


def test_progress_counts_finished_points(root, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    spt.sweep(lambda key: 1.0, {"n": 4}, root, chunk=2, progress="calibrating")
    err = capsys.readouterr().err
    assert "calibrating" in err and "0/4" in err and "4/4" in err and "instance/s" in err
