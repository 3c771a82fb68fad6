"""Pulses on cells made of several devices: dealt out to the parts; the refresh of full pairs."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from sptrack._random import normal, purpose_key, uniform
from sptrack._typing import Array, Key
from sptrack.devices.compound import map_parts
from sptrack.devices.device import within_bounds
from sptrack.devices.retention import reset

Act = Callable[[Any, Any, Array, Array], Array]  # (key, device, w, counts) -> w


def on_parts(key: Key | None, device: Any, w: Array, counts: Array, act: Act) -> Array:
    """One write: the pulses dealt to the parts, and a refresh where one is due.

    Args:
      key: a JAX random key; None for expected numbers of pulses and no noise.
      device: a device of several parts.
      w: hidden weights, an axis of parts in front.
      counts: signed counts, of the cells' shape.
      act: what pulses do to one device.
    """
    dealt, w = device.deal(key, w, counts)
    moved = map_parts(key, device, w, lambda k, part, plane, i: act(k, part, plane, dealt[i]))
    if getattr(device, "refresh", None) is None:
        return moved
    return _refreshed(key, device, moved, act)


def _refreshed(key: Key | None, device: Any, w: Array, act: Act) -> Array:
    """Full pairs reset and written anew (`sptrack.devices.one_sided_pair` has the rule)."""
    settings = device.refresh
    seen = w[:2]
    if settings.read_noise is not None and key is not None:
        seen = seen + settings.read_noise * normal(key, "refresh read", seen)
    due = (jnp.maximum(*seen) > settings.upper) & (jnp.minimum(*seen) > settings.lower)
    if settings.every > 1:
        due &= w[2] == 0

    pulses = jnp.abs(seen[0] - seen[1]) / device.dw_min
    if key is not None:
        pulses = jnp.floor(pulses + uniform(key, "refresh rounding", pulses)).astype(jnp.int32)
    pulses = jnp.where(due, jnp.minimum(pulses, settings.most_pulses), 0).astype(pulses.dtype)
    larger = (seen[0] > seen[1], seen[0] <= seen[1])

    def write(k, part, plane, i):
        fresh = _reset(k, part, plane, due)
        return act(k, part, fresh, jnp.where(larger[i], pulses, jnp.zeros_like(pulses)))

    return map_parts(None if key is None else purpose_key(key, "refresh"), device, w, write)


def _reset(key: Key | None, part: Any, w: Array, where: Array) -> Array:
    """A part after a reset; at its rest value without noise if there is no key."""
    if key is not None:
        return reset(key, part, w, where)
    rest = getattr(getattr(part, "retention", None), "rest", None)
    fresh = jnp.zeros_like(w) if rest is None else rest
    return jnp.where(where, within_bounds(part, jnp.asarray(fresh, w.dtype)), w)
