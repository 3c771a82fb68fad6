"""Cells whose step is a measured curve: aihwkit's PiecewiseStep.

    up:    w += s_up   f_up(w)   (1 + sigma xi)
    down:  w -= s_down f_down(w) (1 + sigma xi)

f interpolates linearly between nodes that lie equally spaced over the cell's own range, the first
at b_min and the last at b_max. One curve serves all cells; what differs are steps and bounds.
Left out: curves of their own per cell, and a measured spread of the steps (`dw_min_std` is the
noise). Source: aihwkit 1.2, PiecewiseStepDevice.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sptrack._typing import Array, number, option, spec
from sptrack.devices.measured import read_steps
from sptrack.devices.pulsed import PulsedSpec, check_granularity, imbalance, scaled_cells
from sptrack.devices.pulsed_device import PulsedDevice, across


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PiecewiseDevice(PulsedDevice):
    """A sampled array of cells with interpolated steps; see the module's docstring.

    Attributes beyond those of `PulsedDevice`:
      up, down: s_up and s_down over dw_min, per cell.
      nodes_up, nodes_down: the curves f at their nodes; shape (nodes,), the same for all cells.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.PiecewiseStep(), (3,))
      >>> device.up.shape, device.nodes_up.shape
      ((3,), (2,))
    """

    up: Array
    down: Array
    nodes_up: Array
    nodes_down: Array

    def response(self, w: Array) -> tuple[Array, Array]:
        """(q_up, q_down), interpolated."""
        place = across(w - self.low, self.low, self.high)
        f_up, f_down = interpolate(self.nodes_up, place), interpolate(self.nodes_down, place)
        return self.up * f_up, self.down * f_down


def interpolate(nodes: Array, place: Array) -> Array:
    """The curve through equally spaced nodes at `place` in [0, 1]; constant beyond.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> print(spt.devices.interpolate(jnp.array([0.0, 1.0, 3.0]), jnp.array([0.25, 0.75])))
      [0.5 2. ]
    """
    sections = nodes.shape[0] - 1
    if sections == 0:
        return jnp.broadcast_to(nodes[0], place.shape)
    at = jnp.clip(place, 0, 1) * sections
    left = jnp.minimum(jnp.floor(at), sections - 1)
    index = jax.lax.stop_gradient(left).astype(jnp.int32)
    share = at - left
    return nodes[index] * (1 - share) + nodes[index + 1] * share


@spec
class PiecewiseStep(PulsedSpec):
    """Cells with interpolated steps; see the module's docstring for the equations.

    `PiecewiseStep.from_csv` makes one of a measured table. Nodes are leaves: they can be swept,
    traced and differentiated like any other number.

    Attributes:
      piecewise_up: nodes of f_up from b_min to b_max, a tuple (or array) of numbers >= 0.
      piecewise_down: nodes of f_down; as many or another number.
      granularity: unit of wanted increments: "dw_min" (the published parameter), "step_at_zero"
        (the mean of both steps of the mean cell at w = 0) or "aihwkit" (dw_min times the middle
        node of f_up). No pulse changes by it.

    Further fields are `PulsedSpec`'s; cycle noise is multiplicative by default.

    Raises:
      ValueError: for an unknown `granularity`, or nodes that are no list of numbers.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> spec = spt.PiecewiseStep(piecewise_up=(2.0, 1.0, 0.0), piecewise_down=(0.0, 1.0, 1.0))
      >>> device = spt.sample_device(jax.random.key(0), spec, (100,))
      >>> low, high = spt.bounds(device)
      >>> bool(jnp.all(spt.response(device, high)[0] == 0))
      True
    """

    piecewise_up: tuple = number(
        (1.0, 1.0), low=0, symbol="f↑", unit="1", equation="s↑(w) = s↑ f↑((w − b_min) / R)"
    )
    piecewise_down: tuple = number(
        (1.0, 1.0), low=0, symbol="f↓", unit="1", equation="s↓(w) = s↓ f↓((w − b_min) / R)"
    )
    granularity: str = option("dw_min")

    def check(self):
        """Refuses an unknown granularity and nodes that are no list."""
        super().check()
        check_granularity("PiecewiseStep", self.granularity)
        for name in ("piecewise_up", "piecewise_down"):
            nodes = getattr(self, name)
            if not hasattr(nodes, "__len__") or len(nodes) < 1:
                raise ValueError(
                    f"PiecewiseStep: {name} must be a tuple of at least one number, got {nodes!r}."
                )

    @classmethod
    def from_csv(cls, path, *, w_min=None, w_max=None, num_nodes=None, **fields) -> "PiecewiseStep":
        r"""The cells of a measured table with the columns weight, step_up and step_down.

        The table has one row per weight (or conductance), in rising order, with the mean size of an
        up and a down pulse there, both positive and in the weight's unit. Lines that begin with #
        are comments. Weights that are not equally spaced are interpolated linearly. dw_min becomes
        the mean of both steps in the middle of the range.

        Args:
          path: the file.
          w_min: weight that the table's first row stands for; by default the table's own. Steps
            are scaled with the range.
          w_max: weight that the table's last row stands for; by default the table's own.
          num_nodes: nodes of the curves, >= 2; by default as many as rows.
          **fields: further fields, e.g. `dw_min_std`.

        Raises:
          ValueError: for a table that is not as described; the message names the line.
          TypeError: for an unknown field.

        Example:
          >>> import pathlib, sptrack as spt
          >>> text = "weight,step_up,step_down\n-1,0.2,0.0\n0,0.1,0.1\n1,0.0,0.3\n"
          >>> _ = pathlib.Path("cells.csv").write_text(text)
          >>> spec = spt.PiecewiseStep.from_csv("cells.csv", dw_min_std=0.1)
          >>> spec.dw_min, spec.piecewise_up, spec.w_max
          (0.1, (2.0, 1.0, 0.0), 1.0)
        """
        steps = read_steps(path, num_nodes)
        low = steps.low if w_min is None else w_min
        high = steps.high if w_max is None else w_max
        scale = (high - low) / (steps.high - steps.low)
        if not scale > 0:
            raise ValueError(f"from_csv: w_max must be above w_min, got {high!r} and {low!r}.")
        values: dict[str, Any] = {
            "w_min": low,
            "w_max": high,
            "dw_min": scale * steps.middle,
            "piecewise_up": tuple((steps.up / steps.middle).tolist()),
            "piecewise_down": tuple((steps.down / steps.middle).tolist()),
        }
        return cls(**(values | fields))

    def unit(self):
        """What wanted increments are counted in; weight units."""
        if self.granularity == "dw_min":
            return self.dw_min
        up, down = jnp.asarray(self.piecewise_up), jnp.asarray(self.piecewise_down)
        if self.granularity == "aihwkit":
            step = up[up.shape[0] // 2]
        else:
            more_up, more_down = imbalance(self.up_down, self.up_down_one_sided)
            low, high = jnp.asarray(self.w_min, up.dtype), jnp.asarray(self.w_max, up.dtype)
            zero = across(-low, low, high)
            step = (1 + more_up) * interpolate(up, zero) + (1 + more_down) * interpolate(down, zero)
            step = step / 2
        return self.dw_min * jnp.where(step > 0, step, 1)

    def sample(self, key, shape, dtype) -> PiecewiseDevice:
        """Draws a device; `spt.sample_device` is the checked way to call this."""
        unit = self.unit()
        cells = scaled_cells(self.sample_cells(key, jnp.zeros(shape, dtype)), self.dw_min, unit)
        return PiecewiseDevice(
            up=cells.step_up,
            down=cells.step_down,
            nodes_up=jnp.asarray(self.piecewise_up, dtype),
            nodes_down=jnp.asarray(self.piecewise_down, dtype),
            **self.device_fields(key, cells, unit),
        )
