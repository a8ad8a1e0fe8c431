"""Attempts to open a session, one beside the other, with scripted sessions."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from edge_client.transport.dialing import staggered
from splitnet.errors import BundleMismatchError, LinkError, ProtocolVersionError
from splitnet.messages import OpenSession

OPENING = OpenSession("test", "ab" * 32)
NEAR, FAR = "near:1", "far:1"


class Opener:
    """Attempts that hang until they are told to succeed or to fail."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[str]] = []
        self.servers: list[str] = []
        self.closed: list[str] = []
        self.cancelled = 0

    @asynccontextmanager
    async def __call__(self, server, opening):
        assert opening == OPENING
        self.servers.append(server)
        outcome = asyncio.get_running_loop().create_future()
        self.begun.append(outcome)
        try:
            session = await outcome
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        try:
            yield session
        finally:
            self.closed.append(session)

    async def until(self, attempts: int) -> None:
        while len(self.begun) < attempts:
            await asyncio.sleep(0)


async def hold(
    opener, over: asyncio.Event, interval_s: float | None = 0.0, at_once: int = 4, servers: tuple[str, ...] = (NEAR,)
) -> str:
    async with staggered(opener, interval_s, at_once)(servers, OPENING) as session:
        await over.wait()
        return session


@pytest.fixture
def over():
    return asyncio.Event()


async def test_one_that_succeeds_at_once_stays_alone(over):
    opener = Opener()
    holding = asyncio.create_task(hold(opener, over, interval_s=60.0))
    await opener.until(1)
    opener.begun[0].set_result("first")
    over.set()
    assert await holding == "first"
    assert (len(opener.begun), opener.closed, opener.cancelled) == (1, ["first"], 0)


async def test_while_one_hangs_another_begins_and_the_first_to_succeed_is_taken(over):
    opener = Opener()
    holding = asyncio.create_task(hold(opener, over))
    await opener.until(3)
    opener.begun[1].set_result("second")
    over.set()
    assert await holding == "second"
    assert opener.closed == ["second"]
    assert opener.cancelled == len(opener.begun) - 1


async def test_no_more_than_a_few_are_under_way(over):
    opener = Opener()
    holding = asyncio.create_task(hold(opener, over, at_once=2))
    await opener.until(2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(opener.begun) == 2
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert opener.cancelled == 2


@pytest.mark.parametrize("error", [LinkError("refused"), BundleMismatchError("other bundle")])
async def test_a_failure_ends_them_all(over, error):
    opener = Opener()
    holding = asyncio.create_task(hold(opener, over))
    await opener.until(2)
    opener.begun[1].set_exception(error)
    with pytest.raises(type(error), match=str(error)):
        await holding
    assert opener.closed == []
    assert opener.cancelled == len(opener.begun) - 1


async def test_a_success_outweighs_a_failure_at_the_same_moment(over):
    opener = Opener()
    holding = asyncio.create_task(hold(opener, over, interval_s=0.0))
    await opener.until(2)
    opener.begun[0].set_exception(LinkError("refused"))
    opener.begun[1].set_result("second")
    over.set()
    assert await holding == "second"


async def test_two_that_succeed_at_the_same_moment_leave_one_session(over):
    opener = Opener()
    holding = asyncio.create_task(hold(opener, over))
    await opener.until(2)
    for number in (0, 1):
        opener.begun[number].set_result(f"session {number}")
    over.set()
    taken = await holding
    assert sorted(opener.closed) == ["session 0", "session 1"]
    assert opener.closed[-1] == taken  # the other was closed before it was used


async def test_without_an_interval_an_attempt_stays_alone(over):
    opener = Opener()
    holding = asyncio.create_task(hold(opener, over, interval_s=None))
    await opener.until(1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(opener.begun) == 1
    opener.begun[0].set_result("first")
    over.set()
    assert await holding == "first"


async def test_a_server_that_refuses_is_followed_at_once_by_the_next(over):
    opener = Opener()
    holding = asyncio.create_task(hold(opener, over, interval_s=None, servers=(NEAR, FAR)))
    await opener.until(1)
    opener.begun[0].set_exception(LinkError("refused"))
    await opener.until(2)
    opener.begun[1].set_result("second")
    over.set()
    assert await holding == "second"
    assert opener.servers == [NEAR, FAR]


async def test_a_server_that_hangs_does_not_keep_the_others_from_being_tried(over):
    opener = Opener()
    holding = asyncio.create_task(hold(opener, over, at_once=1, servers=(NEAR, FAR)))
    await opener.until(2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert opener.servers == [NEAR, FAR]  # one at once for each
    opener.begun[1].set_exception(LinkError("not yet"))
    await opener.until(3)
    assert opener.servers == [NEAR, FAR, FAR]
    opener.begun[2].set_result("third")
    over.set()
    assert await holding == "third"
    assert opener.cancelled == 1


async def test_of_two_servers_at_the_same_moment_the_preferred_one_is_taken(over):
    opener = Opener()
    holding = asyncio.create_task(hold(opener, over, servers=(NEAR, FAR)))
    await opener.until(2)
    for attempt in reversed(opener.begun):
        attempt.set_result(opener.servers[opener.begun.index(attempt)])
    over.set()
    assert await holding == NEAR


async def fail_with(*errors: Exception) -> None:
    """Let one attempt at each of as many servers fail."""
    opener = Opener()
    servers = tuple(f"host:{number}" for number in range(1, len(errors) + 1))
    holding = asyncio.create_task(hold(opener, asyncio.Event(), interval_s=None, servers=servers))
    for number, error in enumerate(errors):
        await opener.until(number + 1)
        opener.begun[number].set_exception(error)
    await holding


async def test_as_long_as_one_server_may_come_back_it_is_worth_another_attempt():
    with pytest.raises(LinkError, match=r"^host:1: other bundle; host:2: refused$"):
        await fail_with(BundleMismatchError("other bundle"), LinkError("refused"))


async def test_servers_that_will_never_take_us_end_it():
    with pytest.raises(BundleMismatchError, match=r"^host:1: other; host:2: older$"):
        await fail_with(BundleMismatchError("other"), ProtocolVersionError("older"))


async def test_a_bug_is_not_taken_for_a_server_that_is_away():
    with pytest.raises(ZeroDivisionError):
        await fail_with(LinkError("refused"), ZeroDivisionError())
