"""What goes wrong, said as each API's clients expect it: a status, one sentence, no traceback."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import Response

WEAVIATE, IMMICH = ("/vectorize", "/meta", "/.well-known/"), ("/predict", "/ping")
# status -> the type and the code of OpenAI's errors
KINDS = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "not_found"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", "internal_error"),
    503: ("server_error", "overloaded"),
}
USUAL = ("invalid_request_error", "invalid_value")
UNFORESEEN = "the server could not answer this: its log says why"


class Refused(Exception):  # noqa: N818 - not only errors: a queue is full, a model loads
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        sentence: what was found, what was expected, what to do.
        param: the field of the request that is meant.
        code: what a program can tell it by; the status's usual one if None.
        seconds: after how many it is worth asking again, where it is.
    """

    def __init__(
        self,
        status: int,
        sentence: str,
        param: str | None = None,
        code: str | None = None,
        seconds: int | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.param = status, sentence, param
        self.code, self.seconds = code, seconds


def told(path: str, fault: Refused) -> tuple[int, bytes, dict[str, str]]:
    """Status, JSON and headers of an answer, in the form of the API that the path belongs to."""
    headers = {"retry-after": str(fault.seconds)} if fault.seconds is not None else {}
    if fault.status == 401:
        headers["www-authenticate"] = "Bearer"
    status, content = fault.status, dict[str, Any]()
    if path.startswith(WEAVIATE):
        content = {"error": fault.sentence}
        status = 500 if status in (400, 422) else status  # whatever it cannot vectorize
    elif path.startswith(IMMICH):
        content = {"detail": fault.sentence}
    else:
        status = 400 if status == 422 else status
        kind, code = KINDS.get(status, USUAL)
        content = {
            "error": {
                "message": fault.sentence,
                "type": kind,
                "param": fault.param,
                "code": fault.code or code,
            }
        }
    return status, orjson.dumps(content), headers


def response(path: str, fault: Refused) -> Response:
    """The same as an answer of an application."""
    status, body, headers = told(path, fault)
    return Response(body, status, headers, media_type="application/json")


def invalid(errors: Sequence[Mapping[str, Any]]) -> Refused:
    """The first of the errors that pydantic found in a request."""
    first = errors[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    field = ".".join(place[:4])
    said = str(first["msg"])
    sentence = f"{field or 'the request'}: {said[:1].lower()}{said[1:]}"
    if first["type"] == "json_invalid":
        sentence, field = "found a body that is no JSON, expected a JSON object", ""
    elif first["type"] == "missing":
        sentence = f"found no {field or 'body'}, expected it"
    return Refused(422, sentence, field or None)
