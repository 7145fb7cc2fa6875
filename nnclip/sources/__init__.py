"""Where images come from: folders, tables, shards, data sets. One table of readers for all."""

from nnclip.sources.readers import READERS, open_stored, read_source, stored_bytes
from nnclip.sources.sample import TRAINING, VALIDATION, Ask, Found, Sample, Stored

__all__ = [
    "READERS",
    "TRAINING",
    "VALIDATION",
    "Ask",
    "Found",
    "Sample",
    "Stored",
    "open_stored",
    "read_source",
    "stored_bytes",
]
