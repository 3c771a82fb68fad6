"""What can be asked of the state of a link or an optimizer: the protocol of `spt.read_arrays`."""

from typing import Protocol, runtime_checkable

from sptrack._typing import PyTree
from sptrack.transforms.arrays import ArrayState


@runtime_checkable
class AnalogState(Protocol):
    """A state whose arrays `spt.read_arrays`, `eval_params` and `pulse_counts` find.

    A NamedTuple with these two methods is one, also inside optax's wrappers. Optional:

      effective_weights(residual)   what the model sees, with or without residual arrays; in its
                                    absence what reads of "weight" show
      calibration_pulses            pulses per cell spent before training; scalar; 0 without it
      inner_state                   a state that is looked into as well (as in `ChopState`)

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> state = spt.low_pass(0.1).init(jnp.zeros(2))
      >>> isinstance(state, spt.transforms.AnalogState), list(state.digital())
      (True, ['tracked_sp'])
    """

    def arrays(self) -> dict[str, ArrayState]:
        """Analog arrays by name, from "weight" (W) to the one that sees the gradients."""
        ...

    def digital(self) -> dict[str, PyTree]:
        """Digital values by name, trees like the parameters."""
        ...
