import threading
from concurrent.futures import CancelledError, Future

import pytest

from nnclip.service.turns import AT_ONCE, BusyError, Turns


class Gate:
    """Work that waits until it is let go, and notes what it was given."""

    def __init__(self):
        self.begun, self.go, self.seen = threading.Event(), threading.Event(), []

    def work(self, name):
        def work(start, stop):
            self.begun.set()
            assert self.go.wait(30)
            self.seen.append((name, start, stop))
            return [(name, index) for index in range(start, stop)]

        return work


@pytest.fixture
def gate():
    found = Gate()
    yield found
    found.go.set()


def held(turns, gate):
    """Occupy the only thread, so that what comes next waits."""
    answer = turns.submit("first", 1, 1, gate.work("first"))
    assert gate.begun.wait(30)
    return answer


def test_values_come_in_order_from_several_threads():
    turns = Turns(threads=4)
    answer = turns.submit("a", 10, 3, lambda start, stop: range(start, stop))
    assert answer.result(30) == list(range(10))
    assert turns.waiting == 0


def test_one_with_many_inputs_does_not_make_others_wait(gate):
    turns = Turns(threads=1)
    first = held(turns, gate)
    many = turns.submit("same", 1000, 10, gate.work("many"))
    other = turns.submit("same", 1, 10, gate.work("other"))  # a second request of this client
    third = turns.submit("third", 1, 10, gate.work("third"))
    gate.go.set()
    for answer in (first, many, other, third):
        answer.result(30)
    order = [name for name, _, _ in gate.seen]
    assert order[:4] == ["first", "many", "third", "other"]
    assert order[4:] == ["many"] * 99
    assert [start for name, start, _ in gate.seen if name == "many"] == list(range(0, 1000, 10))


def test_clients_share_and_not_requests(gate):
    turns = Turns(threads=1)
    answers = [held(turns, gate)]
    answers += [turns.submit("greedy", 1, 1, gate.work(f"greedy {i}")) for i in range(6)]
    answers += [turns.submit("modest", 1, 1, gate.work(f"modest {i}")) for i in range(2)]
    gate.go.set()
    for answer in answers:
        answer.result(30)
    assert [name for name, _, _ in gate.seen][1:5] == [
        "greedy 0", "modest 0", "greedy 1", "modest 1",
    ]  # fmt: skip


def test_the_queue_has_a_bound_and_one_client_fills_half_of_it(gate):
    turns = Turns(threads=1, most=100)
    held(turns, gate)
    turns.submit("greedy", 50, 10, gate.work("greedy"))
    with pytest.raises(BusyError, match="ask again in") as caught:
        turns.submit("greedy", 1, 1, gate.work("greedy"))
    assert caught.value.greedy and caught.value.seconds >= 1
    turns.submit("modest", 40, 10, gate.work("modest"))
    with pytest.raises(BusyError) as caught:
        turns.submit("third", 20, 10, gate.work("third"))
    assert not caught.value.greedy
    with pytest.raises(BusyError):
        turns.submit("third", 60, 10, gate.work("third"))
    assert turns.waiting == 90


def test_what_is_cancelled_is_not_begun_and_makes_room(gate):
    turns = Turns(threads=1, most=100)
    first = held(turns, gate)
    answer = turns.submit("gone", 50, 10, gate.work("gone"))
    assert answer.cancel() and turns.waiting == 0
    later = turns.submit("gone", 50, 50, gate.work("later"))
    gate.go.set()
    assert first.result(30) and len(later.result(30)) == 50
    assert [name for name, _, _ in gate.seen] == ["first", "later"]
    with pytest.raises(CancelledError):
        answer.result(0)


def test_an_error_ends_its_request_alone():
    turns = Turns(threads=2)

    def fails(start, stop):
        if start >= 4:
            raise ValueError("bad input")
        return range(start, stop)

    answers: list[Future] = [turns.submit("a", 8, 2, fails), turns.submit("a", 2, 2, fails)]
    with pytest.raises(ValueError, match="bad input"):
        answers[0].result(30)
    assert answers[1].result(30) == [0, 1]
    assert turns.submit("a", 2, 1, fails).result(30) == [0, 1]


def test_one_with_many_inputs_leaves_threads_to_others(gate):
    turns = Turns(threads=16)
    begun = []
    work = gate.work("many")

    def counted(start, stop):
        begun.append(stop - start)
        return work(start, stop)

    many = turns.submit("greedy", 1000, 8, counted)
    assert gate.begun.wait(30)
    other = turns.submit("modest", 1, 8, lambda start, stop: ["answered"])
    assert other.result(30) == ["answered"]  # while nothing of the first is done
    assert sum(begun) <= AT_ONCE and not gate.seen
    gate.go.set()
    assert len(many.result(30)) == 1000 and sum(begun) == 1000


def test_many_small_requests_of_one_client_share_all_threads(gate):
    turns = Turns(threads=16)
    begun = threading.Barrier(16)

    def work(start, stop):
        begun.wait(30)  # all of them, or it breaks
        return range(start, stop)

    answers = [turns.submit("server", 1, 8, work) for _ in range(16)]
    assert [answer.result(60) for answer in answers] == [[0]] * 16


def test_a_piece_that_is_larger_than_a_client_s_share_is_worked_on():
    turns = Turns(threads=2)
    count = 3 * AT_ONCE
    answer = turns.submit("a", count, count, lambda start, stop: range(start, stop))
    assert answer.result(30) == list(range(count))
