"""How the server is: whether it lives, whether it answers, what it counted."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Response

from nnclip.serve.asking import Desk
from nnclip.serve.faults import Refused

FRESH_SECONDS = 1.0  # for so long what was found holds: probes cost an inference
PROBE_SECONDS = 10.0


def router(desk: Desk) -> APIRouter:
    """The routes; `/health` and `/ready` ask for no key."""
    routes = APIRouter(tags=["health"])
    probe = Probe(desk)

    @routes.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the process answers at all."""
        return {"status": "ok", "unix": time.time()}

    @routes.get("/ready")
    async def ready() -> dict[str, Any]:
        """Whether the first model embeds an image and a text now."""
        await probe.ready()
        return {"status": "ready", "model": desk.pool.names[0]}

    @routes.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        body, kind = desk.metrics.exposition(lambda: desk.turns.waiting)
        return Response(body, media_type=kind)

    return routes


class Probe:
    """Runs a real inference, one for all who ask at the same time."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._running: asyncio.Future[bool] | None = None
        self._found = -FRESH_SECONDS

    async def ready(self) -> None:
        """Refused with 503 while the model loads, and where it does not answer in time."""
        embedder = self._desk.model(None)
        if self._desk.closing or not self._desk.prepared:
            doing = "ends" if self._desk.closing else "still loads what it was started with"
            raise Refused(503, f"the server {doing}: ask again in 2 s", seconds=2)
        if time.monotonic() - self._found < FRESH_SECONDS:
            return
        if self._running is None or self._running.done():
            loop = asyncio.get_running_loop()
            self._running = loop.run_in_executor(None, embedder.answers)
        try:
            well = await asyncio.wait_for(asyncio.shield(self._running), PROBE_SECONDS)
        except asyncio.TimeoutError as error:
            raise Refused(
                503, f"found no answer within {PROBE_SECONDS:.0f} s", seconds=5
            ) from error
        if not well:
            raise Refused(503, "found an embedding that is not finite", seconds=60)
        self._found = time.monotonic()
