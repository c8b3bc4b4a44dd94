"""The schedule of the temperature."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from ._layers import START, Attention


class TemperatureSchedule:
    """Sets the temperature τ of all dynamic layers: from `start` to `end`, linearly over `epochs` epochs.

    The defaults are the paper's. With a high τ attention is nearly uniform, so that all kernels learn in the
    first epochs. Making a schedule sets τ to `start`.

        >>> schedule = TemperatureSchedule(model)
        >>> for epoch in range(epochs):
        ...     for i, batch in enumerate(loader):
        ...         schedule.step(epoch + i / len(loader))       # or once per epoch: schedule.step(epoch)

    Args:
        model: a module with dynamic layers; it may be wrapped, as for training on several devices.
        start, end: temperatures, positive.
        epochs: when `end` is reached; 0 if it holds from the beginning.

    Raises:
        ValueError: if a number is out of range, or the model has no dynamic layer.
    """

    def __init__(
        self, model: nn.Module, start: float = START, end: float = 1.0, epochs: float = 10.0
    ) -> None:
        for name, tau in [("start", start), ("end", end)]:
            if not 0.0 < tau < math.inf:
                raise ValueError(f"{name}: expected a positive temperature, got {tau}")
        if not 0.0 <= epochs < math.inf:
            raise ValueError(f"epochs: expected a number of epochs, got {epochs}")
        self.start, self.end, self.epochs = start, end, epochs
        self._layers = [module for module in model.modules() if isinstance(module, Attention)]
        if not self._layers:
            raise ValueError(
                f"{type(model).__name__} has no dynamic layer; `dyconv.torch.dynamic` makes dynamic ones"
            )
        self.epoch = 0.0
        self.step(0.0)

    @property
    def tau(self) -> float:
        """The temperature after `epoch` epochs; exactly `end` once the schedule is over."""
        if self.epoch < self.epochs:
            return self.start + (self.end - self.start) * self.epoch / self.epochs
        return self.end

    def step(self, epoch: float | None = None) -> None:
        """Sets the temperature after `epoch` epochs, which may be a fraction; by default, after one more.

        Raises:
            ValueError: if `epoch` is negative or not a number.
        """
        epoch = self.epoch + 1.0 if epoch is None else float(epoch)
        if not 0.0 <= epoch < math.inf:
            raise ValueError(f"epoch: expected a number of epochs done, got {epoch}")
        self.epoch = epoch
        for layer in self._layers:
            layer.tau.fill_(self.tau)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to continue."""
        return {"start": self.start, "end": self.end, "epochs": self.epochs, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues a schedule, and sets its temperature.

        Raises:
            KeyError: if an entry is missing.
        """
        self.start, self.end, self.epochs = state_dict["start"], state_dict["end"], state_dict["epochs"]
        self.step(state_dict["epoch"])
