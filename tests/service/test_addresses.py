import pytest

from nnclip.service.addresses import is_public


@pytest.mark.parametrize(
    "address",
    ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::200e", "2400:cb00::1"],
)
def test_the_internet_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1",
        "192.0.0.8", "192.0.0.192", "192.88.99.1", "168.63.129.16", "192.0.2.1", "203.0.113.9",
        "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "feff::1",
        "3fff::1", "3fff:fff::1", "2001:db8::1", "5f00::1", "100::1", "4000::1",
    ],
)  # fmt: skip
def test_what_is_near_is_not(address):
    assert not is_public(address)


@pytest.mark.parametrize("ipv4", ["7f00:1", "a9fe:a9fe", "808:808"])
@pytest.mark.parametrize(
    "form",
    [
        "::ffff:{}", "::ffff:0:{}", "::{}", "2002:{}::", "2001:0:{}::1", "2001::{}", "64:ff9b::{}",
        "64:ff9b:1::{}", "64:ff9b:1:ffff::{}", "2606:4700::5efe:{}", "2606:4700::200:5efe:{}",
        "fe80::5efe:{}", "2606:4700::300:5efe:{}",
    ],
)  # fmt: skip
def test_what_carries_an_ipv4_address_is_not(form, ipv4):
    assert not is_public(form.format(ipv4))
