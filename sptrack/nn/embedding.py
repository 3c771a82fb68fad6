"""A table of vectors that lives on a crossbar array, an input line per entry."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from sptrack._typing import Array
from sptrack.nn.layer import AnalogLayer, check_counts
from sptrack.nn.product import lookup
from sptrack.periphery import ReadPaths


class AnalogEmbedding(AnalogLayer):
    """y = embedding[i] * scale: an analog table of vectors, and a digital scale per feature.

    To look something up is to read one line of the array (`spt.periphery.read_columns`): idle lines
    are grounded and have no noise. Indices have no gradient, so there is no backward read. Factors
    of a lookup have x one-hot: an update sends pulses on the lines that were looked up.

    Args:
      num_embeddings: number of vectors.
      features: their length.
      weight_range: largest initial magnitude in the table, conductance units, > 0.
      learn_scale: whether the output scale is trained.
      embedding_init: initializer of embedding * scale; default that of `nnx.Embed`.
      reads: as in `AnalogLinear`; the forward path is used.
      dtype: floating dtype.
      rngs: flax random streams; "params" is used.

    Attributes:
      embedding: `AnalogParam` of shape (num_embeddings, features).
      scale: `nnx.Param` (or `FixedScale`) of shape (features,).

    Raises:
      ValueError: if a number is not positive or `weight_range` out of range.
      TypeError: if `reads` is no `ReadPaths`.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> from flax import nnx
      >>> layer = spt.nn.AnalogEmbedding(10, 3, rngs=nnx.Rngs(0))
      >>> layer(jnp.array([[1, 2], [3, 1]])).shape
      (2, 2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        features: int,
        *,
        weight_range: float = 0.3,
        learn_scale: bool = True,
        embedding_init: Any = None,
        reads: ReadPaths | None = None,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_counts("AnalogEmbedding", num_embeddings=num_embeddings, features=features)
        embedding_init = embedding_init or nnx.initializers.variance_scaling(
            1.0, "fan_in", "normal", out_axis=0
        )
        self.embedding = self.hold(
            embedding_init(rngs.params(), (num_embeddings, features), dtype),
            use_bias=False,
            weight_range=weight_range,
            learn_scale=learn_scale,
            reads=reads,
        )

    def __call__(self, indices: Array) -> Array:
        """Maps integers in [0, num_embeddings) of any shape to (..., features)."""
        if not jnp.issubdtype(indices.dtype, jnp.integer):
            raise TypeError(f"AnalogEmbedding: indices must be integers, got {indices.dtype}.")
        weight, path = self.embedding.get_value(), self.read_paths().forward
        return self.digital(lookup(weight, indices, path, self.next_key()))
