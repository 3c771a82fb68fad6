"""Named axes, the points between them, and the blocks in which points are computed.

A block is a rectangle of points, the same in shape everywhere, so that it is one program and one
chunk of every stored array. Blocks at the upper edge of an axis reach beyond it; there the last
point is repeated, and the repeated results are dropped.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np


class Axis(NamedTuple):
    """One dimension of a sweep.

    Attributes:
      name: the dimension.
      labels: the coordinate along it, shape (size,).
      columns: name -> values of what a run receives, each of shape (size,).
      words: uint32 number per point, folded into its key.
    """

    name: str
    labels: np.ndarray
    columns: dict[str, np.ndarray]
    words: np.ndarray


class Grid(NamedTuple):
    """All points of a sweep: the product of its axes.

    Attributes:
      axes: in the order of the dimensions.
      keyed: for every axis, whether it changes the key.
    """

    axes: tuple[Axis, ...]
    keyed: tuple[bool, ...]

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes."""
        return tuple(axis.name for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return tuple(len(axis.labels) for axis in self.axes)

    def points(self, indices: Sequence[np.ndarray]) -> tuple[tuple, dict[str, np.ndarray]]:
        """Words and swept values at positions given by one index array per axis."""
        words = tuple(
            axis.words[at]
            for axis, at, keyed in zip(self.axes, indices, self.keyed, strict=True)
            if keyed
        )
        columns = {
            name: values[at].astype(jnp.result_type(_KINDS[values.dtype.kind]))
            for axis, at in zip(self.axes, indices, strict=True)
            for name, values in axis.columns.items()
        }
        return words, columns


_KINDS = {"b": bool, "i": int, "u": int, "f": float}


class Tiling(NamedTuple):
    """A grid cut into equal blocks.

    Attributes:
      shape: of the grid.
      tile: shape of a block.
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Blocks along every axis."""
        return tuple(-(-size // side) for size, side in zip(self.shape, self.tile, strict=True))

    def region(self, block: int) -> tuple[slice, ...]:
        """The part of the grid that a block fills."""
        corner = np.unravel_index(block, self.counts)
        return tuple(
            slice(int(n) * side, min(int(n + 1) * side, size))
            for n, side, size in zip(corner, self.tile, self.shape, strict=True)
        )

    def indices(self, block: int) -> list[np.ndarray]:
        """Positions along every axis of the block's points, in C order, edges repeated."""
        sides = [
            np.minimum(part.start + np.arange(side), size - 1)
            for part, side, size in zip(self.region(block), self.tile, self.shape, strict=True)
        ]
        return [positions.ravel() for positions in np.meshgrid(*sides, indexing="ij")]

    def points_in(self, block: int) -> int:
        """How many points a block has, repeated ones not counted."""
        return math.prod(part.stop - part.start for part in self.region(block))

    def inside(self, block: int) -> tuple[slice, ...]:
        """The part of a block's results that is not repeated."""
        return tuple(slice(0, part.stop - part.start) for part in self.region(block))


def cut(shape: tuple[int, ...], chunk: int) -> Tiling:
    """Blocks of at most `chunk` points, full along the last axes first, even in size."""
    if not isinstance(chunk, int) or isinstance(chunk, bool) or chunk < 1:
        raise ValueError(f"sweep: chunk must be an integer >= 1 or None, got {chunk!r}.")
    tile: list[int] = []
    for size in reversed(shape):
        pieces = -(-size // (chunk // math.prod(tile)))
        tile.append(-(-size // pieces))
    return Tiling(shape, tuple(reversed(tile)))


def parse(axes: Mapping[str, Any], paired: Sequence[str]) -> Grid:
    """Checks the `axes` of a sweep.

    Raises:
      ValueError: if they are empty, a name is used twice or values can't be swept.
    """
    if not isinstance(axes, Mapping) or not axes:
        raise ValueError("sweep: axes must name at least one axis, e.g. {'seed': range(8)}.")
    if isinstance(paired, str):
        raise ValueError(f"sweep: paired is a sequence of names: give ({paired!r},).")
    parsed = tuple(_axis(name, values) for name, values in axes.items())
    names = [name for axis in parsed for name in {axis.name, *axis.columns}]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"sweep: {sorted(twice)} used for two axes or columns; rename one.")
    if unknown := set(paired) - set(axes):
        raise ValueError(f"sweep: paired={sorted(unknown)} is no axis; there are {list(axes)}.")
    for axis in parsed:
        if axis.name in paired and not axis.columns:
            raise ValueError(f"sweep: the repetitions {axis.name!r} differ by key only: unpair it.")
    return Grid(parsed, tuple(axis.name not in paired for axis in parsed))


def _axis(name: str, values: Any) -> Axis:
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(
            f"sweep: the axis {name!r} needs a name that can be an argument; zip several values "
            "into one axis with {'axis': {'a': [...], 'b': [...]}}."
        )
    if isinstance(values, int) and not isinstance(values, bool):
        if values < 1:
            raise ValueError(f"sweep: axis {name!r} has {values} repetitions, needs at least 1.")
        columns, size = {}, values
    elif isinstance(values, Mapping):
        columns = {part: _column(f"{name}.{part}", part, column) for part, column in values.items()}
        if not columns:
            raise ValueError(f"sweep: axis {name!r} has no columns.")
        sizes = {part: len(column) for part, column in columns.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"sweep: the columns of axis {name!r} differ in length: {sizes}.")
        size = next(iter(sizes.values()))
    else:
        columns = {name: _column(name, name, values)}
        size = len(columns[name])
    labels = columns.get(name, np.arange(size))
    return Axis(name, labels, columns, _words(name, labels))


def _column(where: str, argument: str, values: Any) -> np.ndarray:
    if not isinstance(argument, str) or not argument.isidentifier() or argument == "key":
        raise ValueError(f"sweep: {where}: {argument!r} can't be the name of a run's argument.")
    try:
        column = np.asarray(list(values) if isinstance(values, range) else values)
    except ValueError:
        column = np.asarray(None)
    if column.ndim != 1 or column.size == 0 or column.dtype.kind not in "biuf":
        raise ValueError(
            f"sweep: axis {where!r} needs a sequence of numbers, got {values!r}. Sweep over an "
            "index to choose between arrays; what is no number is static: one sweep for each."
        )
    if column.dtype.kind in "iu":
        limits = np.iinfo(jnp.result_type(int))
        if column.min() < limits.min or column.max() > limits.max:
            raise ValueError(
                f"sweep: axis {where!r} has integers beyond {limits.dtype}; make them floats, or "
                "enable 64 bits with jax.enable_x64()."
            )
    return column


def _words(name: str, labels: np.ndarray) -> np.ndarray:
    """Integers number their points themselves; other points are numbered by position."""
    if labels.dtype.kind not in "iu":
        return np.arange(len(labels), dtype=np.uint32)
    words = (labels.astype(np.int64) & 0xFFFFFFFF).astype(np.uint32)
    if len(np.unique(words)) != len(words):
        raise ValueError(
            f"sweep: axis {name!r} repeats an integer; integers number the keys of their points, "
            "so all must differ. Add an axis of repetitions, e.g. {'repeat': 3}."
        )
    return words
