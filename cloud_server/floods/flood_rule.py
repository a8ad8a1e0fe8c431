"""Which connections are a flood: those that send, and show neither calls nor messages for it. Pure.

Bytes of no use go into a bucket for each connection and for each address, which leaks. An address whose bucket is over
is barred for a while, and the connections that filled it are cut.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cloud_server.floods.flows import Endpoint, Flow, Flows

BURST_BYTES = 4 << 20  # of no use, of an address at once: messages that were broken off, for one ...
LEAK_BYTES_PER_S = 128 << 10  # ... and for ever: pings of silent links, calls that are refused
OWN_BURST_BYTES = 128 << 10  # of one connection, which is left alone below it when its address floods
ANSWER_FACTOR = 64  # a byte that gRPC answers by itself counts as so many: each answer is a frame, and written at once
HANDSHAKE_BYTES = 8 << 10  # of TLS, either way
PING_BYTES_PER_S = 64  # of a silent connection, either way
NO_CALL_BYTES = 256 << 10  # what a connection counts that ended without a call: who pings too often is hung up on
MAX_BARRED = 64  # addresses at once; beyond it the one that was barred first comes free


@dataclass(frozen=True)
class FloodLimits:
    """What an address may have."""

    connections: int = 500
    bar_s: float = 60.0  # without new connections, after a flood; 0: floods are left alone


@dataclass(frozen=True)
class Seen:
    """A connection at a look: which socket, whose, and how many bytes it has had so far."""

    id: int
    peer: Endpoint
    read_bytes: int  # that came and were read
    sent_bytes: int  # that the peer has confirmed


@dataclass(frozen=True)
class Verdict:
    """What is to be done: connections to cut, and addresses whose further ones are not taken."""

    cut: tuple[int, ...]
    barred: tuple[str, ...]
    floods: tuple[str, ...] = ()  # addresses that were found to flood at this look


@dataclass
class _Connection:
    peer: Endpoint
    since: float
    unexplained_in: float = HANDSHAKE_BYTES  # the most so far
    unexplained_out: float = HANDSHAKE_BYTES
    useless: float = 0.0  # bytes; leaks

    def grow(self, now: float, one: Seen, flow: Flow) -> float:
        """Return how much of no use has come since the last look.

        What is accounted for may be so before its bytes are, and the other way round: the most counts.
        """
        pings = PING_BYTES_PER_S * (now - self.since)
        more_in = max(0.0, one.read_bytes - pings - flow.receivable - self.unexplained_in)
        more_out = max(0.0, one.sent_bytes - pings - flow.sent - self.unexplained_out)
        self.unexplained_in += more_in
        self.unexplained_out += more_out
        return more_in + ANSWER_FACTOR * more_out


@dataclass
class FloodRule:
    """Looks at all connections now and then."""

    flows: Flows
    limits: FloodLimits = field(default_factory=FloodLimits)
    _connections: dict[int, _Connection] = field(default_factory=dict)
    _useless: dict[str, float] = field(default_factory=dict)  # bytes, by address
    _barred: dict[str, float] = field(default_factory=dict)  # until when
    _looked_at: float | None = None

    def look(self, now: float, all_seen: Sequence[Seen]) -> Verdict:
        """Return what is to be done about the connections that there are."""
        self._count(now, all_seen)
        self._barred = {address: until for address, until in self._barred.items() if until > now}
        by_address: defaultdict[str, list[int]] = defaultdict(list)
        for id, one in sorted(self._connections.items(), key=lambda item: (item[1].since, item[0])):
            by_address[one.peer.address].append(id)
        floods = [address for address, level in self._useless.items() if level > BURST_BYTES and self.limits.bar_s]
        for address in floods:
            self._useless[address] = 0.0
            self._barred[address] = now + self.limits.bar_s
        cut = {id for address in self._barred for id in by_address.get(address, ()) if self._is_part(id)}
        full = [address for address, ids in by_address.items() if len(ids) >= self.limits.connections]
        for address in full:
            cut.update(by_address[address][self.limits.connections :])
        barred = dict.fromkeys([*self._barred, *full])
        self.flows.keep({one.peer for one in all_seen})
        return Verdict(tuple(sorted(cut)), tuple(barred)[-MAX_BARRED:], tuple(floods))

    def _count(self, now: float, all_seen: Iterable[Seen]) -> None:
        """Add what came of no use since the last look, and let the buckets leak."""
        leaked = LEAK_BYTES_PER_S * (0.0 if self._looked_at is None else now - self._looked_at)
        self._looked_at = now
        known, self._connections = self._connections, {}
        added: Counter[str] = Counter()
        for one in all_seen:
            connection = known.get(one.id)
            if connection is None or connection.peer != one.peer:
                connection = _Connection(one.peer, now)
            useless = connection.grow(now, one, self.flows.of(one.peer) or Flow())
            connection.useless = max(0.0, connection.useless + useless - leaked)
            self._connections[one.id] = connection
            added[one.peer.address] += round(useless)
        for gone in known.keys() - self._connections.keys():
            if self.flows.of(known[gone].peer) is None:
                added[known[gone].peer.address] += NO_CALL_BYTES
        levels = {one: self._useless.get(one, 0.0) + added[one] - leaked for one in (*self._useless, *added)}
        self._useless = {address: level for address, level in levels.items() if level > 0}

    def _is_part(self, id: int) -> bool:
        """Return whether a connection from a barred address is of the flood, or was about to be."""
        one = self._connections[id]
        return one.useless > OWN_BURST_BYTES or self.flows.of(one.peer) is None
