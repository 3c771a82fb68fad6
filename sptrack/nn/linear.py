"""A linear layer whose kernel lives on a crossbar array.

Conductances have a fixed range, model weights don't. The kernel is therefore kept in conductance
units, where its largest entry per output column is `weight_range` at the start, and a digital scale
per output maps it to the model: y = (x @ kernel) * scale + bias. Scale and bias are digital, exact.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sptrack._typing import Array, PyTree, check_number


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


class AnalogLinear(nnx.Module):
    """y = (x @ kernel) * scale + bias, with an analog kernel and digital scale and bias.

    Initially every column (output) of the kernel has the maximum magnitude `weight_range`, and
    kernel * scale is distributed as `kernel_init` says. The gradient with respect to the kernel is
    scale times that of the weight which the model sees.

    Args:
      in_features: number of inputs, the array's columns.
      out_features: number of outputs.
      use_bias: whether there is a digital bias.
      weight_range: largest initial magnitude in the kernel, conductance units, > 0.
      learn_scale: whether the output scale is trained.
      kernel_init: initializer of kernel * scale; default LeCun normal.
      dtype: floating dtype.
      rngs: flax random streams; "params" is used.

    Attributes:
      kernel: `AnalogParam` of shape (in_features, out_features).
      scale: `nnx.Param` (or `FixedScale`) of shape (out_features,).
      bias: `nnx.Param` of shape (out_features,), or None.

    Raises:
      ValueError: if a number of features is not positive or `weight_range` out of range.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> from flax import nnx
      >>> layer = spt.nn.AnalogLinear(4, 3, weight_range=0.3, rngs=nnx.Rngs(0))
      >>> print(layer(jnp.ones((2, 4))).shape, abs(layer.kernel[...]).max().round(3))
      (2, 3) 0.3
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        use_bias: bool = True,
        weight_range: float = 0.3,
        learn_scale: bool = True,
        kernel_init: Any = None,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        for name, value in (("in_features", in_features), ("out_features", out_features)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"AnalogLinear: {name} must be an integer >= 1, got {value!r}.")
        check_number("AnalogLinear", "weight_range", weight_range, 0.0, jnp.inf, above=True)
        kernel_init = kernel_init or nnx.initializers.lecun_normal()
        weight = kernel_init(rngs.params(), (in_features, out_features), dtype)
        kernel, scale = map_weight(weight, weight_range)
        self.kernel = AnalogParam(kernel)
        self.scale = nnx.Param(scale) if learn_scale else FixedScale(scale)
        self.bias = nnx.Param(jnp.zeros(out_features, dtype)) if use_bias else None

    def __call__(self, x: Array) -> Array:
        """Maps inputs of shape (..., in_features) to (..., out_features)."""
        if x.shape[-1] != self.kernel.shape[0]:
            raise ValueError(
                f"AnalogLinear: inputs need {self.kernel.shape[0]} features, got shape {x.shape}."
            )
        y = x @ self.kernel[...]
        lead = (1,) * (y.ndim - 1)
        y = y * self.scale[...].reshape(*lead, -1)
        return y if self.bias is None else y + self.bias[...].reshape(*lead, -1)


def map_weight(weight: Array, weight_range: float) -> tuple[Array, Array]:
    """Splits a weight into a kernel with column maxima `weight_range`, and a scale per column.

    Args:
      weight: shape (inputs, outputs).
      weight_range: largest magnitude wanted in every column of the kernel, > 0.

    Returns:
      (kernel, scale) with kernel * scale = weight; the scale is 1 where a column is all zero.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> kernel, scale = spt.nn.map_weight(jnp.array([[1.0, 0.0], [-2.0, 0.0]]), 0.5)
      >>> print(kernel.tolist(), scale)
      [[0.25, 0.0], [-0.5, 0.0]] [4. 1.]
    """
    largest = jnp.max(jnp.abs(weight), axis=0, keepdims=True)
    scale = jnp.where(largest > 0, largest / weight_range, 1)
    return weight / scale, scale[0]


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
