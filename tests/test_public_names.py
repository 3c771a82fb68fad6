"""Every public name has a docstring with an example, and every example runs."""

import doctest
import functools
import importlib
import math
import pkgutil
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt

# What the examples take for granted. They see nothing else of the module they are written in.
NAMES = {"jax": jax, "jnp": jnp, "np": np, "optax": optax, "spt": spt}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
DECIMAL = re.compile(r"-?\d+\.\d*(?:e[+-]?\d+)?")
MODULES = ["sptrack", *(m.name for m in pkgutil.walk_packages(spt.__path__, "sptrack."))]


def public_names(module, prefix):
    """Name and object for all that is public in a module and in its public modules."""
    for name in getattr(module, "__all__", ()):
        if not name.startswith("__"):
            value = getattr(module, name)
            yield f"{prefix}.{name}", value
            if isinstance(value, types.ModuleType):
                yield from public_names(value, f"{prefix}.{name}")


@functools.cache
def examples(module_name):
    """The doctests of a module, those of jitted and otherwise wrapped functions included."""
    return doctest.DocTestFinder().find(importlib.import_module(module_name), globs=NAMES)


def fault(value):
    """What is wrong with the documentation of a public object; None if nothing is."""
    text = value.__doc__
    if not text:
        return "has no docstring"
    if isinstance(value, types.ModuleType):
        return None if hasattr(value, "__all__") else "has no __all__"
    if ">>>" not in text:
        return "has no example"
    if text not in [test.docstring for test in examples(value.__module__)]:
        return "has an example that no doctest runs"
    return None


class UpToRounding(doctest.OutputChecker):
    """Takes 0.29999998 for 0.3: single precision rounds differently from machine to machine."""

    def check_output(self, want, got, optionflags):
        wanted = DECIMAL.findall(want)
        if len(wanted) == len(DECIMAL.findall(got)):
            rest = iter(wanted)
            got = DECIMAL.sub(lambda found: same_or_found(next(rest), found[0]), got)
        return super().check_output(want, got, optionflags)


def same_or_found(want, found):
    return want if math.isclose(float(want), float(found), rel_tol=1e-5, abs_tol=1e-6) else found


def failures(tests):
    """The report of the examples that failed; empty if none did."""
    report = []
    runner = doctest.DocTestRunner(UpToRounding(), optionflags=OPTIONS, verbose=False)
    for test in tests:
        runner.run(test, out=report.append, clear_globs=False)
    return "".join(report)


def test_the_package_says_what_is_public():
    assert fault(spt) is None


@pytest.mark.parametrize(("name", "value"), list(public_names(spt, "spt")))
def test_public_names_have_an_example(name, value):
    assert fault(value) is None, f"{name} {fault(value)}"


@pytest.mark.keys_are_checked
@pytest.mark.parametrize("module_name", MODULES)
def test_examples_run(module_name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = failures(examples(module_name))
    assert not report, report


# Negative controls: what the checks above must find fault with.


def without_docstring():
    pass


def without_example():
    """Returns nothing."""


def with_wrong_example():
    """Returns one.

    >>> 1 + 1
    3
    """


@jax.jit
def with_reused_key(key):
    """Draws.

    >>> key = jax.random.key(0)
    >>> jax.random.normal(key) == jax.random.normal(key)
    Array(True, dtype=bool)
    """


with_unreachable_example = functools.partial(without_example)
with_unreachable_example.__doc__ = ">>> 1 + 1\n2\n"


def test_faulty_documentation_is_seen():
    assert fault(types.ModuleType("m", "A module.")) == "has no __all__"
    assert fault(without_docstring) == "has no docstring"
    assert fault(without_example) == "has no example"
    assert fault(with_unreachable_example) == "has an example that no doctest runs"
    assert fault(with_reused_key) is None


def test_only_rounding_is_forgiven():
    check = UpToRounding().check_output
    assert check("[0.3 -0.1]\n", "[0.29999998 -0.1]\n", OPTIONS)
    assert not check("0.3\n", "0.29\n", OPTIONS)
    assert not check("0.3\n", "0.3 0.3\n", OPTIONS)


@pytest.mark.keys_are_checked
def test_wrong_examples_are_seen():
    report = failures(examples(__name__))
    assert "Expected:\n    3\nGot:\n    2" in report
    assert "KeyReuseError" in report
