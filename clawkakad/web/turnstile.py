"""How many connections there may be, in all and from one address. Counts; no I/O.

Peers on loopback are not limited one by one: behind a reverse proxy everybody comes from there. An IPv6 address counts
with its /64, which is what one customer of a provider has at least.
"""

from collections import Counter
from ipaddress import IPv6Address, ip_address

from loguru import logger


class Turnstile:
    """`enter` before a connection is served, `leave` with the same address when it is gone."""

    def __init__(self, *, total: int, per_address: int) -> None:
        self._total = total
        self._per_address = per_address
        self._inside: Counter[str] = Counter()
        self._refusing = False

    def enter(self, address: str) -> bool:
        """Whether there is room; counted if so. Says so in the log when it begins to refuse, not each time."""
        key = _key(address)
        crowded = key != _LOOPBACK and self._inside[key] >= self._per_address
        if crowded or self._inside.total() >= self._total:
            level = "DEBUG" if self._refusing else "WARNING"
            logger.log(level, "connection refused: too many", address=key, connections=self._inside.total())
            self._refusing = True
            return False
        self._inside[key] += 1
        return True

    def leave(self, address: str) -> None:
        """One connection less."""
        key = _key(address)
        self._inside[key] -= 1
        if self._inside[key] <= 0:
            del self._inside[key]
        if self._inside.total() <= self._total // 2:
            self._refusing = False


_LOOPBACK = "loopback"


def _key(address: str) -> str:
    """What is counted together."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed.is_loopback:
        return _LOOPBACK
    return parsed.exploded[:19] if isinstance(parsed, IPv6Address) else str(parsed)
