"""Asks a page as any program on the network can: by hand-written requests."""

import itertools
import json
import urllib.error
import urllib.request
from dataclasses import dataclass

_sessions = itertools.count()


@dataclass
class Told:
    """An answer: its status, and its text."""

    status: int
    text: str


def ask(url, content=None, headers=None, method=None):
    """Send a request; whatever comes back is an answer."""
    body = content if isinstance(content, (bytes, type(None))) else json.dumps(content).encode()
    given = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, body, given, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Told(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Told(error.code, error.read().decode())


def trigger(url, number, values, **more):
    """Trigger an event as the page in a browser does: whether it succeeded, and its output."""
    session = f"by-hand-{next(_sessions)}"
    asked = {"data": values, "fn_index": number, "session_hash": session, **more}
    joined = ask(f"{url}gradio_api/queue/join", asked)
    if joined.status != 200:
        return False, {"error": joined.text}
    stream = ask(f"{url}gradio_api/queue/data?session_hash={session}").text
    messages = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    found = next(each for each in messages if each["msg"] == "process_completed")
    return found["success"], found["output"]


def call(url, name, body):
    """Call a function as curl would: whether it succeeded, and the text of the answer."""
    joined = ask(f"{url}gradio_api/call/{name}", body)
    if joined.status != 200:
        return False, joined
    event = json.loads(joined.text)["event_id"]
    answer = ask(f"{url}gradio_api/call/{name}/{event}")
    return "event: complete" in answer.text, answer


def upload(url, content, name="a.png"):
    """The path of a file that was uploaded."""
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    body = head.encode() + content + b"\r\n--x--\r\n"
    return json.loads(ask(f"{url}gradio_api/upload", body, kind).text)[0]
