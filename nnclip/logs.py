"""Where log messages go: to stderr, each on one line, whatever names it holds."""

import logging

from nnclip.files import shown


class ShownFormatter(logging.Formatter):
    """Escapes control characters of messages; a traceback below a message keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line of a message."""
        return shown(super().formatMessage(record))


def log_to_stderr(level: int, prefix: str = "", *, force: bool = False) -> None:
    """Let an entry point log.

    Args:
        level: from which on.
        prefix: before each message.
        force: replace the handlers that are there.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(ShownFormatter(f"{prefix}%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=force)
