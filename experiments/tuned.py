"""The nets of Tables 1 and 2 of arXiv 2602.21321, and the rates that a search found for them.

Rates are those of `python -m experiments.search`, whose tables are read here: every method has its
own, found with the same budget.

The search for the fully connected net reads 28 columns per step, so that its 2,000 steps read as
many as nine epochs of Table 2 do. One with a single column and 5,000 steps was of no use
(`results/search_fcn_one_read`; each column of the first layer is read six times): where nothing is
transferred accuracies are 81.0 and 66.3 %, the best of AGAD were 82.4 and 74.3, those of E-RIDER
84.4 and 81.8 with a transfer rate of 0.014.

For LeNet-5 the best candidates of a search of one epoch and the winners of the other net were tried
again over five epochs (`results/search_lenet_again`, `search_lenet_rider_again`). E-RIDER and AGAD
have the same rates since.

Digital parameters of LeNet-5 learn at 0.01. Where offsets are 0.4 ± 1, five of six settings of
E-RIDER with the 0.1 of the fully connected net, and three of three with 0.05, ended at 10 to 12 %
(losses 2.3 to 3.6); the same three have 77 to 84 % with 0.01, after 6250 steps.
"""

import dataclasses
from pathlib import Path
from typing import Any

import optax

import sptrack as spt
from experiments import tables
from experiments.nets import LENET_5
from experiments.settings import SETTINGS, Setting, analog
from experiments.training import TrainConfig

_FCN = SETTINGS["mnist"].train
NETS = {
    "fcn": dataclasses.replace(
        _FCN, epochs=40, net=dataclasses.replace(_FCN.net, read_path="table_6")
    ),
    "lenet": dataclasses.replace(
        _FCN,
        epochs=40,
        batch_size=8,
        digital_rate=0.01,
        net=dataclasses.replace(LENET_5, weight_range=0.6, read_path="table_6"),
    ),
}

SEARCHES = {  # whose winners are used
    "fcn": ("search_fcn", "search_fcn_rider"),
    "lenet": ("search_lenet_again", "search_lenet_rider_again"),
}

METHODS = {  # what each method has to be given, besides the read schedule
    "ttv2": ("learning_rate", "transfer_rate"),
    "agad": ("learning_rate", "transfer_rate", "chop_prob"),
    "erider": ("learning_rate", "transfer_rate", "chop_prob", "gamma"),
    "rider": ("learning_rate", "transfer_rate", "eta", "gamma"),
    "two_stage": ("learning_rate", "transfer_rate", "gamma"),
}
_OF_BUFFER = {"thres_scale": "granularity", "momentum": "momentum"}  # of TT-v2, in `DigitalBuffer`
_FIELDS = {"learning_rate": "residual", "transfer_rate": "transfer"}  # names in `Rates`


def train_config(net: str, dataset: str, epochs: int, *, smoke: bool = False) -> TrainConfig:
    """How a net is trained; on digits the fully connected net is 64-128-64-10, to try 64-10.

    Raises:
      SystemExit: if the net doesn't fit the images.
    """
    config = NETS[net]
    if dataset == "digits":
        if net == "lenet":
            raise SystemExit(
                "--net lenet needs images of 28 x 28: give --dataset mnist, and not --smoke, which "
                "is for digits."
            )
        sizes = (64, 10) if smoke else SETTINGS["digits"].train.net.sizes
        config = dataclasses.replace(config, net=dataclasses.replace(config.net, sizes=sizes))
    return dataclasses.replace(config, epochs=epochs)


def rates_of(net: str, method: str) -> dict[str, float]:
    """The numbers that the search found for a method of a net."""
    results = Path(__file__).parent / "results"
    found = [row for name in SEARCHES[net] for row in tables.read_csv(results / name / "tuned.csv")]
    row = next(row for row in found if row["method"] == method)
    return {name: float(row[name]) for name in METHODS[method]}


def takes(method: str) -> tuple[str, ...]:
    """Names of the numbers that a method can be given."""
    return (*METHODS[method], "digital_rate", *(_OF_BUFFER if method == "ttv2" else ()))


def make_analog(
    method: str,
    key: Any,
    cells: Any,
    train: TrainConfig,
    dataset: Any,
    numbers: dict[str, Any],
    reads_per_transfer: int,
) -> optax.GradientTransformation:
    """The method on these cells, with the numbers that `METHODS` lists for it; may be traced.

    The filter rate of AGAD and E-RIDER is that of the released experiments, min(5 p, 1). TT-v2 has
    the buffer of the others, unless it is given a threshold and a momentum.
    """
    of_buffer = {_OF_BUFFER[name]: numbers[name] for name in _OF_BUFFER if name in numbers}
    buffer = spt.DigitalBuffer.ttv2(**of_buffer) if of_buffer else None
    numbers = {_FIELDS.get(n, n): v for n, v in numbers.items() if n in METHODS[method]}
    if "chop_prob" in numbers:
        numbers["eta"] = spt.optimizers.tail_rate(numbers["chop_prob"])
    rates = dataclasses.replace(
        SETTINGS["mnist"].rates, reads_per_transfer=reads_per_transfer, **numbers
    )
    return analog(method, key, cells, Setting(train, rates), dataset, method="exact", buffer=buffer)
