"""ASGI middleware that refuses, before an application sees it, what nobody should have asked."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

from nnclip.service.hosts import Hosts

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class Doors:
    """Stands before an application: known names, own origins, bodies of a bounded size.

    A face says in a subclass what else it refuses, and how.

    Attributes:
        headers: of every answer.
    """

    headers: Mapping[str, str] = {}

    def __init__(self, app: Any, hosts: Hosts) -> None:
        """Stand before `app`, and answer to these names."""
        self._app, self._hosts = app, hosts
        self._headers = [(k.encode(), v.encode()) for k, v in self.headers.items()]

    def refusal(self, scope: Message) -> tuple[int, str] | None:
        """Status and sentence for a request that goes no further."""
        return self.strange(scope) or self.too_long(scope)

    def most(self, scope: Message) -> int:
        """Bytes that the body of a request may have."""
        raise NotImplementedError

    async def say(self, scope: Message, send: Send, status: int, sentence: str) -> None:
        """Answer with a sentence."""
        await answer(send, status, "text/plain; charset=utf-8", f"{sentence}\n".encode())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        refused = self.refusal(scope)
        if refused is None:
            return await self.enter(scope, receive, sending)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        return await self.say(scope, sending, *refused)

    async def enter(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request to the application; a body that grows too long counts as broken off."""
        left = self.most(scope)

        async def receiving() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        await self._app(scope, receiving, send)

    def strange(self, scope: Message) -> tuple[int, str] | None:
        """What to say to another host name, or to a page of somebody else."""
        sentence = self._hosts.refusal(values(scope, b"host"), values(scope, b"origin"))
        return (403, sentence) if sentence else None

    def too_long(self, scope: Message) -> tuple[int, str] | None:
        """What to say to a body that is announced as too long."""
        lengths, most = values(scope, b"content-length"), self.most(scope)
        if lengths and int(lengths[0]) > most:  # digits, or h11 had refused it
            return 413, f"found {lengths[0]} bytes, expected at most {most}"
        return None


def values(scope: Message, name: bytes) -> list[str]:
    """All values of a header."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


async def answer(
    send: Send, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """Send a whole answer of one content type."""
    sent = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
    raw = [(key.encode(), value.encode()) for key, value in sent.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
