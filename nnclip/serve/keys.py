"""API keys: who may ask. They are compared in constant time."""

import base64
import binascii
import hashlib
import hmac
from pathlib import Path

from nnclip.errors import ConfigError, DataError
from nnclip.files import read_regular, shown

MOST = 1 << 20  # bytes of a file of keys
SHORTEST = 16  # characters of a key


class Keys:
    """The keys that are accepted."""

    def __init__(self, keys: list[str]) -> None:
        """Keep digests, of one length whatever the keys' lengths are."""
        self._digests = [_digest(key) for key in keys]

    @classmethod
    def read(cls, path: str | Path) -> "Keys":
        """Keys from a file, one per line; lines that begin with # are comments.

        Raises:
            ConfigError: no such file, no key in it, or one that could be guessed.
        """
        try:
            content, _ = read_regular(path, MOST)
            lines = content.decode("utf-8").splitlines()
        except (OSError, DataError, ValueError) as error:
            raise ConfigError(f"--api-key-file: cannot read {shown(path)}: {error}") from error
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not keys:
            raise ConfigError(f"{shown(path)}: found no key, expected one per line")
        if short := [key for key in keys if len(key) < SHORTEST]:
            raise ConfigError(
                f"{shown(path)}: found a key of {len(short[0])} characters, expected at least "
                f"{SHORTEST}: python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
            )
        return cls(keys)

    def accept(self, authorization: str) -> bool:
        """Whether an Authorization header carries a key.

        Args:
            authorization: "Bearer KEY", or "Basic ..." whose password is the key, which clients
                send that know nothing but an address: http://any:KEY@host:8890.
        """
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                value = base64.b64decode(value.strip()).decode("utf-8").partition(":")[2]
            except (binascii.Error, ValueError):
                value = ""
        elif scheme.lower() != "bearer":
            value = ""
        digest = _digest(value.strip())
        found = False
        for known in self._digests:  # all of them, so that time tells nothing
            found |= hmac.compare_digest(digest, known)
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
