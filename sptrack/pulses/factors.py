"""The rank-1 factors of a weight gradient: what a crossbar is really given."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from sptrack._typing import Array


class Factors(NamedTuple):
    """Rank-1 factors of the gradient of one weight, in the layout of flax kernels.

    The gradient of a weight of shape (..., inputs, outputs) is a sum over samples of outer
    products, and hardware applies it as such, by coincidences of pulses on a row and a column:

        g[i, o] = sum_s x[s, i] d[s, o]

    A `Factors` may stand where the gradient array of a weight is expected in the updates of every
    optimizer of sptrack. Convolutions have a sample per image and output position.

    Attributes:
      x: activations, shape (samples, inputs); `inputs` may also be all axes of the weight but the
        last, unflattened.
      d: gradients of the loss with respect to the outputs, shape (samples, outputs). For a mean
        over a batch they hold the factor 1 / batch.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> factors = spt.Factors(x=jnp.array([[1.0, 2.0]]), d=jnp.array([[3.0, 0.0, -1.0]]))
      >>> print(spt.pulses.contract(factors))
      [[ 3.  0. -1.]
       [ 6.  0. -2.]]
    """

    x: Array
    d: Array


def is_factors(value: Any) -> bool:
    """Whether `value` is a `Factors`; the `is_leaf` of trees that may hold some.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> updates = {"a": spt.Factors(jnp.ones((5, 2)), jnp.ones((5, 3))), "b": jnp.ones(3)}
      >>> len(jax.tree.leaves(updates)), len(jax.tree.leaves(updates, spt.pulses.is_factors))
      (3, 2)
    """
    return isinstance(value, Factors)


def contract(factors: Factors) -> Array:
    """The gradient array that factors stand for, sum_s x[s] d[s].

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
    x, d = factors
    check_factors(factors)
    return jnp.einsum("s...,so->...o", x, d)


def check_factors(factors: Factors) -> None:
    """Raises ValueError unless x is (samples, ..., inputs) and d is (samples, outputs)."""
    x, d = jnp.shape(factors.x), jnp.shape(factors.d)
    if len(x) < 2 or len(d) != 2 or x[0] != d[0]:
        raise ValueError(
            f"Factors need x of shape (samples, inputs) and d of shape (samples, outputs), got "
            f"{x} and {d}; one sample alone is x[None], d[None]."
        )
