"""A convolution whose kernel lives on a crossbar array, patch by patch."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sptrack._typing import Array
from sptrack.nn.layer import AnalogLayer, check_counts
from sptrack.periphery import ReadPaths


class AnalogConv(AnalogLayer):
    """A convolution in one or two dimensions; every output position is one read of the array.

        y[position] = (patch(x, position) @ kernel) * scale + bias

    The array has an input line per patch element, in the order of the kernel's axes, and an output
    line per output channel. Reads, also the transposed ones of errors, are made position by
    position; where patches overlap, errors are added up digitally. `spt.nn.factor_grad` gives a
    sample per image and position.

    Args:
      in_features: number of input channels.
      out_features: number of output channels.
      kernel_size: one or two integers; an integer is a convolution in one dimension.
      strides: an integer, or one per dimension.
      padding: "SAME", "VALID", an integer, or one integer or (low, high) per dimension; zeros.
      use_bias: whether there is a digital bias.
      weight_range: largest initial magnitude in the kernel, conductance units, > 0.
      learn_scale: whether the output scale is trained.
      kernel_init: initializer of kernel * scale; default LeCun normal.
      reads: as in `AnalogLinear`.
      dtype: floating dtype.
      rngs: flax random streams; "params" is used.

    Attributes:
      kernel: `AnalogParam` of shape (*kernel_size, in_features, out_features), as in `nnx.Conv`.
      scale: `nnx.Param` (or `FixedScale`) of shape (out_features,).
      bias: `nnx.Param` of shape (out_features,), or None.

    Raises:
      ValueError: if a number is not positive, out of range or of another dimension.
      TypeError: if `reads` is no `ReadPaths`.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> from flax import nnx
      >>> layer = spt.nn.AnalogConv(1, 16, (5, 5), padding="VALID", rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 28, 28, 1))).shape, layer.kernel.shape
      ((2, 24, 24, 16), (5, 5, 1, 16))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        *,
        padding: Any = "SAME",
        use_bias: bool = True,
        weight_range: float = 0.3,
        learn_scale: bool = True,
        kernel_init: Any = None,
        reads: ReadPaths | None = None,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_counts("AnalogConv", in_features=in_features, out_features=out_features)
        self.kernel_size = (kernel_size,) if isinstance(kernel_size, int) else tuple(kernel_size)
        rank = len(self.kernel_size)
        if rank not in (1, 2):
            raise ValueError(f"AnalogConv: kernel_size needs 1 or 2 integers, got {kernel_size!r}.")
        self.strides = (strides,) * rank if isinstance(strides, int) else tuple(strides)
        if len(self.strides) != rank:
            raise ValueError(f"AnalogConv: strides need {rank} integers, got {strides!r}.")
        for size, stride in zip(self.kernel_size, self.strides, strict=True):
            check_counts("AnalogConv", kernel_size=size, strides=stride)
        self.padding = _padding(padding, rank)
        kernel_init = kernel_init or nnx.initializers.lecun_normal()
        self.kernel = self.hold(
            kernel_init(rngs.params(), (*self.kernel_size, in_features, out_features), dtype),
            use_bias=use_bias,
            weight_range=weight_range,
            learn_scale=learn_scale,
            reads=reads,
        )

    def __call__(self, x: Array) -> Array:
        """Maps inputs of shape (..., *space, in_features) to (..., *new space, out_features)."""
        rank, channels = len(self.kernel_size), self.kernel.shape[-2]
        if x.ndim < rank + 1 or x.shape[-1] != channels:
            space = "height, width" if rank == 2 else "length"
            raise ValueError(
                f"AnalogConv: inputs need shape (..., {space}, {channels}), got {x.shape}."
            )
        batch, image = x.shape[: -rank - 1], x.shape[-rank - 1 :]
        lines = patches(x.reshape(-1, *image), self.kernel_size, self.strides, self.padding)
        y = self.digital(self.read(self.kernel, lines))
        return y.reshape(*batch, *y.shape[1:])


def patches(
    x: Array,
    kernel_size: tuple[int, ...],
    strides: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
) -> Array:
    """The patches that a convolution sees, one after the other in the rows of a matrix (im2col).

    Args:
      x: shape (batch, *space, channels).
      kernel_size: size of a patch in each dimension.
      strides: steps from patch to patch.
      padding: "SAME", "VALID" or pairs (low, high) of zeros per dimension.

    Returns:
      Shape (batch, *new space, patch elements); channels vary fastest in a patch.

    Raises:
      ValueError: if the padded input is smaller than a patch.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> print(spt.nn.patches(jnp.arange(4.0).reshape(1, 4, 1), (2,), (1,), "VALID")[0])
      [[0. 1.]
       [1. 2.]
       [2. 3.]]
    """
    space = x.shape[1:-1]
    if isinstance(padding, str):
        padding = tuple(jax.lax.padtype_to_pads(space, kernel_size, strides, padding))
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    positions = [
        (size - patch) // stride + 1
        for size, patch, stride in zip(x.shape[1:-1], kernel_size, strides, strict=True)
    ]
    if min(positions) < 1:
        raise ValueError(
            f"patches: a patch of {kernel_size} doesn't fit in padded {x.shape[1:-1]}."
        )
    elements = []
    for offset in itertools.product(*map(range, kernel_size)):
        each = zip(offset, positions, strides, strict=True)
        seen = [slice(start, start + (n - 1) * stride + 1, stride) for start, n, stride in each]
        elements.append(x[:, *seen])
    return jnp.concatenate(elements, axis=-1)


def _padding(padding: Any, rank: int) -> str | tuple[tuple[int, int], ...]:
    """A name or a pair per dimension; refuses anything else."""
    if padding in ("SAME", "VALID"):
        return padding
    each = (padding,) * rank if isinstance(padding, int) else padding
    if not isinstance(each, str) and isinstance(each, Sequence) and len(each) == rank:
        pairs = [(one, one) if isinstance(one, int) else tuple(one) for one in each]
        if all(len(pair) == 2 and min(pair) >= 0 for pair in pairs):
            return tuple(pairs)
    raise ValueError(
        f"AnalogConv: padding must be 'SAME', 'VALID', an integer >= 0, or {rank} of these or of "
        f"pairs of these, got {padding!r}."
    )
