"""The address guard: which IP addresses belong to the internet at large, and to nobody's network.

Source: IANA's registries of special-purpose addresses (RFC 6890, RFC 8190), RFC 5214 for ISATAP.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# beside what Python knows of: protocol assignments, 6to4 relays, and the address at which Azure's
# hosts answer their guests
NEAR_4 = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("168.63.129.16/32"),
)
# All other blocks are near, unassigned, or carry an IPv4 address: mapped (::ffff:0:0/96),
# compatible (::/96), translated (::ffff:0:0:0/96), NAT64 (64:ff9b::/96, 64:ff9b:1::/48), and site
# local (fec0::/10) is what some networks still use
GLOBAL_6 = IPv6Network("2000::/3")
NEAR_6 = (
    IPv6Network("2001::/23"),  # protocol assignments, Teredo (2001::/32) among them
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),  # documentation
)
ISATAP = 0x00005EFE  # upper half of an interface's number, before the IPv4 address that it carries
ISATAP_MASK = 0xFCFFFFFF  # without the two bits that say universal and group


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the internet at large.

    An IPv6 address that carries an IPv4 one does not: a translator on the way would unpack it.
    """
    ip = ip_address(address)
    return _is_public_4(ip) if isinstance(ip, IPv4Address) else _is_public_6(ip)


def _is_public_4(ip: IPv4Address) -> bool:
    special = ip.is_multicast or ip.is_reserved or ip.is_unspecified
    return ip.is_global and not special and not any(ip in near for near in NEAR_4)


def _is_public_6(ip: IPv6Address) -> bool:
    if ip not in GLOBAL_6 or any(ip in near for near in NEAR_6) or not ip.is_global:
        return False
    return (int(ip) >> 32) & ISATAP_MASK != ISATAP
