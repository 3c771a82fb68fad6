"""A process of a sweep, for tests that need another one: `python -m tests.sweep.worker STORE ...`.

--mesh                  over all devices that JAX shows
--processes N I PORT    as process I of N of jax.distributed
--slow SECONDS          wait before each block, so that a kill hits in between
--seeds N               so many seeds, which is so many blocks
"""

import sys
import time

import jax
import numpy as np

import sptrack as spt
from sptrack.sweep import driver
from tests.sweep.runs import AXES, OPTIONS, calibrate


def main(store: str, *flags: str) -> None:
    """Does the sweep of the tests, in chunks of three, and prints the hash of what comes out."""
    if "--processes" in flags:
        count, index, port = flags[flags.index("--processes") + 1 :][:3]
        jax.distributed.initialize(f"localhost:{port}", int(count), int(index))
    if "--slow" in flags:
        slow_down(float(flags[flags.index("--slow") + 1]))
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("all",)) if "--mesh" in flags else None
    axes = (
        {**AXES, "seed": range(int(flags[flags.index("--seeds") + 1]))}
        if "--seeds" in flags
        else AXES
    )
    ds = spt.sweep(calibrate, axes, jax.random.key(21), chunk=3, store=store, mesh=mesh, **OPTIONS)
    print(jax.process_count(), jax.device_count(), spt.results.digest(ds), flush=True)


def slow_down(seconds: float) -> None:
    """Makes every block wait before it is computed."""
    compiled = driver.compiled

    def slow(program, devices):
        compute = compiled(program, devices)

        def waiting(blocks):
            time.sleep(seconds)
            return compute(blocks)

        return waiting

    driver.compiled = slow


if __name__ == "__main__":
    main(*sys.argv[1:])
