"""What tells the residual-training algorithms apart: one frozen object, checked once."""

import dataclasses
from typing import Any

from sptrack.optimizers.column_transfer import ColumnTransfer
from sptrack.optimizers.digital_buffer import DEFAULT, DigitalBuffer
from sptrack.pulses import PulseTrain
from sptrack.pulses.apply import check_method
from sptrack.pulses.coincidence import check_train
from sptrack.pulses.train import DEFAULT_TRAIN
from sptrack.transforms.chop import check_chopper, kind_of
from sptrack.transforms.counting import check_count

REFERENCES = ("tracked_sp", "held_sp")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How one algorithm differs from the others; none of it changes during training.

    Attributes:
      chopper: kind of chopper, if there is one.
      w_ref: reference R in W's update, "tracked_sp" or "held_sp".
      wbar_ref: reference in what the model sees.
      transfer: the schedule of real arrays; None transfers whole matrices at every step.
      buffer: the digital buffer in front of W; None writes beta d directly.
      visible: whether the model sees P "live" or as "stored", where there is a schedule.
      warm_up: whether W waits for the first chopper period, where there is a schedule.
      method: as in `spt.analog_update`.
      train: how gradients that are `spt.Factors` become coincidences.
      count: "total", "detailed" or "none": what is counted of pulses.
    """

    chopper: str = "scalar"
    w_ref: str = "held_sp"
    wbar_ref: str = "held_sp"
    transfer: ColumnTransfer | None = None
    buffer: DigitalBuffer | None = None
    visible: str = "live"
    warm_up: bool = False
    method: str = "aggregate"
    train: PulseTrain = DEFAULT_TRAIN
    count: str = "total"

    @property
    def is_stored(self) -> bool:
        """Whether the model sees each line of P as it was last read."""
        return self.transfer is not None and (self.transfer.visible or self.visible) == "stored"

    @property
    def waits(self) -> bool:
        """Whether W waits for the first chopper period."""
        if self.transfer is None:
            return False
        return self.warm_up if self.transfer.warm_up is None else self.transfer.warm_up

    def check(self, has_chopper: bool) -> None:
        """Refuses wrong settings, naming the value and what would be right."""
        check_method(self.method)
        check_chopper(self.chopper)
        check_train(self.train)
        check_count(self.count)
        for name in ("w_ref", "wbar_ref"):
            if getattr(self, name) not in REFERENCES:
                raise ValueError(
                    f"{name} must be one of {REFERENCES}, got {getattr(self, name)!r}."
                )
        check_kind("transfer", self.transfer, ColumnTransfer)
        check_kind("buffer", self.buffer, DigitalBuffer)
        if has_chopper and self.transfer is not None and kind_of(self.chopper) == "scalar":
            raise ValueError(
                f"chopper={self.chopper!r} flips all lines in one step, but a ColumnTransfer reads "
                "one line after the other; use chopper='periodic' (released experiments), or "
                "chopper='random'."
            )
        if has_chopper and self.count == "detailed" and kind_of(self.chopper) != self.chopper:
            raise ValueError(
                f"chopper={self.chopper!r} rewrites Q~ in parts, which nothing counts; use "
                f"count='total', or chopper={kind_of(self.chopper)!r}."
            )
        if self.is_stored and self.w_ref != self.wbar_ref:
            raise ValueError(
                f"a stored residual serves both W and the model, so w_ref and wbar_ref must agree; "
                f"got {self.w_ref!r} and {self.wbar_ref!r}. Or use ColumnTransfer(visible='live')."
            )


def check_kind(name: str, value: Any, kind: type) -> None:
    """Raises TypeError unless `value` is one of sptrack's `kind` or None."""
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name} must be a spt.{kind.__name__} or None, got {value!r}.")


def schedule(transfer: Any, buffer: Any) -> dict[str, Any]:
    """`transfer` and `buffer` of the algorithms that are buffered on real arrays only."""
    if buffer is None and isinstance(transfer, ColumnTransfer):
        buffer = DEFAULT
    return {"transfer": transfer, "buffer": buffer}
