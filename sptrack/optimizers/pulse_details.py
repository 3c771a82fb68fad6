"""Pulses in detail: by purpose, up and down, and what became of them."""

import dataclasses
from typing import Any

import jax
import numpy as np

from sptrack._typing import PyTree
from sptrack.devices.device import bounds
from sptrack.optimizers.inspect_state import (
    analog_states,
    calibration_pulses,
    counters_of,
    merged,
    pulses_by_purpose,
)
from sptrack.pulses import Saturation
from sptrack.transforms.arrays import ArrayState
from sptrack.transforms.counting import PulseCounter, RewriteCounter, wide_value

OUTCOMES = ("attempted", "effective", "saturated", "stuck")
_DIRECTIONS = ("up", "down")


def pulse_details(state: Any) -> dict[str, dict[str, Any]]:
    """All pulses since `init` by purpose, outcome and direction, if they are counted in detail.

    details[purpose][outcome][direction] is a tree like the parameters. Purposes:
      training     gradient pulses, on the array that sees gradients
      transfer     pulses on all arrays behind it
      calibration  zero-shifting; their outcome is not followed: those of stuck cells are "stuck",
                   all others "effective". Half of them are up, and the odd one (exact for the
                   cyclic scheme, the expectation for the stochastic one)
    Outcomes:
      attempted    all that were sent
      effective    those that changed the cell's weight (`spt.pulses.apply_counted`)
      saturated    those that didn't, of cells that can move: the weight was at its bound
      stuck        those sent to cells that can't, whose bounds coincide
    so attempted = effective + saturated + stuck. And details["programming"], where Q~ is
    synchronised with Q: "rewrites", how often each cell's Q~ was rewritten, and under "attempted"
    an estimate of the pulses that takes if Q~ is kept in analog cells like those of P: |change| /
    dw_min. An algorithm that keeps Q~ in digital memory has none of these pulses.

    Numbers are NumPy's uint64 (float64 expectations for method "mean"), so this is for the end of a
    run, outside of jit. States of a population are counted member by member.

    Args:
      state: state of an optimizer of sptrack made with count="detailed", wrapped or not.

    Returns:
      The nested dicts; parts of them are what `spt.costs.pulse_energy` takes.

    Raises:
      ValueError: if pulses weren't counted in detail, or as in `spt.pulse_counts`.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.ConstantStep(dw_min=0.25, dw_min_dtod=0.0, dw_min_std=0.0, up_down_dtod=0.0,
      ...                         w_min_dtod=0.0, w_max_dtod=0.0)
      >>> tx = spt.analog_sgd(1.0, weight_spec=spec, key=jax.random.key(0), count="detailed")
      >>> params = jnp.zeros(2)
      >>> _, state = tx.update(jnp.array([1.0, -0.25]), tx.init(params), params)
      >>> details = spt.pulse_details(state)["training"]
      >>> for outcome in ("attempted", "effective", "saturated"):  # the bound is at -0.6
      ...     print(outcome, details[outcome]["down"], details[outcome]["up"])
      attempted [4 0] [0 1]
      effective [3 0] [0 1]
      saturated [1 0] [0 0]
    """
    training, transfer = pulses_by_purpose(state, _of_array)
    calibration = calibration_pulses(state, training, lambda cells, n: cells.calibrated(n))
    purposes = {"training": training, "transfer": transfer, "calibration": calibration}
    details = {name: _by_outcome(tree) for name, tree in purposes.items()}
    return details | _programming(state)


def saturation_report(state: Any) -> PyTree:
    """What the pulse trains of gradients (`spt.Factors`) were too short for, since `init`.

    Args:
      state: state of an optimizer of sptrack made with count="detailed", wrapped or not.

    Returns:
      A tree like the parameters of `spt.pulses.Saturation`, numbers in NumPy.

    Raises:
      ValueError: if pulses weren't counted in detail, or as in `spt.pulse_counts`.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> tx = spt.analog_sgd(0.1, weight_spec=spt.ConstantStep(dw_min=0.001),
      ...                     key=jax.random.key(0), count="detailed")
      >>> params, factors = jnp.zeros((1, 1)), spt.Factors(jnp.ones((2, 1)), jnp.ones((2, 1)))
      >>> _, state = tx.update(factors, tx.init(params), params)  # 100 pulses, BL = 31
      >>> report = spt.optimizers.saturation_report(state)
      >>> print(report.samples, report.saturated, report.lost_fraction.round(2))
      2 2 0.69
    """
    training, _ = pulses_by_purpose(state, _of_array)
    return jax.tree.map(lambda cells: cells.trains, training)


def _by_outcome(tree: PyTree) -> dict[str, Any]:
    """A tree of `_Cells`, taken apart."""

    def part(*key):
        return jax.tree.map(lambda cells: cells.counts[key], tree)

    return {
        outcome: {direction: part(outcome, direction) for direction in _DIRECTIONS}
        for outcome in OUTCOMES
    }


@dataclasses.dataclass(frozen=True)
class _Cells:
    """Pulses on the cells of one weight, in NumPy; a leaf for JAX, which doesn't know it.

    Attributes:
      counts: by outcome and direction.
      is_stuck: which cells can't move.
      trains: the report on its trains.
    """

    counts: dict[tuple[str, str], Any]
    is_stuck: Any
    trains: Saturation

    def __add__(self, other: "_Cells") -> "_Cells":
        counts = {key: self.counts[key] + other.counts[key] for key in self.counts}
        trains = Saturation(*(a + b for a, b in zip(self.trains, other.trains, strict=True)))
        return _Cells(counts, self.is_stuck, trains)

    def __rmul__(self, zero: int) -> "_Cells":
        counts = {key: np.zeros_like(value) for key, value in self.counts.items()}
        return _Cells(counts, self.is_stuck, Saturation(*(0 * x for x in self.trains)))

    def calibrated(self, pulses: Any) -> "_Cells":
        """The same cells after so many calibration pulses and no others."""
        total = np.asarray(pulses, np.uint64)
        shares = {"up": (total + np.uint64(1)) // np.uint64(2), "down": total // np.uint64(2)}
        counts = {}
        for direction, share in shares.items():
            like = self.counts["attempted", direction]
            sent = np.full_like(like, share.reshape(share.shape + (1,) * (like.ndim - share.ndim)))
            moved = np.where(self.is_stuck, 0, sent).astype(sent.dtype)
            counts |= _outcomes(direction, sent, moved, self.is_stuck)
        return _Cells(counts, self.is_stuck, self.trains)


def _outcomes(direction: str, sent: Any, moved: Any, is_stuck: Any) -> dict[tuple[str, str], Any]:
    rest = sent - moved
    return {
        ("attempted", direction): sent,
        ("effective", direction): moved,
        ("saturated", direction): np.where(is_stuck, 0, rest).astype(sent.dtype),
        ("stuck", direction): np.where(is_stuck, rest, 0).astype(sent.dtype),
    }


def _of_array(array: ArrayState) -> PyTree:
    """The tree of `_Cells` of one array."""
    treedef = jax.tree.structure(array.hidden)
    counters = treedef.flatten_up_to(counters_of(array))
    devices = treedef.flatten_up_to(array.device)
    return treedef.unflatten(map(_of_cells, counters, devices))


def _of_cells(counter: Any, device: Any) -> _Cells:
    if not isinstance(counter, PulseCounter):
        raise ValueError(
            "pulses aren't counted in detail: make the optimizer with count='detailed'."
        )
    sent = {"up": wide_value(counter.up), "down": wide_value(counter.down)}
    moved = {"up": wide_value(counter.moved_up), "down": wide_value(counter.moved_down)}
    is_stuck = np.broadcast_to(_stuck(device, sent["up"].ndim), sent["up"].shape)
    counts = {}
    for direction in _DIRECTIONS:
        counts |= _outcomes(direction, sent[direction], moved[direction], is_stuck)
    return _Cells(counts, is_stuck, Saturation(*map(wide_value, counter.trains)))


def _stuck(device: Any, ndim: int) -> Any:
    """Which cells can't move: their bounds coincide (of all devices of a cell)."""
    limits, members = bounds, np.ndim(device.dw_min)  # a population's axes are in front
    for _ in range(members):
        limits = jax.vmap(limits)
    low, high = (np.asarray(limit) for limit in limits(device))
    return np.all(high <= low, axis=members) if low.ndim > ndim else high <= low


def _programming(state: Any) -> dict[str, dict[str, Any]]:
    """What was counted of synchronisations of Q~, by parameter; nothing without any."""
    parts = [
        {"programming": jax.tree.map(_Rewrites, one.programming, is_leaf=_is_rewrites)}
        for one in analog_states(state)
        if getattr(one, "programming", None) is not None
    ]
    if not parts:
        return {}
    tree = merged(parts)["programming"]

    def field(name):
        return jax.tree.map(lambda one: wide_value(getattr(one.counter, name)), tree)

    attempted = {direction: field(direction) for direction in _DIRECTIONS}
    return {"programming": {"rewrites": field("rewrites"), "attempted": attempted}}


@dataclasses.dataclass(frozen=True)
class _Rewrites:
    """A `RewriteCounter` as a leaf for JAX."""

    counter: RewriteCounter


def _is_rewrites(x: Any) -> bool:
    return isinstance(x, RewriteCounter)
