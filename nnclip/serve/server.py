"""Puts the server on a port: one process, which loads in the background and drains at its end."""

import argparse
import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from types import FrameType

import uvicorn

from nnclip.errors import ConfigError, NnclipError
from nnclip.files import shown
from nnclip.serve.app import build_app
from nnclip.serve.asking import Desk
from nnclip.serve.collections import Collections
from nnclip.serve.doors import ServeDoors
from nnclip.serve.keys import Keys
from nnclip.serve.metrics import Metrics
from nnclip.service.hosts import Hosts
from nnclip.service.limits import LINGER_SECONDS, MAX_CONNECTIONS
from nnclip.service.model_pool import LOADED_AT_MOST, ModelPool
from nnclip.web.connections import PatientFor
from nnclip.web.listeners import take_no_more

logger = logging.getLogger(__name__)

GRACE = 0.5  # seconds for a request on a connection that is open already
DRAIN = 60  # seconds for what was taken
BACKLOG = 2048
KEPT = 75  # seconds that an idle connection stays open: longer than clients and proxies keep one


class Parting(PatientFor):
    """HTTP whose connections, when the server ends, are given time to send what is on its way."""

    kept_seconds = KEPT

    def shutdown(self) -> None:
        """Close once nothing is asked any more."""
        if self.cycle is not None and not self.cycle.response_complete:
            super().shutdown()
        else:
            self.loop.call_later(GRACE, self._part)

    def _part(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()


class Server(uvicorn.Server):
    """uvicorn, which loads models while it already tells that it lives.

    Attributes:
        status: with which the process ends.
    """

    status = 0

    def __init__(
        self, config: uvicorn.Config, desk: Desk, collections: Collections, names: list[str]
    ) -> None:
        """Serve `config`; load these models of the desk first."""
        super().__init__(config)
        self._desk, self._collections, self._names = desk, collections, names
        self._ends = float("inf")
        self._began = time.perf_counter()
        self._preparing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then load."""
        await super().startup(sockets)
        self._preparing = asyncio.create_task(self._prepare())

    async def on_tick(self, counter: int) -> bool:
        """Whether it is over."""
        self.should_exit |= time.monotonic() >= self._ends
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take in who stands at the door, close it, and answer."""
        if not multiprocessing.parent_process():  # the socket of workers is `supervise`'s to close
            for listener in sockets or ():
                take_no_more(listener)
        for _ in range(3):
            await asyncio.sleep(0)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second one does not wait for the linger."""
        if self._desk.closing:
            self.should_exit = True
            self.force_exit = sig == signal.SIGINT
        self._desk.closing = True
        self._ends = time.monotonic() + LINGER_SECONDS

    async def _prepare(self) -> None:
        try:
            embedders = [await self._desk.load(name) for name in self._names]
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self._collections.match, embedders)
        except NnclipError as error:
            print(shown(f"nnclip serve: {error}"), file=sys.stderr, flush=True)
            self.status, self.should_exit = 2, True
            return
        except Exception:  # a server that can never answer does not stay
            logger.exception("loading failed")
            self.status, self.should_exit = 1, True
            return
        self._desk.prepared = True
        seconds = time.perf_counter() - self._began
        print(f"nnclip: ready after {seconds:.1f} s: {', '.join(self._names)}", flush=True)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; ConfigError if the address is taken or not there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {shown(host)}:{port}: {error}; expected a free port (--port)"
        ) from error
    return listener


def address(listener: socket.socket) -> str:
    """Where a socket can be reached from this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(args: argparse.Namespace, listener: socket.socket) -> int:
    """Serve on a socket until a signal comes; returns the exit status.

    Args:
        args: as `nnclip.commands.serve` declares them.
        listener: it listens already.

    Raises:
        NnclipError: something of that cannot be.
    """
    keys = Keys.read(args.api_key_file) if args.api_key_file else None
    collections = Collections(args.collection)
    metrics = Metrics()
    sources = args.model or collections.sources()
    at_most = max(LOADED_AT_MOST, len(sources))
    pool = ModelPool(sources, args.precision, metrics.observe, at_most)
    desk = Desk(pool, metrics, args.allow_urls)
    doors = ServeDoors(
        build_app(desk, collections, args.apis), Hosts(args.host, args.allow_host), keys, desk
    )
    config = uvicorn.Config(
        doors,
        http=Parting,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN,
        limit_concurrency=MAX_CONNECTIONS,
        backlog=BACKLOG,
        timeout_keep_alive=KEPT,
    )
    server = Server(config, desk, collections, pool.names[: max(1, len(sources))])
    with contextlib.suppress(KeyboardInterrupt):
        server.run([listener])
    sys.stdout.flush()
    if server.status or desk.turns.waiting:
        os._exit(server.status)  # threads that compute what nobody waits for
    return server.status
