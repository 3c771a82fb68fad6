"""What holds in every test: shapes match, warnings are errors, no display.

Most of the time of these tests is compilation. So compiled programs are kept beside pytest's own
cache, where workers, subprocesses and the next run share them, and LLVM optimizes them only in
tests marked `optimized`; JAX_DISABLE_MOST_OPTIMIZATIONS=0 in the environment does that in all.
XLA's older emitter of loops takes half as long as the one that it prefers; XLA_FLAGS that say
something about it are left alone. Neither is what a program computes, up to its last bits. The
fixture `key` is of the generator whose programs compile in a third of the time. That no key is used
twice is checked in tests of experiments and in those marked `keys_are_checked`: every public name's
example, notebooks, programs in README and docs, every optimizer. JAX's check takes a tenth of the
time of all tests (half of a step's outside jit), and what it sees doesn't depend on numbers.
"""
# ruff: noqa: E402  # the environment has to be ready when jax is imported

import functools
import gc
import os
import pathlib
import subprocess
import sys
import zlib

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    str(pathlib.Path(__file__).parents[1] / ".pytest_cache" / "jax"),
)
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # they make programs long


def choose_emitter(flag):
    """Put the flag before the first import of jax, where jaxlib has it: unknown ones end a process.

    Workers and subprocesses inherit the environment, so this asks once.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if flag.partition("=")[0] not in flags:
        wanted = f"{flags} {flag}".strip()
        known = subprocess.run(
            [sys.executable, "-c", "import jax; jax.devices()"],
            env={**os.environ, "XLA_FLAGS": wanted}, capture_output=True, check=False,
        )  # fmt: skip
        if known.returncode == 0:
            os.environ["XLA_FLAGS"] = wanted


choose_emitter("--xla_cpu_use_fusion_emitters=false")
gc.set_threshold(100_000)  # traces are millions of objects that live; the default takes a twentieth

import hypothesis
import jax
import pytest
from jax._src.interpreters import mlir

import sptrack as spt

jax.config.update("jax_numpy_rank_promotion", "raise")

# Lowering makes a new context for every program, 5 of the 45 ms that a small one takes to compile.
if hasattr(mlir, "make_ir_context"):  # of JAX's private parts: it may go
    mlir.make_ir_context = functools.cache(mlir.make_ir_context)

hypothesis.settings.register_profile(
    "sptrack",
    deadline=None,  # the first example compiles
    derandomize=True,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,  # `x64` holds for all examples of a test
    ],
)
hypothesis.settings.load_profile("sptrack")


PLAIN = "JAX_DISABLE_MOST_OPTIMIZATIONS"
EVERYWHERE = os.environ[PLAIN] == "0"


def pytest_collection_modifyitems(items):
    """Optimized tests together, as the others start from empty caches; of both the slow ones first,
    so that no worker waits long for the other's last test."""
    items.sort(key=lambda item: [item.get_closest_marker(m) is None for m in ("optimized", "slow")])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Before fixtures of any scope: how programs compile, here and in subprocesses."""
    plain = not EVERYWHERE and item.get_closest_marker("optimized") is None
    if plain != (os.environ[PLAIN] == "1"):
        jax.clear_caches()  # what was compiled the other way rounds in another way
        jax.config.update(PLAIN.lower(), plain)
        os.environ[PLAIN] = str(int(plain))
    checked = item.path.parent.name == "experiments" or bool(
        item.get_closest_marker("keys_are_checked")
    )
    jax.config.update("jax_debug_key_reuse", checked)


@pytest.fixture
def seed_of():
    """The function that gives every test a seed of its own, the same in every run."""
    return lambda test: zlib.crc32(test.nodeid.encode())


@pytest.fixture
def key(request, seed_of):
    """A key that no other test has."""
    return spt.random.fast_key(seed_of(request.node))


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield
