"""Published cells by name; every preset takes overrides: `spt.presets.reram_array_om(dw_min=0.05)`.

Parameters as aihwkit 1.2 has them in its device presets, which also name the source of each. What
its presets leave at their class's default is at that default here. The two ReRAM arrays (Gong,
Rasch et al., IEDM 2022) are read against their symmetric points, known up to `reference_mean` and
`reference_std`; their measured share of stuck cells (0.1348 and 0.0977) is off by default, as
there: set `corrupt_devices_prob` to have it.
"""

from sptrack.devices.constant_step import ConstantStep
from sptrack.devices.exp_step import ExpStep
from sptrack.devices.linear_step import LinearStep
from sptrack.devices.soft_bounds import SoftBounds, SoftBoundsReference

__all__ = [
    "capacitor",
    "ecram",
    "ecram_mo",
    "figure_1_soft_bounds",
    "gokmen_vlasov",
    "idealized",
    "pcm",
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
    values = {
        "dw_min": 0.00135,
        "w_max": 1.0,
        "w_min": -1.0,
        "dw_min_dtod": 0.2,
        "up_down": 0.259359,
        "up_down_dtod": 0.05,
        "w_max_dtod": 0.3,
        "w_min_dtod": 0.3,
        "dw_min_std": 5.0,
        "write_noise_std": 75.0,
        "a": -0.5,
        "b": -0.5,
        "gamma_up": 5.0,
        "gamma_down": 5.0,
        "A_up": -1.18445,
        "A_down": -0.081404,
    }
    return ExpStep(**(values | overrides))


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
    values = {
        "dw_min": 0.002,
        "w_max": 1.25,
        "w_min": -0.75,
        "dw_min_dtod": 0.3,
        "up_down": 0.0,
        "up_down_dtod": 0.01,
        "w_max_dtod": 0.24,
        "w_min_dtod": 0.4,
        "dw_min_std": 3.75,
        "write_noise_std": 56.0,
        "mult_noise": False,
    }
    return SoftBoundsReference(**(values | overrides))


def capacitor(**overrides) -> LinearStep:
    """Capacitor cells in CMOS (Li et al., VLSI 2018), 400 states; `CapacitorPresetDevice`.

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
    values = {
        "dw_min": 0.005,
        "w_max": 1.0,
        "w_min": -1.0,
        "dw_min_dtod": 0.1,
        "up_down": 0.0,
        "up_down_dtod": 0.06,
        "w_max_dtod": 0.07,
        "w_min_dtod": 0.07,
        "dw_min_std": 0.3,
        "gamma_up": 0.05,
        "gamma_down": 0.05,
        "gamma_up_dtod": 0.01,
        "gamma_down_dtod": 0.01,
        "mult_noise": False,
    }
    return LinearStep(**(values | overrides))


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
    values = {
        "dw_min": 0.002,
        "w_max": 1.1724,
        "w_min": -0.8276,
        "gamma_up": 0.1153,
        "gamma_down": 0.5085,
    }
    return _ecram(values, overrides)


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
    values = {
        "dw_min": 2.8214e-4,
        "w_max": 1.1714,
        "w_min": -0.8286,
        "dw_min_std": 2.0,
        "gamma_up": 0.4152,
        "gamma_down": 0.7342,
    }
    return _ecram(values, overrides)


def _ecram(values: dict, overrides: dict) -> LinearStep:
    common = {
        "dw_min_dtod": 0.1,
        "up_down": 0.0,
        "up_down_dtod": 0.01,
        "w_max_dtod": 0.05,
        "w_min_dtod": 0.05,
        "dw_min_std": 0.3,
        "gamma_up_dtod": 0.05,
        "gamma_down_dtod": 0.05,
        "mult_noise": True,
    }
    return LinearStep(**(common | values | overrides))


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
    return _constant({"dw_min": 0.0002, "up_down_dtod": 0.0}, overrides)


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
    return _constant({"dw_min": 0.0016, "up_down_dtod": 0.01}, overrides)


def _constant(values: dict, overrides: dict) -> ConstantStep:
    common = {
        "w_max": 1.0,
        "w_min": -1.0,
        "dw_min_dtod": 0.3,
        "up_down": 0.0,
        "w_max_dtod": 0.3,
        "w_min_dtod": 0.3,
        "dw_min_std": 0.3,
    }
    return ConstantStep(**(common | values | overrides))


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
    values = {
        "dw_min": 0.01,
        "w_max": 2.0,
        "w_min": 0.0,
        "dw_min_dtod": 0.2,
        "up_down": 0.0,
        "up_down_dtod": 0.05,
        "w_max_dtod": 0.1,
        "w_min_dtod": 0.0,
        "dw_min_std": 0.6,
        "a": -1.0,
        "b": 0.0,
        "gamma_up": 2.5,
        "gamma_down": 2.5,
        "A_up": -27.235,
        "A_down": -2.235,
        "dw_min_std_add": 0.042,
        "dw_min_std_slope": 0.108,
    }
    return ExpStep(**(values | overrides))


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
    return _reram_array(
        {
            "dw_min": 0.0949,
            "dw_min_dtod": 0.7829,
            "dw_min_std": 0.4158,
            "w_max_dtod": 0.3499,
            "w_min_dtod": 0.5695,
            "write_noise_std": 1.4113,
        },
        overrides,
    )


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
    return _reram_array(
        {
            "dw_min": 0.4622,
            "dw_min_dtod": 0.7125,
            "dw_min_std": 0.2174,
            "w_max_dtod": 0.4295,
            "w_min_dtod": 0.5990,
            "write_noise_std": 0.5841,
        },
        overrides,
    )


def _reram_array(values: dict, overrides: dict) -> SoftBoundsReference:
    common = {
        "w_max": 1.0,
        "w_min": -1.0,
        "dw_min_dtod_log_normal": True,
        "up_down": 0.0,
        "up_down_dtod": 0.01,
        "mult_noise": False,
        "subtract_symmetry_point": True,
        "reference_std": 0.05,
        "corrupt_devices_range": 0.01,
    }
    return SoftBoundsReference(**(common | values | overrides))


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
    values = {
        "dw_min": 0.001,
        "dw_min_dtod": 0.02,
        "dw_min_std": 0.0,
        "up_down": 0.4,
        "up_down_dtod": 0.08,
        "w_max": 1.0,
        "w_min": -1.0,
        "w_max_dtod": 0.0,
        "w_min_dtod": 0.0,
        "mult_noise": False,
    }
    return SoftBounds(**(values | overrides))
