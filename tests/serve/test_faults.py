"""What a client is told when the queue is full, and when something unforeseen happens."""

import asyncio
import logging
import threading

import httpx
import pytest

from nnclip.serve.app import build_app
from nnclip.serve.asking import Desk
from nnclip.serve.collections import Collections
from nnclip.serve.doors import ServeDoors
from nnclip.serve.metrics import Metrics
from nnclip.service.hosts import Hosts
from nnclip.service.model_pool import ModelPool
from nnclip.service.turns import Turns


@pytest.fixture
def desk(small_h5):
    return Desk(ModelPool([str(small_h5)], "fp32"), Metrics())


def asked(desk, path, content):
    """The answer to one request, by the application behind its doors."""

    async def ask():
        await desk.load("small")
        doors = ServeDoors(build_app(desk, Collections([])), Hosts("127.0.0.1"), None, desk)
        transport = httpx.ASGITransport(doors)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(path, json=content)

    return asyncio.run(ask())


@pytest.mark.parametrize("most, status, kind", [(2, 429, "rate_limit_error")])
def test_a_full_queue_says_when_to_ask_again(desk, most, status, kind):
    desk.turns = Turns(most=most)
    answer = asked(desk, "/v1/embeddings", {"input": ["a", "b"]})
    assert answer.status_code == status and int(answer.headers["retry-after"]) >= 1
    assert answer.json()["error"]["type"] == kind
    answer = asked(desk, "/vectorize", {"texts": ["a", "b"]})
    assert answer.status_code == status and set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    "path, content, form",
    [
        ("/v1/embeddings", {"input": "a"}, "error"),
        ("/vectorize", {"texts": ["a"]}, "error"),
    ],
)
def test_what_is_unforeseen_goes_to_the_log_alone(desk, path, content, form, monkeypatch, caplog):
    def fails(*_, **__):
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("nnclip.service.embedder.Embedder.text_features", fails)
    with caplog.at_level(logging.ERROR):
        answer = asked(desk, path, content)
    assert answer.status_code == 500 and set(answer.json()) == {form}
    assert "secret" not in answer.text and "a secret of the inside" in caplog.text


@pytest.mark.parametrize("path, content", [
    ("/v1/embeddings", {"input": ["a", "b"]}),
    ("/vectorize", {"texts": ["a", "b"]}),
])  # fmt: skip
def test_an_answer_that_takes_too_long_is_given_up(desk, path, content, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr("nnclip.serve.asking.ANSWER_SECONDS", 0.05)
    monkeypatch.setattr("nnclip.serve.asking.TEXTS", 1)
    monkeypatch.setattr(desk.turns, "_threads", 1)
    monkeypatch.setattr(
        "nnclip.service.embedder.Embedder.text_features", lambda *_, **__: go.wait(60) and []
    )
    answer = asked(desk, path, content)
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
    assert "found no answer within" in answer.text
    assert desk.turns.waiting == 0  # its second text is not begun any more
    go.set()
