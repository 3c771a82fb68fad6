"""The hyper-parameters of arXiv 2602.21321 for Tables 1 and 2: printed ones (its Tables 3 and 5).

They are not equal for its methods. E-RIDER is printed with 50 times AGAD's rate on P for LeNet-5
(0.5 and 0.01) and 5 times its transfer rate (0.05, and 0.2 of which 0.05 is left, because only
AGAD's is multiplied by the global rate): 250 times the speed at which gradients reach W. On the
fully connected net it is 33 times, if the global rate is the same. TT-v2's transfer rate is
multiplied by a global rate of 0.005.

In the units of `sptrack`:

    alpha = fast_lr
    beta  = transfer_lr, times the global lr if scale_transfer_lr
    p = in_chop_prob, gamma; the buffer's auto_granularity of 1000 is the default here
    digital parameters learn at the global lr

TT-v2's buffer has its own threshold (thres_scale) and momentum. The global lr of the fully
connected net isn't printed; that of LeNet-5 is taken. Rates stay as they are during the run: the
paper names no schedule.

The released scripts have other numbers in some places; "scripts" takes those. E-RIDER is 8 times
as fast as AGAD there. Not taken: their tail_weightening of 10, which is a default that their shell
files may override, and their schedules (LeNet-5 a tenth after 30 of 50 epochs, the fully connected
net half every 15).
"""

import dataclasses
from pathlib import Path

from experiments import tables
from experiments.training import TrainConfig

REFERENCE = Path(__file__).parent / "reference" / "tables_3_4_5_hyperparameters.csv"
TABLES = {"fcn": "T5_FCN", "lenet": "T3_LeNet"}  # where a net's numbers are
METHODS = {"ttv2": "TTv2", "agad": "AGAD", "erider": "ERIDER"}  # which have any
SCRIPTS = REFERENCE.with_name("paper_vs_scripts.csv")
_IN_SCRIPTS = {"fcn": "FCN", "lenet": "LeNet", "agad": "AGAD", "erider": "E-RIDER"}
_SHORT = {"in_chop_prob": "p"}  # names there


def rates_of(net: str, method: str, *, scripts: bool = False) -> dict[str, float]:
    """The numbers of a method of a net: learning_rate, transfer_rate, digital_rate, and more.

    AGAD and E-RIDER have a chop_prob, E-RIDER a gamma, TT-v2 a thres_scale and a momentum. With
    `scripts` they are those of the released scripts, where these differ from the paper.
    """
    rows = {row["parameter"]: row for row in tables.read_csv(REFERENCE)}
    differing = in_scripts(net, method) if scripts else {}

    def value(name, net=net):
        printed = rows[name][f"{TABLES[net]}_{METHODS[method]}"]
        return differing.get(_SHORT.get(name, name), printed)

    digital_rate = float(value("lr", "lenet"))
    scaled = value("scale_transfer_lr") == "True"
    found = {
        "learning_rate": float(value("fast_lr")),
        "transfer_rate": float(value("transfer_lr")) * (digital_rate if scaled else 1.0),
        "digital_rate": digital_rate,
    }
    names = {"chop_prob": "in_chop_prob", "gamma": "gamma", "thres_scale": "thres_scale"}
    found |= {name: float(value(there)) for name, there in names.items() if value(there) != "-"}
    if method == "ttv2":
        found["momentum"] = float(value("momentum", "lenet"))
    return found


def in_scripts(net: str, method: str) -> dict[str, str]:
    """Numbers of a method of a net in the released scripts that aren't those of the paper."""
    items = {row["item"].rpartition(" ")[::2]: row["script"] for row in tables.read_csv(SCRIPTS)}
    of = f"{_IN_SCRIPTS[net]} {_IN_SCRIPTS.get(method)}"
    return {name: text.split()[0] for (whose, name), text in items.items() if whose == of}


def training(train: TrainConfig, numbers: dict[str, float]) -> TrainConfig:
    """Training with the printed digital rate, and rates that don't fall."""
    steady = {"digital_decay": 1.0, "analog_decay": 1.0}
    return dataclasses.replace(train, digital_rate=numbers["digital_rate"], **steady)
