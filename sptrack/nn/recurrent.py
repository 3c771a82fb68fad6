"""A recurrent cell, and steps in time that keep reads and factors of every step apart."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sptrack._typing import Array, PyTree
from sptrack.nn.factors import TappedWeight, record_uses
from sptrack.nn.layer import analog_layers, seed_each
from sptrack.nn.linear import AnalogLinear
from sptrack.periphery import ReadPaths


class AnalogSimpleCell(nnx.RNNCellBase):
    """h' = activation(W_i x + b_i + W_h h), both products on arrays; `nnx.SimpleCell` otherwise.

    For cells with gates convert those of flax: `spt.nn.convert(nnx.OptimizedLSTMCell(...))`.

    Args:
      in_features: number of inputs.
      hidden_features: number of outputs, which are the state.
      activation_fn: function of arrays.
      weight_range: largest initial magnitude in the kernels, conductance units, > 0.
      learn_scale: whether output scales are trained.
      kernel_init: initializer of the weight of inputs; default LeCun normal.
      recurrent_kernel_init: initializer of the weight of the state; default orthogonal.
      reads: as in `AnalogLinear`.
      dtype: floating dtype.
      rngs: flax random streams; "params" is used.

    Attributes:
      dense_i: `AnalogLinear` of the inputs, with bias.
      dense_h: `AnalogLinear` of the state, without.

    Raises:
      ValueError, TypeError: as `AnalogLinear`.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> from flax import nnx
      >>> cell = spt.nn.AnalogSimpleCell(3, 4, rngs=nnx.Rngs(0))
      >>> nnx.RNN(cell)(jnp.ones((2, 7, 3))).shape  # 2 sequences of 7 steps
      (2, 7, 4)
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        activation_fn: Callable[[Array], Array] = jnp.tanh,
        weight_range: float = 0.3,
        learn_scale: bool = True,
        kernel_init: Any = None,
        recurrent_kernel_init: Any = None,
        reads: ReadPaths | None = None,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        shared: dict[str, Any] = {
            "weight_range": weight_range,
            "learn_scale": learn_scale,
            "reads": reads,
            "dtype": dtype,
            "rngs": rngs,
        }
        self.hidden_features = hidden_features
        self.activation_fn = activation_fn
        self.dense_h = AnalogLinear(
            hidden_features,
            hidden_features,
            use_bias=False,
            kernel_init=recurrent_kernel_init or nnx.initializers.orthogonal(),
            **shared,
        )
        self.dense_i = AnalogLinear(in_features, hidden_features, kernel_init=kernel_init, **shared)

    def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:  # type: ignore
        """State and inputs, (..., features), to (new state, output), which are the same."""
        new = self.activation_fn(self.dense_i(inputs) + self.dense_h(carry))
        return new, new

    def initialize_carry(  # type: ignore
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None
    ) -> Array:
        """The state before the first step, zeros unless `carry_init` (with `rngs`) says else.

        Args:
          input_shape: shape of the inputs of a step, (..., in_features).
          rngs: flax random streams, of which "carry" is used, or that stream.
          carry_init: an initializer.

        Returns:
          Shape (..., hidden_features).
        """
        shape, dtype = (*input_shape[:-1], self.hidden_features), self.dense_h.kernel.dtype
        if carry_init is None:
            return jnp.zeros(shape, dtype)
        key = rngs.carry() if isinstance(rngs, nnx.Rngs) else rngs()
        return carry_init(key, shape, dtype)

    @property
    def num_feature_axes(self) -> int:
        """Trailing axes of the inputs that are no batch."""
        return 1


def scan(cell: Any, carry: PyTree, xs: PyTree) -> tuple[PyTree, PyTree]:
    """Calls a cell step after step in one `jax.lax.scan`, with analog layers in it.

        carry, y[t] = cell(carry, xs[t])

    Reads draw fresh noise in every step, and `spt.nn.factor_grad` gets the factors of all steps,
    those of the first step first. (`nnx.RNN` does the former, but not the latter.) Differentiable
    as the cell is.

    Args:
      cell: an nnx module called as cell(carry, x), e.g. `AnalogSimpleCell` or a converted
        `nnx.OptimizedLSTMCell`; what it changes in itself is forgotten after a step.
      carry: state before the first step; `cell.initialize_carry` makes one.
      xs: inputs, steps along the first axis.

    Returns:
      (carry after the last step, outputs with steps along the first axis).

    Raises:
      ValueError: if reads in the cell draw noise and have no key (see `seed_reads`).

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> from flax import nnx
      >>> cell = spt.nn.AnalogSimpleCell(3, 4, rngs=nnx.Rngs(0))
      >>> carry = cell.initialize_carry((2, 3))
      >>> carry, ys = spt.nn.scan(cell, carry, jnp.ones((7, 2, 3)))  # 7 steps, 2 sequences
      >>> carry.shape, ys.shape
      ((2, 4), (7, 2, 4))
    """
    keys: dict[str, Any] = {path: layer.next_key() for path, layer in analog_layers(cell)}
    graph, state = nnx.split(cell)
    leaves, treedef = jax.tree.flatten(state)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, TappedWeight)]
    weights = [leaves[i] for i in places]
    steps = jax.tree.leaves(xs)[0].shape[0]

    def call(weights: list[TappedWeight], t: Array | int, carry: PyTree, x: PyTree):
        every = dict(enumerate(leaves)) | dict(zip(places, weights, strict=True))
        copy = nnx.merge(graph, treedef.unflatten(every[i] for i in range(len(leaves))))
        seed_each(copy, lambda path, _: jax.random.fold_in(keys[path], t))
        return copy(carry, x)

    def step(carry, at):
        t, x, taps = at
        tapped = [
            TappedWeight(weight.array, tap) for weight, tap in zip(weights, taps, strict=True)
        ]
        return call(tapped, t, carry, x)

    first = jax.tree.map(lambda x: x[0], xs)
    taps = _taps(weights, steps, lambda weights: call(weights, 0, carry, first))
    return jax.lax.scan(step, carry, (jnp.arange(steps), xs, taps))


def _taps(
    weights: list[TappedWeight], steps: int, run: Callable[[list[TappedWeight]], Any]
) -> list[Any]:
    """Taps of every weight for every use in a step, with an axis of steps; None if not needed."""

    def of_all_steps(shape):
        return jax.ShapeDtypeStruct((steps, *shape.shape), shape.dtype)

    uses = record_uses([weight.array for weight in weights], run) if weights else []
    return [
        weight.tap(jax.tree.map(of_all_steps, use))
        for weight, use in zip(weights, uses, strict=True)
    ]
