"""Array aliases and the frozen, validated dataclass that every device specification is.

A *spec* is a pytree: numbers are leaves (so that they can be swept by `jax.vmap` or traced by
`jax.jit`), flags and names are static. It is validated when somebody constructs it, and not when
JAX rebuilds it from leaves: a leaf may then be a tracer, a gradient, or an axis of `in_axes`.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

Array = jax.Array
Key = jax.Array
PyTree = Any
Schedule = Callable[[ArrayLike], ArrayLike]
ScalarOrSchedule = Any  # a number (of any kind, also traced) or a Schedule
_T = TypeVar("_T")


def number(
    default: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: bool = False,
    symbol: str = "",
    unit: str = "",
    equation: str = "",
):
    """A dataclass field that holds a number in [low, high], or (low, high] if `above`.

    A tuple of numbers as default makes a field of that many numbers, all in range. With None as the
    default the field may be None, which means off: it is no leaf then, so that what is off stays
    off when the numbers of a spec are traced. `symbol`, `unit` and `equation` are for the table of
    parameters (docs/parameters.md).
    """
    about = {"symbol": symbol, "unit": unit, "equation": equation}
    limits = {"low": low, "high": high, "above": above}
    return dataclasses.field(default=default, metadata=limits | about)


def option(default: Any, *, symbol: str = "", equation: str = ""):
    """A static dataclass field: a flag, a name or a whole number; the texts are as in `number`."""
    about = {"symbol": symbol, "unit": "", "equation": equation}
    return dataclasses.field(default=default, metadata=about)


def child(default: Any, *, equation: str = ""):
    """A dataclass field that holds a spec (or None), whose numbers are leaves of this one."""
    about = {"symbol": "", "unit": "", "equation": equation, "child": True}
    return dataclasses.field(default=default, metadata=about)


def is_hashable(value: Any) -> bool:
    """Whether `value` can be a static argument of a compiled function: no array, nothing traced."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def check_number(owner: str, name: str, value: Any, low: float, high: float, above: bool = False):
    """Raises ValueError unless `value` is finite and in range; values under tracing pass.

    Args:
      owner: what the number belongs to, for the message.
      name: the number's name, for the message.
      value: a number or an array of numbers.
      low: smallest value allowed.
      high: largest value allowed.
      above: whether `low` itself is excluded.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value)):
        return
    try:
        if isinstance(value, str | bool):
            raise TypeError
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"{owner}: {name} must be a number, got {value!r}.") from None
    good = np.isfinite(numbers) & (numbers <= high)
    good &= numbers > low if above else numbers >= low
    if not np.all(good):
        left = "(" if above or low == -math.inf else "["
        right = ")" if high == math.inf else "]"
        raise ValueError(
            f"{owner}: {name}={value!r} is out of range; give a finite number in "
            f"{left}{low:g}, {high:g}{right}."
        )


def check_rate(owner: str, name: str, value: Any, high: float = math.inf) -> None:
    """Raises ValueError unless `value` is a finite number in [0, high], or a schedule."""
    if not callable(value):
        check_number(owner, name, value, 0.0, high)


@dataclass_transform(
    kw_only_default=True, frozen_default=True, field_specifiers=(number, option, child)
)
def spec(cls: type[_T]) -> type[_T]:
    """Makes `cls` a frozen keyword-only dataclass, a pytree, and checked on construction.

    Fields made by `number` are leaves and checked against their range; those made by `child` hold
    the leaves of another spec; all others are static.
    A class may add `check(self)` for conditions between fields.
    """
    cls = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    leaves = [f.name for f in fields if "low" in f.metadata or "child" in f.metadata]
    static = [f.name for f in fields if f.name not in leaves]
    construct = cls.__init__
    limits = ("low", "high", "above")

    def init(self, **kwargs):
        construct(self, **kwargs)
        for field in fields:
            value = getattr(self, field.name)
            if "low" in field.metadata:
                within = [field.metadata[name] for name in limits]
                if value is not None or field.default is not None:
                    check_number(cls.__name__, field.name, value, *within)
            elif isinstance(field.default, bool) and type(value) is not bool:
                raise TypeError(f"{cls.__name__}: {field.name} is True or False, got {value!r}.")
        if hasattr(self, "check"):
            self.check()

    def flatten(self):
        keyed = [(jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in leaves]
        return keyed, tuple(getattr(self, name) for name in static)

    def unflatten(static_values, leaf_values):
        self = object.__new__(cls)  # not through __init__: leaves may be anything here
        for name, value in zip(static + leaves, [*static_values, *leaf_values], strict=True):
            object.__setattr__(self, name, value)
        return self

    init.__signature__ = inspect.signature(construct)  # type: ignore[attr-defined]
    cls.__init__ = init  # type: ignore[method-assign]
    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
    return cls
