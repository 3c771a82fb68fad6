"""Digital models, made before anybody thought of arrays, on arrays."""

import collections
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype

from sptrack.nn.conv import AnalogConv
from sptrack.nn.embedding import AnalogEmbedding
from sptrack.nn.layer import AnalogLayer
from sptrack.nn.linear import AnalogLinear
from sptrack.periphery import ReadPaths


def convert(
    model: Any,
    select: Callable[[str, nnx.Module], bool] | None = None,
    *,
    weight_range: float = 0.3,
    learn_scale: bool = True,
    reads: ReadPaths | None = None,
) -> Any:
    """A copy of a flax model with its linear layers, convolutions and embeddings on arrays.

    `nnx.Linear`, `nnx.Conv` and `nnx.Embed` become `AnalogLinear`, `AnalogConv` and
    `AnalogEmbedding`, wherever they are, also in cells (`nnx.OptimizedLSTMCell`, `nnx.GRUCell`,
    ...) and in `nnx.Sequential`; everything else stays digital. With ideal reads the copy computes
    what the model does, up to rounding of weight = kernel * scale.

    Convert a model more than once to give its layers different settings: those that are analog
    already stay as they are.

    Args:
      model: an nnx module; it isn't changed.
      select: (path, module) -> whether to convert, for modules of these three classes; paths are
        like "encoder.layers.0". None converts all.
      weight_range: as in `AnalogLinear`.
      learn_scale: as in `AnalogLinear`.
      reads: as in `AnalogLinear`.

    Returns:
      The converted copy, which shares no variable with the model.

    Raises:
      ValueError: if a layer that was selected does something an array can't, or shares its weight
        with another layer; if nothing was selected.

    Example:
      >>> import jax.numpy as jnp, sptrack as spt
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0)
      >>> model = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.tanh, nnx.Linear(8, 2, rngs=rngs))
      >>> analog = spt.nn.convert(model, lambda path, module: path != "layers.2")
      >>> [type(layer).__name__ for layer in analog.layers if layer is not nnx.tanh]
      ['AnalogLinear', 'Linear']
      >>> print(jnp.allclose(analog(jnp.ones(4)), model(jnp.ones(4)), atol=1e-6))
      True
    """
    copy = nnx.clone(model)
    owners = _owners(copy)
    options = {"weight_range": weight_range, "learn_scale": learn_scale, "reads": reads}
    converted: list[str] = []

    def replace(parts: Any, module: Any) -> Any:
        path = ".".join(map(str, parts))
        made = _CONVERTERS.get(type(module))
        if made is None or (select is not None and not select(path, module)):
            return module
        _check_alone(path, module, owners)
        converted.append(path)
        return made(path, module, options)

    copy = nnx.recursive_map(replace, copy)
    if not converted:
        raise ValueError(
            f"convert: nothing to convert in this {type(model).__name__}: no nnx.Linear, nnx.Conv "
            "or nnx.Embed in it was selected."
        )
    return copy


def _linear(path: str, module: nnx.Linear, options: dict[str, Any]) -> AnalogLinear:
    _check(path, module, module.kernel, dot_general=jax.lax.dot_general)
    layer = AnalogLinear(
        module.in_features,
        module.out_features,
        use_bias=module.bias is not None,
        **_weight("kernel_init", module.kernel),
        **options,
    )
    return _with_bias(layer, module)


def _conv(path: str, module: nnx.Conv, options: dict[str, Any]) -> AnalogConv:
    _check(
        path,
        module,
        module.kernel,
        mask=None,
        feature_group_count=1,
        conv_general_dilated=jax.lax.conv_general_dilated,
    )
    for name in ("input_dilation", "kernel_dilation"):
        if set(np.atleast_1d(getattr(module, name) or 1).tolist()) != {1}:
            _refuse(path, module, name)
    try:
        layer = AnalogConv(
            module.in_features,
            module.out_features,
            module.kernel_size,
            module.strides or 1,
            padding=module.padding,
            use_bias=module.bias is not None,
            **_weight("kernel_init", module.kernel),
            **options,
        )
    except ValueError as error:
        raise ValueError(f"convert: {path or 'the model'}: {error}") from None
    return _with_bias(layer, module)


def _embedding(path: str, module: nnx.Embed, options: dict[str, Any]) -> AnalogEmbedding:
    _check(path, module, module.embedding)
    return AnalogEmbedding(
        module.num_embeddings,
        module.features,
        **_weight("embedding_init", module.embedding),
        **options,
    )


_CONVERTERS: dict[type, Callable[[str, Any, dict[str, Any]], AnalogLayer]] = {
    nnx.Linear: _linear,
    nnx.Conv: _conv,
    nnx.Embed: _embedding,
}


def _weight(init: str, weight: nnx.Param) -> dict[str, Any]:
    """Arguments of a layer by which it starts from a weight."""
    return {init: lambda *_: weight[...], "dtype": weight.dtype, "rngs": nnx.Rngs(0)}


def _with_bias(layer: Any, module: Any) -> Any:
    if module.bias is not None:
        layer.bias[...] = module.bias[...]
    return layer


def _check(path: str, module: Any, weight: nnx.Param, **plain: Any) -> None:
    """Refuses a layer one of whose options is neither left out nor `plain`."""
    plain |= {"precision": None, "preferred_element_type": None, "promote_dtype": promote_dtype}
    for name, value in plain.items():
        if getattr(module, name, value) is not value and getattr(module, name) != value:
            _refuse(path, module, name)
    if module.dtype is not None and module.dtype != weight.dtype:
        _refuse(path, module, "dtype")


def _refuse(path: str, module: Any, name: str) -> None:
    raise ValueError(
        f"convert: {path or 'the model'} is a {type(module).__name__} with "
        f"{name}={getattr(module, name)!r}, which analog layers don't have; leave it out by select."
    )


def _owners(model: Any) -> dict[int, list[str]]:
    """Paths of all modules that hold a variable, by its id."""
    owners = collections.defaultdict(list)
    for path, module in nnx.iter_modules(model):
        for value in vars(module).values():
            if isinstance(value, nnx.Variable):
                owners[id(value)].append(".".join(map(str, path)))
    return owners


def _check_alone(path: str, module: Any, owners: dict[int, list[str]]) -> None:
    """Refuses a layer that shares a variable with another module: on two arrays it would be two."""
    for value in vars(module).values():
        if isinstance(value, nnx.Variable) and len(owners[id(value)]) > 1:
            raise ValueError(
                f"convert: {path} shares a variable with another module ({owners[id(value)]}), "
                "which can't be on one array in both; leave them out by select."
            )
