"""By which names a server is asked, and from which pages.

A web page anywhere can have its visitor's browser ask this machine. If its own name is made to
lead here (DNS rebinding), the Host header tells; if it asks across origins, the Origin header does.
"""

import re
from collections.abc import Sequence

from nnclip.errors import ConfigError
from nnclip.service.values import echo

ALWAYS = ("127.0.0.1", "localhost", "[::1]")
DEFAULTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
_ORIGIN = re.compile(r"(https?)://(.+)")


class Hosts:
    """The names that a server answers to."""

    def __init__(self, host: str, names: Sequence[str] = ()) -> None:
        """Know this machine's own names, and some more.

        Args:
            host: the address that the server listens on.
            names: others under which visitors reach it, without a port.

        Raises:
            ConfigError: something else than a name or an IP address.
        """
        self._known = {*ALWAYS, *(_name(each) for each in (host, *names))}

    def refusal(self, hosts: Sequence[str], origins: Sequence[str] = ()) -> str | None:
        """The sentence with which a request is refused, or None if it is not.

        Args:
            hosts: its Host headers; one is expected.
            origins: its Origin headers; none where a program asks, or a page for its own parts.
        """
        asked = _AUTHORITY.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if not asked or asked[1].lower() not in self._known:
            return (
                f"found the host name {echo(', '.join(hosts))}, expected one that this server "
                "knows: start it with --allow-host and that name"
            )
        if not all(self._own(origin, asked[2]) for origin in origins):
            return (
                f"found a request of another page, {echo(', '.join(origins))}: expected one of "
                "this server's own"
            )
        return None

    def _own(self, origin: str, port: str | None) -> bool:
        """Whether a page of this server asks; a Host without port came through another server."""
        scheme = _ORIGIN.fullmatch(origin.lower())
        found = _AUTHORITY.fullmatch(scheme[2]) if scheme else None
        if not scheme or not found or found[1] not in self._known:
            return False
        return port is None or int(found[2] or DEFAULTS[scheme[1]]) == int(port)


def _name(given: str) -> str:
    """A name as it stands in a Host header."""
    name = f"[{given}]" if given.count(":") > 1 and not given.startswith("[") else given
    found = _AUTHORITY.fullmatch(name)
    if not found or found[2]:
        raise ConfigError(
            f"found the host {echo(given)}, expected a name or an IP address, without a port"
        )
    return found[1].lower()
