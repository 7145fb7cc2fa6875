"""The errors that nnclip raises on purpose: what was found, what was expected, what to do next."""

LONGEST = 2000  # characters of a message: names in foreign files may have any length


class NnclipError(Exception):
    """Base of every error that nnclip raises on purpose.

    The message stays a line that can be printed, whatever names a file or a folder brings into it.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*map(_printable, arguments))


def _printable(argument: object) -> object:
    if not isinstance(argument, str):
        return argument
    if len(argument) > LONGEST:
        argument = f"{argument[: LONGEST // 2]} ... {argument[-LONGEST // 2 :]}"
    line = argument.encode("utf-8", "backslashreplace").decode()  # halves of characters
    return "".join(c if c >= " " and c != "\x7f" else repr(c)[1:-1] for c in line)


class ConfigError(NnclipError, ValueError):
    """A setting, flag or argument has a value that cannot work."""


class CheckpointError(NnclipError):
    """A weight or checkpoint file is damaged, foreign or does not fit the model."""


class DataError(NnclipError, ValueError):
    """An image, text, array or data set is not what it should be."""


class TextTooLongError(DataError):
    """A text has more tokens than a model reads.

    Attributes:
        tokens: that it has, with its start and end.
        most: that the model reads.
    """

    def __init__(self, message: str, tokens: int = 0, most: int = 0) -> None:
        super().__init__(message)
        self.tokens, self.most = tokens, most


class UnsupportedOpError(NnclipError, NotImplementedError):
    """A graph holds operations that an engine or an exporter lacks."""


class DownloadError(NnclipError, OSError):
    """A file could not be fetched or stored."""
