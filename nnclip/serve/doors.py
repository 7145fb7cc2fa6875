"""What stands before the application: keys, sizes, clients that go, the count of all answers."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException

from nnclip.serve.asking import Desk
from nnclip.serve.faults import UNFORESEEN, Refused, told
from nnclip.serve.keys import Keys
from nnclip.service.hosts import Hosts
from nnclip.service.limits import MAX_HELD, MAX_REQUEST
from nnclip.web.doors import Doors, Message, Receive, Send, answer, values

logger = logging.getLogger(__name__)

# what tells nothing but that a server is there; probes carry no key
OPEN = re.compile(r"/|/health|/ready|/ping|/\.well-known/(live|ready)")


class ServeDoors(Doors):
    """The doors of the server. Once it ends, every answer closes its connection."""

    headers: Mapping[str, str] = {"x-content-type-options": "nosniff", "cache-control": "no-store"}

    def __init__(self, app: Any, hosts: Hosts, keys: Keys | None, desk: Desk) -> None:
        """Stand before `app`: answer to these names, and to who has a key, if there are any."""
        super().__init__(app, hosts)
        self._keys, self._desk, self._metrics = keys, desk, desk.metrics
        self._held = 0  # bytes of all requests

    def refusal(self, scope: Message) -> tuple[int, str] | None:
        """As for all doors; besides, who has no key."""
        return self.strange(scope) or self._unknown(scope) or self.too_long(scope)

    def most(self, scope: Message) -> int:
        """Bytes that the body of a request may have."""
        return MAX_REQUEST

    async def say(self, scope: Message, send: Send, status: int, sentence: str) -> None:
        """Answer in the form of the API that is asked, and count it."""
        fault = Refused(status, sentence, seconds=1 if status == 503 else None)
        found, body, headers = told(scope["path"], fault)
        await answer(send, found, "application/json", body, headers)
        self._metrics.answered("refused", found, 0.0)

    async def enter(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request on; what it holds is counted, and it ends when its client goes."""
        visit = _Visit(self, receive, send)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]  # uvicorn drops its body
        scope = {**scope, "method": method, "headers": _as_json(scope)}
        began = time.perf_counter()
        task = asyncio.ensure_future(self._app(scope, visit.receive, visit.send))
        watch = asyncio.ensure_future(visit.watch(task))
        try:
            await task
        except asyncio.CancelledError:
            if not visit.gone:
                task.cancel()
                raise
            visit.status = 499  # as nginx counts clients that went
        except Exception:
            logger.exception("%s failed", scope["path"])
            if not visit.status:
                await self.say(scope, visit.send, 500, UNFORESEEN)
        finally:
            watch.cancel()
            self._held -= visit.held
        route = str(getattr(scope.get("route"), "path", "other"))
        self._metrics.answered(route, visit.status, time.perf_counter() - began)

    @property
    def closing(self) -> bool:
        """Whether the server ends."""
        return self._desk.closing

    def hold(self, count: int) -> bool:
        """Count bytes of a request; False if there are too many of all requests together."""
        self._held += count
        return self._held <= MAX_HELD

    def _unknown(self, scope: Message) -> tuple[int, str] | None:
        if self._keys is None or OPEN.fullmatch(scope["path"]):
            return None
        given = values(scope, b"authorization")
        if len(given) == 1 and self._keys.accept(given[0]):
            return None
        found = "another API key" if given else "no API key"
        return 401, f"found {found}, expected the header Authorization: Bearer KEY"


class _Visit:
    """One request: its body, its answer, and whether its client is still there."""

    def __init__(self, doors: ServeDoors, receive: Receive, send: Send) -> None:
        self._doors, self._receive, self._send = doors, receive, send
        self._read = asyncio.Event()
        self.held = self.status = 0
        self.gone = False

    async def receive(self) -> Message:
        """A piece of the body; once it is there, nothing more comes."""
        if self._read.is_set():
            await asyncio.Event().wait()
        message = await self._receive()
        if message["type"] == "http.disconnect":
            return message
        size = len(message.get("body", b""))
        self.held += size
        room = self._doors.hold(size)
        if self.held > MAX_REQUEST:
            raise HTTPException(413, f"found over {MAX_REQUEST} bytes, expected at most as many")
        if not room:
            raise HTTPException(503, "found too many bytes in other requests: ask again in 1 s")
        if not message.get("more_body"):
            self._read.set()
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on; the last ones of a server close their connections."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._doors.closing:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
        await self._send(message)

    async def watch(self, task: "asyncio.Future[Any]") -> None:
        """Cancel what is being done for a client that goes."""
        await self._read.wait()
        message = await self._receive()
        if message["type"] == "http.disconnect" and not task.done() and not self.status:
            self.gone = True
            task.cancel()


def _as_json(scope: Message) -> list[tuple[bytes, bytes]]:
    """Headers of a request; what is no form counts as JSON, since some clients do not say so."""
    kinds = values(scope, b"content-type")
    if kinds and kinds[0].lower().startswith("multipart/form-data"):
        return list(scope["headers"])
    others = [(key, value) for key, value in scope["headers"] if key != b"content-type"]
    return [*others, (b"content-type", b"application/json")]
