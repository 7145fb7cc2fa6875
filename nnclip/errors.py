"""The errors that nnclip raises on purpose: what was found, what was expected, what to do next."""


class NnclipError(Exception):
    """Base of every error that nnclip raises on purpose."""


class ConfigError(NnclipError, ValueError):
    """A setting, flag or argument has a value that cannot work."""


class CheckpointError(NnclipError):
    """A weight or checkpoint file is damaged, foreign or does not fit the model."""


class DataError(NnclipError, ValueError):
    """A picture, text, array or data set is not what it should be."""


class UnsupportedOpError(NnclipError, NotImplementedError):
    """A graph holds operations that an engine or an exporter lacks."""


class DownloadError(NnclipError, OSError):
    """A file could not be fetched or stored."""
