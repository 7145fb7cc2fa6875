"""The page as programs see it: its functions, its limits, and what it does not do."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lazy import lazy

from .asking import call as by_hand

gradio_client = lazy("gradio_client")

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "assets" / "example.jpg"

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def client(served, tmp_path_factory):
    answers = tmp_path_factory.mktemp("answers")
    found = gradio_client.Client(served.url, verbose=False, download_files=answers)
    yield found
    found.close()


def classify(client, image=PICTURE, categories="a seal\na horse", template="{}", model=""):
    file = gradio_client.handle_file(image)
    return client.predict(file, categories, template, model, api_name="/classify")


def ask(served, path, content=None):
    """The body of an answer, and its headers."""
    request = urllib.request.Request(
        served.url + path,
        json.dumps(content).encode() if content is not None else None,
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read().decode(), answer.headers


def upload(url, content):
    """Where a file is kept that was uploaded."""
    head = '--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    request = urllib.request.Request(
        url + "gradio_api/upload",
        head.encode() + content + b"\r\n--x--\r\n",
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return Path(json.load(answer)[0])


def refused(served, path):
    """The status with which a request is refused."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(served, path)
    caught.value.close()
    return caught.value.code


def told(served, values):
    """What the stream of answers says to a call of /classify, made by hand."""
    event, _ = ask(served, "gradio_api/call/classify", {"data": values})
    return ask(served, f"gradio_api/call/classify/{json.loads(event)['event_id']}")[0]


def test_classify_is_what_the_model_says(client, small_h5):
    from nnclip.clip import CLIP

    answer = classify(client, template="an image of {}")
    model = CLIP(small_h5)
    ids = model.tokenize(["an image of a seal", "an image of a horse"])
    expected = model.probabilities(model.preprocess_image(PICTURE), ids)[0]
    assert list(answer["probabilities"].values()) == pytest.approx(list(expected), abs=1e-3)
    assert answer["best"] == ("a seal", "a horse")[expected.argmax()]


def example(text):
    """The first block of Python in a text."""
    return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


def test_the_documented_example_runs_as_it_stands(served):
    page, _ = ask(served, "config")
    guide = next(
        part["props"]["value"]
        for part in json.loads(page)["components"]
        if "Ask from a program" in str(part.get("props", {}).get("value"))
    )
    script = example(guide)
    written = example((ROOT / "docs" / "demo.md").read_text())
    assert written.replace("http://127.0.0.1:8889/", served.url) in script.replace(
        ", here 'small'", ""
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"a (seal|horse|blue star) \{'a seal': 0\.", done.stdout)


def test_search_and_models(client, folder):
    assert client.predict(api_name="/models") == {
        "models": ["small"],
        **{key: [folder.name, "bundled images"] for key in ("images", "pictures")},
    }
    hits = client.predict("a dog", 5, "bundled images", "", api_name="/search")
    assert len(hits) == 5 and all(set(hit) == {"image", "score", "picture"} for hit in hits)
    mine = client.predict("a dog", k=60, model="small", api_name="/search")
    assert {hit["image"] for hit in mine} == {"red.png", "green.png", "blue.png", "white.png"}


def test_names_of_before_are_understood(client, served):
    file = gradio_client.handle_file(PICTURE)
    asked = {"categories": "a seal\na horse", "api_name": "/classify"}
    old, new = (client.predict(**{name: file}, **asked) for name in ("picture", "image"))
    assert old["probabilities"] == new["probabilities"]
    hits = client.predict("a dog", amount=2, pictures="bundled images", api_name="/search")
    assert len(hits) == 2 and all(hit["picture"] == hit["image"] for hit in hits)
    success, answer = by_hand(served.url, "search", {"data": ["a dog", 2]})
    assert success and answer.text.count("score") == 2


def test_extremes_are_answered_and_print_nothing(client, served, tmp_path):
    printed = list(served.lines)
    many = classify(client, categories="\n".join(f"thing {i}" for i in range(1000)))
    assert len(many["probabilities"]) == 1000
    assert sum(many["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    (tmp_path / "notes.jpg").write_text("no image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    for sentence, asked in {
        "no category": {"categories": " \n "},
        "at most 1,000": {"categories": "\n".join(map(str, range(1001)))},
        "tokens": {"categories": "word " * 2000},
        "one {}": {"template": "no place"},
        "found no model": {"model": "/etc/passwd"},
        "not an image": {"image": tmp_path / "notes.jpg"},
        "empty file": {"image": tmp_path / "empty.png"},
        "no known format": {"image": tmp_path / "a.svg"},
    }.items():
        with pytest.raises(gradio_client.exceptions.AppError, match=re.escape(sentence)):
            classify(client, **asked)
    assert classify(client)["best"]
    assert served.lines == printed


def test_too_large_an_upload_is_refused(served):
    with pytest.raises(urllib.error.HTTPError, match="413") as caught:
        upload(served.url, b"\0" * 17 * 2**20)
    caught.value.close()


def test_twenty_at_once_are_all_answered(client):
    asked = ["\n".join([f"thing {i}", "a seal"]) for i in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda text: classify(client, categories=text), asked))
    assert [next(iter(a["probabilities"])) for a in answers] == [f"thing {i}" for i in range(20)]


@pytest.mark.parametrize("kind", ["path", "url"])
def test_no_address_is_fetched_for_a_client(served, kind):
    file = {"path": "http://1.1.1.1/a.png", "meta": {"_type": "gradio.FileData"}}
    if kind == "url":
        file |= {"path": "a.png", "url": "http://1.1.1.1/a.png"}
    assert "event: error" in told(served, [file, "a dog", "{}", ""])


def test_files_of_the_server_are_not_read_for_a_client(served, folder):
    for path in ("/etc/passwd", str(folder / "red.png"), "../../etc/passwd"):
        assert refused(served, f"gradio_api/file={path}") in (403, 404)
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        assert "event: error" in told(served, [file, "a dog", "{}", ""])


def test_every_answer_tells_the_browser_to_stay_here(served):
    for path in ("", "config", "theme.css"):
        _, headers = ask(served, path)
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_what_leaves_this_machine_would_be_seen(watched, tmp_path):
    script = tmp_path / "asks.py"
    script.write_text(
        "import socket\n"
        "for ask in (socket.create_connection, socket.getaddrinfo):\n"
        "    try: ask(('192.0.2.1', 9), .1) if 'conn' in ask.__name__ else ask('a.invalid', 80)\n"
        "    except OSError: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", watched, script], capture_output=True, text=True, timeout=60
    )
    assert "reaches out to ('192.0.2.1', 9)" in done.stdout
    assert "looks up a.invalid" in done.stdout


SOON = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from nnclip.page.lean import import_gradio
import_gradio()
from nnclip.page import page
page.UPLOADS_KEPT = (1, 2)
"""


def test_uploads_are_removed_after_a_while_and_at_the_end(speaking_h5, start, tmp_path):
    flags = ("--model", str(speaking_h5))
    process, lines = start(*flags, before=SOON, GRADIO_TEMP_DIR=str(tmp_path))
    url = re.search(r"open (\S+)", "\n".join(lines))[1]
    try:
        first = upload(url, PICTURE.read_bytes())
        assert first.is_relative_to(tmp_path)
        deadline = time.monotonic() + 60
        while first.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not first.exists()
        last = upload(url, PICTURE.read_bytes())
    finally:
        process.terminate()
        status = process.wait(60)
    assert status == 0
    assert not last.exists()
    assert "Traceback" not in "".join(lines)


def test_it_listens_on_this_machine_only(served):
    port = int(served.url.rsplit(":", 1)[1].strip("/"))
    outside = socket.gethostbyname(socket.gethostname())
    if outside.startswith("127."):
        outside = "127.0.0.2"
    with pytest.raises(OSError):
        socket.create_connection((outside, port), timeout=5)


def test_without_a_model_one_sentence_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "demo" / "app.py"],
        env={**os.environ, "NNCLIP_ASSETS": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("demo: ") and "expected the bundled nnclip.h5" in done.stderr
    assert len(done.stderr.splitlines()) == 1
