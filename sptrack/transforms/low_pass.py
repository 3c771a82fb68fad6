"""The low-pass filter that tracks a symmetric point, eq. (12) of arXiv 2602.21321."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sptrack._typing import Array, PyTree, ScalarOrSchedule, check_rate
from sptrack.transforms.arrays import ArrayState
from sptrack.transforms.chop import value_at


class LowPassState(NamedTuple):
    """State of `low_pass`: step count and the filter's output Q.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> spt.low_pass(0.1).init(jnp.zeros(2)).tracked_sp
      Array([0., 0.], dtype=float32)
    """

    count: Array
    tracked_sp: PyTree

    def arrays(self) -> dict[str, ArrayState]:
        """None: a filter is digital."""
        return {}

    def digital(self) -> dict[str, PyTree]:
        """Q, as "tracked_sp"."""
        return {"tracked_sp": self.tracked_sp}


def low_pass(eta: ScalarOrSchedule) -> optax.GradientTransformation:
    """Filters what passes through: Q_{k+1} = (1 - eta) Q_k + eta P_{k+1}, eq. (12); Q_0 = 0.

    Its frequency response is |H|^2 = eta^2 / (1 + (1 - eta)^2 - 2 (1 - eta) cos(omega))
    (Lemma 3.10): gain 1 at zero, eta^2 / (2 - eta)^2 at pi, -3 dB near omega = eta. It keeps a
    symmetric point and rejects a chopped signal if eta is well below pi p.

    Args:
      eta: rate of the filter in [0, 1]; number or schedule.

    Returns:
      An optax gradient transformation; unlike `optax.ema` without debiasing nothing but the name of
      its state differs, and a schedule is allowed.

    Raises:
      ValueError: if `eta` is out of range.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> tx = spt.low_pass(0.5)
      >>> state = tx.init(jnp.zeros(1))
      >>> for _ in range(3):
      ...     updates, state = tx.update(jnp.ones(1), state)
      ...     print(updates)
      [0.5]
      [0.75]
      [0.875]
    """
    check_rate("low_pass", "eta", eta, high=1.0)

    def init(params) -> Any:
        return LowPassState(jnp.zeros([], jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None) -> tuple[Any, Any]:
        del params
        tracked = filtered(state.tracked_sp, updates, value_at(eta, state.count))
        return tracked, LowPassState(state.count + 1, tracked)

    return optax.GradientTransformation(init, update)


def filtered(tracked: PyTree, reads: PyTree, eta: Array) -> PyTree:
    """Q + eta (P - Q), leaf by leaf: one step of eq. (12)."""
    return jax.tree.map(lambda q, p: q + (eta * (p - q)).astype(q.dtype), tracked, reads)
