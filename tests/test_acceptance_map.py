"""Which test holds which acceptance test of science/4 section 9, by number; and that all exist.

Numbered tests are called test_acceptance_NN_..., with the tolerance in their docstring or beside
the assertion.
"""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TABLE = {  # number: file, tests, what is held to which tolerance
    1: ("devices/test_response.py", ["parts_and_symmetric_points"], "q+ = q- at the SP, 1e-12"),
    2: ("devices/test_response.py", ["the_printed_symmetric_point_has_a_wrong_sign"], "exact"),
    3: ("calibration/test_zero_shift.py", ["pair_contraction", "endpoints"], "1e-6, O(dw^2)"),
    4: ("calibration/test_zero_shift.py", ["stationary_variance"], "2 % with 4000 cells"),
    5: (
        "theory/test_zero_shift_bounds.py",
        ["cyclic", "stochastic", "stochastic_exactly"],
        "inequalities with D",
    ),
    6: ("calibration/test_zero_shift.py", ["figure_1a"], "2 % (mean), 5 % (std)"),
    7: ("calibration/test_aggregate.py", ["figure_1b"], "equality on the grid"),
    8: ("theory/test_fixed_points.py", ["analog_sgd_fixed_point"], "O(alpha)"),
    9: (
        "optimizers/test_acceptance.py",
        ["rider_conserves_a_combination_of_w_and_q", "negative_control"],
        "1e-12 relative",
    ),
    10: ("theory/test_fixed_points.py", ["rider_landing_point"], "0.01 RMS at alpha = 0.02"),
    11: (
        "experiments/test_theory.py",
        ["slope_of_the_convergence_metric", "rider_stays_above_its_bound", "values"],
        "slopes within 0.15",
    ),
    12: (
        "optimizers/test_acceptance.py",
        [
            "erider_that_never_flips_is_residual_learning",
            "erider_that_never_flips_and_reads_q_is_rider",
            "negative_control",
        ],
        "the same bits",
    ),
    13: (
        "optimizers/test_acceptance.py",
        [
            "released_erider_without_its_residual_is_agad",
            "algorithm_3_by_columns_without_its_residual_is_agad",
            "negative_control",
        ],
        "the same bits",
    ),
    14: (
        "optimizers/test_acceptance.py",
        ["a_constant_on_all_reads_drops_out_of_agad"],
        "to rounding",
    ),
    15: ("transforms/test_low_pass.py", ["transfer_function"], "1e-10"),
    16: ("devices/test_response.py", ["reference_statistics"], "4.5 standard errors"),
    17: ("pulses/test_update.py", ["pulse_numbers"], "4.5 standard errors"),
    18: ("test_costs.py", ["published_costs"], "0.1 ns"),
    19: (
        "optimizers/test_multi_tile.py",
        ["the_error_falls_with_the_number_of_tiles"],
        "order only",
    ),
}


def functions(path):
    """Names of the test functions of a file, read without importing it."""
    return {node.name for node in ast.parse(path.read_text()).body if hasattr(node, "name")}


@pytest.mark.parametrize("number", range(1, 20))
def test_the_tests_of_a_number_exist(number):
    file, names, tolerance = TABLE[number]
    wanted = {f"test_acceptance_{number:02d}_{name}" for name in names}
    assert wanted <= functions(TESTS / file)
    assert tolerance


def test_no_numbered_test_is_missing_in_the_table():
    """The other way round: whoever adds one enters it here."""
    found = {
        (path.relative_to(TESTS).as_posix(), name)
        for path in TESTS.rglob("test_*.py")
        for name in functions(path)
        if re.match(r"test_acceptance_\d\d_", name)
    }
    listed = {
        (file, f"test_acceptance_{number:02d}_{name}")
        for number, (file, names, _) in TABLE.items()
        for name in names
    }
    assert found == listed
