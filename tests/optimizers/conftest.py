"""Keys are checked for reuse in two steps of every optimizer, and not in all tests of optimizers.

The check doubles the time of a step outside jit, and what it sees doesn't depend on numbers.
"""

import jax
import pytest


@pytest.fixture(autouse=True)
def key_checks(request):
    """On only for tests marked with `keys_are_checked`."""
    with jax.debug_key_reuse(request.node.get_closest_marker("keys_are_checked") is not None):
        yield
