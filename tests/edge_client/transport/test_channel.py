"""Channels to a server: by names that the C library knows, past the proxies of the environment."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge_client.transport import channel
from edge_client.transport.channel import open_channel
from edge_client.transport.session import open_session
from splitnet.errors import LinkError
from splitnet.messages import OpenSession
from tests.support.fake_server import DIGEST, FakeService, serving

OPENING = OpenSession("test", DIGEST)
PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "no_proxy", "no_grpc_proxy")
PROJECT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("host", ["127.1", "localhost"])
async def test_a_name_is_resolved_by_the_c_library(host):
    async with serving(FakeService()) as address:
        port = address.rpartition(":")[2]
        async with open_session(f"{host}:{port}", OPENING) as session:
            assert session.server == f"{host}:{port}"


@pytest.mark.parametrize(
    ("found", "target"),
    [
        (["192.168.1.5"], "ipv4:192.168.1.5:7"),
        (["10.0.0.1", "10.0.0.2", "10.0.0.1"], "ipv4:10.0.0.1:7,10.0.0.2:7"),
        (["fe80::1%eth0", "10.0.0.1"], "ipv6:[fe80::1%25eth0]:7,[::ffff:10.0.0.1]:7"),
    ],
)
async def test_every_address_of_a_name_is_tried(found, target, monkeypatch):
    told = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in found]
    monkeypatch.setattr(channel.socket, "getaddrinfo", lambda *_, **__: told)
    assert await channel._target("edge-node.local:7") == target


async def test_a_name_that_nobody_knows_is_a_link_error(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(channel.socket, "getaddrinfo", unknown)
    with pytest.raises(LinkError, match=r"^the name edge-node.local is not known here \(Name or service not known\)$"):
        await open_channel("edge-node.local:7")


async def test_a_look_up_that_takes_too_long_is_given_up(monkeypatch):
    over = asyncio.Event()

    async def slow(host):
        await over.wait()

    monkeypatch.setattr(channel, "_resolved", slow)
    with pytest.raises(LinkError, match="the name has not been resolved for"):
        async with open_session("edge:7", OPENING, timeout_s=0.01):
            pass


BY_PROXY = """
import asyncio, sys
from edge_client.transport.session import open_session
from splitnet.messages import OpenSession
from tests.support.fake_server import DIGEST, FakeService, serving

async def reached(use_proxy):
    async with serving(FakeService()) as address:
        try:
            async with open_session(address, OpenSession("test", DIGEST), use_proxy=use_proxy):
                return "reached"
        except Exception as error:
            return str(error)

print(asyncio.run(reached(False)), asyncio.run(reached(True)), sep="|")
"""


def test_a_proxy_of_the_environment_is_used_on_request_only():
    with socket.socket() as closed:  # taken, but nobody listens: a proxy that refuses
        closed.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
        environment = {k: v for k, v in os.environ.items() if k.lower() not in PROXIES}
        environment |= {"http_proxy": proxy, "grpc_proxy": proxy}
        command = [sys.executable, "-c", BY_PROXY]
        ran = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    direct, by_proxy = ran.stdout.strip().split("|")
    assert direct == "reached"
    assert by_proxy == "nothing listens there (connection refused)"
