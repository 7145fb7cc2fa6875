import pytest

from nnclip.errors import ConfigError
from nnclip.service.hosts import Hosts

HOSTS = Hosts("192.168.1.5", ["gallery.example", "FE80::1"])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1:8889", "localhost", "LOCALHOST:1", "[::1]", "[::1]:8889",
        "192.168.1.5:80", "gallery.example", "Gallery.Example:443", "[fe80::1]:1",
    ],
)  # fmt: skip
def test_known_names_are_answered_with_and_without_port(host):
    assert HOSTS.refusal([host]) is None


@pytest.mark.parametrize(
    "hosts",
    [
        [], [""], ["evil.example"], ["evil.example:8889"], ["127.0.0.1.evil.example"],
        ["localhost.evil.example"], ["localhost."], ["127.0.0.2"], ["127.1"], ["0.0.0.0"], ["::1"],
        ["user@localhost"], ["localhost:"], ["localhost:x"], ["localhost:999999"], [" localhost"],
        ["localhost/"], ["localhost", "localhost"], ["gallery.example.evil"], ["[::2]"], ["löcal"],
        ["localhost\n"],
    ],
)  # fmt: skip
def test_other_names_are_not(hosts):
    assert "--allow-host" in HOSTS.refusal(hosts)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8889", "http://127.0.0.1:8889"),
        ("127.0.0.1:8889", "http://localhost:8889"),
        ("[::1]:8889", "http://[::1]:8889"),
        ("localhost:80", "http://localhost"),
        ("gallery.example", "https://gallery.example"),
        ("gallery.example", "https://gallery.example:8443"),
        ("gallery.example:443", "https://GALLERY.example"),
    ],
)
def test_pages_of_this_server_may_ask(host, origin):
    assert HOSTS.refusal([host], [origin]) is None


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example", "https://evil.example:8889", "null", "", "file://", "127.0.0.1:8889",
        "http://127.0.0.1:3000", "http://localhost", "https://localhost", "http://127.0.0.1.evil:8889",
        "http://user@127.0.0.1:8889", "http://127.0.0.1:8889/", "http://127.0.0.1:8889.evil",
        "chrome-extension://127.0.0.1:8889", "http://127.0.0.1:8889 http://evil.example",
    ],
)  # fmt: skip
def test_other_pages_may_not(origin):
    assert "another page" in HOSTS.refusal(["127.0.0.1:8889"], [origin])
    own = "http://127.0.0.1:8889"
    assert "another page" in HOSTS.refusal(["127.0.0.1:8889"], [own, origin])


@pytest.mark.parametrize("name", ["", "http://a.example", "a.example:80", "a b", "*", "a/b"])
def test_a_name_that_no_browser_sends_is_refused_at_the_start(name):
    with pytest.raises(ConfigError, match="without a port"):
        Hosts("127.0.0.1", [name])
