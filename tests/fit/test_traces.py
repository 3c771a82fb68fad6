"""Traces in files: what is read back, what may be missing, and what is refused with its line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from tests.support import QUIET, assert_mean, assert_std

HEADER = "cell,pulse,direction,weight"
nan = np.nan


def write(path, *lines, header=HEADER):
    file = path / "traces.csv"
    file.write_text("\n".join([header, *lines]) + "\n")
    return file


def test_traces_come_back_as_they_were_written(tmp_path, key):
    device = spt.sample_device(key, spt.SoftBounds(dw_min=0.02), (3,))
    directions = np.where(np.arange(20) % 10 < 5, 1, -1)
    traces = spt.simulate_traces(key, device, jnp.zeros(3), directions, read_noise_std=0.01)
    weights = np.array(traces.weights, float)
    weights[[0, 7, 20], [1, 0, 2]] = nan
    traces = spt.Traces(traces.directions, weights, ("a", "b c", "d,e"))
    spt.write_traces(traces, tmp_path / "traces.csv")
    back = spt.read_traces(tmp_path / "traces.csv")
    assert back.cells == traces.cells
    np.testing.assert_array_equal(back.directions, traces.directions)
    np.testing.assert_array_equal(back.weights, weights)


def test_lines_in_any_order_other_columns_and_comments(tmp_path):
    lines = ["# note", "0.3,up,2,b,x", "", "0.1,,0,b,x", "0.2,+1,1,b,y", "-0.1,down,1,a,z"]
    traces = spt.read_traces(write(tmp_path, *lines, header="weight,direction,pulse,cell,remark"))
    assert traces.cells == ("b", "a")
    np.testing.assert_array_equal(traces.directions, [[1, -1], [1, 0]])
    np.testing.assert_array_equal(traces.weights, [[0.1, nan], [0.2, -0.1], [0.3, nan]])


def test_reads_may_be_missing_inside_a_burst(tmp_path):
    lines = ["a,0,,0", "a,1,1,0.1", "a,5,1,0.4", "a,6,-1,", "a,7,-1,0.3"]
    traces = spt.read_traces(write(tmp_path, *lines))
    np.testing.assert_array_equal(traces.directions[:, 0], [1, 1, 1, 1, 1, -1, -1])
    np.testing.assert_array_equal(traces.weights[:, 0], [0, 0.1, nan, nan, nan, 0.4, nan, 0.3])


REFUSED = {
    "no number": (["a,1,1,0.1", "a,2,1,0.1x"], "line 3: weight must be a finite number.*'0.1x'"),
    "infinite": (["a,1,1,inf"], "line 2: weight must be a finite number.*'inf'"),
    "direction": (["a,1,sideways,0.1"], "line 2: direction must be 1 .*'sideways'"),
    "no direction": (["a,1,,0.1"], "line 2: direction must be"),
    "direction of pulse 0": (["a,0,1,0.1"], "line 2: pulse 0 .*count pulses from 1"),
    "pulse": (["a,1.5,1,0.1"], r"line 2: pulse must be a whole number >= 0, got '1\.5'"),
    "huge pulse": (["a,99999999999,1,0.1"], "line 2: pulse 99999999999 is beyond"),
    "short line": (["a,1,1,0.1", "a,2,1"], "line 3: expected 4 values, got 3"),
    "twice": (["a,1,1,0.1", "a,1,1,0.2"], "line 3: pulse 1 of cell 'a' .*line 2"),
    "unknown gap": (["a,1,1,0.1", "a,4,-1,0.2"], "line 3: pulses 2 to 3 before it are missing"),
    "gap at the start": (["a,3,1,0.1"], "line 2: pulses 1 to 2 before it are missing"),
    "empty": ([], "there is no read"),
    "quotes": (["a,1,1,0.1", 'a,2,1,"0.2'], "line 3: this is no CSV"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_garbled_file_is_refused_with_the_number_of_the_line(tmp_path, name):
    lines, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        spt.read_traces(write(tmp_path, *lines))


def test_a_header_without_the_columns_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"line 1: the header must name.*direction, weight not"):
        spt.read_traces(write(tmp_path, "a,1", header="cell,pulse"))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    file = tmp_path / "traces.csv"
    file.write_bytes(HEADER.encode() + b"\na,1,1,0.1\n\xff\xfe\x00\n")
    with pytest.raises(ValueError, match=r"traces\.csv, line 3: this is no text in UTF-8"):
        spt.read_traces(file)


def test_simulated_reads_show_the_hidden_weights_with_both_noises(key):
    """Without cycle noise: reads of 20,000 equal cells spread by write and read noise alone."""
    spec = spt.SoftBounds(dw_min=0.02, write_noise_std=1.5, **QUIET)
    device = spt.sample_device(key, spec, (20_000,))
    directions = np.array([1, 1, 0, -1])
    traces = spt.simulate_traces(key, device, jnp.zeros(20_000), directions, read_noise_std=0.04)
    hidden = [0.0]
    for direction in directions:
        step = {1: 0.02 * (1 - hidden[-1] / 0.6), -1: -0.02 * (1 + hidden[-1] / 0.6), 0: 0}
        hidden.append(hidden[-1] + step[int(direction)])
    for shown, expected in zip(traces.weights, hidden, strict=True):
        assert_mean(shown, expected)
        assert_std(shown, np.hypot(0.03, 0.04))
    errors = np.asarray(traces.weights, float) - np.array(hidden)[:, None]
    assert abs(np.corrcoef(errors) - np.eye(5)).max() < 4.5 / np.sqrt(20_000)


@pytest.mark.parametrize(
    ("directions", "message"),
    [(np.array([1, 2]), "must be -1, 0 or 1"), (np.ones((3, 5), int), r"\(pulses, cells\)")],
)
def test_wrong_directions_are_refused(key, directions, message):
    device = spt.sample_device(key, spt.SoftBounds(), (2,))
    with pytest.raises(ValueError, match=message):
        spt.simulate_traces(jax.random.key(0), device, jnp.zeros(2), directions)
