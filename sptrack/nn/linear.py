"""A linear layer whose kernel lives on a crossbar array."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from sptrack._typing import Array
from sptrack.nn.layer import AnalogLayer, check_counts
from sptrack.periphery import ReadPaths


class AnalogLinear(AnalogLayer):
    """y = (x @ kernel) * scale + bias, with an analog kernel and digital scale and bias.

    Initially every column (output) of the kernel has the maximum magnitude `weight_range`, and
    kernel * scale is distributed as `kernel_init` says. The gradient with respect to the kernel is
    scale times that of the weight which the model sees.

    With `reads`, x @ kernel is a read through the forward path, every sample for itself, and errors
    go back through a read of the transposed array by the backward path. The gradient of the kernel
    is made from x and the errors at the array's outputs, as they are.

    Args:
      in_features: number of inputs, the array's columns.
      out_features: number of outputs.
      use_bias: whether there is a digital bias.
      weight_range: largest initial magnitude in the kernel, conductance units, > 0.
      learn_scale: whether the output scale is trained.
      kernel_init: initializer of kernel * scale; default LeCun normal.
      reads: `spt.periphery.ReadPaths` with the forward and backward path; None reads exactly. The
        transfer path belongs to the optimizer (`spt.ColumnTransfer`). A layer whose reads draw
        noise needs `spt.nn.seed_reads` before every pass.
      dtype: floating dtype.
      rngs: flax random streams; "params" is used.

    Attributes:
      kernel: `AnalogParam` of shape (in_features, out_features).
      scale: `nnx.Param` (or `FixedScale`) of shape (out_features,).
      bias: `nnx.Param` of shape (out_features,), or None.

    Raises:
      ValueError: if a number of features is not positive or `weight_range` out of range.
      TypeError: if `reads` is no `ReadPaths`.

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
        reads: ReadPaths | None = None,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_counts("AnalogLinear", in_features=in_features, out_features=out_features)
        kernel_init = kernel_init or nnx.initializers.lecun_normal()
        self.kernel = self.hold(
            kernel_init(rngs.params(), (in_features, out_features), dtype),
            use_bias=use_bias,
            weight_range=weight_range,
            learn_scale=learn_scale,
            reads=reads,
        )

    def __call__(self, x: Array) -> Array:
        """Maps inputs of shape (..., in_features) to (..., out_features)."""
        if x.shape[-1] != self.kernel.shape[0]:
            raise ValueError(
                f"AnalogLinear: inputs need {self.kernel.shape[0]} features, got shape {x.shape}."
            )
        return self.digital(self.read(self.kernel, x))
