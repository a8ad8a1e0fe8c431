"""The order of servers, and what is no address."""

from __future__ import annotations

import pytest

from edge_client.transport.servers import Servers, server_list, split_address
from splitnet.errors import ConfigError


def test_the_order_is_the_users():
    assert Servers(["a:1", "b:1", "c:1"]).order == ("a:1", "b:1", "c:1")


def test_one_that_fails_is_tried_after_the_others_and_the_latest_last():
    servers = Servers(["a:1", "b:1", "c:1"])
    servers.failed("a:1")
    assert servers.order == ("b:1", "c:1", "a:1")
    servers.failed("b:1")
    assert servers.order == ("c:1", "a:1", "b:1")


def test_servers_that_open_sessions_but_never_serve_are_gone_through_in_turn():
    servers = Servers(["a:1", "b:1"])
    used = []
    for _ in range(4):
        used.append(servers.order[0])
        servers.failed(used[-1])
    assert used == ["a:1", "b:1", "a:1", "b:1"]


def test_a_failure_before_one_has_served_counts_no_more():
    servers = Servers(["a:1", "b:1", "c:1"])
    servers.failed("a:1")
    servers.served()
    servers.failed("b:1")
    assert servers.order == ("a:1", "c:1", "b:1")


def test_a_single_server_is_tried_again_and_again():
    servers = Servers(["a:1"])
    servers.failed("a:1")
    assert servers.order == ("a:1",)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, ()),
        ("", ()),
        ((), ()),
        ("edge:50051", ("edge:50051",)),
        (["b:2", "a:1", "b:2"], ("b:2", "a:1")),
        ("[::1]:65535", ("[::1]:65535",)),
    ],
)
def test_addresses_are_listed_once_and_in_order(given, found):
    assert server_list(given) == found


@pytest.mark.parametrize("wrong", ["host", ":5", "host:", "host:0", "host:65536", "host:٣", "a:1,b:2", "a b:1"])
def test_what_is_no_address_is_refused(wrong):
    for given in (wrong, ["host:1", wrong]):
        with pytest.raises(ConfigError, match="HOST:PORT"):
            server_list(given)


def test_an_empty_address_among_others_is_refused():
    with pytest.raises(ConfigError, match="not ''"):
        server_list(["host:1", ""])


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("http://edge:50051", "without http:// or the like, not 'http://edge:50051': write edge:50051"),
        ("https://me:secret@edge:50051/x", "not 'https://***@edge:50051/x': write edge:50051"),
        ("grpc://edge", "without http:// or the like, not 'grpc://edge'"),
        ("::1:50051", r"in brackets, not as '::1:50051': write [::1]:50051"),
        ("fe80::a:50051", r"in brackets, not as 'fe80::a:50051': write [fe80::a]:50051"),
        ("edge", "and 'edge' has no port: edge:50051?"),
        ("[::1]", "and '[::1]' has no port: [::1]:50051?"),
        ("edge\x1b[2J:5", r"HOST:PORT, not 'edge\\x1b[2J:5'"),
    ],
)
def test_what_is_wrong_with_an_address_is_said_with_the_right_form(wrong, right):
    with pytest.raises(ConfigError) as raised:
        server_list(wrong)
    assert right in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("edge-node.local:50051", ("edge-node.local", 50051)),
        ("192.168.1.5:1", ("192.168.1.5", 1)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(address, parts):
    assert split_address(address) == parts
