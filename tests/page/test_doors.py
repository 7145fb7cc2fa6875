"""The page as an attacker finds it: every event, every function, every kind of value and file."""

import json
import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from .asking import ask, call, trigger, upload

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "assets" / "example.jpg"
META = {"meta": {"_type": "gradio.FileData"}}
FILES = {"image", "gallery"}  # types of parts that take files
GOOD = {
    "image": None, "gallery": None, "textbox": "a seal\na horse", "dropdown": "", "radio": "Cosine",
    "number": 3, "slider": 4, "dataset": 0, "checkbox": True,
}  # fmt: skip
WRONG = {
    "nothing": None, "true or false": True, "a number": 7, "a fraction": 1.5, "a text": "none such",
    "a list": ["a"], "an object": {"a": 1}, "deep": [[[[{"path": ["/etc/passwd"]}]]]],
    "infinity": float("inf"), "huge": 10**400, "surrogate": "a\ud800",
}  # fmt: skip

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def parts(served):
    """Number of a part -> its type and label."""
    config = json.loads(ask(f"{served.url}config").text)
    return {
        part["id"]: (part["type"], str(part["props"].get("label"))) for part in config["components"]
    }


@pytest.fixture(scope="module")
def events(served):
    """All that the server computes when something is sent."""
    config = json.loads(ask(f"{served.url}config").text)
    return [event for event in config["dependencies"] if event["backend_fn"]]


@pytest.fixture(scope="module")
def forbidden(served, folder, tmp_path_factory):
    """Paths that no visitor may name."""
    outside = tmp_path_factory.mktemp("outside") / "photo.jpg"
    outside.write_bytes(PICTURE.read_bytes())
    inside = served.uploads / "planted"
    inside.mkdir()
    os.mkfifo(inside / "fifo.jpg")
    os.mkfifo(outside.with_name("fifo.jpg"))
    for name, target in {"photo": outside, "zero": "/dev/zero", "passwd": "/etc/passwd"}.items():
        (inside / f"{name}.jpg").symlink_to(target)
    (inside / "folder").symlink_to(outside.parent)
    with open(inside / "sparse.jpg", "wb") as file:
        file.truncate(40 * 2**30)
    return [
        str(outside), "/etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/environ", "/", "",
        str(outside.with_name("fifo.jpg")), str(folder / "red.png"), str(PICTURE),
        f"{served.uploads}/../../../etc/passwd", "../../etc/passwd", "file:///etc/passwd",
        "http://127.0.0.1:1/a.png", "http://1.1.1.1/a.png", "\0", "a\ud800", "x" * 5000,
        *(str(inside / n) for n in ("fifo.jpg", "photo.jpg", "zero.jpg", "passwd.jpg")),
        str(inside / "sparse.jpg"), str(inside / "folder" / "photo.jpg"), str(inside),
        None, True, 3, 1.5, ["/etc/passwd"], {"path": "/etc/passwd"},
    ]  # fmt: skip


def forms(path):
    """What a client may say about a file."""
    yield from ({"path": path}, {"path": path, **META}, {"path": path, "url": "/etc/passwd"})
    yield {"path": path, "is_stream": True, "url": "http://127.0.0.1:1/", "size": 1, **META}


def memory(process):
    """Megabytes that a process holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def refused(answer, seconds):
    """Whether an answer is a sentence, with no image in it, before anything can have hung."""
    success, output = answer
    text = output if isinstance(output, str) else json.dumps(output)
    html = "notice problem" in text or "notice empty" in text
    said = html if success else len(str(output.get("error") or "")) > 10
    return said and "data:image" not in text and seconds < 10


def test_no_event_reads_a_file_that_was_not_uploaded(served, parts, events, forbidden):
    good = {"path": upload(served.url, PICTURE.read_bytes()), **META}
    assert all_places_are_free(served)  # and all is compiled
    where = next(event for event in events if event["api_name"] == "where")
    kinds = [parts[each][0] for each in where["inputs"]]
    values = [good if kind == "image" else GOOD[kind] for kind in kinds]
    assert trigger(served.url, where["id"], values)[0]
    before, failed, tried = memory(served.process), [], 0
    for event in events:
        kinds = [parts[each][0] for each in event["inputs"]]
        for place in (i for i, kind in enumerate(kinds) if kind in FILES):
            for file in (form for path in forbidden for form in forms(path)):
                values = [GOOD[kind] for kind in kinds]
                shapes = [file]
                if kinds[place] == "gallery":
                    shapes = [[{"image": file}], [{"image": good}, {"image": file}]]
                for values[place] in shapes:
                    start = time.monotonic()
                    answer = trigger(served.url, event["id"], values)
                    tried += 1
                    if not refused(answer, time.monotonic() - start):
                        failed.append((event["api_name"], file, answer))
    assert not failed
    assert tried > 500
    assert memory(served.process) - before < 50
    assert all_places_are_free(served)


def test_no_function_for_programs_does(served, forbidden):
    for path in forbidden:
        for file in forms(path):
            success, answer = call(served.url, "classify", {"data": [file, "a", "{}", ""]})
            assert not success and re.search("image: (path: )?found", answer.text), (file, answer)


def test_no_file_is_given_out_that_was_not_uploaded(served, forbidden):
    own = upload(served.url, PICTURE.read_bytes())
    assert ask(f"{served.url}gradio_api/upload", method="GET").status == 404
    for path in filter(None, (each for each in forbidden if isinstance(each, str))):
        if path in (str(PICTURE), "\0", "a\ud800", "x" * 5000):
            continue
        for route in ("file=", "file/", "proxy=", "stream/"):
            assert ask(f"{served.url}gradio_api/{route}{path}").status in (403, 404)
    assert ask(f"{served.url}gradio_api/file={own}", method="HEAD").status == 200


def test_no_photo_is_given_out_that_no_answer_has_shown(served, folder):
    for token in ("0" * 32, "g" * 32, "", "..", str(folder / "red.png"), "%2e%2e"):
        for form in ("320", "1600", "original", "99", "../original", ""):
            assert ask(f"{served.url}photos/{token}/{form}").status == 404
            assert ask(f"{served.url}photos/{token}/{form}", b"{}").status == 404


def all_places_are_free(served):
    """Whether as many questions as are answered at once are answered."""
    file = {"path": upload(served.url, PICTURE.read_bytes()), **META}
    with ThreadPoolExecutor(16) as pool:
        asked = [
            pool.submit(call, served.url, "classify", {"data": [file, f"a\nb{i}", "{}", ""]})
            for i in range(16)
        ]
        return all(future.result(60)[0] for future in asked)


def test_values_of_every_type_are_answered_for_every_parameter(served, parts, events):
    file = {"path": upload(served.url, PICTURE.read_bytes()), **META}
    for event in events:
        kinds = [parts[each][0] for each in event["inputs"]]
        labels = [parts[each][1] for each in event["inputs"]]
        for place, wrong in ((p, w) for p in range(len(kinds)) for w in WRONG.values()):
            values = [GOOD[kind] if kind != "image" else file for kind in kinds]
            values[place] = wrong
            success, output = trigger(served.url, event["id"], values)
            assert success or len(output["error"] or "") > 10, (event["api_name"], wrong)
            assert success or "the log of the server" not in output["error"], (event, wrong)
            if event["api_visibility"] == "public" and type(wrong) in (bool, list, dict):
                assert not success and output["error"].startswith(f"{labels[place]}: found ")
    assert not [line for line in served.lines if "Traceback" in line]


BODIES = [
    b"", b"null", b"[]", b"3", b'"x"', b"{}", b"{", b"\xff\xfe", b'{"data": null}', b'{"data": 3}',
    b'{"data": {}}', b'{"data": "x"}', b'{"data": []}', b'{"data": [1, 2, 3, 4, 5, 6, 7, 8, 9]}',
    b'{"data": [], "fn_index": "x"}', b'{"data": [], "fn_index": 9999, "session_hash": "s"}',
    b'{"data": [], "fn_index": -1, "session_hash": "s"}', b'{"data": [], "session_hash": 3}',
    b'{"data": [], "fn_index": 0, "session_hash": "s", "trigger_id": 12345}',
    b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"data": [' + b"[" * 500 + b"]" * 500 + b', "a", "{}", ""]}', b'{"data": [NaN, 1e999]}',
    b'{"session_hash": "s", "data": [' + b'{"a":' * 400 + b"1" + b"}" * 400 + b', "a", "", ""]}',
]  # fmt: skip


@pytest.mark.parametrize("path", ["call/classify", "call/search", "call/none", "queue/join"])
def test_bodies_of_every_kind_are_answered_without_a_500(served, path):
    for body in BODIES:
        answer = ask(f"{served.url}gradio_api/{path}", body)
        assert answer.status < 500, (body[:80], answer)
    # refused before it is sent
    assert (
        ask(f"{served.url}gradio_api/{path}", b"", {"Content-Length": str(3 * 2**20)}).status == 413
    )


@pytest.mark.parametrize("index", [-1, 10**9, 1.5, "0", None, True, [0], {}, 10**400])
@pytest.mark.parametrize("wrap", [lambda i: {"index": i}, lambda i: i, lambda i: [i]])
def test_clicks_on_nothing_are_told(served, events, parts, index, wrap):
    for event in events:
        if any(name == "select" for _, name in event["targets"]):
            values = [GOOD[parts[each][0]] for each in event["inputs"]]
            success, output = trigger(served.url, event["id"], values, event_data=wrap(index))
            assert success or "found" in output["error"], output
    assert not [line for line in served.lines if "Traceback" in line]


def test_messages_for_the_browser_are_text_and_those_for_programs_too(served, events, parts):
    evil = "<img src=x onerror=alert(1)>"
    fetch = next(event for event in events if event["api_name"] == "bring")
    for address in (f"http://{evil}/", f"{evil}", f"http://user:{evil}@a/"):
        _, output = trigger(served.url, fetch["id"], [address])
        assert output["error"] and "<" not in output["error"]
    file = {"path": upload(served.url, PICTURE.read_bytes()), **META}
    for event in events:
        kinds = [parts[each][0] for each in event["inputs"]]
        values = [evil if k in ("textbox", "dropdown", "radio") else GOOD[k] for k in kinds]
        values = [file if kind == "image" else v for kind, v in zip(kinds, values, strict=True)]
        _, output = trigger(served.url, event["id"], values)
        if event["api_visibility"] == "private":
            assert "<img src=x" not in json.dumps(output), event["api_name"]
    _, answer = call(served.url, "classify", {"data": [file, "a", "{}", evil]})
    assert "found no model" in answer.text and "&lt;" not in answer.text


def test_only_what_the_page_needs_is_answered(served):
    for path in (
        "component_server", "process_recording", "vibe-edit", "vibe-code", "undo-vibe-edit",
        "run/predict", "api/predict", "call/v2/classify", "stream/x", "stream/x/close",
    ):  # fmt: skip
        for content in (b"{}", b'{"data": []}'):
            assert ask(f"{served.url}gradio_api/{path}", content).status == 404
    for path in ("proxy=http://1.1.1.1/", "custom_component/1/a/b/c", "runs", "token", "user"):
        assert ask(f"{served.url}gradio_api/{path}").status == 404
    for path in ("monitoring", "login", "docs", "openapi.json", "gradio_api/deep_link"):
        assert ask(f"{served.url}{path}").status == 404
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"):
        assert ask(served.url, method=method).status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8889"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:8889"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"X-Forwarded-Host": "evil.example"}, 200),
    ],
)
def test_names_and_origins_are_checked_before_anything_else(served, headers, status):
    body = {"data": [], "fn_index": 0, "session_hash": "s"}
    for path, content in (("config", None), ("gradio_api/queue/join", body)):
        assert ask(f"{served.url}{path}", content, headers).status == status
        preflight = {**headers, "Access-Control-Request-Method": "POST"}
        assert ask(f"{served.url}{path}", None, preflight, "OPTIONS").status in (403, 404)
    socket_headers = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }  # fmt: skip
    assert ask(f"{served.url}queue/join", None, {**headers, **socket_headers}).status in (403, 404)


def test_the_pages_own_origin_may_ask(served):
    own = {"Origin": served.url.rstrip("/")}
    body = {"data": [None, "a", "{}", ""]}
    assert ask(f"{served.url}gradio_api/call/classify", body, own).status == 200


IMPATIENT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from nnclip.service import limits
limits.HEADER_SECONDS, limits.PAUSE_SECONDS, limits.BODY_SECONDS = 1.0, 1.0, 3.0
"""


def test_names_of_files_are_shown_escaped(speaking_h5, start, tmp_path):
    for name in (b"<img src=x onerror=alert(1)>.png", b"caf\xe9.png", b"a\n\x1b[31m.png"):
        Image.new("RGB", (40, 40), "red").save(tmp_path / "plain.png")
        (tmp_path / "plain.png").rename(tmp_path / os.fsdecode(name))
    os.mkfifo(tmp_path / "fifo.png")
    process, lines = start("--model", str(speaking_h5), "--images", str(tmp_path))
    try:
        url = re.search(r"open (\S+)", "\n".join(lines))[1]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            success, answer = call(url, "search", {"data": ["a dog", 9, "", ""]})
            if success and answer.text.count("score") == 3:
                break
        for name in (r"caf\\xe9.png", r"a\\x0a\\x1b[31m.png", "<img src=x onerror=alert(1)>.png"):
            assert f'"{name}"' in answer.text
        config = json.loads(ask(f"{url}config").text)
        show = next(d for d in config["dependencies"] if d["api_name"] == "show")
        for query in ("a dog", ""):
            asked = [query, None, "", tmp_path.name, "", "", "", "", -1, ""]
            success, output = trigger(url, show["id"], asked)
            assert success and output["data"][0].count('class="tile"') == 3
            assert "<img src=x" not in output["data"][0] and r"caf\xe9" in output["data"][0]
        kept = upload(url, PICTURE.read_bytes(), "<img src=x onerror=alert(1)>.png")
        assert Path(kept).is_file() and "<" not in kept
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
    assert "Traceback" not in "".join(lines)
    assert not Path(kept).parents[1].exists()


def test_connections_whose_request_does_not_arrive_end(speaking_h5, start):
    process, lines = start("--model", str(speaking_h5), before=IMPATIENT)
    try:
        port = int(re.search(r"open \S+:(\d+)/", "\n".join(lines))[1])
        head = b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\n"
        length = b"Content-Length: 1000\r\n\r\n"
        assert held(port, b"") < 3
        assert held(port, b"GET / HT") < 3
        assert held(port, head) < 3
        assert held(port, head, drip=b"a: b\r\n") < 3
        assert held(port, head + length) < 3
        assert 2 < held(port, head + length, drip=b"x") < 6
        again = b"GET /robots.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert held(port, again + b"GET / HT") < 3
        with ThreadPoolExecutor(100) as pool:
            assert max(pool.map(lambda _: held(port, head), range(100))) < 5
        assert ask(f"http://127.0.0.1:{port}/config").status == 200
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
    assert "Traceback" not in "".join(lines)


def held(port, content, drip=b""):
    """Seconds for which the server holds a connection on which this much is sent."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=0.2) as connection:
        connection.sendall(content)
        while time.monotonic() - start < 20:
            try:
                if drip:
                    connection.sendall(drip)
                if connection.recv(4096) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    return time.monotonic() - start
