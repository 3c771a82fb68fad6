"""A fast counter-based generator as a JAX key implementation, and cheap normal numbers from it.

`jax.random.key(seed)` (threefry) is the default everywhere and always works. On a CPU it is also
what a simulation mostly waits for. `fast_key(seed)` returns a key of another implementation, which
every function that takes a key accepts: bits are a hash of (key, position) that XLA fuses into the
update that uses them; `split` and `fold_in` hash the key in the same way. Not cryptographic.

The hash of a position is one round of a 32-bit integer mixer of the multiply-xorshift kind, with
constants found by search for low bias (C. Wellons, hash-prospector, public domain). One half of the
key is added before the first multiplication, the other before the second. Keys themselves come
from at least two full rounds, so that two keys differ in all their bits however they are related;
words that are put into a key by hand (`jax.random.wrap_key_data`) should be random ones.

Where sptrack needs normal numbers of single precision, a fast key makes them from one word each:

  inverse  the inverse of the normal distribution function by a rational function, to 2e-6 in
           everything up to its last value, 6.3; the word's last bits decide about the tails.
           Kolmogorov's distance to the normal distribution is below 1e-6.
  bits     (bits set - 16) / sqrt(8): the binomial distribution of 32 fair coins, 33 values 0.35
           apart. Mean 0, variance 1 and skewness 0 are exact; the kurtosis is 3 - 1/16, the
           distance 0.07 (half of what the value 0 has), and 5.66 the largest value. The sum of n
           of them has the kurtosis 3 - 1/(16 n). Only noise that is drawn anew all the time
           (cycle, write, read noise) is made so; the spread among cells is drawn by "inverse".
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._typing import Array, Key

__all__ = ["fast_key"]

_GOLDEN = 0x9E3779B9  # 2^32 / golden ratio: spreads neighbouring numbers
_FIRST, _SECOND = 0x21F0AAAD, 0xD35A2D97  # the mixer's constants
_TAGS = {"inverse": "spt", "bits": "sptb"}  # short names of the key implementations


def _mix(x: Array, between: Any = 0) -> Array:
    """A bijection of 32-bit words in which every input bit flips every output bit half the time."""
    x = (x ^ (x >> 16)) * jnp.uint32(_FIRST) + between
    x = (x ^ (x >> 15)) * jnp.uint32(_SECOND)
    return x ^ (x >> 15)


# Compiled, for calls outside jit: there every operation of a hash would be a program of its own.
@functools.partial(jax.jit, static_argnums=(1, 2), inline=True)
def _random_bits(key: Array, bit_width: int, shape: tuple[int, ...]) -> Array:
    """Bits for all positions of `shape`; more than 32 or fewer are made of 32-bit words."""
    size = math.prod(shape)
    if bit_width == 64:
        words = _random_bits(key, 32, (2, *shape)).astype(jnp.uint64)
        return (words[0] << 32) | words[1]
    if size >= 2**32:
        raise ValueError(f"fast_key draws at most 2^32 words at once, got shape {shape}.")
    counter = jax.lax.iota(jnp.uint32, size).reshape(shape)
    word = _mix(counter + key[0], key[1])
    return word if bit_width == 32 else (word >> (32 - bit_width)).astype(f"uint{bit_width}")


def _seed(seed: Any) -> Array:
    return _fold_in(jax.random.key_data(jax.random.key(seed, impl="threefry2x32")), 0)


@functools.partial(jax.jit, inline=True)
def _fold_in(key: Array, data: Any) -> Array:
    """Two words hashed from (key, data), each half of the key entering both of them."""
    counter = jnp.asarray(data).astype(jnp.uint32) * jnp.uint32(_GOLDEN)
    first = _mix(_mix(counter + key[0]) + key[1])
    second = _mix(_mix(counter ^ first) + key[0] + jnp.uint32(_GOLDEN))
    return jnp.stack([first, _mix(second + key[1])])


@functools.partial(jax.jit, static_argnums=1, inline=True)
def _split(key: Array, shape: tuple[int, ...]) -> Array:
    numbers = jax.lax.iota(jnp.uint32, math.prod(shape))
    return jax.vmap(lambda n: _fold_in(key, n))(numbers).reshape(*shape, 2)


@functools.cache  # a name can be registered once
def _implementation(normal: str) -> Any:
    """The key implementation; made when first used, because jax.extend is slow to import."""
    from jax.extend.random import define_prng_impl

    return define_prng_impl(
        key_shape=(2,),
        seed=_seed,
        split=_split,
        random_bits=_random_bits,
        fold_in=_fold_in,
        name=f"sptrack_fast_{normal}",
        tag=_TAGS[normal],
    )


def fast_key(seed: int | Array, *, normal: str = "inverse") -> Key:
    """A key of the fast generator, for any function that takes a key.

    The same seed gives the same bits on every backend, but not those of `jax.random.key(seed)`.
    `normal` says how sptrack makes normal numbers of single precision from them (the module's
    docstring has both distributions); it does not change what `jax.random.normal` does.

    Args:
      seed: an integer.
      normal: "inverse", or "bits" for a binomial that is three times as cheap.

    Returns:
      A typed key.

    Raises:
      TypeError: if `seed` is no integer.
      ValueError: if `normal` is unknown.

    Example:
      >>> import jax, sptrack as spt
      >>> key = spt.random.fast_key(0)
      >>> jax.random.normal(key, (2,)).shape
      (2,)
    """
    if seed is None:
        raise TypeError("fast_key needs an integer seed, got None.")
    if normal not in _TAGS:
        raise ValueError(f"normal must be one of {tuple(_TAGS)}, got {normal!r}.")
    return jax.random.wrap_key_data(_seed(seed), impl=_implementation(normal))


def standard_normal(key: Key, shape: tuple[int, ...], dtype: Any, *, exact: bool = False) -> Array:
    """Normal numbers the way that suits the key; with `exact`, "bits" is not used."""
    tag = str(key.dtype).removeprefix("key<").removesuffix(">")
    if tag == _TAGS["bits"] and not exact:
        return _bit_count(bits(key, shape)).astype(dtype)
    if tag in _TAGS.values() and dtype == jnp.float32:
        return _inverse(bits(key, shape))
    return jax.random.normal(key, shape, dtype)


@functools.partial(jax.jit, static_argnums=1, inline=True)
def bits(key: Key, shape: tuple[int, ...]) -> Array:
    """Words of 32 fair bits; as `jax.random.bits`, but quick outside of jit too."""
    return jax.random.bits(key, shape, jnp.uint32)


@functools.partial(jax.jit, inline=True)
def _bit_count(word: Array) -> Array:
    scale = np.float32(8**-0.5)
    return jax.lax.population_count(word).astype(jnp.int32).astype(jnp.float32) * scale - 16 * scale


# log2(m) for m in [1, 2], to 2e-6; and z / (1 - 2 p) as a ratio of polynomials of
# v = -log2(4 p (1 - p)), to 4e-7 in z for all z up to 6.4. Minimax, lowest power first.
_LOG2 = (
    -3.04003998, 6.11296187, -5.341987, 3.28652674, -1.26691721, 0.275148487, -0.0256910571,
)  # fmt: skip
_ABOVE = (
    1.2533169443986627, 0.324386704243151, 0.04566631789983992, 0.004279883558891341,
    0.0002641097244066447, 4.711643470817143e-06,
)  # fmt: skip
_BELOW = (
    1.0, 0.07737092761843628, 0.016112880662283457, 0.000900094024436703,
    4.162153739996951e-05, 1.5567446530537471e-07,
)  # fmt: skip


@functools.partial(jax.jit, inline=True)
def _inverse(word: Array) -> Array:
    """The standard normal number z >= 0 with P(Z > z) = p = (31 bits + 1/2) / 2^32, and a sign."""
    sign = word & jnp.uint32(0x80000000)
    number = (word ^ sign).astype(jnp.int32).astype(jnp.float32)
    p = (number + 0.5) * np.float32(2**-32)
    bits = jax.lax.bitcast_convert_type((4 - 4 * p) * p, jnp.int32)  # of a float in (0, 1]
    exponent = ((bits >> 23) - 127).astype(jnp.float32)
    mantissa = jax.lax.bitcast_convert_type((bits & 0x7FFFFF) | 0x3F800000, jnp.float32)
    v = -exponent - _polynomial(_LOG2, mantissa)
    z = _polynomial(_ABOVE, v) / _polynomial(_BELOW, v) * (1 - 2 * p)
    return jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(z, jnp.uint32) | sign, z.dtype)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """sum_i coefficients[i] x^i by Horner's rule."""
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + np.float32(coefficient)
    return total
