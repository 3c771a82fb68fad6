"""Gradients of reads are what their docstrings say, and errors say what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from sptrack.periphery import ReadPath, analog_mvm, read_columns

KEY = spt.random.fast_key(0)
RNG = np.random.default_rng(0)
W, X, D = RNG.uniform(-1, 1, (4, 3)), RNG.normal(size=(5, 4)), RNG.normal(size=(5, 3))
ROUGH = ReadPath(
    inp_bound=1.0,
    inp_res=1 / 6,
    out_bound=0.4,
    out_res=1 / 6,
    out_noise=0.1,
    out_scale=1.5,
    noise_management="abs_max",
    bound_management="iterative",
)
SMOOTH = ReadPath(
    inp_noise=0.1,
    w_noise=0.2,
    w_noise_kind="pcm_read",
    out_bound=0.5,
    out_noise=0.1,
    out_scale=1.5,
    noise_management="abs_max",
    bound_management="iterative",
)


def test_straight_through_is_the_gradient_of_the_product(x64):
    def loss(w, x):
        return jnp.sum(D * analog_mvm(KEY, w, x, ROUGH))

    w_grad, x_grad = jax.jit(jax.grad(loss, (0, 1)))(W, X)
    np.testing.assert_allclose(w_grad, 1.5 * X.T @ D, rtol=1e-12)
    np.testing.assert_allclose(x_grad, 1.5 * D @ W.T, rtol=1e-12)
    tangent = jax.jvp(lambda x: analog_mvm(KEY, W, x, ROUGH), (X,), (X,))[1]
    np.testing.assert_allclose(tangent, 1.5 * X @ W, rtol=1e-12)


def test_pathwise_is_the_derivative_of_what_was_computed(x64):
    """Central differences with the same key, in one direction of weights, inputs and path."""

    @jax.jit
    def total(point):
        return jnp.sum(D * analog_mvm(jax.random.clone(KEY), *point, gradient="pathwise"))

    point = (W, X, SMOOTH)
    way = jax.tree.map(lambda leaf: RNG.normal(size=np.shape(leaf)), point)
    grad = jax.jit(jax.grad(total))(point)
    pairs = zip(jax.tree.leaves(grad), jax.tree.leaves(way), strict=True)
    slope = sum(np.sum(g * v) for g, v in pairs)

    def along(step):
        return total(jax.tree.map(lambda leaf, v: leaf + step * v, point, way))

    np.testing.assert_allclose((along(1e-6) - along(-1e-6)) / 2e-6, slope, rtol=1e-7)
    product = np.sum(D * (way[1] @ W + X @ way[0]))
    assert abs(slope / product - 1) > 0.1  # and it isn't that of the product


def test_pathwise_knows_clips_and_not_steps(x64):
    def total(w, **changed):
        path = ReadPath(out_bound=1.0, **changed)
        return jnp.sum(analog_mvm(None, w, jnp.ones((1, 1)), path, gradient="pathwise"))

    w = jnp.array([[0.5, 3.0]])
    np.testing.assert_array_equal(jax.grad(total)(w), [[1, 0]])
    np.testing.assert_array_equal(jax.grad(lambda w: total(w, out_res=1 / 8))(w), [[1, 0]])


def test_forward_mode_agrees(x64):
    path = ReadPath(out_noise=0.1, w_noise=0.2, noise_management="abs_max")

    @jax.jit
    def along(x):
        def read(x):
            return analog_mvm(jax.random.clone(KEY), W, x, path, gradient="pathwise")

        return jax.jvp(read, (X,), (x,))[1], jax.vjp(read, X)[1](D)[0]

    way = RNG.normal(size=X.shape)
    forward, backward = along(way)
    np.testing.assert_allclose(np.sum(D * forward), np.sum(way * backward), rtol=1e-10)


def test_columns_have_the_same_gradients(x64):
    path = ReadPath(out_bound=0.4, out_scale=1.5)

    def total(columns, gradient):
        return jnp.sum(read_columns(None, columns, path, gradient=gradient))

    np.testing.assert_array_equal(jax.grad(total)(W, "straight_through"), np.full(W.shape, 1.5))
    expected = 1.5 * (np.abs(W) < 0.4)
    np.testing.assert_array_equal(jax.grad(total)(W, "pathwise"), expected)


def test_an_input_of_zeros_has_a_finite_gradient(x64):
    path = ReadPath(w_noise=0.2, w_noise_kind="pcm_read", noise_management="abs_max")

    @jax.jit
    def slope(x):
        return jax.grad(lambda x: jnp.sum(analog_mvm(KEY, W, x, path, gradient="pathwise")))(x)

    assert np.all(np.isfinite(slope(np.zeros((2, 4)))))


REFUSED = {
    "a number of steps": (lambda: ReadPath(inp_bound=1.0, inp_res=126), r"inp_res=1/126"),
    "no range": (lambda: ReadPath(out_res=0.1), "give out_bound too"),
    "negative": (lambda: ReadPath(out_noise=-0.1), r"out_noise=-0\.1 is out of range"),
    "zero bound": (lambda: ReadPath(out_bound=0.0), r"out_bound=0\.0.*\(0, inf\)"),
    "NaN": (lambda: ReadPath(inp_noise=float("nan")), "finite"),
    "unknown management": (
        lambda: ReadPath(noise_management="absmax"),
        r"one of .*'abs_max'.* got 'absmax'",
    ),
    "unknown bound management": (lambda: ReadPath(bound_management="shift"), "got 'shift'"),
    "unknown weight noise": (lambda: ReadPath(w_noise_kind="white"), "got 'white'"),
    "nothing to manage": (lambda: ReadPath(bound_management="iterative"), "give out_bound too"),
    "no constant": (lambda: ReadPath(noise_management="constant"), "needs nm_scale"),
    "unused scale": (lambda: ReadPath(nm_scale=0.5), "nm_scale is for"),
    "bound with noise management": (
        lambda: ReadPath(inp_bound=2.0, noise_management="abs_max"),
        r"must be 1, got 2\.0",
    ),
    "nothing to round to": (lambda: ReadPath(out_sto_round=True), "needs out_res"),
    "no key": (lambda: analog_mvm(None, W, X, ROUGH), "needs a key"),
    "shapes": (lambda: analog_mvm(KEY, W, X.T, ROUGH), r"got \(4, 3\) and \(4, 5\)"),
    "one column": (lambda: read_columns(KEY, W[0], ROUGH), r"got \(3,\)"),
    "unknown gradient": (
        lambda: analog_mvm(KEY, W, X, ROUGH, gradient="exact"),
        r"'pathwise'.*got 'exact'",
    ),
    "gradient of the path": (
        lambda: jax.grad(lambda path: jnp.sum(analog_mvm(KEY, W, X, path)))(
            ReadPath(out_noise=0.1)
        ),
        "gradient='pathwise'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused_with_the_remedy(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_types():
    with pytest.raises(TypeError, match="must be floating"):
        analog_mvm(KEY, W.astype(int), X.astype(int), ROUGH)
    with pytest.raises(TypeError, match="ReadPath or None"):
        analog_mvm(KEY, W, X, 0.1)
    with pytest.raises(TypeError, match="random key"):
        analog_mvm(0, W, X, ROUGH)
    with pytest.raises(TypeError, match="True or False"):
        ReadPath(inp_sto_round=1)


def test_a_traced_path_stays_off_where_it_is_off():
    """Off is structure: a path that is an argument of a jitted function draws nothing new."""
    path = ReadPath(out_noise=0.0, out_bound=12.0)

    @jax.jit
    def read(path):
        return analog_mvm(None, jnp.asarray(W, jnp.float32), jnp.asarray(X, jnp.float32), path)

    assert np.all(np.isfinite(read(path)))
