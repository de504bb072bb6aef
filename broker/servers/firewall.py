"""A rule of the firewall that bounds how fast one link may send to a Mosquitto. Pure: text from values.

Mosquitto 2.0 reads a link with TLS for as long as there is something to read, and looks at no other meanwhile: who
sends as fast as it reads (some 30 MB/s here) has it for himself. It has no limit of its own for that; the kernel has.
"""

from typing import Final

FIREWALL_NAME: Final = "fieldloop.nft"
# Twice what a monitor takes of one device; what a device has kept for a month is through in seconds.
LINK_MBYTES_PER_S: Final = 2
# What comes at full speed before the limit: read in hundredths of a second, and fewer messages than Mosquitto queues
# for a monitor. With 2 MB others waited for a third of a second.
LINK_BURST_KBYTES: Final = 512

_FORGOTTEN_S: Final = 60
_MAX_LINKS: Final = 65535


def render_firewall(port: int) -> str:
    """Return a table for ``nft -f``; loaded again it replaces itself.

    Args:
        port: where the broker listens.
    """
    rate = f"limit rate over {LINK_MBYTES_PER_S} mbytes/second burst {LINK_BURST_KBYTES} kbytes"
    lists = "".join(
        f"  set {name} {{ type {kind} . inet_service; size {_MAX_LINKS}; flags dynamic,timeout; "
        f"timeout {_FORGOTTEN_S}s; }}\n"
        for name, kind in (("links", "ipv4_addr"), ("links6", "ipv6_addr"))
    )
    rules = "".join(
        f"    tcp dport {port} update @{name} {{ {source} saddr . tcp sport {rate} }} counter drop\n"
        for name, source in (("links", "ip"), ("links6", "ip6"))
    )
    return (
        "# By `fieldloop broker render`: what one link sends over this is dropped, and TCP slows down.\n"
        f"table inet fieldloop_{port}\n"
        f"delete table inet fieldloop_{port}\n"
        f"table inet fieldloop_{port} {{\n{lists}"
        "  chain floods {\n    type filter hook input priority filter; policy accept;\n"
        f"{rules}  }}\n}}\n"
    )
