import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nnclip.errors import DataError
from nnclip.service.fetching import Rules, fetch_image

HERE = Rules(allowed=lambda address: address == "127.0.0.1", max_bytes=1000, seconds=5)


class Answers(BaseHTTPRequestHandler):
    """Answers by path, and keeps a list of the paths that were asked."""

    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        kind, _, rest = self.path[1:].partition("/")
        if kind == "to":
            self.send_response(302)
            self.send_header("Location", rest)
            self.end_headers()
        elif kind == "bytes":
            self.reply(b"x" * int(rest), int(rest))
        elif kind == "cut":
            self.reply(b"x", 100)
        elif kind == "slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.1)
        else:
            self.send_error(404)

    def reply(self, content, length):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):  # the client hung up, as it should
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Answers,), {"asked": []})
    with Quiet(("127.0.0.1", 0), handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        found.url = f"http://127.0.0.1:{found.server_port}"
        found.asked = handler.asked
        yield found
        found.shutdown()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("file:///etc/passwd", "begins with https:// or http://"),
        ("ftp://example.com/a.jpg", "begins with https:// or http://"),
        ("gopher://example.com", "begins with https:// or http://"),
        ("//example.com/a.jpg", "begins with https:// or http://"),
        ("", "begins with https:// or http://"),
        ("http://", "begins with https:// or http://"),
        ("http://[::1", "no address"),
        ("http://example.com:port/", "no address"),
        ("http://user:secret@example.com/", "without a user name"),
        ("http://127.0.0.1/", "not on the public internet"),
        ("http://localhost/", "not on the public internet"),
        ("http://2130706433/", "not on the public internet"),
        ("http://0x7f.1/", "not on the public internet"),
        ("http://[::ffff:169.254.169.254]/", "not on the public internet"),
        ("http://nowhere.invalid/", "not known"),
    ],
)
def test_other_addresses_are_refused(url, sentence):
    with pytest.raises(DataError, match=sentence):
        fetch_image(url)


def test_what_is_allowed_is_fetched(server):
    assert fetch_image(f"{server.url}/bytes/1000", HERE) == b"x" * 1000


def test_a_redirect_is_followed_and_checked_again(server):
    assert fetch_image(f"{server.url}/to//bytes/5", HERE) == b"x" * 5
    with pytest.raises(DataError, match="not on the public internet"):
        fetch_image(f"{server.url}/to/http://127.0.0.2:{server.server_port}/bytes/5", HERE)
    with pytest.raises(DataError, match="begins with https"):
        fetch_image(f"{server.url}/to/file:///etc/passwd", HERE)
    assert server.asked.count("/bytes/5") == 1


def test_redirects_end(server):
    url = f"{server.url}/to//bytes/1"
    for _ in range(4):
        url = f"{server.url}/to/{url}"
    with pytest.raises(DataError, match="redirects more than 3 times"):
        fetch_image(url, HERE)


def test_too_much_too_little_and_nothing_are_refused(server):
    with pytest.raises(DataError, match="sends more than"):
        fetch_image(f"{server.url}/bytes/1001", HERE)
    with pytest.raises(DataError, match="cut off"):
        fetch_image(f"{server.url}/cut/", HERE)
    with pytest.raises(DataError, match="answers 404"):
        fetch_image(f"{server.url}/gone", HERE)


def test_a_server_that_drips_is_hung_up_on(server):
    rules = Rules(allowed=HERE.allowed, seconds=0.5)
    with pytest.raises(DataError, match="took over"):
        fetch_image(f"{server.url}/slow/", rules)


def test_the_name_is_looked_up_once_and_that_address_is_used(server, monkeypatch):
    asked = []

    def look_up(host, port, **_):
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "10.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connect = socket.create_connection
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "create_connection", lambda pair, **k: connected(pair, **k))

    def connected(pair, timeout):
        assert pair[0] == "127.0.0.1"
        monkeypatch.undo()
        return connect(pair, timeout=timeout)

    url = f"http://rebinding.example:{server.server_port}/bytes/3"
    assert fetch_image(url, HERE) == b"xxx"
    assert asked == ["rebinding.example"]


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch):
    def look_up(host, port, **_):
        return [(socket.AF_INET, 1, 6, "", (a, port)) for a in ("1.1.1.1", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(DataError, match="not on the public internet"):
        fetch_image("http://both.example/")
