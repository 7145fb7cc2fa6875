"""What a visitor may ask for, and the sentences that say no."""

from collections.abc import Sequence

from nnclip.errors import DataError

MAX_BYTES = 16 * 2**20  # of one image
MAX_PIXELS = 40_000_000
MAX_IMAGES = 16  # at once
MAX_TEXTS = 1000
MAX_CHARACTERS = 100_000  # of all texts together
MAX_QUEUE = 64  # questions that wait
MAX_RUNNING = 8  # questions that are answered side by side; the model takes them in one call
MAX_HITS = 60
MAX_CONNECTIONS = 512
MAX_BODY = 2 * 2**20  # bytes of a request that carries no file: all texts, each character escaped
HEADER_SECONDS = 10.0  # until a request's headers are there
PAUSE_SECONDS = 10.0  # without a byte of a request's body
BODY_SECONDS = 300.0  # until a request's body is there
ANSWER_SECONDS = 60.0  # until a request is answered, its turn included
LINGER_SECONDS = 1.0  # after SIGTERM, in which requests are still taken: balancers learn of it
MAX_INPUTS = 2048  # images and texts of one request to the server
MAX_WAITING = 4096  # images and texts that wait for their turn; one client may fill half of it
MAX_LETTERS = 10_000  # characters of a text for the server: more than any model reads
MAX_REQUEST = 64 * 2**20  # bytes of a request to the server
MAX_HELD = 512 * 2**20  # bytes of all requests that the server holds
MAX_SESSIONS = 64  # visitors whose page Gradio keeps a copy of, 230 kB that hold nothing


def checked_texts(lines: str | Sequence[str]) -> list[str]:
    """The categories that a visitor typed, one per line, without blanks and repetitions.

    Raises:
        DataError: none, or more than the page takes.
    """
    lines = lines.splitlines() if isinstance(lines, str) else list(lines)
    texts = list(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not texts:
        raise DataError("found no category, expected one per line")
    if len(texts) > MAX_TEXTS:
        raise DataError(f"found {len(texts):,} categories, expected at most {MAX_TEXTS:,}")
    if (characters := sum(map(len, texts))) > MAX_CHARACTERS:
        raise DataError(f"found {characters:,} characters, expected at most {MAX_CHARACTERS:,}")
    return texts


def checked_template(template: str | None) -> str:
    """The text around each category, with one {} for it; "" and None stand for "{}".

    Raises:
        DataError: not exactly one {}, or longer than a sentence.
    """
    template = (template or "").strip() or "{}"
    if template.count("{}") != 1 or len(template) > 300:
        raise DataError(
            'the template needs one {}, where the category goes: for instance "a photo of a {}"'
        )
    return template
