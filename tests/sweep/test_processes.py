"""One device, eight devices, two processes, and processes that are killed: the same bits."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import sptrack as spt
from tests.sweep.runs import AXES, OPTIONS, calibrate

pytest.importorskip("zarr")

ROOT = pathlib.Path(__file__).parents[2]
KILLS = 2  # 20 pass as well
POLL = 0.1  # s between two looks into a store, each of which takes as long as a point


@pytest.fixture(scope="module")
def expected():
    """The hash of the sweep in this process, on one device, in memory."""
    return spt.results.digest(spt.sweep(calibrate, AXES, jax.random.key(21), chunk=3, **OPTIONS))


def start(store, *flags, devices=1):
    xla = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sweep.worker", str(store), *map(str, flags)],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": xla},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    """What a worker prints: processes, devices, hash."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.split()[-3:]


def test_eight_devices_equal_one(tmp_path, expected):
    assert end(start(tmp_path / "s", "--mesh", devices=8)) == ["1", "8", expected]


def test_two_processes_equal_one(tmp_path, expected):
    """Each writes its own blocks of one store, and both see all of it in the end."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    workers = [start(tmp_path / "s", "--processes", 2, i, port) for i in range(2)]
    assert [end(worker) for worker in workers] == [["2", "2", expected]] * 2


def finished_points(store):
    try:
        return int((spt.results.load(store).status == 0).sum())
    except (FileNotFoundError, ValueError):
        return 0


def kill(process):
    """Whether it was still running."""
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return running


def test_a_killed_sweep_resumes_to_the_same_bits(tmp_path, expected):
    """SIGKILL as soon as a block is on disk; the next process finishes."""
    store = tmp_path / "s"
    worker = start(store, "--slow", 0.2)
    deadline = time.monotonic() + 200
    while not finished_points(store) and time.monotonic() < deadline:
        time.sleep(POLL)
    assert kill(worker) and 0 < finished_points(store) < 15
    assert end(start(store)) == ["1", "1", expected]


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path):
    """From the start of Python to the middle of the sweep, again and again.

    A moment is a number of points that are still to be finished, and none is as soon as the process
    lives: by the clock alone, a machine that gets faster meanwhile would finish them all.
    """
    seeds = ("--seeds", 15 * KILLS)
    undisturbed = end(start(tmp_path / "whole", *seeds))
    moments, left = np.random.default_rng(0), [0]
    for more in (0, *moments.integers(1, 30, KILLS - 1)):
        worker = start(tmp_path / "s", *seeds, "--slow", 0.2)
        while finished_points(tmp_path / "s") < left[-1] + more and worker.poll() is None:
            time.sleep(POLL)
        time.sleep(moments.uniform(0, 0.2))
        assert kill(worker)
        left.append(finished_points(tmp_path / "s"))
    assert left == sorted(left) and 0 < left[-1] < 45 * KILLS
    assert end(start(tmp_path / "s", *seeds)) == undisturbed
    print(f"points finished after each kill: {left[1:]} of {45 * KILLS}")
