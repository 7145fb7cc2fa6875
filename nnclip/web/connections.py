"""Connections that end: who sends a byte now and then does not hold one for ever."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from nnclip.service.limits import BODY_SECONDS, HEADER_SECONDS, PAUSE_SECONDS


class PatientFor(H11Protocol):
    """HTTP as uvicorn speaks it, which closes a connection whose request does not arrive.

    Its headers have HEADER_SECONDS, or `kept_seconds` after an answer; its body has
    BODY_SECONDS, and never PAUSE_SECONDS without a byte. How long an answer takes is not limited.

    Attributes:
        kept_seconds: from an answer to the headers of the connection's next request.
    """

    kept_seconds = HEADER_SECONDS

    _headers_due: asyncio.TimerHandle | None = None
    _body_due: asyncio.TimerHandle | None = None
    _byte_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes, and wait for what is missing still."""
        super().data_received(data)
        self._wait()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        for name in ("_headers_due", "_body_due", "_byte_due"):
            self._stop(name)

    def _wait(self) -> None:
        if self.transport.is_closing():
            return
        state = self.conn.their_state
        self._stop("_byte_due")
        if state is h11.SEND_BODY:
            self._start("_byte_due", PAUSE_SECONDS)
            self._start("_body_due", BODY_SECONDS)
        else:
            self._stop("_body_due")
        if state is h11.IDLE:
            self._start("_headers_due", HEADER_SECONDS if self.cycle is None else self.kept_seconds)
        else:
            self._stop("_headers_due")

    def _start(self, name: str, seconds: float) -> None:
        if getattr(self, name) is None:
            setattr(self, name, self.loop.call_later(seconds, self.transport.abort))

    def _stop(self, name: str) -> None:
        timer = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)
