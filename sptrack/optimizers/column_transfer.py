"""The schedule of real arrays: P is read line by line.

After every `transfer_every` steps the next line of every matrix is read (or the next few), from the
first to the last and again. A line is a column (one input, all outputs) or a row. What happens with
a read is in `transfer.py`. Source: Rasch et al. 2024; the released experiments of arXiv 2602.21321.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sptrack._typing import Array, child, option, spec
from sptrack.periphery import ReadPath
from sptrack.transforms.arrays import ArrayState
from sptrack.transforms.lines import lines, num_columns, num_rows, set_lines

VISIBLE = ("live", "stored")


@spec
class ColumnTransfer:
    """Which lines of P are transferred to W and when; the rest of the schedule of real arrays.

    What is None here is as the algorithm's source has it.

    Attributes:
      read: how a line is read, a `spt.periphery.ReadPath`; None reads exactly. The default has the
        output noise of the released experiments, `spt.periphery.table_6().transfer` also their
        converters.
      transfer_every: steps between two transfers, an integer >= 1.
      reads_per_transfer: lines read at each transfer, one after the other, an integer >= 1; all
        lines of a matrix that has fewer. Released experiments read one.
      rows: whether rows (one output, all inputs) are read instead of columns.
      warm_up: whether W waits until a chopper period of whole passes is over. None: AGAD and
        E-RIDER wait, c-TTv2 doesn't.
      visible: "live", the model sees P as it is, or "stored", as it was last read and demodulated.
        None: live in the Tiki-Taka family, stored in residual learning, RIDER and E-RIDER.

    Example:
      >>> import sptrack as spt
      >>> spt.ColumnTransfer(transfer_every=2).read.out_noise
      0.06
    """

    read: ReadPath | None = child(ReadPath(out_noise=0.06))  # pyright: ignore[reportCallIssue]
    transfer_every: int = option(1, symbol="n_s")
    reads_per_transfer: int = option(1)
    rows: bool = option(False)
    warm_up: bool | None = option(None)
    visible: str | None = option(None)

    def check(self):
        """Refuses what is no read path, counts that are no positive integers, unknown choices."""
        if not isinstance(self.read, ReadPath | None):
            raise TypeError(
                f"ColumnTransfer: read must be a spt.periphery.ReadPath or None, got {self.read!r}."
            )
        for name in ("transfer_every", "reads_per_transfer"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"ColumnTransfer: {name} must be an integer >= 1, got {value!r}.")
        if self.warm_up is not None and type(self.warm_up) is not bool:
            raise ValueError(
                f"ColumnTransfer: warm_up must be None, True or False, got {self.warm_up!r}."
            )
        if self.visible not in (None, *VISIBLE):
            raise ValueError(
                f"ColumnTransfer: visible must be None or one of {VISIBLE}, got {self.visible!r}."
            )


DEFAULT = ColumnTransfer()  # pyright: ignore[reportCallIssue]  # it sees no defaults in `number`


class Visit(NamedTuple):
    """Which cells of one matrix are transferred at a step.

    Attributes:
      indices: lines that are read; None for the whole matrix.
      rows: whether lines are rows.
      shape: the matrix's shape.
      due: whether anything happens at this step, a boolean; True if always.
      number: how often these lines were visited before, shape (lines, 1); scalar for the whole.
      interval: steps between two visits of a line.
      ends_pass: whether the last line of the matrix is among those visited, a boolean.
    """

    indices: Array | None
    rows: bool
    shape: tuple[int, ...]
    due: Array | bool
    number: Array
    interval: int
    ends_pass: Array | bool

    def get(self, tree: Any) -> Any:
        """What is visited of the matrices in `tree`; everything else in it unchanged."""
        if self.indices is None:
            return tree
        return lines(tree, self.indices, self.shape, rows=self.rows)

    def sign(self, sign: Array, *, across: bool = False) -> Array:
        """What is visited of a chopper's signs, or all signs of the other chopper if `across`."""
        if self.indices is None:
            return sign
        column = sign.reshape(-1, 1)
        return column.T if across else lines(column, self.indices, column.shape)

    def put(self, matrix: Any, values: Array) -> Array:
        """The matrix with new values where it is visited and due; what is no matrix as given.

        A matrix may have an axis of parts in front, and its values too.
        """
        if self.shape not in (jnp.shape(matrix), jnp.shape(matrix)[1:]):
            return values
        if self.due is not True:
            values = jnp.where(self.due, values, self.get(matrix))
        if self.indices is None:
            return values.astype(matrix.dtype)
        return set_lines(matrix, self.indices, values, rows=self.rows)

    def put_sign(self, sign: Array, values: Array) -> Array:
        """The chopper with new signs where it is visited, if it is due."""
        if self.indices is None:
            return jnp.where(self.due, values, sign)
        new = jnp.where(self.due, values, self.sign(sign))
        return set_lines(sign.reshape(-1, 1), self.indices, new).reshape(sign.shape)

    def put_array(self, array: ArrayState, written: ArrayState) -> ArrayState:
        """The array with the visited cells in the state they were written to."""
        if self.indices is None:
            return written
        rest = jax.tree.map(self.put, array._replace(device=None), written._replace(device=None))
        return rest._replace(device=array.device)


def visit(matrix: Array, count: Array, transfer: ColumnTransfer | None, due: Any = True) -> Visit:
    """Which cells of a matrix are transferred at step `count`; all of them without a schedule.

    Args:
      matrix: anything of the matrix's shape.
      count: steps before this one; of a transfer that is not due, transfers before this one.
      transfer: the schedule, or None.
      due: whether there is a transfer at this step, on top of what the schedule says.
    """
    if transfer is None:
        return Visit(None, False, matrix.shape, due, count, 1, True)
    size = num_rows(matrix) if transfer.rows else num_columns(matrix)
    every, at_once = transfer.transfer_every, min(transfer.reads_per_transfer, size)
    if every > 1:
        due = due & ((count + 1) % every == 0)
    reads = (count // every) * at_once + jnp.arange(at_once)
    return Visit(
        indices=reads % size,
        rows=transfer.rows,
        shape=matrix.shape,
        due=due,
        number=(reads // size).reshape(-1, 1),
        interval=size * every,
        ends_pass=jnp.any(reads % size == size - 1),
    )
