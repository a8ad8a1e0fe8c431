"""Which connections are a flood, by exact bytes: honest ones are left alone however large their messages are."""

from __future__ import annotations

import pytest

from cloud_server.floods.flood_rule import (
    ANSWER_FACTOR,
    BURST_BYTES,
    HANDSHAKE_BYTES,
    LEAK_BYTES_PER_S,
    MAX_BARRED,
    NO_CALL_BYTES,
    OWN_BURST_BYTES,
    FloodLimits,
    FloodRule,
    Seen,
    Verdict,
)
from cloud_server.floods.flows import (
    AROUND_BYTES,
    CALL_BYTES,
    MESSAGE_BYTES,
    Endpoint,
    Flow,
    Flows,
    count_received,
    count_sent,
    endpoint,
    endpoint_of_peer,
)

HONEST, FLOODING = Endpoint("192.0.2.1", 5000), Endpoint("192.0.2.2", 6000)
NOTHING = Verdict((), ())


def peer(one: Endpoint) -> str:
    return f"ipv4:{one.address}:{one.port}"


@pytest.fixture
def flows() -> Flows:
    return Flows()


@pytest.fixture
def rule(flows: Flows) -> FloodRule:
    return FloodRule(flows, FloodLimits(connections=3, bar_s=60.0))


def test_bytes_without_calls_are_a_flood_beyond_the_burst_and_the_others_go_on(rule):
    most = BURST_BYTES + HANDSHAKE_BYTES
    honest = Seen(1, HONEST, 1000, 1000)
    assert rule.look(0.0, [honest, Seen(2, FLOODING, most, 0)]) == NOTHING
    verdict = rule.look(0.0, [honest, Seen(2, FLOODING, most + 1, 0)])
    assert verdict == Verdict((2,), (FLOODING.address,), (FLOODING.address,))


def test_what_grpc_answers_by_itself_weighs_more_than_what_comes(rule):
    answers = HANDSHAKE_BYTES + BURST_BYTES // ANSWER_FACTOR
    assert rule.look(0.0, [Seen(2, FLOODING, 0, answers)]) == NOTHING
    assert rule.look(0.0, [Seen(2, FLOODING, 0, answers + 1)]).floods == (FLOODING.address,)


def test_the_bucket_leaks(rule):
    rule.look(0.0, [Seen(2, FLOODING, HANDSHAKE_BYTES + BURST_BYTES, 0)])
    more = HANDSHAKE_BYTES + BURST_BYTES + LEAK_BYTES_PER_S
    assert rule.look(1.0, [Seen(2, FLOODING, more, 0)]) == NOTHING


def test_a_session_may_send_messages_and_have_one_under_way(rule, flows):
    flows.called(peer(HONEST))
    with flows.passed(peer(HONEST)):
        for count in range(1, 100):
            count_received(bytes(MESSAGE_BYTES))
            count_sent(bytes(1000))
            came = count * MESSAGE_BYTES + MESSAGE_BYTES  # the next one is there but for a byte
            assert rule.look(count / 10, [Seen(1, HONEST, came, count * 1100)]) == NOTHING
    assert not rule._useless


def test_large_messages_that_are_sent_are_no_flood_though_their_bytes_follow_later(rule, flows):
    """A model is given to gRPC megabytes before the device has taken them."""
    flows.called(peer(HONEST))
    with flows.passed(peer(HONEST)):
        for count in range(1, 20):
            count_sent(bytes(1 << 20))
            assert rule.look(count / 10, [Seen(1, HONEST, 500, (count - 1) << 20)]) == NOTHING
        assert rule.look(3.0, [Seen(1, HONEST, 500, 19 << 20)]) == NOTHING


def test_a_flood_beside_an_open_session_is_one(rule, flows):
    flows.called(peer(FLOODING))
    with flows.passed(peer(FLOODING)):
        most = flows.of(FLOODING).receivable + HANDSHAKE_BYTES + BURST_BYTES
        assert rule.look(0.0, [Seen(2, FLOODING, int(most), 0)]) == NOTHING
        assert rule.look(0.0, [Seen(2, FLOODING, int(most) + 1, 0)]).cut == (2,)


def test_a_silent_session_of_a_month_with_pings_is_left_alone(rule, flows):
    flows.called(peer(HONEST))
    rule.look(0.0, [Seen(1, HONEST, 0, 0)])
    for day in range(1, 31):
        seconds = day * 86_400
        pings = seconds // 10 * (17 + 9 + 2 * 22)  # a ping and an answer, over TLS, every ten seconds
        assert rule.look(float(seconds), [Seen(1, HONEST, pings, pings)]) == NOTHING


def test_connections_that_end_without_a_call_count_and_a_barred_address_loses_what_it_has_left(rule):
    """Whoever pings too often is hung up on by gRPC, and comes again."""
    for id in range(BURST_BYTES // NO_CALL_BYTES + 1):
        assert rule.look(0.0, [Seen(id, Endpoint(FLOODING.address, 6000 + id), 100, 100)]) == NOTHING
    verdict = rule.look(0.0, [Seen(99, Endpoint(FLOODING.address, 7000), 100, 100)])
    assert verdict == Verdict((99,), (FLOODING.address,), (FLOODING.address,))
    assert rule.look(1.0, [Seen(100, Endpoint(FLOODING.address, 7001), 0, 0)]).cut == (100,)
    assert rule.look(60.0, [Seen(101, Endpoint(FLOODING.address, 7002), 0, 0)]) == NOTHING


def test_connections_that_made_a_call_and_ended_do_not_count(rule, flows):
    for id in range(100):
        one = Endpoint(HONEST.address, id)
        flows.called(peer(one))
        assert rule.look(0.0, [Seen(id, one, CALL_BYTES, 100)]) == NOTHING
    assert rule.look(0.0, []) == NOTHING and not rule._useless


def test_a_neighbour_of_a_flood_keeps_its_session(rule, flows):
    """Two devices behind one address: the one that floods goes."""
    neighbour = Endpoint(FLOODING.address, 6001)
    flows.called(peer(neighbour))
    seen = [Seen(1, neighbour, CALL_BYTES, 100), Seen(2, FLOODING, 2 * BURST_BYTES, 0)]
    assert rule.look(0.0, seen).cut == (2,)
    assert rule.look(1.0, seen[:1]).cut == ()
    assert OWN_BURST_BYTES > CALL_BYTES


def test_an_address_has_so_many_connections_and_takes_no_more_until_one_has_ended(rule):
    many = [Seen(id, Endpoint(HONEST.address, id), 0, 0) for id in (7, 5, 6)]
    assert rule.look(0.0, many[:2]) == NOTHING
    assert rule.look(0.1, many) == Verdict((), (HONEST.address,))
    crowded = [Seen(1, Endpoint(HONEST.address, 1), 0, 0), *many]
    assert rule.look(0.2, crowded) == Verdict((1,), (HONEST.address,)), "the newest goes, whatever its number"
    assert rule.look(0.3, many[1:]) == NOTHING


def test_floods_may_be_left_to_a_firewall_and_connections_are_counted_all_the_same(flows):
    rule = FloodRule(flows, FloodLimits(connections=2, bar_s=0.0))
    flood = [Seen(1, FLOODING, 1 << 30, 1 << 30)]
    assert rule.look(0.0, flood) == NOTHING
    assert rule.look(0.1, [*flood, Seen(2, Endpoint(FLOODING.address, 1), 0, 0)]).barred == (FLOODING.address,)


def test_only_so_many_addresses_are_barred_at_once(rule):
    many = [Seen(id, Endpoint(f"2001:db8::{id:x}", 1), 2 * BURST_BYTES, 0) for id in range(1, MAX_BARRED + 3)]
    barred = rule.look(0.0, many).barred
    assert len(barred) == MAX_BARRED and barred[-1] == many[-1].peer.address


def test_an_inode_that_is_another_connection_by_now_begins_anew(rule):
    rule.look(0.0, [Seen(1, FLOODING, BURST_BYTES, 0)])
    assert rule.look(0.1, [Seen(1, HONEST, 1000, 0)]) == NOTHING


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("ipv4:192.0.2.1:50312", Endpoint("192.0.2.1", 50312)),
        ("ipv6:%5B2001:db8::1%5D:50312", Endpoint("2001:db8::1", 50312)),
        ("ipv6:[::ffff:192.0.2.1]:1", Endpoint("192.0.2.1", 1)),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", Endpoint("fe80::1", 1)),
        ("unix:/run/socket", None),
        ("ipv4:192.0.2.1", None),
        ("", None),
    ],
)
def test_peers_of_grpc_are_read(name, wanted):
    assert endpoint_of_peer(name) == wanted


def test_sockets_and_grpc_name_an_endpoint_alike():
    assert endpoint("::ffff:127.0.0.1", 9) == endpoint_of_peer("ipv4:127.0.0.1:9")
    assert endpoint("fe80::1%2", 9) == endpoint_of_peer("ipv6:%5Bfe80::1%25lo%5D:9")


def test_a_message_counts_for_its_bytes_and_what_is_around_it():
    flow = Flow()
    flow.receive(1000)
    flow.send(100)
    assert (flow.received, flow.sent) == (1010 + 1 + 2 * AROUND_BYTES, 10 + 101 + 2 * AROUND_BYTES)


def test_flows_of_connections_that_are_gone_are_forgotten_once_their_calls_have_ended(flows):
    flows.called(peer(HONEST))
    with flows.passed(peer(HONEST)):
        flows.keep(set())
        assert flows.of(HONEST).open_calls == 1
    flows.keep({HONEST})
    assert flows.of(HONEST) is not None
    flows.keep(set())
    assert flows.of(HONEST) is None
