"""The schedule of the temperature."""

from __future__ import annotations

import pytest
from samples import needs

needs("torch.nn")

from torch import nn

from dyconv import torch as dt


def model():
    return nn.Sequential(dt.DynamicConv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Sequential(dt.DynamicLinear(4, 2)))


def taus(model):
    return {module.tau.item() for module in model.modules() if isinstance(module, dt.Attention)}


def test_the_paper_s_temperature_ends_at_exactly_one():
    net = model()
    schedule = dt.TemperatureSchedule(net)
    assert taus(net) == {30.0}
    for epoch, tau in [(0, 30.0), (5, 15.5), (10, 1.0), (1000, 1.0)]:
        schedule.step(epoch)
        assert taus(net) == {tau} and schedule.tau == tau
    schedule.step(9.999)
    assert schedule.tau > 1


def test_a_step_without_an_epoch_is_one_more():
    net = model()
    schedule = dt.TemperatureSchedule(net, start=9, end=3, epochs=3)
    seen = [schedule.tau]
    for _ in range(4):
        schedule.step()
        seen.append(schedule.tau)
    assert seen == [9, 7, 5, 3, 3] and taus(net) == {3}
    constant = dt.TemperatureSchedule(net, start=9, end=4, epochs=0)
    assert constant.tau == 4 and taus(net) == {4}


def test_it_continues_where_it_stopped():
    schedule = dt.TemperatureSchedule(model(), epochs=20)
    schedule.step(2.5)
    net = model()
    other = dt.TemperatureSchedule(net)
    other.load_state_dict(schedule.state_dict())
    assert other.tau == schedule.tau and taus(net) == {other.tau}
    other.step()
    schedule.step()
    assert other.tau == schedule.tau == 30 - 29 * 3.5 / 20


def test_what_makes_no_sense_is_refused():
    net = model()
    for settings, message in [
        (dict(start=0.0), "start: expected a positive temperature, got 0.0"),
        (dict(end=float("nan")), "end: expected a positive temperature, got nan"),
        (dict(epochs=-1), "epochs: expected a number of epochs, got -1"),
    ]:
        with pytest.raises(ValueError) as error:
            dt.TemperatureSchedule(net, **settings)
        assert message in str(error.value)
    with pytest.raises(ValueError, match="Conv2d has no dynamic layer"):
        dt.TemperatureSchedule(nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match="epoch: expected a number of epochs done, got -1.0"):
        dt.TemperatureSchedule(net).step(-1)
