"""Fetching lists of addresses, from a real server on this machine."""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from nnclip.cli import main
from nnclip.errors import DataError
from nnclip.training.data.fetch import FetchOrder, fetch_pairs
from nnclip.training.data.readers import read_pairs


def jpeg(side: int = 16) -> bytes:
    content = BytesIO()
    Image.new("RGB", (side, side), "blue").save(content, "JPEG")
    return content.getvalue()


@pytest.fixture
def server() -> Iterator[tuple[str, Counter[str]]]:
    """An address, and how often each path was asked for."""
    asked: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Says nothing."""

        def do_GET(self) -> None:
            asked[self.path] += 1
            if self.path == "/slow":
                time.sleep(3)
            if self.path == "/gone":
                return self.send_error(404)
            body = {"/text": b"hello", "/tiny": jpeg(4)}.get(self.path, jpeg())
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + (10 if self.path == "/cut" else 0)))
            self.end_headers()
            self.wfile.write(body)

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}", asked
    running.shutdown()
    running.server_close()


def test_what_opens_is_kept_and_the_rest_is_told(
    server: tuple[str, Counter[str]], tmp_path: Path
) -> None:
    url, asked = server
    paths = ["/a", "/gone", "/text", "/tiny", "/slow", "/cut", "/b"]
    listing = tmp_path / "urls.tsv"
    listing.write_text("".join(f"caption of {p}\t{url}{p}\n" for p in paths))
    order = FetchOrder(tmp_path / "out", parallel=4, timeout=0.5, least_side=8)
    results = list(fetch_pairs(listing, order))
    assert results.count(None) == 2 and len(results) == 7
    table = read_pairs(str(tmp_path / "out" / "pairs.csv"))
    assert [table[i].captions[0] for i in range(2)] == ["caption of /a", "caption of /b"]
    assert Path(table[0].path).name == hashlib.sha1(f"{url}/a".encode()).hexdigest() + ".jpg"
    assert Path(table[0].path).read_bytes() == jpeg()

    list(fetch_pairs(listing, order))  # a second call asks for nothing again
    assert set(asked.values()) == {1}
    list(fetch_pairs(listing, FetchOrder(tmp_path / "out", timeout=0.5, again=True)))
    assert asked["/a"] == 1 and asked["/gone"] == 2
    assert len(read_pairs(str(tmp_path / "out" / "pairs.csv"))) == 3  # /tiny is large enough now


def test_the_command_takes_a_comma_separated_list_with_a_header(
    server: tuple[str, Counter[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = tmp_path / "urls.csv"
    listing.write_text(f'query,url\n"a blue, square",{server[0]}/x\n')
    assert main(["fetch-pairs", str(listing), str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kept"] == 1 and found["failed"] == 0
    assert read_pairs(found["path"])[0].captions == ("a blue, square",)


def test_a_list_without_addresses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "urls.tsv").write_text("caption\turl\n")
    with pytest.raises(DataError, match="no line with a caption and an address"):
        list(fetch_pairs(tmp_path / "urls.tsv", FetchOrder(tmp_path / "out")))
