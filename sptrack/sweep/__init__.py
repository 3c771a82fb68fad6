"""Runs mapped over named axes: one program, bounded memory, and nothing finished is ever lost.

A *run* is a pure function `(key, **swept) -> pytree of small arrays`. A *sweep* calls it at every
point of the product of its *axes*. `axes` (what is swept) gives `program` (one traced block of
points, the same on every device), `status` (how each point ended), `layout` (names and units) and
`store` (where blocks go when they are finished); `driver` brings them together.
"""

from sptrack.sweep.driver import SweepInterrupted, sweep

__all__ = ["SweepInterrupted", "sweep"]
