import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nnclip.errors import DataError
from nnclip.service.batching import DynamicBatching


def test_what_waits_is_computed_together():
    sizes, begun, go = [], threading.Event(), threading.Event()

    def double(rows):
        sizes.append(len(rows))
        begun.set()
        go.wait(30)
        return 2 * rows

    together = DynamicBatching(double)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(together, np.zeros(1))]
        begun.wait(30)
        answers += [pool.submit(together, np.full(n, n)) for n in (1, 2, 3)]
        while len(together._waiting) < 3:
            threading.Event().wait(0.001)
        go.set()
        assert [list(answer.result(30)) for answer in answers] == [[0], [2], [4, 4], [6, 6, 6]]
    assert sizes == [1, 6]


def test_a_call_that_fails_says_so_and_the_next_one_works():
    def positive(rows):
        if (rows < 0).any():
            raise DataError("negative")
        return rows

    together = DynamicBatching(positive)
    for _ in range(2):
        with pytest.raises(DataError, match="negative"):
            together(np.full(2, -1))
        assert list(together(np.ones(2))) == [1, 1]


def test_a_call_takes_so_many_rows_and_tells_how_many():
    told, begun, go = [], threading.Event(), threading.Event()

    def same(rows):
        begun.set()
        go.wait(30)
        return rows

    together = DynamicBatching(same, most=4, observe=lambda rows, seconds: told.append(rows))
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(together, np.zeros(1))]
        begun.wait(30)
        for n in (3, 3, 6, 1):
            answers.append(pool.submit(together, np.full(n, n)))
            while len(together._waiting) < len(answers) - 1:
                threading.Event().wait(0.001)
        go.set()
        assert [len(answer.result(30)) for answer in answers] == [1, 3, 3, 6, 1]
    assert told == [1, 3, 3, 6, 1]


def called(together, count):
    """So many callers that come together, whatever the threads do."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(together, [np.ones(1)] * count))


@pytest.fixture
def sizes(monkeypatch):
    """Rows of the calls of a function that is worth waiting for."""
    monkeypatch.setattr("nnclip.service.batching.SHARE", 1e6)
    return []


def test_callers_that_shared_a_call_share_the_next_one(sizes, monkeypatch):
    monkeypatch.setattr("nnclip.service.batching.LONGEST", 30)

    def count(rows):
        threading.Event().wait(0.001)
        sizes.append(len(rows))
        return rows

    together = DynamicBatching(count)
    together._callers = 4  # of the last call
    together._seconds = 1.0
    for _ in range(3):
        called(together, 4)  # one after the other: the first would be computed alone
    assert sizes == [4, 4, 4]


def test_who_does_not_come_back_is_not_waited_for_again(sizes, monkeypatch):
    monkeypatch.setattr("nnclip.service.batching.LONGEST", 0.01)
    together = DynamicBatching(lambda rows: sizes.append(len(rows)) or rows)
    together._callers, together._seconds = 4, 1.0
    called(together, 1)
    monkeypatch.setattr("nnclip.service.batching.LONGEST", 1e6)
    called(together, 1)  # for ever, if it waited for more than itself
    assert sizes == [1, 1]
