"""Measured tables of steps: what is no such table is refused with its line."""

import numpy as np
import pytest

import sptrack as spt

HEAD = "weight,step_up,step_down\n"
BROKEN = {
    "no table": ("", "at least two rows"),
    "one row": (HEAD + "0,1,1\n", "at least two rows of numbers are needed, got 1"),
    "another column": ("weight,step_up\n0,1\n", "line 1: the header must name .* step_down"),
    "a short line": (HEAD + "0,1,1\n1,1\n", "line 3: expected 3 values, got 2"),
    "a word": (HEAD + "0,1,one\n", "line 2: step_down must be a finite number, got 'one'"),
    "a negative step": (HEAD + "0,-1,1\n", "line 2: step_up is the size of a step"),
    "falling weights": (HEAD + "0,1,1\n# no row\n-1,1,1\n", "line 4: weight -1 does not rise"),
    "an open quote": (HEAD + '0,1,"1\n', "line 2: this is no CSV"),
    "no text": (HEAD.encode() + b"0,1,\xff\n", "line 2: this is no text in UTF-8"),
}


def written(folder, content):
    path = folder / "cells.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_table_is_refused(tmp_path, name):
    content, message = BROKEN[name]
    with pytest.raises(ValueError, match=rf"cells\.csv(, |: ){message}"):
        spt.PiecewiseStep.from_csv(written(tmp_path, content))


def test_a_table_from_a_spreadsheet(tmp_path):
    """A byte-order mark, comments, empty lines and further columns are no hindrance."""
    content = "\ufeff# two cells\nno, weight, step_up, step_down\n\n1, -1, 3, 1\n2, 1, 1, 3\n"
    spec = spt.PiecewiseStep.from_csv(written(tmp_path, content))
    np.testing.assert_allclose(spec.piecewise_up, (1.5, 0.5))  # over the step in the middle, 2
    assert (spec.w_min, spec.w_max, spec.dw_min) == (-1, 1, 2)
