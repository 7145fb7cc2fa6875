"""How turns are taken, figures judged and reports kept."""

import json
import time

import measuring
import pytest
from measuring import Contender, Report, judged, ratio, take_turns


def contender(seconds: list[float], items: float = 1.0) -> Contender:
    return Contender("nnclip", "fp32", lambda: None, items, seconds=seconds)


def paced(monkeypatch, *paces: float) -> None:
    """Let the machine have these paces, and the last one from then on."""
    left = list(paces)
    monkeypatch.setattr(measuring, "pace", lambda: left.pop(0) if left[1:] else left[0])


def test_everyone_takes_part_in_every_round_and_each_begins_one(monkeypatch):
    monkeypatch.setattr(measuring, "LEAST", 0.0)  # one call a round
    paced(monkeypatch, 100.0)
    called: list[str] = []
    entered = [Contender(x, "fp32", lambda x=x: called.append(x), 1) for x in "abc"]
    take_turns(entered, rounds=3, patience=60.0)
    assert [len(c.seconds) for c in entered] == [3, 3, 3]
    assert "".join(called[-9:]) == "abcbcacab"


def test_rounds_in_which_the_machine_moved_are_repeated_and_told_if_they_are_too_many(monkeypatch):
    monkeypatch.setattr(measuring, "LEAST", 0.0)
    paced(monkeypatch, 100.0, 99.0, 80.0, 98.0, 97.0)  # slow after the second round
    entered = [Contender("a", "fp32", lambda: None, 1)]
    take_turns(entered, rounds=3, patience=60.0)
    assert len(entered[0].seconds) == 3 and "unsteady" not in entered[0].per_second()
    paced(monkeypatch, 100.0, 50.0)
    entered = [Contender("a", "fp32", lambda: None, 1)]
    take_turns(entered, rounds=3, patience=60.0)
    assert entered[0].per_second()["unsteady"] == 3


def test_the_pace_of_this_machine_is_a_number():
    assert measuring.pace() > 0


def test_a_slow_contender_leaves():
    entered = [Contender("slow", "fp32", lambda: time.sleep(0.02), 1)]
    take_turns(entered, rounds=20, patience=0.1)
    assert 1 <= len(entered[0].seconds) <= 5


def test_rates_are_items_by_seconds():
    found = contender([0.5, 0.25, 1.0], items=8).per_second()
    assert found == {"median": 16.0, "lower_quartile": 12.0, "upper_quartile": 24.0, "rounds": 3}


def test_a_ratio_is_taken_round_by_round():
    ours, theirs = contender([1.0, 2.0, 4.0], items=2), contender([2.0, 4.0, 8.0, 99.0])
    assert ratio(ours, theirs) == {"value": 4.0, "lower_quartile": 4.0, "upper_quartile": 4.0}


@pytest.mark.parametrize(
    ("bound", "value", "reached"),
    [("least", 2.0, True), ("least", 1.4, False), ("most", 1.4, True), ("most", 2.0, False)],
)
def test_a_target_is_a_floor_or_a_ceiling(bound, value, reached):
    found = judged({"value": value}, **{bound: 1.5})
    assert (found["bound"], found["target"], found["reached"]) == (bound, 1.5, reached)


def test_without_a_target_nothing_is_judged():
    assert judged({"value": 3.0}) == {"value": 3.0, "target": None, "reached": None}


def test_a_report_goes_on_where_it_stopped(tmp_path, capsys):
    path = tmp_path / "deep" / "found.json"
    first = Report("cpu_inference", path)
    first.skip("peer: torch not installed")
    first.skip("peer: torch not installed")
    first.add("tiny", [{"model": "tiny"}], {"tiny ratio": judged({"value": 1.0})}, peak={"a": 1})
    again = Report("cpu_inference", path)
    assert again.has("tiny") and not again.has("small")
    again.finish()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["skipped"] == ["peer: torch not installed"]
    assert last["rows"] == [{"model": "tiny"}] and last["peak"] == {"tiny": {"a": 1}}
    assert last["machine"]["cores"] == measuring.CORES


def test_another_benchmarks_file_is_not_overwritten(tmp_path):
    path = tmp_path / "found.json"
    Report("cpu_training", path).add("tiny", [], {})
    with pytest.raises(SystemExit, match="holds no results of cpu_inference"):
        Report("cpu_inference", path)
