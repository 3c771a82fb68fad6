"""Axes, the keys of their points, and the blocks that cover them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptrack.sweep.axes import cut, parse

shapes = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)


@given(shapes, st.integers(1, 40))
def test_blocks_cover_every_point_once_and_fit_the_chunk(shape, chunk):
    tiling = cut(shape, chunk)
    assert math.prod(tiling.tile) <= chunk
    seen = np.zeros(shape, int)
    for block in range(math.prod(tiling.counts)):
        seen[tiling.region(block)] += 1
        numbers = np.arange(math.prod(shape)).reshape(shape)
        filled = numbers[tuple(tiling.indices(block))].reshape(tiling.tile)
        np.testing.assert_array_equal(filled[tiling.inside(block)], numbers[tiling.region(block)])
        assert tiling.points_in(block) == numbers[tiling.region(block)].size
    assert (seen == 1).all()


@given(shapes)
def test_a_chunk_as_large_as_the_grid_is_one_block(shape):
    assert cut(shape, math.prod(shape)).counts == (1,) * len(shape)


def test_blocks_are_even():
    """65 points in chunks of 64 are 33 + 32, not 64 and 63 repetitions."""
    assert cut((65,), 64).tile == (33,)
    assert cut((8, 100), 64).tile == (1, 50)
    assert cut((3, 30), 64).tile == (2, 30)


@pytest.mark.parametrize("chunk", [0, -1, 2.0, True, "4"])
def test_a_chunk_is_a_positive_integer(chunk):
    with pytest.raises(ValueError, match="chunk must be an integer >= 1"):
        cut((3,), chunk)


def points(axes, paired=()):
    grid = parse(axes, paired)
    everywhere = [at.ravel() for at in np.indices(grid.shape)]
    return grid, *grid.points(everywhere)


def test_products_and_zips():
    axes = {"gamma": [0.1, 0.2], "offset": {"mean": [0.0, 0.4], "std": [0.5, 0.6]}, "repeat": 2}
    grid, words, swept = points(axes)
    assert grid.dims == ("gamma", "offset", "repeat") and grid.shape == (2, 2, 2)
    product = itertools.product([0.1, 0.2], [(0.0, 0.5), (0.4, 0.6)], range(2))
    gamma, offset, _ = zip(*product, strict=True)
    expected = {"gamma": gamma, "mean": [m for m, _ in offset], "std": [s for _, s in offset]}
    assert swept.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(swept[name], np.asarray(values, np.float32))
    assert len(set(zip(*words, strict=True))) == 8


def test_integers_number_their_points_and_others_are_numbered_by_position():
    _, words, swept = points({"seed": [7, 3], "gamma": [0.5, 0.1]})
    np.testing.assert_array_equal(words[0], [7, 7, 3, 3])
    np.testing.assert_array_equal(words[1], [0, 1, 0, 1])
    assert swept["seed"].dtype == np.int32 and swept["gamma"].dtype == np.float32
    assert all(word.dtype == np.uint32 for word in words)


def test_paired_axes_do_not_enter_the_key():
    _, words, swept = points({"seed": range(2), "gamma": [0.5, 0.1]}, paired=("gamma",))
    assert len(words) == 1 and set(swept) == {"seed", "gamma"}


def test_negative_integers_have_numbers_of_their_own():
    _, words, _ = points({"offset": [-1, 0, 1]})
    np.testing.assert_array_equal(words[0], [2**32 - 1, 0, 1])


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, "at least one axis"),
        ([("seed", 3)], "at least one axis"),
        ({"seed": []}, "needs a sequence of numbers"),
        ({"seed": 0}, "at least 1"),
        ({"gamma": 0.5}, "needs a sequence of numbers"),
        ({"gamma": [[0.1, 0.2]]}, "needs a sequence of numbers"),
        ({"gamma": [[0.1], [0.2, 0.3]]}, "needs a sequence of numbers"),
        ({"device": ["reram_es", "ecram"]}, "what is no number is static"),
        ({"seed": [1, 2, 1]}, "repeats an integer"),
        ({"seed": [2**40]}, "beyond int32"),
        ({("mean", "std"): [(0.0, 0.1)]}, r"zip several values into one axis"),
        ({"key": [1]}, "can't be the name of a run's argument"),
        ({"a": {"x": [1, 2], "y": [1]}}, "differ in length"),
        ({"a": {}}, "has no columns"),
        ({"x": [1], "a": {"x": [1.0]}}, r"\['x'\] used for two"),
    ],
)
def test_axes_that_make_no_sense_are_refused(axes, message):
    with pytest.raises(ValueError, match=message):
        parse(axes, ())


@pytest.mark.parametrize(
    ("paired", "message"),
    [("gamma", r"give \('gamma',\)"), (("beta",), "is no axis"), (("n",), "differ by key only")],
)
def test_what_is_paired_is_an_axis_with_values(paired, message):
    with pytest.raises(ValueError, match=message):
        parse({"gamma": [0.1], "n": 3}, paired)


def test_wide_integers_are_fine_in_double_precision(x64):
    assert points({"seed": [2**40, 1]})[2]["seed"].dtype == np.int64
