"""What training costs: time, digital storage, operations and memory traffic of one update; energy.

Formulas are those of Rasch et al. 2024 (Nat. Commun. 15:7133), Wu et al. 2025 (2502.06309) and
Li et al. 2025 (2510.02516), for one array of N x N cells and one sample. For an algorithm with a
gradient array, where `transfer_every` = n_s updates share one transfer of a column:

    time       = slots t_sp + reads t_mvm + operations / rate
    slots      = l + w / n_s      l to write the gradient, w a column of the other array: 1 from a
                                  digital buffer, l without one
    reads      = 1 / n_s
    operations = 2 N + k N / n_s  k per entry of the column
    storage    = m N^2 + 2 N      m matrices in digital memory
    memory     = b N / n_s        b bits moved per entry of the column

Algorithms that nobody has published a cost for are counted in the same way, and `SOURCES` says so.
Not part of it: forward and backward pass, peripheral circuits, and sending data between arrays.
Source: Rasch et al. 2024, the table of run times.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from sptrack._typing import Array, PyTree, number, spec

__all__ = ["ArrayHardware", "UpdateCost", "pulse_energy", "update_cost", "update_energy"]


@spec
class ArrayHardware:
    """The array and its schedule; defaults are those of Rasch et al. 2024.

    Attributes:
      size: N, lines of the square array.
      pulses_per_update: l, pulse slots of one gradient update.
      pulse_ns: t_sp, time of a slot; ns.
      mvm_ns: t_mvm, time of one read of all outputs (a matrix-vector product); ns.
      transfer_every: n_s, updates per transfer of a column.
      batch: B, samples that mixed precision collects before it writes.
      rate: digital operations per ns that one array may use (0.175 Tflop/s are 175).

    Example:
      >>> import sptrack as spt
      >>> spt.costs.ArrayHardware(size=256).mvm_ns
      40.0
    """

    size: float = number(512.0, low=1, symbol="N", unit="lines")
    pulses_per_update: float = number(5.0, low=0, above=True, symbol="l", unit="slots")
    pulse_ns: float = number(5.0, low=0, symbol="t_sp", unit="ns")
    mvm_ns: float = number(40.0, low=0, symbol="t_mvm", unit="ns")
    transfer_every: float = number(2.0, low=1, symbol="n_s", unit="updates")
    batch: float = number(100.0, low=1, symbol="B", unit="samples")
    rate: float = number(175.0, low=0, above=True, unit="operations/ns")


DEFAULT = ArrayHardware()  # pyright: ignore[reportCallIssue]  # it sees no defaults in `number`


class UpdateCost(NamedTuple):
    """Cost of one update with one sample on one array.

    Attributes:
      time_ns: duration; ns.
      slots: pulse slots; all cells of an array are pulsed at once in a slot.
      reads: matrix-vector products to read an array for transfer.
      operations: floating-point operations.
      storage: numbers kept in digital memory.
      memory_bits: bits moved to and from digital memory for the transfer.

    Example:
      >>> import sptrack as spt
      >>> spt.costs.update_cost("agad").operations
      2560.0
    """

    time_ns: Any
    slots: Any
    reads: Any
    operations: Any
    storage: Any
    memory_bits: Any


class _Transfer(NamedTuple):
    """m, k, b of the module's docstring; and whether a buffer saves writing a whole pulse train."""

    matrices: int
    operations: int
    bits: int
    buffered: bool = True


_TRANSFERS = {
    # H: read and written with 8 bits, 2 operations per entry.
    "ttv2": _Transfer(1, 2, 16),
    "chopped_ttv2": _Transfer(1, 2, 18),  # and signs
    "agad": _Transfer(3, 6, 50),  # H, P and P_ref: a difference and a moving average (3) more
    # A column is read and written at once, as the gradient is; 2 N operations to scale it.
    "tiki_taka": _Transfer(0, 2, 0, buffered=False),
    "residual_learning": _Transfer(0, 2, 0, buffered=False),
    # Our count. d is what the model sees of the residual: written when a column is read.
    "two_stage": _Transfer(3, 3, 16 + 8 + 8),  # H, the estimate, d
    "rider": _Transfer(3, 6, 16 + 16 + 8),  # H, Q, d
    "erider": _Transfer(4, 6, 50 + 8),  # AGAD's and d
    "erider_released": _Transfer(4, 6, 50 + 8),
}

SOURCES = {
    "analog_sgd": "Rasch et al. 2024",
    "tiki_taka": "counted here; with n_s = 1 it is residual_learning",
    "ttv2": "Rasch et al. 2024",
    "chopped_ttv2": "Rasch et al. 2024",
    "agad": "Rasch et al. 2024",
    "mixed_precision": "Rasch et al. 2024",
    "multi_tile": "Li et al. 2025",
    "residual_learning": "Wu et al. 2025, at n_s = 1",
    "two_stage": "counted here: column schedule, without calibration",
    "rider": "counted here: column schedule",
    "erider": "counted here: column schedule",
    "erider_released": "counted here: column schedule",
}


def update_cost(algorithm: str, hardware: ArrayHardware | None = None) -> UpdateCost:
    """The cost of one update by the formulas of the module's docstring.

        analog_sgd       l t_sp + 2 N / rate
        ttv2 ...         (l + 1 / n_s) t_sp + t_mvm / n_s + (2 N + k N / n_s) / rate
        mixed_precision  N / B t_sp + (2 N^2 + N) / rate
        multi_tile       at most l t_sp n_s / (n_s - 1) + t_mvm / (n_s - 1) + 2 N / rate

    Args:
      algorithm: name of an optimizer, one of `SOURCES`.
      hardware: the array; `ArrayHardware()` if None. Its fields may be traced or swept.

    Returns:
      `UpdateCost`.

    Raises:
      ValueError: for an algorithm without a formula, or multi_tile with `transfer_every` of 1.

    Example:
      >>> import sptrack as spt
      >>> for name in ("analog_sgd", "ttv2", "agad"):
      ...     print(round(spt.costs.update_cost(name).time_ns, 1))
      30.9
      56.3
      62.1
    """
    if algorithm not in SOURCES:
        raise ValueError(f"algorithm must be one of {sorted(SOURCES)}, got {algorithm!r}.")
    h = DEFAULT if hardware is None else hardware
    n, every, train = h.size, h.transfer_every, h.pulses_per_update
    if algorithm == "analog_sgd":
        return _cost(h, slots=train, operations=2 * n, storage=2 * n, memory_bits=1.0)
    if algorithm == "mixed_precision":
        return _cost(
            h,
            slots=n / h.batch,
            operations=2 * n**2 + n,
            storage=n**2 + 2 * n * h.batch,
            memory_bits=16 * n**2 / h.batch,
        )
    if algorithm == "multi_tile":
        if not isinstance(every, Tracer) and every <= 1:
            raise ValueError("multi_tile needs transfer_every above 1: each tile is slower.")
        return _cost(
            h,
            slots=train * every / (every - 1),
            reads=1 / (every - 1),
            operations=2 * n,
            storage=2 * n,
            memory_bits=1.0,
        )
    parts = _TRANSFERS[algorithm]
    return _cost(
        h,
        slots=train + (1 if parts.buffered else train) / every,
        reads=1 / every,
        operations=2 * n + parts.operations * n / every,
        storage=parts.matrices * n**2 + 2 * n,
        memory_bits=parts.bits * n / every,
    )


def pulse_energy(counts: Mapping[str, PyTree], energies: Any) -> dict[str, Array]:
    """The energy of all pulses sent: counts times your table, summed over cells and arrays.

    Args:
      counts: pulses by purpose, as `spt.pulse_counts` gives them; a purpose may hold a further
        mapping, e.g. by direction (as parts of `spt.pulse_details` are).
      energies: energy of one pulse: a number for all, or a mapping with the keys of `counts` to
        numbers or further mappings. In joule, or in whatever unit the result shall have.

    Returns:
      Energy by purpose, floating.

    Raises:
      ValueError: if a purpose has no entry in the table.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> counts = {"training": {"w": jnp.array([10, 20])}, "transfer": {"w": jnp.array([1, 0])}}
      >>> table = {"training": 1.0, "transfer": 2.5}  # pJ
      >>> {name: float(e) for name, e in spt.costs.pulse_energy(counts, table).items()}
      {'training': 30.0, 'transfer': 2.5}
    """
    return {name: _energy(tree, energies, (name,)) for name, tree in counts.items()}


def update_energy(
    cost: UpdateCost, *, read: float = 0.0, operation: float = 0.0, memory_bit: float = 0.0
) -> Any:
    """The energy of one update apart from its pulses, in the units of the energies given.

    Args:
      cost: of one update.
      read: energy of one read of an array (a matrix-vector product).
      operation: energy of one floating-point operation.
      memory_bit: energy of one bit moved to or from digital memory.

    Returns:
      reads * read + operations * operation + memory_bits * memory_bit.

    Example:
      >>> import sptrack as spt
      >>> spt.costs.update_energy(spt.costs.update_cost("ttv2"), read=100.0, operation=0.5)
      818.0
    """
    return cost.reads * read + cost.operations * operation + cost.memory_bits * memory_bit


def _cost(
    h: ArrayHardware,
    *,
    slots: Any,
    operations: Any,
    storage: Any,
    memory_bits: Any,
    reads: Any = 0.0,
) -> UpdateCost:
    time = slots * h.pulse_ns + reads * h.mvm_ns + operations / h.rate
    return UpdateCost(time, slots, reads, operations, storage, memory_bits)


def _sum(counts: Any) -> Any:
    """Of all cells, floating; NumPy's 64-bit integers (`spt.pulse_details`) are summed by NumPy."""
    is_numpy = isinstance(counts, (np.ndarray, np.generic))
    return np.sum(counts, dtype=float) if is_numpy else jnp.sum(counts, dtype=float)


def _energy(tree: Any, energies: Any, path: tuple[str, ...]) -> Array:
    """Energy of one purpose; follows the table as deep as it goes."""
    if not isinstance(energies, Mapping):
        total = sum(_sum(leaf) for leaf in jax.tree.leaves(tree))
        return jnp.asarray(total * energies)
    if path[-1] not in energies:
        raise ValueError(
            f"the energy table has no entry for {'/'.join(path)!r}, only {sorted(energies)}."
        )
    inner = energies[path[-1]]
    if not isinstance(inner, Mapping):
        return _energy(tree, inner, path)
    if not isinstance(tree, Mapping):
        raise ValueError(f"{'/'.join(path)!r} has no parts like {sorted(inner)}: give a number.")
    return sum((_energy(part, inner, (*path, key)) for key, part in tree.items()), jnp.zeros(()))
