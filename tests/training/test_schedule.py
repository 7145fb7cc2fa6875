"""The learning rate of every step."""

import logging

import pytest

from nnclip.errors import ConfigError
from nnclip.training.schedule import make_schedule


def test_warm_up_then_half_a_cosine_to_zero() -> None:
    schedule = make_schedule(1.0, steps=110, warmup=10)
    assert [schedule(i) for i in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert schedule(10) == 1.0 and schedule(60) == pytest.approx(0.5)
    assert schedule(109) == pytest.approx(0.0, abs=1e-3)


def test_past_its_end_the_rate_stays_zero() -> None:
    schedule = make_schedule(1.0, steps=20, warmup=0)
    assert [schedule(i) for i in (20, 25, 40, 1000)] == [0.0] * 4


def test_warm_up_as_a_share_of_the_run_then_constant() -> None:
    schedule = make_schedule(2.0, steps=50, warmup=0.2, shape="constant")
    assert schedule.warmup == 10 and schedule(0) == pytest.approx(0.2)
    assert {schedule(i) for i in range(10, 60)} == {2.0}


def test_a_warm_up_longer_than_the_run_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        schedule = make_schedule(1.0, steps=300, warmup=10000)
    assert "10000 steps is not shorter than the run of 300" in caplog.text
    assert max(map(schedule, range(300))) == 1.0


@pytest.mark.parametrize("wrong", [{"peak": -1.0}, {"steps": 0}, {"warmup": -1}, {"shape": "saw"}])
def test_impossible_schedules_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        make_schedule(**{"peak": 1.0, "steps": 10, "warmup": 1, **wrong})
