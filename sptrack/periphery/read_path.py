"""How well inputs, array and outputs work in one read: the specification, and the published one.

Names and rules are those of aihwkit 1.2 (class IOParameters, file rpu_forward_backward_pass.cpp)
for its one-pass product. Left out: IR drop, voltage offsets and series resistance, nonlinear
outputs, asymmetries of inputs and outputs, separate passes for positive and negative inputs, and
the managements "max", "abs max by sums" and "worst case". Source: aihwkit 1.2, IOParameters.
"""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from sptrack._typing import Array, check_number, number, option, spec
from sptrack.devices.pulsed import is_off

NOISE_MANAGEMENTS = ("none", "abs_max", "constant", "average")
BOUND_MANAGEMENTS = ("none", "iterative")
WEIGHT_NOISES = ("constant", "pcm_read")

# The equations of the class, for the table of parameters.
_INPUT = "x' = clip(round_to(x / (α r), inp_step), ±inp_bound) + inp_noise ξ"
_OUTPUT = "y' = x' W + w_noise s ξ + out_noise ξ"
_SHOWN = "y = clip(round_to(y', out_step), ±out_bound) out_scale α r"

_SWITCHES = ("inp_res", "inp_noise", "w_noise", "out_res", "out_noise")  # 0 means off


@spec
class ReadPath:
    """How one crossbar read departs from a matrix product; by default it doesn't.

    With inputs x (in the rows of a batch), weight W, unit normal numbers ξ and powers of two r:

        x' = clip(round_to(x / (α r), inp_step), ±inp_bound) + inp_noise ξ
        y' = x' W + w_noise s ξ + out_noise ξ
        y  = clip(round_to(y', out_step), ±out_bound) out_scale α r

    with the steps 2 inp_bound inp_res and 2 out_bound out_res.

    What is None is off, draws no random numbers and costs nothing; 0 is the same as None where it
    means that. Numbers are leaves: they can be swept by `jax.vmap` and traced; which of them are on
    is structure.

    Noise management chooses α, the input that becomes full scale: "none" 1; "abs_max" the largest
    magnitude of the sample, at most `nm_scale` if that is given; "constant" `nm_scale`; "average"
    the mean over the samples of the call of their largest magnitudes (for an average over the calls
    of a training run, carry `average_abs_max` and give it as "constant"). A sample with α <= 0
    reads exactly 0.

    Bound management chooses r per sample: "none" 1; "iterative" repeats the whole read, with fresh
    noise, with r = 1, 2, 4, ... until no output is clipped, or after a read whose r is greater than
    `max_bm_factor` or than max_bm_res / inp_step. It runs in jit as a loop of that bounded length.

    Weight noise acts on outputs, not on weights: s = ‖x'‖ ("constant") or sqrt(Σ_j |W_j| x'_j²)
    ("pcm_read").

    aihwkit reads a resolution greater than 1 as a number of steps; here it is refused.

    Attributes:
      inp_bound: largest input that the DAC makes, > 0, in units of α.
      inp_res: step of the DAC relative to its range 2 inp_bound, in [0, 1]; needs `inp_bound`.
      inp_noise: std of the noise on inputs, in units of α.
      inp_sto_round: whether the DAC rounds stochastically.
      w_noise: std of the weight noise.
      w_noise_kind: "constant" or "pcm_read".
      out_bound: largest output that the ADC shows, > 0, in units of W α.
      out_res: step of the ADC relative to its range 2 out_bound, in [0, 1]; needs `out_bound`.
      out_noise: std of the noise on outputs, in units of W α.
      out_sto_round: whether the ADC rounds stochastically.
      out_scale: digital factor on the outputs, > 0.
      noise_management: "none", "abs_max", "constant" or "average".
      nm_scale: α of "constant", largest α of "abs_max"; > 0.
      bound_management: "none" or "iterative".
      max_bm_factor: r after which bound management stops, >= 1.
      max_bm_res: how coarse the DAC may become by r, relative to its bound, > 0.

    Raises:
      ValueError: if a number is out of range or fields contradict each other.

    Example:
      >>> import sptrack as spt
      >>> spt.periphery.ReadPath(out_noise=0.06).out_res is None
      True
    """

    inp_bound: float | None = number(None, low=0, above=True, unit="α", equation=_INPUT)
    inp_res: float | None = number(None, low=0, unit="1", equation="inp_step = 2 inp_bound inp_res")
    inp_noise: float | None = number(None, low=0, unit="α", equation=_INPUT)
    inp_sto_round: bool = option(False, equation="round up with the probability of the remainder")
    w_noise: float | None = number(None, low=0, unit="W", equation=_OUTPUT)
    w_noise_kind: str = option("constant", symbol="s", equation="‖x'‖, or sqrt(Σ_j |W_j| x'_j²)")
    out_bound: float | None = number(None, low=0, above=True, unit="W α", equation=_SHOWN)
    out_res: float | None = number(None, low=0, unit="1", equation="out_step = 2 out_bound out_res")
    out_noise: float | None = number(None, low=0, unit="W α", equation=_OUTPUT)
    out_sto_round: bool = option(False, equation="round up with the probability of the remainder")
    out_scale: float = number(1.0, low=0, above=True, unit="1", equation=_SHOWN)
    noise_management: str = option("none", symbol="α", equation="1, max|x|, nm_scale, or its mean")
    nm_scale: float | None = number(None, low=0, above=True, unit="x", equation="α, or its maximum")
    bound_management: str = option("none", symbol="r", equation="1, or 2^k with no output clipped")
    max_bm_factor: float = number(1000.0, low=1, unit="1", equation="stop at r > max_bm_factor")
    max_bm_res: float = number(
        0.25, low=0, above=True, unit="1", equation="stop when r inp_step > max_bm_res"
    )

    def check(self):
        """Turns zeros that mean "off" into None and refuses fields that contradict each other."""
        for name in _SWITCHES:
            if getattr(self, name) is not None and is_off(getattr(self, name)):
                object.__setattr__(self, name, None)
        _check_choice("noise_management", self.noise_management, NOISE_MANAGEMENTS)
        _check_choice("bound_management", self.bound_management, BOUND_MANAGEMENTS)
        _check_choice("w_noise_kind", self.w_noise_kind, WEIGHT_NOISES)
        for side, res, bound, rounds in (
            ("inp", self.inp_res, self.inp_bound, self.inp_sto_round),
            ("out", self.out_res, self.out_bound, self.out_sto_round),
        ):
            _check_converter(side, res, bound, rounds)
        _check_management(self)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"ReadPath: {name} must be one of {choices}, got {value!r}.")


def _check_converter(side: str, res: float | None, bound: float | None, rounds: bool) -> None:
    """Refuses a resolution that is a number of steps, or that has no range, and idle rounding."""
    if res is None:
        if rounds:
            raise ValueError(f"ReadPath: {side}_sto_round rounds to steps, so it needs {side}_res.")
        return
    if not isinstance(res, Tracer) and np.any(np.asarray(res) > 1):
        raise ValueError(
            f"ReadPath: {side}_res={res!r} is greater than the full range; it is the step relative "
            f"to 2 {side}_bound, so for {res!r} steps give {side}_res=1/{res!r}."
        )
    if bound is None:
        raise ValueError(
            f"ReadPath: {side}_res is relative to the range 2 {side}_bound; give {side}_bound too."
        )


def _check_management(path: ReadPath) -> None:
    """Refuses managements without what they manage, and a scale that nothing uses."""
    if path.bound_management != "none" and path.out_bound is None:
        raise ValueError("ReadPath: bound_management manages out_bound; give out_bound too.")
    if path.noise_management == "constant" and path.nm_scale is None:
        raise ValueError("ReadPath: noise_management='constant' needs nm_scale.")
    if path.nm_scale is not None and path.noise_management not in ("abs_max", "constant"):
        raise ValueError(
            f"ReadPath: nm_scale is for noise_management 'abs_max' and 'constant', not "
            f"{path.noise_management!r}."
        )
    bound = path.inp_bound
    if path.noise_management != "none" and bound is not None and not isinstance(bound, Tracer):
        if np.any(np.asarray(bound) != 1):
            raise ValueError(
                f"ReadPath: noise management scales inputs to full scale 1, so inp_bound must be "
                f"1, got {bound!r}; give noise_management='none' for another bound."
            )


class ReadPaths(NamedTuple):
    """The paths of the three kinds of read in training; None is an ideal read.

    Attributes:
      forward: activations through W.
      backward: errors through W transposed.
      transfer: single columns of an array that are transferred to another.

    Example:
      >>> import sptrack as spt
      >>> spt.periphery.ReadPaths().forward is None
      True
    """

    forward: ReadPath | None = None
    backward: ReadPath | None = None
    transfer: ReadPath | None = None


def table_6(*, backward_bound_management: str = "iterative") -> ReadPaths:
    """The read paths of the experiments of arXiv 2602.21321, Table 6.

    All are one-pass products with inp_bound 1, inp_res 1/126, out_bound 12, out_res 1/510 and
    out_noise 0.06. Forward and backward reads have "abs_max" noise and "iterative" bound
    management, transfer reads have neither.

    The released code builds on aihwkit, which silently leaves bound management out of every
    backward read. The default is the table as printed; "none" is what was run.

    Args:
      backward_bound_management: "iterative" (as printed) or "none" (as run).

    Returns:
      `ReadPaths` with forward, backward and transfer.

    Raises:
      ValueError: for another `backward_bound_management`.

    Example:
      >>> import sptrack as spt
      >>> paths = spt.periphery.table_6()
      >>> paths.forward.noise_management, paths.transfer.noise_management
      ('abs_max', 'none')
    """
    shared: dict[str, Any] = {
        "inp_bound": 1.0,
        "inp_res": 1 / 126,
        "out_bound": 12.0,
        "out_res": 1 / 510,
        "out_noise": 0.06,
    }
    managed = ReadPath(**shared, noise_management="abs_max", bound_management="iterative")
    backward = dataclasses.replace(managed, bound_management=backward_bound_management)
    return ReadPaths(forward=managed, backward=backward, transfer=ReadPath(**shared))


def average_abs_max(x: Array, average: Array | None = None, *, decay: float = 1e-3) -> Array:
    """Moving average, over samples one after the other, of their largest magnitudes.

        a <- (1 - decay) a + decay max_j |x_j|            a of the first sample is its own maximum

    To read with it, keep it in the training state and give it as `nm_scale` of
    noise_management="constant" (aihwkit's "average abs max", whose a is hidden in the tile and,
    there, shared by forward and backward reads).

    Differentiable, with an exact gradient.

    Args:
      x: samples, shape (..., inputs).
      average: a so far, a scalar; None before the first sample.
      decay: weight of the newest sample, in [0, 1].

    Returns:
      The average after all samples, a scalar.

    Raises:
      ValueError: if `decay` is out of range.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> x = jnp.array([[1.0, -2.0], [3.0, 0.0]])
      >>> print(spt.periphery.average_abs_max(x, decay=0.5))
      2.5
    """
    check_number("average_abs_max", "decay", decay, 0.0, 1.0)
    largest = jnp.max(jnp.abs(x), axis=-1).reshape(-1)
    if average is None:
        average, largest = largest[0], largest[1:]
    kept = 1 - jnp.asarray(decay, largest.dtype)
    powers = kept ** jnp.arange(largest.size)[::-1]
    return kept**largest.size * average + (1 - kept) * jnp.sum(powers * largest)
