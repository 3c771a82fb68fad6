"""Which parameters are analog, and how a weight becomes conductances and digital scales.

Conductances have a fixed range, model weights don't. A weight is therefore kept as a kernel in
conductance units, where its largest entry per output is `weight_range` at the start, and a digital
scale per output: weight = kernel * scale. Scales and biases are digital, exact.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from sptrack._typing import Array, PyTree


class AnalogParam(nnx.Param):
    """A parameter that an analog array holds; all others are digital.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> from flax import nnx
      >>> isinstance(spt.nn.AnalogParam(jnp.zeros(2)), nnx.Param)
      True
    """


class FixedScale(nnx.Variable):
    """An output scale that isn't trained.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> from flax import nnx
      >>> isinstance(spt.nn.FixedScale(jnp.ones(2)), nnx.Param)
      False
    """


def map_weight(weight: Array, weight_range: float) -> tuple[Array, Array]:
    """Splits a weight into a kernel whose largest entry per output is `weight_range`, and scales.

    Args:
      weight: shape (..., outputs).
      weight_range: largest magnitude wanted for every output in the kernel, > 0.

    Returns:
      (kernel, scale) with kernel * scale = weight and a scale per output; it is 1 where all weights
      of an output are zero.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> kernel, scale = spt.nn.map_weight(jnp.array([[1.0, 0.0], [-2.0, 0.0]]), 0.5)
      >>> print(kernel.tolist(), scale)
      [[0.25, 0.0], [-0.5, 0.0]] [4. 1.]
    """
    inputs = tuple(range(weight.ndim - 1))
    largest = jnp.max(jnp.abs(weight), axis=inputs, keepdims=True)
    scale = jnp.where(largest > 0, largest / weight_range, 1)
    return weight / scale, scale.reshape(-1)


def labels(params: PyTree) -> PyTree:
    """Which parameters are analog: "analog" or "digital" per leaf, for `optax.partition`.

    Args:
      params: an `nnx.State` of `nnx.Param` variables, as `nnx.split(model, nnx.Param, ...)` gives
        it (before `nnx.as_pure`, which drops what kind of parameter each is).

    Returns:
      A tree like `nnx.as_pure(params)` of strings.

    Raises:
      TypeError: if a leaf is no nnx variable.

    Example:
      >>> import sptrack as spt
      >>> from flax import nnx
      >>> model = spt.nn.AnalogLinear(2, 3, rngs=nnx.Rngs(0))
      >>> graph, params, rest = nnx.split(model, nnx.Param, ...)
      >>> labels = spt.nn.labels(params)
      >>> labels["kernel"], labels["scale"]
      ('analog', 'digital')
    """

    def is_variable(x):
        return isinstance(x, nnx.Variable)

    def label(variable):
        if not is_variable(variable):
            raise TypeError(
                "labels needs the nnx.State with its variables, got a plain array: call it before "
                "nnx.as_pure."
            )
        return variable.replace("analog" if isinstance(variable, AnalogParam) else "digital")

    return nnx.as_pure(jax.tree.map(label, params, is_leaf=is_variable))
