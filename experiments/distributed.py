"""Several processes for one experiment: joining them, sharing work out, waiting for each other.

The library never starts distribution by itself; an experiment does on `--distributed`, here. Slurm,
Open MPI, Kubernetes and Cloud TPU are found by `jax.distributed`. Anywhere else every process gets
the environment variables of `VARIABLES`.
"""

import os
import sys

import jax
from jax.experimental import multihost_utils

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def start(wanted: bool) -> None:
    """Joins the processes of the job if `wanted`; only the first of them writes to standard output.

    Raises:
      SystemExit: if there is no job to join.
    """
    if not wanted:
        return
    address, *numbers = (os.environ.get(name) for name in VARIABLES)
    try:
        count, index = (None if number is None else int(number) for number in numbers)
        jax.distributed.initialize(address, count, index)
    except (ValueError, RuntimeError) as error:
        raise SystemExit(
            f"--distributed found no job to join ({error}). Start the processes with srun or "
            f"mpirun, or give each of them {', '.join(VARIABLES)}; the address is host:port of "
            "process 0."
        ) from error
    if jax.process_index() > 0:
        sys.stdout = open(os.devnull, "w")


def mine(number: int) -> bool:
    """Whether this process does part `number`."""
    return number % jax.process_count() == jax.process_index()


def is_first() -> bool:
    """Whether this process speaks and publishes for all."""
    return jax.process_index() == 0


def together(what: str) -> None:
    """Returns when all processes have come to this line."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
