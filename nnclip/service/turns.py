"""Turns: many requests of many clients share a few threads fairly; the queue has a bound.

Every client has the same share, and within it every request: one with a thousand inputs is begun at
once, and one with a single input need not wait until it is done. Of one client, no more inputs
are worked on at once than two calls of the model take: whoever comes next finds a thread, and waits
for few of them.
"""

import math
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from nnclip.errors import NnclipError
from nnclip.service.batching import MOST
from nnclip.service.limits import MAX_WAITING

THREADS = 16  # they decode, then wait together for the model: so many requests share a call of it
AT_ONCE = 2 * MOST  # inputs of one client: while one call of the model runs, the next is prepared
LONGEST_PAUSE = 60  # seconds that a client is asked to wait before it asks again

Work = Callable[[int, int], Sequence[Any]]


class BusyError(NnclipError):
    """More is waiting than may wait.

    Attributes:
        seconds: after how many it is worth asking again.
        greedy: whether this client alone fills its share.
    """

    def __init__(self, message: str, seconds: int, greedy: bool) -> None:
        super().__init__(message)
        self.seconds, self.greedy = seconds, greedy


@dataclass(eq=False)
class _Job:
    """A request: its inputs are worked on in pieces, in order."""

    work: Work
    count: int
    piece: int
    answer: Future = field(default_factory=Future)
    begun: int = 0
    done: int = 0
    parts: dict[int, Sequence[Any]] = field(default_factory=dict)


class Turns:
    """A fair queue and the threads that work on it."""

    def __init__(self, threads: int = THREADS, most: int = MAX_WAITING) -> None:
        """Wait for work.

        Args:
            threads: that work at the same time; each is started when it is first needed.
            most: inputs that may wait; a single client may fill half of it.
        """
        self._threads, self._most = threads, most
        self._clients: OrderedDict[Hashable, deque[_Job]] = OrderedDict()
        self._busy: Counter[Hashable] = Counter()  # inputs of each client that are worked on
        self._changed = threading.Condition()
        self._started = self._idle = 0
        self._pace = 0.01  # seconds an input takes, all threads together

    @property
    def waiting(self) -> int:
        """Inputs that nobody works on yet."""
        with self._changed:
            return sum(map(self._left, self._clients))

    def submit(self, client: Hashable, count: int, piece: int, work: Work) -> Future:
        """Queue a request.

        Args:
            client: who asks.
            count: of its inputs, at least 1.
            piece: how many of them are worked on at once.
            work: the first input and the one after the last -> one value for each of them.

        Returns:
            A future of all values in order, or of what `work` raised first. Cancel it, and what
            was not begun never is.

        Raises:
            BusyError: too much is waiting already.
        """
        job = _Job(work, count, piece)
        with self._changed:
            self._admit(client, count)
            self._clients.setdefault(client, deque()).append(job)
            pieces = -(-count // piece)
            for _ in range(min(pieces - self._idle, self._threads - self._started)):
                self._started += 1
                threading.Thread(target=self._work, daemon=True, name="nnclip-turns").start()
            self._changed.notify(pieces)
        return job.answer

    def _left(self, client: Hashable) -> int:
        jobs = self._clients.get(client, ())
        return sum(job.count - job.begun for job in jobs if not job.answer.done())

    def _admit(self, client: Hashable, count: int) -> None:
        own, total = self._left(client), sum(map(self._left, self._clients))
        greedy = own + count > self._most // 2
        if greedy or total + count > self._most:
            seconds = max(1, min(LONGEST_PAUSE, math.ceil(total * self._pace)))
            whose = f"{own:,} of this client" if greedy else f"{total:,}"
            most = self._most // 2 if greedy else self._most
            raise BusyError(
                f"found {whose} waiting beside these {count:,} inputs, expected at most {most:,} "
                f"together: ask again in {seconds} s",
                seconds,
                greedy,
            )

    def _work(self) -> None:
        while True:
            client, job, start, stop = self._next()
            began = time.perf_counter()
            try:
                values = job.work(start, stop)
            except Exception as error:  # told to whoever asked
                with suppress(InvalidStateError):
                    job.answer.set_exception(error)
                self._rest(client, stop - start)
                continue
            spent = (time.perf_counter() - began) / (stop - start) / self._threads
            with self._changed:
                self._pace += 0.1 * (spent - self._pace)
                job.parts[start] = values
                job.done += stop - start
            self._rest(client, stop - start)
            if job.done == job.count:
                found = [value for start in sorted(job.parts) for value in job.parts[start]]
                with suppress(InvalidStateError):  # cancelled meanwhile
                    job.answer.set_result(found)

    def _rest(self, client: Hashable, count: int) -> None:
        """So many inputs of a client are done: others may begin."""
        with self._changed:
            self._busy[client] -= count
            if not self._busy[client]:
                del self._busy[client]
            self._changed.notify()

    def _next(self) -> tuple[Hashable, _Job, int, int]:
        """Wait for a piece to work on."""
        with self._changed:
            while not (found := self._turn()):
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return found

    def _turn(self) -> tuple[Hashable, _Job, int, int] | None:
        """The next piece: of the client, and of its requests, whose turn was longest ago."""
        for client in list(self._clients):
            jobs = self._clients[client]
            while jobs and jobs[0].answer.done():  # cancelled, or failed
                jobs.popleft()
            if not jobs:
                del self._clients[client]
                continue
            busy = self._busy[client]
            if busy and busy + min(jobs[0].piece, jobs[0].count) > AT_ONCE:
                continue
            job = jobs.popleft()
            start, job.begun = job.begun, min(job.begun + job.piece, job.count)
            if job.begun < job.count:
                jobs.append(job)
            self._clients.move_to_end(client)
            self._busy[client] += job.begun - start
            return client, job, start, job.begun
        return None
