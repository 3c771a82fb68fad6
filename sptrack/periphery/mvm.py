"""The read itself: noise is drawn first, and what is done with it is a deterministic function.

So pathwise gradients are those of an ordinary function, and a read that bound management repeats
is the same function with other noise.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sptrack._random import as_key, normal, uniform
from sptrack._typing import Array, Key
from sptrack.periphery.read_path import ReadPath

GRADIENTS = ("straight_through", "pathwise")

_Product = Callable[[Array, Array], Array]  # (inputs, weight) -> outputs, linear in both


def draws(path: ReadPath | None) -> bool:
    """Whether a read through `path` draws random numbers, and so needs a key.

    Example:
      >>> import sptrack as spt
      >>> spt.periphery.draws(spt.periphery.ReadPath(out_bound=12.0))
      False
    """
    if path is None:
        return False
    noises = (path.inp_noise, path.w_noise, path.out_noise)
    return path.inp_sto_round or path.out_sto_round or any(std is not None for std in noises)


def analog_mvm(
    key: Key | None,
    weight: Array,
    x: Array,
    path: ReadPath | None,
    *,
    gradient: str = "straight_through",
) -> Array:
    """The matrix product x @ weight as a crossbar with its converters computes it.

    `ReadPath` has the equations. Every sample (row of x) is converted and managed for itself. For
    the backward read of errors d give the transposed weight, `analog_mvm(key, weight.T, d, path)`.

    Gradients, in forward and reverse mode:
      straight_through: that of out_scale (x @ weight), so clips, steps and noise have none. Biased
        where anything is clipped, unbiased for additive noise. A derivative with respect to the
        numbers of `path` is refused.
      pathwise: that of what was computed, with the noise held fixed, α differentiated, r not, and
        a clipped value having none. Only rounding is passed straight through (its own derivative
        is zero almost everywhere), which makes the gradient biased where a resolution is on; the
        resolutions themselves get none.

    Args:
      key: a JAX random key; None if nothing is drawn.
      weight: shape (inputs, outputs).
      x: inputs, shape (..., inputs).
      path: how the read is done; None is the matrix product itself.
      gradient: "straight_through" or "pathwise".

    Returns:
      Outputs, shape (..., outputs).

    Raises:
      ValueError: if shapes don't fit, `gradient` is unknown, or a key is needed and is None.
      TypeError: if weight and x are not floating or `key` is no key.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> weight, x = jnp.array([[0.5, 0.1], [0.25, 0.0]]), jnp.array([[1.0, -2.0]])
      >>> path = spt.periphery.ReadPath(out_bound=0.2, noise_management="abs_max")
      >>> print(spt.periphery.analog_mvm(None, weight, x, path))  # [0, 0.1] is what the ADC sees
      [[0.  0.1]]
    """
    weight, x = jnp.asarray(weight), jnp.asarray(x)
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[0]:
        raise ValueError(
            f"analog_mvm needs a weight of shape (inputs, outputs) and x of shape (..., inputs), "
            f"got {weight.shape} and {x.shape}."
        )
    return _checked_read("analog_mvm", key, weight, x, path, gradient, jnp.matmul)


def read_columns(
    key: Key | None,
    columns: Array,
    path: ReadPath | None,
    *,
    gradient: str = "straight_through",
) -> Array:
    """Reads columns of an array one by one, as a transfer does: input 1 on one line, 0 on others.

    Equal to `analog_mvm` with one-hot inputs, but for input noise: idle lines are grounded and
    have none (in aihwkit they have).

    Args:
      key: a JAX random key; None if nothing is drawn.
      columns: what the cells of the columns hold, shape (columns, outputs); see
        `spt.transforms.columns`.
      path: how each read is done; None shows the columns as they are.
      gradient: as in `analog_mvm`.

    Returns:
      What is read, of the shape of `columns`.

    Raises:
      ValueError, TypeError: as `analog_mvm`.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> path = spt.periphery.ReadPath(out_bound=1.0, out_res=1 / 8)
      >>> print(spt.periphery.read_columns(None, jnp.array([[0.6, 2.0, -0.2]]), path))
      [[ 0.5   1.   -0.25]]
    """
    columns = jnp.asarray(columns)
    if columns.ndim != 2:
        raise ValueError(f"read_columns needs shape (columns, outputs), got {columns.shape}.")
    ones = jnp.ones((columns.shape[0], 1), columns.dtype)
    return _checked_read("read_columns", key, columns, ones, path, gradient, jnp.multiply)


def _checked_read(
    name: str,
    key: Key | None,
    weight: Array,
    x: Array,
    path: ReadPath | None,
    gradient: str,
    product: _Product,
) -> Array:
    """What all reads check, before the read itself."""
    if gradient not in GRADIENTS:
        raise ValueError(f"{name}: gradient must be one of {GRADIENTS}, got {gradient!r}.")
    dtype = jnp.result_type(weight, x)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{name}: weight and x must be floating, got {weight.dtype}, {x.dtype}.")
    if path is None:
        return product(x, weight)
    if not isinstance(path, ReadPath):
        raise TypeError(f"{name}: path must be a spt.periphery.ReadPath or None, got {path!r}.")
    if draws(path):
        if key is None:
            raise ValueError(f"{name}: this path draws noise, so it needs a key; got None.")
        key = as_key(key)
    return _compiled_read(weight, x, path, key, gradient, product)


@functools.partial(jax.jit, static_argnums=(4, 5), inline=True)
def _compiled_read(
    weight: Array, x: Array, path: ReadPath, key: Key | None, gradient: str, product: _Product
) -> Array:
    """One program for calls outside of jit; everything in one dtype."""
    dtype = jnp.result_type(weight, x)
    path = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), path)
    return _read(weight.astype(dtype), x.astype(dtype), path, key, gradient, product)


@functools.partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def _read(
    weight: Array, x: Array, path: ReadPath, key: Key | None, gradient: str, product: _Product
) -> Array:
    return _settle(weight, x, path, key, product)[0]


@functools.partial(_read.defjvp, symbolic_zeros=True)
def _read_jvp(gradient: str, product: _Product, primals, tangents):
    weight, x, path, key = primals
    y, noise, r = _settle(weight, x, path, key, product)
    if gradient == "pathwise":
        tangents = jax.tree.map(
            lambda t: jnp.zeros(t.shape, t.dtype) if _is_zero(t) else t,
            tangents[:3],
            is_leaf=_is_zero,
        )

        def computed(weight, x, path):
            return _once(weight, x, path, noise, r, product)[0]

        return y, jax.jvp(computed, (weight, x, path), tangents)[1]
    if any(not _is_zero(t) for t in jax.tree.leaves(tangents[2], is_leaf=_is_zero)):
        raise ValueError(
            "a straight-through read has no derivative with respect to the numbers of its path; "
            "use gradient='pathwise'."
        )
    tangent = jnp.zeros_like(y)
    if not _is_zero(tangents[0]):
        tangent = tangent + product(x, tangents[0])
    if not _is_zero(tangents[1]):
        tangent = tangent + product(tangents[1], weight)
    return y, path.out_scale * tangent


def _is_zero(tangent) -> bool:
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


class _Noise(NamedTuple):
    """All random numbers of one read; None for what is off."""

    inp_rounding: Array | None
    inp: Array | None
    weight: Array | None
    out: Array | None
    out_rounding: Array | None


def _draw(key: Key | None, path: ReadPath, x: Array, y: Array) -> _Noise:
    """The noise of one read; `x` and `y` only say shape and dtype of inputs and outputs."""
    if key is None:
        return _Noise(None, None, None, None, None)
    return _Noise(
        inp_rounding=uniform(key, "input rounding", x) if path.inp_sto_round else None,
        inp=None if path.inp_noise is None else normal(key, "input noise", x),
        weight=None if path.w_noise is None else normal(key, "weight noise", y),
        out=None if path.out_noise is None else normal(key, "output noise", y),
        out_rounding=uniform(key, "output rounding", y) if path.out_sto_round else None,
    )


def _settle(
    weight: Array, x: Array, path: ReadPath, key: Key | None, product: _Product
) -> tuple[Array, _Noise, Array | None]:
    """Reads, again with coarser inputs where outputs were clipped: (outputs, their noise, r)."""
    shape = jax.eval_shape(product, x, weight)

    def noise_of(number):
        return _draw(None if key is None else jax.random.fold_in(key, number), path, x, shape)

    noise = noise_of(0)
    if path.bound_management == "none":
        return _once(weight, x, path, noise, None, product)[0], noise, None

    most = path.max_bm_factor
    if path.inp_res is not None:
        most = jnp.minimum(most, path.max_bm_res / _step(path.inp_bound, path.inp_res))

    def again(carry):
        number, now, unsettled, *kept = carry
        now = 2 * now
        noise = noise_of(number)
        r = jnp.full_like(kept[-1], now)
        y, clipped = _once(weight, x, path, noise, r, product)
        kept = jax.tree.map(lambda new, old: jnp.where(unsettled, new, old), [y, noise, r], kept)
        return number + 1, now, unsettled & clipped & (now <= most), *kept

    r = jnp.ones((*x.shape[:-1], 1), x.dtype)
    y, clipped = _once(weight, x, path, noise, r, product)
    start = (1, jnp.ones((), x.dtype), clipped & (most >= 1), y, noise, r)
    *_, y, noise, r = jax.lax.while_loop(lambda carry: jnp.any(carry[2]), again, start)
    return y, noise, r


def _once(
    weight: Array, x: Array, path: ReadPath, noise: _Noise, r: Array | None, product: _Product
) -> tuple[Array, Array]:
    """One read with given noise and r: (outputs, whether any output of a sample was clipped)."""
    full_scale = _full_scale(x, path)
    if r is not None:
        full_scale = r if full_scale is None else full_scale * r
    if full_scale is not None:
        x = x / jnp.where(full_scale > 0, full_scale, 1)
    x = _clip(_to_steps(x, path.inp_bound, path.inp_res, noise.inp_rounding), path.inp_bound)
    x = _add(x, path.inp_noise, noise.inp)
    y = product(x, weight)
    if path.w_noise is not None:
        y = _add(y, path.w_noise * _sensitivity(weight, x, path, product), noise.weight)
    y = _add(y, path.out_noise, noise.out)
    y = _to_steps(y, path.out_bound, path.out_res, noise.out_rounding)
    clipped = jnp.zeros((*y.shape[:-1], 1), bool)
    if path.out_bound is not None:
        clipped = jnp.any(jnp.abs(y) > path.out_bound, axis=-1, keepdims=True)
    y = path.out_scale * _clip(y, path.out_bound)
    if full_scale is not None:
        y = jnp.where(full_scale > 0, y * full_scale, 0)
    return y, clipped


def _full_scale(x: Array, path: ReadPath) -> Array | None:
    """What noise management makes the full scale of the inputs; broadcastable to x."""
    if path.noise_management == "none":
        return None
    if path.noise_management == "constant":
        return jnp.reshape(jnp.asarray(path.nm_scale, x.dtype), (1,) * x.ndim)
    largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True, initial=0)
    if path.noise_management == "average":
        return jnp.mean(largest, keepdims=True)
    return largest if path.nm_scale is None else jnp.minimum(largest, path.nm_scale)


def _sensitivity(weight: Array, x: Array, path: ReadPath, product: _Product) -> Array:
    """Std of the outputs for unit weight noise."""
    if path.w_noise_kind == "constant":
        square = jnp.sum(x * x, axis=-1, keepdims=True)
    else:
        square = product(x * x, jnp.abs(weight))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)  # finite gradient


def _to_steps(v: Array, bound: Any, res: Any, draw: Array | None) -> Array:
    """Rounds to multiples of the step 2 bound res: stochastically where there is a `draw`."""
    return v if res is None else _round(v, _step(bound, res), draw)


def _step(bound: Any, res: Any) -> Any:
    return 2 * bound * res


@jax.custom_jvp
def _round(v: Array, step: Array, draw: Array | None) -> Array:
    steps = v / step
    return step * (jnp.round(steps) if draw is None else jnp.floor(steps + draw))


@_round.defjvp
def _round_jvp(primals, tangents):
    return _round(*primals), tangents[0]


def _clip(v: Array, bound: Any) -> Array:
    return v if bound is None else jnp.clip(v, -bound, bound)


def _add(v: Array, std: Any, draw: Array | None) -> Array:
    return v if draw is None else v + std * draw
