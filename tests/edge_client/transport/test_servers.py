"""Which server is tried first, and what is no address."""

from __future__ import annotations

import pytest

from edge_client.transport.servers import Servers, server_list
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
