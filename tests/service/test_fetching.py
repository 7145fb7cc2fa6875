import socket
import threading
import time
from contextlib import suppress
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


@pytest.fixture
def sending():
    """Starts a server that sends these pieces to whoever asks; its address without a scheme."""
    listening = []

    def start(*pieces, pause=0.0):
        listener = socket.create_server(("127.0.0.1", 0))
        listening.append(listener)
        threading.Thread(target=answer, args=(listener, pieces, pause), daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}/"

    def answer(listener, pieces, pause):
        with suppress(OSError):  # closed, or the client hung up
            while True:
                with listener.accept()[0] as connection:
                    connection.recv(9999)
                    for piece in pieces:
                        connection.sendall(piece)
                        time.sleep(pause)

    yield start
    for listener in listening:
        listener.close()


@pytest.mark.parametrize("size", [b"-5", b"-1", b"zz", b"", b"ffffffffffffffff"])
def test_pieces_of_no_size_end_in_a_sentence(sending, size):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with pytest.raises(DataError, match=r"127\.0\.0\.1 cannot be reached|sends more"):
        fetch_image(f"http://{sending(head, size, bytes([13, 10]), b'hello' * 9)}", HERE)


@pytest.mark.parametrize(
    "location",
    [
        b"http://[::1", b"http://b\xfccher.invalid/", b"//\xff\xfe/", b"http://127.0.0.1:99999/",
        b"http://a..b/", b"http://" + b"a" * 300, b"http://\x01/", b"http://a b/", b"javascript:1",
        b"http://<img>/", b"http://1.2.3.4%00/", b"http:///", b"http://[v1.x]/",
        b"/" + b"a" * 70_000,
    ],
)  # fmt: skip
def test_redirects_to_what_is_no_address_end_in_a_sentence(sending, location):
    head = b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(DataError, match=r"address|cannot be reached|is not known|redirects more"):
        fetch_image(f"http://{sending(head)}", HERE)


def test_addresses_in_any_script_are_asked_escaped(server):
    with pytest.raises(DataError, match="answers 404"):
        fetch_image(f"{server.url}/Bär 1.jpg?größe=1", HERE)
    assert server.asked == ["/B%C3%A4r%201.jpg?gr%C3%B6%C3%9Fe=1"]


def test_a_server_that_drips_its_handshake_is_hung_up_on(sending):
    record = [b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03", *[b"\0"] * 300]
    rules = Rules(allowed=HERE.allowed, seconds=0.5)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"took over|cannot be reached"):
        fetch_image(f"https://{sending(*record, pause=0.05)}", rules)
    assert time.monotonic() - start < 10
