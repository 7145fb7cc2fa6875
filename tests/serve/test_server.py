"""The server as a whole: its health, its doors, its load, its end."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from nnclip.serve.server import bind

from .conftest import KEY, coded, photo, until

EMBEDDINGS = "/v1/embeddings"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_small_answers_are_sent_at_once(host):
    listener = bind(host, 0)

    async def accepted():
        made = asyncio.get_running_loop().create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                made.set_result(transport)

        server = await asyncio.get_running_loop().create_server(Protocol, sock=listener)
        with socket.create_connection(listener.getsockname()[:2]):
            transport = await made
            found = transport.get_extra_info("socket")
            option = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            transport.close()
        server.close()
        return option

    assert asyncio.run(accepted())


def test_health_ready_metrics_and_the_list_of_routes(served):
    assert served.get("/health").json()["status"] == "ok"
    assert served.get("/ready").json() == {"status": "ready", "model": "small"}
    served.post(EMBEDDINGS, {"input": "a text that is counted"})
    counted = served.get("/metrics").text
    for line in (
        r'nnclip_requests_total{route="/v1/embeddings",status="200"} [1-9]',
        r'nnclip_batch_rows_count{kind="text"} [1-9]',
        r'nnclip_stage_seconds_count{stage="wait"} [1-9]',
        r"nnclip_waiting_inputs 0",
    ):
        assert re.search(line, counted), counted
    page = served.get("/docs").text
    assert "POST /v1/embeddings" in page and "encoding_format" in page
    assert not re.search(r"(src|href)=.?https?:", page)
    document = served.get("/openapi.json").json()
    assert {"/v1/embeddings", "/v1/classify", "/v1/score", "/v1/search", "/v1/explain",
            "/v1/segment", "/predict", "/vectorize",
            "/health", "/ready"} <= document["paths"].keys()  # fmt: skip


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"host": "evil.example"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 200),
    ],
)
def test_other_hosts_and_pages_are_refused(served, headers, status):
    answer = served.post(EMBEDDINGS, {"input": "a"}, headers=headers)
    assert answer.status_code == status
    assert status == 200 or set(answer.json()["error"]) == {"message", "type", "param", "code"}
    answer = served.get("/ping", headers=headers)
    assert answer.status_code == status and (status == 200 or set(answer.json()) == {"detail"})


@pytest.mark.parametrize("path", ["/health", "/ready", "/ping", "/.well-known/live", "/"])
def test_probes_may_ask_for_the_head_alone(served, path):
    answer, whole = httpx.head(served.url + path, timeout=60), served.get(path)
    assert answer.status_code == whole.status_code and not answer.content
    same = ("content-type", "cache-control")
    assert [answer.headers.get(name) for name in same] == [whole.headers.get(name) for name in same]


@pytest.mark.parametrize("path, allowed", [(EMBEDDINGS, "POST"), ("/health", "GET")])
def test_another_method_is_told_the_right_one(served, path, allowed):
    answer = httpx.request("DELETE", served.url + path, timeout=60)
    assert answer.status_code == 405 and answer.headers["allow"] == allowed
    assert "found no route DELETE" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/../etc/passwd", "/gradio_api/file=/etc/passwd", "/%2e%2e/x"])
def test_no_path_leads_to_a_file(served, path):
    assert served.get(path).status_code == 404


def test_a_body_that_is_too_long_is_refused_announced_or_not(served):
    announced = {"content-length": str(65 * 2**20), "host": "localhost"}
    with socket.create_connection(served.url.removeprefix("http://").split(":")) as raw:
        head = "".join(f"{key}: {value}\r\n" for key, value in announced.items())
        raw.sendall(f"POST {EMBEDDINGS} HTTP/1.1\r\n{head}\r\n".encode())
        assert b" 413 " in raw.recv(100)

    def pieces():
        for _ in range(70):
            yield bytes(2**20)

    with contextlib.suppress(httpx.WriteError, httpx.ReadError):  # it may hang up first
        answer = httpx.post(served.url + EMBEDDINGS, content=pieces(), timeout=60)
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "request_too_large"
    assert served.post(EMBEDDINGS, {"input": "a"}).status_code == 200


@pytest.fixture(scope="module")
def key_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"# who may ask\n{KEY}\nanother-key-of-some-length\n")
    return path


def test_keys_are_asked_for(start, small_h5, key_file):
    import openai

    server = start("-m", str(small_h5), "--api-key-file", str(key_file))
    for path in ("/health", "/ready", "/ping", "/.well-known/live"):
        assert server.get(path).status_code in (200, 204)
    for headers in (
        {},
        {"authorization": "Bearer another-key"},
        {"authorization": KEY},
        {"authorization": "Basic !!"},
        {"authorization": f"Bearer {KEY}x"},
    ):
        for path in ("/v1/models", "/metrics", "/docs", "/meta", "/none"):
            answer = server.get(path, headers=headers)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert KEY not in answer.text
    assert server.get("/v1/models", headers={"authorization": f"Bearer {KEY}"}).status_code == 200
    assert server.get("/v1/models", auth=("any", KEY)).status_code == 200  # http://any:KEY@host
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        assert client.embeddings.create(model="small", input="a").data
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="no", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.embeddings.create(model="small", input="a")
        assert caught.value.code == "invalid_api_key"


def test_only_public_addresses_are_fetched(start, small_h5):
    server = start("-m", str(small_h5), "--allow-urls")
    port = server.url.rsplit(":", 1)[1]
    for address in (
        f"http://127.0.0.1:{port}/health", "http://localhost/a.png", "http://169.254.169.254/",
        "http://[::1]/a.png", "ftp://example.com/a.png", "file:///etc/passwd", "http://0/a.png",
    ):  # fmt: skip
        answer = server.post(EMBEDDINGS, {"input": [address], "modality": "image"})
        assert answer.status_code == 400, address
        assert answer.json()["error"]["param"] == "input[0]"


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--api-key-file", "none"], "--api-key-file: cannot read none"),
        (["--port", "70000"], "expected at least 1, and 0 to 65535"),
        (["--workers", "0"], "--workers 0"),
        (["--apis", "openai,none"], "found 'none'"),
        (["--host", "no host"], "no host"),
        (["--collection", "none"], "found no manifest.json"),
        (["-m", "none.h5"], "none.h5"),
        (["-m", "a=bundled", "-m", "a=bundled"], "two models called"),
    ],
)
def test_what_cannot_be_served_is_said(flags, said):
    command = [sys.executable, "-m", "nnclip", "serve", "--port", "0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said(served):
    port = served.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "nnclip", "serve", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and "cannot listen" in done.stderr


def test_while_a_model_loads_clients_are_asked_to_come_again(start, small_h5, tmp_path):
    server = start("-m", str(small_h5), wait="nnclip: listening")
    seen = set()

    def ready():
        with contextlib.suppress(httpx.TransportError):
            answer = server.get("/ready")
            seen.add(answer.status_code)
            if answer.status_code == 503:
                assert int(answer.headers["retry-after"]) > 0
                assert server.get("/health").status_code == 200
                asked = server.post(EMBEDDINGS, {"input": "a"})
                assert asked.status_code in (200, 503)
        return 200 in seen

    until(ready)
    assert seen == {200, 503}


def test_one_client_with_many_images_leaves_room_for_others(served):
    asked = [{"image": coded(photo(seed, (160, 120)))} for seed in range(1000, 1600)]

    def greedy():
        answer = served.post(EMBEDDINGS, {"input": asked, "encoding_format": "base64"})
        assert answer.status_code == 200 and len(answer.json()["data"]) == 600

    with ThreadPoolExecutor(1) as pool:
        running, answered = pool.submit(greedy), 0
        while not running.done():
            content = {"input": f"a text {answered}"}
            assert served.post(EMBEDDINGS, content).status_code == 200
            answered += 1
        running.result()
    assert answered > 2


def test_a_client_that_goes_takes_its_work_along(served):
    asked = {"input": [coded(photo(seed, (400, 300))) for seed in range(100, 400)]}
    with contextlib.suppress(httpx.TimeoutException):
        httpx.post(served.url + EMBEDDINGS, json=asked, timeout=httpx.Timeout(60, read=0.3))
    until(lambda: "nnclip_waiting_inputs 0.0" in served.get("/metrics").text)
    assert served.post(EMBEDDINGS, {"input": "a"}).status_code == 200
    assert 'status="499"' in served.get("/metrics").text


def _ready(server) -> int:
    """How many processes have said that they answer."""
    return sum(line.startswith("nnclip: ready") for line in server.lines)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("clients", "texts"), [(8, 20), (32, 1)])
def test_a_server_that_is_asked_to_end_answers_what_it_took(
    start, small_h5, clients, texts, workers
):
    server = start("-m", str(small_h5), "--workers", str(workers))
    until(lambda: _ready(server) == workers)
    found, refused = [], []

    def ask(number):  # each time by a connection of its own
        while True:
            try:
                content = {"input": [f"text {number} {len(found)} {i}" for i in range(texts)]}
                found.append(server.post(EMBEDDINGS, content).status_code)
            except httpx.ConnectError:
                refused.append(number)
                return

    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(ask, number) for number in range(clients)]
        until(lambda: len(found) > 20)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for one in asking:
            one.result(60)  # any other error of a connection is raised here
    assert server.process.wait(60) == 0 and time.monotonic() - begun < 30
    assert set(found) == {200} and len(refused) == clients


def test_workers_share_a_port_count_together_and_are_replaced(start, small_h5):
    server = start("-m", str(small_h5), "--workers", "2")
    until(lambda: _ready(server) == 2)
    own = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    children = [int(pid) for pid in own.read_text().split()]
    workers = [
        pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(workers) == 2
    for _ in range(10):
        assert server.post(EMBEDDINGS, {"input": "a"}).status_code == 200
    counted = server.get("/metrics").text
    assert re.search(r'route="/v1/embeddings",status="200"} 10', counted), counted
    os.kill(workers[0], signal.SIGKILL)
    until(lambda: _ready(server) == 3)
    assert server.post(EMBEDDINGS, {"input": "a"}).status_code == 200
    assert server.ends() == 0
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))


def test_the_server_needs_neither_gradio_nor_the_packages_of_search_and_training():
    program = (
        "import sys\n"
        "for name in ('gradio', 'pyarrow', 'faiss', 'nnabla', 'torch', 'mpi4py', 'nncf'):\n"
        "    sys.modules[name] = None\n"
        "import nnclip.serve.server, nnclip.serve.workers\n"
        "nnclip.serve.collections.Collections([])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
