"""Published cells by name; every preset takes overrides: `spt.presets.reram_array_om(dw_min=0.05)`.

Parameters as aihwkit 1.2 has them in its device presets, which also name the source of each. What
its presets leave at their class's default is at that default here. The two ReRAM arrays (Gong,
Rasch et al., IEDM 2022) are read against their symmetric points, known up to `reference_mean` and
`reference_std`; their measured share of stuck cells (0.1348 and 0.0977) is off by default, as
there: set `corrupt_devices_prob` to have it.
"""

from typing import Any

from sptrack.devices.constant_step import ConstantStep
from sptrack.devices.exp_step import ExpStep
from sptrack.devices.linear_step import LinearStep
from sptrack.devices.one_sided_pair import OneSidedPair
from sptrack.devices.preset_values import VALUES
from sptrack.devices.soft_bounds import SoftBounds, SoftBoundsReference

__all__ = [
    "capacitor",
    "ecram",
    "ecram_mo",
    "figure_1_soft_bounds",
    "gokmen_vlasov",
    "idealized",
    "pcm",
    "pcm_pair",
    "reram_array_hfo2",
    "reram_array_om",
    "reram_es",
    "reram_sb",
]


def reram_es(**overrides) -> ExpStep:
    """ReRAM with exponential steps (Gong et al., Nat. Commun. 2018), about 1500 states.

    aihwkit's `ReRamESPresetDevice`. Cycle noise (5 steps) and write noise (75 dw_min, 0.1 in weight
    units) exceed a step by far.

    Args:
      **overrides: any field of `ExpStep`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import sptrack as spt
      >>> round(spt.num_states(spt.presets.reram_es()))
      1481
    """
    return ExpStep(**(VALUES["reram_es"] | overrides))


def reram_sb(**overrides) -> SoftBoundsReference:
    """ReRAM with soft bounds, a loose fit to Gong et al., Nat. Commun. 2018; about 1000 states.

    aihwkit's `ReRamSBPresetDevice`, which takes the symmetric point as calibrated away in the mean
    but not cell by cell.

    Args:
      **overrides: any field of `SoftBoundsReference`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import sptrack as spt
      >>> round(spt.num_states(spt.presets.reram_sb()))
      1000
    """
    return SoftBoundsReference(**(VALUES["reram_sb"] | overrides))


def capacitor(**overrides) -> LinearStep:
    """Capacitor cells in CMOS (Li et al., VLSI 2018), 400 states; `CapacitorPresetDevice`.

    The charge leaks with a lifetime of about a million updates.

    Args:
      **overrides: any field of `LinearStep`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import sptrack as spt
      >>> round(spt.num_states(spt.presets.capacitor()))
      400
    """
    return LinearStep(**(VALUES["capacitor"] | overrides))


def ecram(**overrides) -> LinearStep:
    """Lithium ECRAM (Tang et al., IEDM 2018), 1000 states; aihwkit's `EcRamPresetDevice`.

    Args:
      **overrides: any field of `LinearStep`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import sptrack as spt
      >>> round(spt.num_states(spt.presets.ecram()))
      1000
    """
    return LinearStep(**(VALUES["ecram"] | overrides))


def ecram_mo(**overrides) -> LinearStep:
    """Metal-oxide ECRAM (Kim et al., IEDM 2019), 7089 states; aihwkit's `EcRamMOPresetDevice`.

    Args:
      **overrides: any field of `LinearStep`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import sptrack as spt
      >>> round(spt.num_states(spt.presets.ecram_mo()))
      7089
    """
    return LinearStep(**(VALUES["ecram_mo"] | overrides))


def idealized(**overrides) -> ConstantStep:
    """Constant steps with 10,000 states (after Gokmen and Vlasov 2016 and Rasch et al. 2019).

    aihwkit's `IdealizedPresetDevice`: up and down steps of a cell are equal, so every weight is a
    symmetric point.

    Args:
      **overrides: any field of `ConstantStep`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import sptrack as spt
      >>> round(spt.num_states(spt.presets.idealized()))
      10000
    """
    return ConstantStep(**(VALUES["idealized"] | overrides))


def gokmen_vlasov(**overrides) -> ConstantStep:
    """Constant steps with 1250 states (Gokmen and Vlasov 2016); `GokmenVlasovPresetDevice`.

    Args:
      **overrides: any field of `ConstantStep`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import sptrack as spt
      >>> round(spt.num_states(spt.presets.gokmen_vlasov()))
      1250
    """
    return ConstantStep(**(VALUES["gokmen_vlasov"] | overrides))


def pcm(**overrides) -> ExpStep:
    """One phase-change cell (Nandakumar et al. 2020), weights from 0 to 2, 200 states.

    aihwkit's `PCMPresetDevice`. Up pulses start with steps of 28 dw_min that shrink quickly; the
    down branch of the formula is not a property of the material, whose cells can only be reset.
    Use two of them with `OneSidedPair`.

    Args:
      **overrides: any field of `ExpStep`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import sptrack as spt
      >>> round(spt.num_states(spt.presets.pcm()))
      200
    """
    return ExpStep(**(VALUES["pcm"] | overrides))


def pcm_pair(**overrides) -> OneSidedPair:
    """Two phase-change cells that only get up pulses, weights from -2 to 2, refreshed when full.

    aihwkit's `PCMPresetUnitCell`: two `pcm` cells, looked at after every write (there after every
    mini-batch), counting pulses as aihwkit does (`granularity="aihwkit"`, 0.032 in weight units).

    Args:
      **overrides: any field of `OneSidedPair`; `device=spt.presets.pcm(...)` for other cells.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.presets.pcm_pair(), (2,))
      >>> print(device.dw_min.round(3))
      0.032
    """
    defaults: dict[str, Any] = {"device": pcm(granularity="aihwkit"), "refresh_every": 1}
    return OneSidedPair(**(defaults | overrides))


def reram_array_om(**overrides) -> SoftBoundsReference:
    """Optimized ReRAM array, about 21 states (2 / 0.0949).

    Args:
      **overrides: any field of `SoftBoundsReference`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import sptrack as spt
      >>> round(spt.presets.reram_array_om(reference_mean=0.4).num_states, 1)
      21.1
    """
    return SoftBoundsReference(**(VALUES["reram_array_om"] | overrides))


def reram_array_hfo2(**overrides) -> SoftBoundsReference:
    """Baseline HfO2 ReRAM array, about 4.3 states (2 / 0.4622); "RRAM-RfO2" in arXiv 2602.21321.

    Args:
      **overrides: any field of `SoftBoundsReference`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import sptrack as spt
      >>> round(spt.presets.reram_array_hfo2().num_states, 1)
      4.3
    """
    return SoftBoundsReference(**(VALUES["reram_array_hfo2"] | overrides))


def figure_1_soft_bounds(**overrides) -> SoftBounds:
    """The cells of arXiv 2602.21321, Fig. 1: 2000 states, symmetric points 0.25 +- 0.10.

    With up_down = 0.4 and rho = up_down_dtod xi the slopes are gain + rho and gain - 0.4 - rho; the
    appendix' formula omits rho. No cycle noise, no variation of the bounds.

    Args:
      **overrides: any field of `SoftBounds`.

    Raises:
      TypeError: for an unknown field.
      ValueError: for a value out of range.

    Example:
      >>> import jax, sptrack as spt
      >>> device = spt.sample_device(jax.random.key(0), spt.presets.figure_1_soft_bounds(), (512,))
      >>> bool(abs(spt.symmetric_point(device).mean() - 0.25) < 0.02)
      True
    """
    return SoftBounds(**(VALUES["figure_1_soft_bounds"] | overrides))
