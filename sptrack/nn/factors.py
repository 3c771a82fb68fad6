"""Gradients of analog weights as rank-1 factors: what a crossbar is given instead of a matrix.

A layer's weight is tapped: the output of its product passes through an identity whose derivative
with respect to a tap, a pair of zeros shaped like the layer's inputs x and outputs, is by
definition (x, d). JAX wants cotangents shaped like what they belong to, so the loss is first traced
to see how often and with which shapes each weight is used.

Cotangents of something used several times are added up, and sums of factors are no factors of the
sum. So every use has a tap of its own, and a use that JAX would repeat behind our back (in the body
of a scan, under vmap, in a jitted function that is called again) is refused; `spt.nn.scan` gives
taps to every step.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

from sptrack._typing import Array, PyTree
from sptrack.pulses import Factors

# Inputs and output gradients of one use, shapes or arrays: (x, d), shaped (..., input lines) and
# (..., outputs). Of a scan, a list of these for one step, with an axis of steps in front.
_Use: TypeAlias = Any


class TappedWeight:
    """What stands for an analog weight while factors are captured; no JAX type on purpose.

    Attributes:
      array: the weight.
      uses: shapes of the uses so far.
    """

    def __init__(self, array: Array, taps: Iterable[_Use] | None):
        self.array = array
        self.uses: list[_Use] = []
        self._taps = None if taps is None else iter(taps)
        self._trace = _current_trace()

    shape = property(lambda self: self.array.shape)
    ndim = property(lambda self: self.array.ndim)
    dtype = property(lambda self: self.array.dtype)

    def capture(self, x: Array, y: Array, scale: Array | float) -> Array:
        """y, the array's output times `scale`, tapped for the factors (x, scale dy)."""
        tap = self.tap((_shape_of(x), _shape_of(y)))
        return y if tap is None else _tapped(tap, x, y, jnp.asarray(scale, y.dtype))

    def tap(self, use: _Use) -> _Use | None:
        """The tap of the next use, whose shapes are `use`; None while shapes are collected."""
        if self._trace != _current_trace():
            raise ValueError(
                "factors can't be captured of a layer that the loss calls inside jax.jit, vmap, "
                "checkpoint, lax.scan, cond or the like: factors of several calls would be added "
                "up. Call layers on whole batches, put jax.jit and jax.vmap around "
                "spt.nn.factor_grad, and let spt.nn.scan do steps in time."
            )
        self.uses.append(use)
        return None if self._taps is None else next(self._taps)


def factor_grad(
    loss: Callable[..., Any], labels: PyTree, *, has_aux: bool = False
) -> Callable[..., Any]:
    """`jax.grad`, but gradients of analog weights arrive as `spt.Factors`, not contracted.

    The gradient of a weight of shape (..., inputs, outputs) is the sum over samples of x[s] d[s]:
    activations on its input lines times gradients of the loss at its output lines. Optimizers send
    factors as pulse trains (`spt.coincidence_update`), one sample after the other. A convolution
    has a sample per image and output position, a recurrent cell one per sequence and step; a layer
    that is called several times has the samples of its calls one after the other.

    It can be jitted, vmapped and scanned. Inside of the loss, layers must be called as they are, on
    whole batches, or by `spt.nn.scan`. The loss may use analog weights in analog layers only.

    Args:
      loss: function of parameters and other arguments, as for `jax.grad`.
      labels: "analog" for weights whose factors are wanted, anything else for others; a tree like
        the parameters, as `spt.nn.labels` makes it, or a prefix of it.
      has_aux: whether the loss returns (value, auxiliary data).

    Returns:
      A function like the loss that returns the gradient, or (gradient, auxiliary data). Its
      contraction (`spt.pulses.contract`) is the ordinary gradient up to rounding.

    Raises:
      ValueError: when called, if the loss calls a layer where its factors can't be told apart.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> from flax import nnx
      >>> layer = spt.nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0))
      >>> graph, params, rest = nnx.split(layer, nnx.Param, ...)
      >>> loss = lambda params, x: jnp.sum(nnx.merge(graph, params, rest)(x) ** 2)
      >>> grad = spt.nn.factor_grad(loss, spt.nn.labels(params))
      >>> grads = grad(nnx.as_pure(params), jnp.ones((5, 4)))
      >>> grads["kernel"].x.shape, grads["kernel"].d.shape, grads["bias"].shape
      ((5, 4), (5, 3), (3,))
    """
    both = value_and_factor_grad(loss, labels, has_aux=has_aux)

    def grad(params, *args, **kwargs):
        value, grads = both(params, *args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return grad


def value_and_factor_grad(
    loss: Callable[..., Any], labels: PyTree, *, has_aux: bool = False
) -> Callable[..., Any]:
    """`jax.value_and_grad` with factors in the place of analog gradients; see `factor_grad`.

    Args:
      loss: as for `factor_grad`.
      labels: as for `factor_grad`.
      has_aux: whether the loss returns (value, auxiliary data).

    Returns:
      A function like the loss that returns (value, gradient), or ((value, auxiliary data),
      gradient).

    Raises:
      ValueError: as for `factor_grad`.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> from flax import nnx
      >>> layer = spt.nn.AnalogLinear(1, 1, use_bias=False, learn_scale=False, rngs=nnx.Rngs(0))
      >>> graph, params, rest = nnx.split(layer, nnx.Param, ...)
      >>> rest = {"scale": jnp.array([4.0])}
      >>> loss = lambda params, x: jnp.sum(nnx.merge(graph, params, rest)(x)) / 2
      >>> step = spt.nn.value_and_factor_grad(loss, "analog")
      >>> params = {"kernel": jnp.array([[0.5]])}
      >>> value, grads = step(params, jnp.array([[1.0], [3.0]]))
      >>> print(value, grads["kernel"].x.ravel(), grads["kernel"].d.ravel())
      4.0 [1. 3.] [2. 2.]
    """

    def value_and_grad(params, *args, **kwargs):
        leaves, treedef = jax.tree.flatten(params)
        names = jax.tree.leaves(_like(labels, params))
        analog = {i: leaf for i, leaf in enumerate(leaves) if names[i] == "analog"}
        digital = {i: leaf for i, leaf in enumerate(leaves) if i not in analog}

        def run(weights, digital):
            every = digital | dict(zip(analog, weights, strict=True))
            params = treedef.unflatten(every[i] for i in range(len(leaves)))
            return loss(params, *args, **kwargs)

        def of_taps(taps, digital):
            return run(list(map(TappedWeight, analog.values(), taps)), digital)

        uses = record_uses(list(analog.values()), lambda weights: run(weights, digital))
        gradient = jax.value_and_grad(of_taps, argnums=(0, 1), has_aux=has_aux)
        value, (taps, grads) = gradient(_zeros(uses), digital)
        factors = map(_factors, analog.values(), taps)
        every = grads | dict(zip(analog, factors, strict=True))
        return value, treedef.unflatten(every[i] for i in range(len(leaves)))

    return value_and_grad


def record_uses(weights: list[Array], run: Callable[[list[TappedWeight]], Any]) -> list[list[_Use]]:
    """The shapes of all uses of weights in a function of tapped weights, which is only traced."""
    tapped: list[TappedWeight] = []

    def traced(weights):
        tapped.extend(TappedWeight(weight, None) for weight in weights)
        run(tapped)

    jax.eval_shape(traced, weights)
    return [one.uses for one in tapped]


def _current_trace() -> Any:
    """What differs inside and outside of a JAX transformation."""
    return get_opaque_trace_state(convention="nnx")


def _shape_of(x: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _zeros(uses: PyTree) -> PyTree:
    return jax.tree.map(lambda use: jnp.zeros(use.shape, use.dtype), uses)


def _like(prefix: PyTree, tree: PyTree) -> PyTree:
    """A tree like `tree` with the leaves of a prefix of it."""
    return jax.tree.map(lambda leaf, part: jax.tree.map(lambda _: leaf, part), prefix, tree)


def _factors(weight: Array, uses: list[_Use]) -> Factors:
    """The factors of all uses of a weight, one after the other."""
    inputs, outputs = weight.shape[:-1], weight.shape[-1]
    leaves = jax.tree.leaves(uses)  # x, d, x, d, ...
    x = [leaf.reshape(-1, *inputs) for leaf in leaves[::2]]
    d = [leaf.reshape(-1, outputs) for leaf in leaves[1::2]]
    if not uses:
        return Factors(jnp.zeros((0, *inputs), weight.dtype), jnp.zeros((0, outputs), weight.dtype))
    return Factors(jnp.concatenate(x), jnp.concatenate(d))


@jax.custom_vjp
def _tapped(tap: tuple[Array, Array], x: Array, y: Array, scale: Array) -> Array:
    """y; the derivative with respect to the tap is (x, scale dy)."""
    return y


def _tapped_fwd(tap, x, y, scale):
    return y, (x, scale)


def _tapped_bwd(kept, dy):
    x, scale = kept
    return (x, scale * dy), jnp.zeros_like(x), dy, jnp.zeros_like(scale)


_tapped.defvjp(_tapped_fwd, _tapped_bwd)
