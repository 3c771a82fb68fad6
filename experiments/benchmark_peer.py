"""The programs of aihwkit (1.2, torch, its C++ simulator on the CPU) that are timed beside ours.

Cells have the same parameters as ours; forward and backward reads are ideal in both, so that what
is compared is the update. Its transfers read a column per step through its default read noise.
"""

import itertools
from typing import Any

import numpy as np

from experiments import benchmark_clock as clock
from experiments.benchmark_pulses import CELLS
from experiments.benchmark_steps import BATCH, EXAMPLES, NET, PEER_RATES, data
from experiments.peer_conformance import one_slot_array

OFFSETS = {"reference_mean": 0.4, "reference_std": 0.4}


def zero_shifting(size: int, pulses: int = 20) -> clock.Program:
    """Alternating pulses on all cells of one array, each the outer product of two vectors."""
    import torch
    from aihwkit.simulator.configs import SoftBoundsDevice

    device = SoftBoundsDevice(**CELLS | {"w_max_dtod": 0.3, "w_min_dtod": 0.3})
    held = one_slot_array(device, size)
    ones = torch.ones(1, size)

    def call():
        for number in range(pulses):
            sign = (-1) ** (number + 1)  # the weight falls where x d > 0
            held.tile.update(ones, sign * ones, False, False, False, False)

    return clock.Program("aihwkit", call, float(pulses * size**2), peer="aihwkit")


def training(steps: int) -> list[clock.Program]:
    """Training steps of the same net with its nearest algorithms, while they learn and hardly."""
    from aihwkit.simulator.configs import (
        BufferedTransferCompound,
        ChoppedTransferCompound,
        DynamicTransferCompound,
    )

    def chopped(label, rate):
        name = f"aihwkit, chopped{label}"
        return _training(name, ChoppedTransferCompound, rate, steps, gamma=0.1, in_chop_prob=0.2)

    rate = PEER_RATES[""]
    return [
        *(chopped(label, rate) for label, rate in PEER_RATES.items()),
        _training("aihwkit, AGAD", DynamicTransferCompound, rate, steps, in_chop_prob=0.2),
        _training("aihwkit, TT-v2", BufferedTransferCompound, rate, steps),
    ]


def _training(name: str, compound: Any, rate: float, steps: int, **options: Any) -> clock.Program:
    """A program of `steps` steps that goes on from where it was."""
    import torch
    from aihwkit.nn import AnalogLinear, AnalogSequential
    from aihwkit.optim import AnalogSGD
    from aihwkit.simulator.configs import UnitCellRPUConfig
    from aihwkit.simulator.parameters.io import IOParameters
    from aihwkit.simulator.presets.devices import ReRamArrayHfO2PresetDevice

    torch.manual_seed(0)
    cells = [ReRamArrayHfO2PresetDevice(**OFFSETS) for _ in range(2)]
    ideal = {"forward": IOParameters(is_perfect=True), "backward": IOParameters(is_perfect=True)}
    device = compound(
        unit_cell_devices=cells, fast_lr=rate, transfer_lr=0.1, scale_transfer_lr=False, **options
    )
    config = UnitCellRPUConfig(device=device, **ideal)
    layers = []
    for inputs, outputs in itertools.pairwise(NET.sizes):
        layers += [AnalogLinear(inputs, outputs, bias=True, rpu_config=config), torch.nn.Sigmoid()]
    net = AnalogSequential(*layers[:-1])
    optimizer = AnalogSGD(net.parameters(), lr=0.1)
    optimizer.regroup_param_groups(net)
    images, labels = (torch.from_numpy(array) for array in data())
    held = {"t": 0, "loss": np.nan}

    def step():
        order = (held["t"] * BATCH + torch.arange(BATCH)) % EXAMPLES
        held["t"] += 1
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(images[order]), labels[order].long())
        loss.backward()
        optimizer.step()
        held["loss"] = float(loss.detach())

    def call():
        for _ in range(steps):
            step()

    def after():
        """Cells of the residual arrays that a step changes: at most one pulse of each is seen."""
        changed, counted = 0, 5
        for _ in range(counted):
            before = _residuals(net)
            step()
            pairs = zip(before, _residuals(net), strict=True)
            changed += sum(int((old != new).sum()) for old, new in pairs)
        return {"loss": held["loss"], "pulses_per_step": changed / counted}

    return clock.Program(name, call, float(steps), about={"members": 1}, after=after)


def _residuals(net: Any) -> list[np.ndarray]:
    """Weights of the arrays that see gradients, those on which pulses act."""
    found = []
    for layer in net.analog_tiles():
        names = layer.tile.get_hidden_parameter_names()
        index = names.index("persistent_weights_0")  # there is write noise
        found.append(layer.tile.get_hidden_parameters()[index].numpy().copy())
    return found
