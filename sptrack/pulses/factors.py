"""The rank-1 factors of a weight gradient: what a crossbar is really given."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from sptrack._typing import Array


class Factors(NamedTuple):
    """Rank-1 factors of the gradient of one weight, in the layout of flax kernels.

    The gradient of a weight of shape (..., inputs, outputs) is a sum over samples of outer
    products, and hardware applies it as such, by coincidences of pulses on a row and a column:

        g[i, o] = sum_s x[s, i] d[s, o] / scale

    A `Factors` may stand where the gradient array of a weight is expected in the updates of every
    optimizer of sptrack. Convolutions have a sample per image and output position.

    `scale` is 1 as gradients come. It is there for transformations that multiply all leaves of the
    updates by a number, as `optax.scale` and `optax.scale_by_learning_rate` do: a x, a d and
    a scale stand for a g, and so the number counts once. Nothing else that treats leaves one by
    one (clipping, norms, averages over steps) means anything for factors.

    Attributes:
      x: activations, shape (samples, inputs); `inputs` may also be all axes of the weight but the
        last, unflattened.
      d: gradients of the loss with respect to the outputs, shape (samples, outputs). For a mean
        over a batch they hold the factor 1 / batch.
      scale: by how much x and d are both scaled, a scalar; 0 makes a gradient of zeros.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> factors = spt.Factors(x=jnp.array([[1.0, 2.0]]), d=jnp.array([[3.0, 0.0, -1.0]]))
      >>> print(spt.pulses.contract(factors))
      [[ 3.  0. -1.]
       [ 6.  0. -2.]]
      >>> print(spt.pulses.contract(jax.tree.map(lambda leaf: -2 * leaf, factors)))
      [[ -6.   0.   2.]
       [-12.   0.   4.]]
    """

    x: Array
    d: Array
    scale: Any = np.float32(1)  # has a dtype, as optax expects of leaves


def is_factors(value: Any) -> bool:
    """Whether `value` is a `Factors`; the `is_leaf` of trees that may hold some.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> updates = {"a": spt.Factors(jnp.ones((5, 2)), jnp.ones((5, 3))), "b": jnp.ones(3)}
      >>> len(jax.tree.leaves(updates)), len(jax.tree.leaves(updates, spt.pulses.is_factors))
      (4, 2)
    """
    return isinstance(value, Factors)


def contract(factors: Factors) -> Array:
    """The gradient array that factors stand for, sum_s x[s] d[s] / scale.

    Differentiable, with an exact gradient.

    Args:
      factors: the factors, with as many samples in x as in d.

    Returns:
      An array of shape (inputs, outputs), or (..., inputs, outputs) where x has more axes.

    Raises:
      ValueError: if the shapes are no factors' shapes.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.pulses.contract(spt.Factors(jnp.ones((5, 2)), jnp.ones((5, 3)))).shape
      (2, 3)
    """
    x, d, scale = unscaled(factors)
    return scale * jnp.einsum("s...,so->...o", x, d)


def unscaled(factors: Factors) -> tuple[Array, Array, Array]:
    """(x / scale, d / scale, scale): samples as they were, and the number times their product.

    Raises:
      ValueError: if the shapes are no factors' shapes.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> factors = spt.Factors(jnp.array([[0.5]]), jnp.array([[0.25]]), 0.5)
      >>> print(*spt.pulses.unscaled(factors))
      [[1.]] [[0.5]] 0.5
    """
    x, d, scale = (jnp.asarray(leaf) for leaf in factors)
    if x.ndim < 2 or d.ndim != 2 or x.shape[0] != d.shape[0] or scale.ndim != 0:
        raise ValueError(
            f"Factors need x of shape (samples, inputs), d of shape (samples, outputs) and a "
            f"scalar scale, got {x.shape}, {d.shape} and {scale.shape}; one sample alone is "
            "x[None], d[None]."
        )
    divisor = jnp.where(scale == 0, 1, scale)
    scale = scale.astype(jnp.result_type(x, d))
    return x / divisor.astype(x.dtype), d / divisor.astype(d.dtype), scale
