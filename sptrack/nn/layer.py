"""What all layers on a crossbar share: what they hold, and reads with their keys.

A layer holds an analog kernel, whose last axis are outputs and all others input lines, and a
digital scale and bias per output. Where its reads draw noise it needs a key for every pass:
`seed_reads` hands them out.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
from flax import nnx

from sptrack._random import as_key, purpose_key
from sptrack._typing import Array, Key, check_number
from sptrack.nn.parameters import AnalogParam, FixedScale, map_weight
from sptrack.nn.product import product
from sptrack.periphery import ReadPaths, draws


class Reads(nnx.Variable):
    """The `ReadPaths` of a layer; a variable, so that their numbers can be traced and swept."""


class AnalogLayer(nnx.Module):
    """Base of the layers on a crossbar; their documentation says what they compute."""

    read_keys: nnx.Rngs | None  # only where reads draw

    def hold(
        self,
        weight: Array,
        *,
        use_bias: bool,
        weight_range: float,
        learn_scale: bool,
        reads: ReadPaths | None,
    ) -> AnalogParam:
        """Sets scale, a zero bias and how reads are done; returns the kernel for a weight."""
        name = type(self).__name__
        check_number(name, "weight_range", weight_range, 0.0, jnp.inf, above=True)
        kernel, scale = map_weight(weight, weight_range)
        self.scale = nnx.Param(scale) if learn_scale else FixedScale(scale)
        self.bias = nnx.Param(jnp.zeros_like(scale)) if use_bias else None
        if reads is not None and not isinstance(reads, ReadPaths):
            raise TypeError(
                f"{name}: reads must be a spt.periphery.ReadPaths, e.g. "
                f"spt.periphery.table_6() or ReadPaths(forward=path), got {reads!r}."
            )
        if reads is not None:
            self.reads = Reads(reads)
            if draws(reads.forward) or draws(reads.backward):
                self.read_keys = nnx.data(None)
        return AnalogParam(kernel)

    def read_paths(self) -> ReadPaths:
        """How reads are done."""
        return self.reads.get_value() if hasattr(self, "reads") else ReadPaths()

    def next_key(self) -> Key | None:
        """A new key for one pass through this layer; None if its reads draw nothing."""
        if not hasattr(self, "read_keys"):
            return None
        if self.read_keys is None:
            raise ValueError(
                f"{type(self).__name__}: its reads draw noise, so it needs a key for every pass: "
                "call spt.nn.seed_reads(model, key) first, with another key for every pass."
            )
        return self.read_keys.read()

    def read(self, kernel: AnalogParam, x: Array) -> Array:
        """Inputs of shape (..., input lines) through the array: (..., outputs)."""
        return product(kernel.get_value(), x, self.read_paths(), self.next_key())

    def digital(self, y: Array) -> Array:
        """What the array gives, scaled and with the bias."""
        lead = (1,) * (y.ndim - 1)
        y = y * self.scale[...].reshape(*lead, -1)
        return y if self.bias is None else y + self.bias[...].reshape(*lead, -1)


def analog_layers(model: nnx.Module) -> Iterator[tuple[str, AnalogLayer]]:
    """Dotted path and layer of all analog layers of a model."""
    for path, module in nnx.iter_modules(model):
        if isinstance(module, AnalogLayer):
            yield ".".join(map(str, path)), module


def seed_reads(model: Any, key: Key) -> Any:
    """Gives every analog layer of a model a key of its own for the noise of its reads.

    A layer's key depends on `key` and on the layer's place in the model, and on nothing else there.
    A layer that is called several times in a pass draws fresh noise each time. Call this once per
    pass, with another key each time, inside of what is differentiated:

        model = spt.nn.seed_reads(nnx.merge(graph, params, rest), key)

    Args:
      model: an nnx module.
      key: a JAX random key.

    Returns:
      A model with the same variables whose layers have keys.

    Raises:
      TypeError: if `key` is no key.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> from flax import nnx
      >>> layer = spt.nn.AnalogLinear(4, 3, reads=spt.periphery.table_6(), rngs=nnx.Rngs(0))
      >>> layer = spt.nn.seed_reads(layer, jax.random.key(1))
      >>> first, second = layer(jnp.ones(4)), layer(jnp.ones(4))
      >>> print((first == second).all())
      False
    """
    key = as_key(key)
    model = nnx.clone(model, variables=False)
    seed_each(model, lambda path, layer: purpose_key(key, f"reads of {path}"))
    return model


def seed_each(model: Any, key_of: Callable[[str, AnalogLayer], Key]) -> None:
    """Gives every layer that draws the key `key_of(path, layer)`."""
    for path, layer in analog_layers(model):
        if hasattr(layer, "read_keys"):
            layer.read_keys = nnx.Rngs(read=key_of(path, layer))


def check_counts(owner: str, **counts: Any) -> None:
    """Raises ValueError unless all are integers >= 1."""
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{owner}: {name} must be an integer >= 1, got {value!r}.")
