"""The pulses that a rank-1 update sends along the lines of a crossbar: lengths and probabilities.

For the increment -lr x d^T of one sample, a train has BL slots. In every slot line j of the inputs
carries a pulse with probability p_x,j and line i of the outputs with p_d,i; a cell is pulsed where
both do. With g = dw_min, X = max|x|, D = um_grad_scale max|d| over the lines and
k = lr X D / g, the pulses that the most strongly driven cell wants (the rules of aihwkit 1.2):

    length      update BL management: BL = min(ceil(k), desired_bl), else BL = desired_bl, else
                (fixed_bl=False) BL = ceil(lr / g) where that is longer, up to longest_bl
    unmanaged   p_x,j = |x_j| sqrt(lr / (g BL)),          p_d,i = |d_i| sqrt(lr / (g BL))
    managed     p_x,j = (|x_j| / X) sqrt(min(k, BL) / BL),  p_d,i likewise with d and D, and
                k / min(k, BL) times that

so BL p_x,j p_d,i = lr |x_j d_i| / g pulses are expected, unless a probability exceeds 1, which is
sent as 1: the train is *saturated*, and the update smaller than it should be. The managed form is
what the published factors A, B (update management: A sqrt(X/D), B sqrt(D/X), and D BL/k in the
place of D where k > BL) multiply out to.

One correction: a train that grows (fixed_bl=False without BL management) has the probabilities
above also where BL = ceil(lr / g). There they are |x| and |d|, and BL g / lr >= 1 times the wanted
pulses are sent. Source: aihwkit 1.2, UpdateParameters and PulsedUpdateMetaParameter.
"""

from typing import NamedTuple

import jax.numpy as jnp

from sptrack._random import uniform
from sptrack._typing import Array, Key, number, option, spec
from sptrack.devices.pulsed import is_off

_ONE = 1 + 1e-5  # probability 1 and its rounding errors: not clipped, so that gradients pass
KINDS = ("stochastic", "deterministic_implicit", "mean_count")


@spec
class PulseTrain:
    """How a rank-1 update becomes coincidences; the module's docstring has the rules.

    Kinds:
      stochastic: a Bernoulli bit per line and slot; exact in expectation, and cells on one line
        share its bits.
      deterministic_implicit: round(BL p_x p_d) coincidences, halves up. Increments of less than
        half a pulse are lost: biased, without noise.
      mean_count: round(round(BL p_x) round(BL p_d) / BL) coincidences; likewise.

    Attributes:
      kind: "stochastic", "deterministic_implicit" or "mean_count".
      desired_bl: longest train BL, an integer >= 1; slots.
      fixed_bl: whether BL stays at desired_bl without BL management, instead of growing.
      longest_bl: BL at which a growing train stops; slots, an integer >= 1.
      update_management: whether x and d lines share the probability by their maxima.
      update_bl_management: whether weak updates have shorter trains; implies update_management.
      um_grad_scale: factor on max|d| in the management, > 0; below 1 the largest gradients are
        clipped and small ones have more pulses.
      x_res, d_res: step to which probabilities of x and d lines are rounded, in [0, 1]; 0 is off.
      sto_round: whether that rounding is stochastic (unbiased), instead of to the nearest.
      merged: whether the coincidences of all samples of a batch are collected, and then applied as
        one group of up and one of down pulses. The order of the two is a fair coin per cell.

    Example:
      >>> import sptrack as spt
      >>> spt.PulseTrain(desired_bl=10, update_bl_management=False).max_length
      10
    """

    kind: str = option("stochastic")
    desired_bl: int = option(31, symbol="BL", equation="E[pulses] = BL p_x p_d")
    fixed_bl: bool = option(True, equation="False: BL = ceil(lr/δ) where that is longer")
    longest_bl: int = option(255)
    update_management: bool = option(True, equation="p_x = |x|/X sqrt(min(k, BL)/BL)")
    update_bl_management: bool = option(True, equation="BL ← min(ceil(k), BL), k = lr X D/δ")
    um_grad_scale: float = number(
        1.0, low=0, above=True, unit="1", equation="D = um_grad_scale max|d|"
    )
    x_res: float = number(0.0, low=0, high=1, unit="probability", equation="p_x ← round_to(p_x)")
    d_res: float = number(0.0, low=0, high=1, unit="probability", equation="p_d ← round_to(p_d)")
    sto_round: bool = option(False)
    merged: bool = option(False)

    def check(self):
        """Refuses unknown kinds and lengths that are no positive integers."""
        if self.kind not in KINDS:
            raise ValueError(f"PulseTrain: kind must be one of {KINDS}, got {self.kind!r}.")
        for name in ("desired_bl", "longest_bl"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"PulseTrain: {name} must be an integer >= 1, got {value!r}.")

    @property
    def max_length(self) -> int:
        """The longest train that can occur; static, so that no loop depends on data."""
        if self.fixed_bl or self.update_bl_management:
            return self.desired_bl
        return max(self.desired_bl, self.longest_bl)


DEFAULT_TRAIN = PulseTrain()  # pyright: ignore[reportCallIssue] (it doesn't see our defaults)


class Saturation(NamedTuple):
    """What trains were sent, and what was lost where probabilities had to be clipped at 1.

    Attributes:
      samples: samples that wanted any pulse; integer scalar.
      saturated: samples of which some probability exceeded 1 (with management and
        um_grad_scale = 1: k > BL); integer scalar.
      wanted: pulses wanted on all cells together, sum lr |x| |d| / dw_min; floating scalar.
      lost: expected number of those that the clipped trains don't send; floating scalar.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> print(spt.pulses.Saturation(10, 1, jnp.array(100.0), jnp.array(5.0)).lost_fraction)
      0.05
    """

    samples: Array
    saturated: Array
    wanted: Array
    lost: Array

    @property
    def lost_fraction(self) -> Array:
        """Share of the wanted pulses that is lost; 0 where none were wanted."""
        return self.lost / jnp.where(self.wanted > 0, self.wanted, 1)


class Lines(NamedTuple):
    """What is sent for one sample: BL, and the probabilities of the lines with the signs of x, d.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> x, d = jnp.array([1.0, -0.5]), jnp.array([2.0])
      >>> plan = spt.pulses.plan_lines(spt.PulseTrain(), 0.01, 0.005, x, d)  # k = 4
      >>> print(plan.length, plan.x, plan.d)
      4 [ 1.  -0.5] [1.]
    """

    length: Array
    x: Array
    d: Array


def plan_lines(train: PulseTrain, rate: Array, dw_min: Array, x: Array, d: Array) -> Lines:
    """Length and signed probabilities (not yet clipped) of one sample's train.

    Args:
      train: the settings.
      rate: learning rate, >= 0.
      dw_min: mean step of a pulse, weight units.
      x: activations, shape (inputs,), finite.
      d: gradients at the outputs, shape (outputs,), finite.

    Returns:
      `Lines`; `length` is 0 where no cell wants anything and BL is managed.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> train = spt.PulseTrain(desired_bl=3)  # k = 4: saturated
      >>> print(spt.pulses.plan_lines(train, 0.01, 0.005, jnp.array([1.0]), jnp.array([2.0])).d)
      [1.3333334]
    """
    ratio = jnp.asarray(rate / dw_min, x.dtype)
    x_top, d_top = jnp.max(jnp.abs(x)), train.um_grad_scale * jnp.max(jnp.abs(d))
    wanted = jnp.minimum(ratio * x_top * d_top, 1e30)  # k
    fixed = jnp.asarray(train.desired_bl, x.dtype)
    if train.update_bl_management:
        length = jnp.minimum(jnp.ceil(wanted), fixed)
    elif train.fixed_bl:
        length = fixed
    else:
        grown = jnp.minimum(jnp.ceil(ratio), train.max_length)
        length = jnp.where(ratio > fixed, grown, fixed)
    slots = jnp.maximum(length, 1)
    if train.update_management or train.update_bl_management:
        sent = jnp.minimum(wanted, slots)
        active = sent > 0
        root = jnp.where(active, jnp.sqrt(jnp.where(active, sent, 1) / slots), 0)
        p_x = x * (root / jnp.where(active, x_top, 1))
        p_d = d / jnp.where(active, d_top, 1) * (root * wanted / jnp.where(active, sent, 1))
    else:
        root = jnp.sqrt(jnp.where(ratio > 0, ratio, 1) / slots)
        p_x, p_d = (values * jnp.where(ratio > 0, root, 0) for values in (x, d))
    return Lines(length.astype(jnp.int32), p_x, p_d)


def round_lines(key: Key, train: PulseTrain, lines: Lines, *, noisy: bool = True) -> Lines:
    """The probabilities as they are sent: rounded to x_res and d_res, and clipped at 1.

    Args:
      key: a JAX random key; used for stochastic rounding only.
      train: the settings.
      lines: what `plan_lines` returned.
      noisy: whether stochastic rounding is done; False takes its mean, no rounding.

    Returns:
      `Lines` with values in [-1, 1], up to rounding.

    Example:
      >>> import jax, jax.numpy as jnp, sptrack as spt
      >>> lines = spt.pulses.Lines(jnp.array(4), jnp.array([0.3, -1.2]), jnp.array([0.7]))
      >>> train = spt.PulseTrain(x_res=0.25)
      >>> print(spt.pulses.round_lines(jax.random.key(0), train, lines).x)
      [ 0.25 -1.  ]
    """

    def rounded(name, values, step):
        if not is_off(step) and (noisy or not train.sto_round):
            spread = uniform(key, f"{name} rounding", values) if train.sto_round else 0.5
            on_grid = jnp.floor(jnp.abs(values) / jnp.where(step > 0, step, 1) + spread) * step
            values = jnp.where(step > 0, jnp.sign(values) * on_grid, values)
        above = jnp.abs(values) > _ONE
        return jnp.where(above, jnp.sign(values), values).astype(lines.x.dtype)

    return Lines(
        lines.length, rounded("x", lines.x, train.x_res), rounded("d", lines.d, train.d_res)
    )


def saturation(lines: Lines) -> Saturation:
    """The report of one sample, from what `plan_lines` returned; rounding is left out.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> lines = spt.pulses.Lines(jnp.array(3), jnp.array([1.0]), jnp.array([4 / 3]))  # k = 4
      >>> report = spt.pulses.saturation(lines)
      >>> print(report.saturated, report.wanted, report.lost_fraction)
      1 4.0 0.25
    """

    def total(x, d):
        return lines.length * jnp.sum(x) * jnp.sum(d)

    p_x, p_d = jnp.abs(lines.x), jnp.abs(lines.d)
    wanted = total(p_x, p_d)
    lost = wanted - total(jnp.minimum(p_x, 1), jnp.minimum(p_d, 1))
    above = jnp.maximum(jnp.max(p_x), jnp.max(p_d)) > _ONE
    any_wanted = wanted > 0
    return Saturation(
        samples=any_wanted.astype(jnp.int32),
        saturated=(any_wanted & above).astype(jnp.int32),
        wanted=wanted,
        lost=jnp.where(above, lost, 0),
    )
