"""A fast counter-based generator as a JAX key implementation.

`jax.random.key(seed)` (threefry) is the default everywhere and always works. On a CPU it is also
what a simulation mostly waits for. `fast_key(seed)` returns a key of another implementation, which
every function that takes a key accepts: bits are a hash of (key, position) that XLA fuses into the
update that uses them; `split` and `fold_in` hash the key in the same way. Not cryptographic.

The hash is two rounds of a 32-bit integer mixer of the multiply-xorshift kind, with constants found
by search for low bias (C. Wellons, hash-prospector, constants "triple32" and "lowbias32", public
domain), with one half of the key added before each round.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from sptrack._typing import Array, Key

__all__ = ["fast_key"]

_GOLDEN = 0x9E3779B9  # 2^32 / golden ratio: spreads neighbouring counters


def _mix(x: Array) -> Array:
    """A bijection of 32-bit words in which every input bit flips every output bit half the time."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x21F0AAAD)
    x = (x ^ (x >> 15)) * jnp.uint32(0xD35A2D97)
    return x ^ (x >> 15)


def _random_bits(key: Array, bit_width: int, shape: tuple[int, ...]) -> Array:
    """Bits for all positions of `shape`; more than 32 or fewer are made of 32-bit words."""
    size = math.prod(shape)
    if bit_width == 64:
        words = _random_bits(key, 32, (2, *shape)).astype(jnp.uint64)
        return (words[0] << 32) | words[1]
    if size >= 2**32:
        raise ValueError(f"fast_key draws at most 2^32 words at once, got shape {shape}.")
    counter = jax.lax.iota(jnp.uint32, size).reshape(shape)
    word = _mix(counter * jnp.uint32(_GOLDEN) + key[0])
    word = _mix(word + key[1])
    return word if bit_width == 32 else (word >> (32 - bit_width)).astype(f"uint{bit_width}")


def _seed(seed: Any) -> Array:
    return jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))


def _fold_in(key: Array, data: Any) -> Array:
    """Two words hashed from (key, data), each half of the key entering both of them."""
    counter = jnp.asarray(data).astype(jnp.uint32) * jnp.uint32(_GOLDEN)
    first = _mix(_mix(counter + key[0]) + key[1])
    second = _mix(_mix(counter ^ first) + key[0] + jnp.uint32(_GOLDEN))
    return jnp.stack([first, _mix(second + key[1])])


def _split(key: Array, shape: tuple[int, ...]) -> Array:
    numbers = jax.lax.iota(jnp.uint32, math.prod(shape))
    return jax.vmap(lambda n: _fold_in(key, n))(numbers).reshape(*shape, 2)


@functools.cache  # a name can be registered once
def _implementation() -> Any:
    """The key implementation; made when first used, because jax.extend is slow to import."""
    from jax.extend.random import define_prng_impl

    return define_prng_impl(
        key_shape=(2,),
        seed=_seed,
        split=_split,
        random_bits=_random_bits,
        fold_in=_fold_in,
        name="sptrack_fast",
        tag="spt",
    )


def fast_key(seed: int | Array) -> Key:
    """A key of the fast generator, for any function that takes a key.

    The same seed gives the same numbers on every backend, but not those of `jax.random.key(seed)`.

    Args:
      seed: an integer.

    Returns:
      A typed key.

    Raises:
      TypeError: if `seed` is no integer.

    Example:
      >>> import jax, sptrack as spt
      >>> key = spt.random.fast_key(0)
      >>> jax.random.normal(key, (2,)).shape
      (2,)
    """
    if seed is None:
        raise TypeError("fast_key needs an integer seed, got None.")
    return jax.random.wrap_key_data(_seed(seed), impl=_implementation())
