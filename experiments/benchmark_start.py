"""What it costs to begin: importing sptrack and compiling an E-RIDER step, in new processes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments import study

IMPORT = """
import time
begin = time.perf_counter()
import jax, optax
theirs = time.perf_counter()
import sptrack
print(theirs - begin, time.perf_counter() - theirs)
"""
COMPILE = """
import jax
import sptrack as spt
from experiments import benchmark_steps as steps
tx = steps.optimizers({key}(0))["E-RIDER"]
print(steps.program("E-RIDER", tx, 1, 1).about["compile_s"])
"""


def measure(repeats: int, *, compile_too: bool = True) -> study.Records:
    """Seconds, shape (measurements, repeats); compilation is measured once."""
    imports = np.array([_seconds(IMPORT) for _ in range(repeats)])
    names = ["import of jax and optax", "import of sptrack after them"]
    seconds = list(imports.T)
    keys = {"fast key": "spt.random.fast_key", "default key": "jax.random.key"}
    for label, key in keys.items() if compile_too else ():
        names.append(f"compiling an E-RIDER step, {label}")
        seconds.append(np.full(repeats, _seconds(COMPILE.format(key=key))))
    return {"what": np.array(names), "seconds": np.array(seconds)}


def rows(records: study.Records) -> list[dict[str, Any]]:
    """One row per measurement: least and median seconds."""
    return [
        {"what": str(what), "seconds": float(times.min()), "median": float(np.median(times))}
        for what, times in zip(records["what"], records["seconds"], strict=True)
    ]


def _seconds(program: str) -> list[float]:
    """The numbers that a program prints, in a process that has no cache of compiled programs."""
    root = str(Path(__file__).parents[1])
    env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=env | {"PYTHONPATH": root},
    )  # fmt: skip
    return [float(number) for number in done.stdout.split()]
