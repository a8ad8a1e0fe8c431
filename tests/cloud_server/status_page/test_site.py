"""The status over HTTP: what each path answers, and to whom."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp
import pytest

from cloud_server.fleet.fleet import Fleet
from cloud_server.status_page import site as site_module
from cloud_server.status_page.access import Access, read_token
from cloud_server.status_page.site import listening
from splitnet.errors import ConfigError, ListenError
from tests.support.status_pages import HOSTILE, PREVIEW, TOKEN, add_device, facts_of, page

ALL = ("/", "/page.js", "/metrics", "/api/v1/devices", "/api/v1/events", "/api/v1/devices/x")
OUTSIDE = {"Host": "edge-node:8080"}  # a name that is not this machine's


async def test_the_devices_are_listed_with_what_is_wrong():
    async with page() as one:
        add_device(one.fleet, time.monotonic())
        answer = await one.http.get("/api/v1/devices")
        shown = await answer.json()
    (row,) = shown["devices"]
    assert (row["name"], row["state"], row["point"], row["p95_ms"]) == ("camera-1", "split", "w4 q5", 250)
    parts = [row[f"{part}_fps"] for part in ("answered", "local", "late", "skipped", "lost")]
    assert parts == [3.0, 2.0, 3.0, 1.5, 0.5] and row["camera_fps"] == sum(parts)
    assert [one["what"] for one in shown["findings"]] == [
        "5% of the frames are refused or lost.",
        "camera-1 misses deadlines.",
    ]
    assert shown["server"]["bundles"] == [{"name": "coco-nano", "digest": "abababababab"}]


async def test_a_device_is_shown_with_its_decisions_its_log_and_its_image():
    async with page() as one:
        device = add_device(one.fleet, time.monotonic()).device
        details = await (await one.http.get(f"/api/v1/devices/{device.id}")).json()
        async with one.session.get(f"/api/v1/devices/{device.id}/preview.jpg") as image:
            assert (image.content_type, await image.read()) == ("image/jpeg", PREVIEW)
        for path in ("/api/v1/devices/none", "/api/v1/devices/none/preview.jpg", "/none", "/../setup.cfg"):
            assert (await one.http.get(path)).status == 404
    assert details["decisions"][0]["reason"] == "most accurate in time"
    assert details["log"][0]["text"] == "the camera is gone"
    assert details["frames"]["captured"] == 21


async def test_a_preview_is_shown_only_where_the_device_has_sent_one():
    async with page() as one:
        device = add_device(one.fleet, time.monotonic()).device
        device.preview = b""
        assert (await one.http.get(f"/api/v1/devices/{device.id}/preview.jpg")).status == 404


async def test_events_come_by_themselves_and_the_first_one_has_the_histories():
    async with page() as one:
        device = add_device(one.fleet, time.monotonic()).device
        device.history.extend([3.0, 4.0])
        async with one.session.get("/api/v1/events") as stream:
            assert stream.content_type == "text/event-stream"
            lines = [(await stream.content.readline()).decode() for _ in range(4)]
    assert lines[:3] == ["retry: 2000\n", "\n", "event: fleet\n"]
    shown = json.loads(lines[3].removeprefix("data: "))
    assert shown["devices"][0]["history_fps"] == [3.0, 4.0]


async def test_health_is_for_everybody_and_follows_the_server():
    async with page() as one:
        for path in ("/healthz", "/readyz"):
            assert (await one.http.get(path, headers=OUTSIDE)).status == 200
        one.fleet.is_draining = True
        assert (await one.http.get("/readyz", headers=OUTSIDE)).status == 503
        assert (await one.http.get("/healthz", headers=OUTSIDE)).status == 200


async def test_a_server_that_starts_is_alive_but_not_ready():
    async with page() as one:
        one.fleet.is_serving = False
        answer = await one.http.get("/readyz")
        assert (answer.status, await answer.text()) == (503, "starting\n")


@pytest.mark.parametrize("path", ALL)
@pytest.mark.parametrize(
    "headers",
    [OUTSIDE, {"X-Forwarded-For": "192.0.2.1"}, {"Host": "localhost.evil.example"}, {"Host": "evil.example:127.0.0.1"}],
    ids=["another name", "a proxy", "a name like ours", "a strange port"],
)
async def test_without_a_token_nothing_is_told_to_the_outside(path, headers):
    async with page() as one:
        assert (await one.http.get(path, headers=headers)).status == 403
        headers = {**headers, "Authorization": f"Bearer {TOKEN}"}
        assert (await one.http.get(path, headers=headers)).status == 403


@pytest.mark.parametrize("path", [path for path in ALL if path != "/"])
async def test_with_a_token_the_outside_must_give_it(path):
    async with page(TOKEN) as one:
        for given in ("", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00fc"):
            assert (await one.http.get(path, headers={**OUTSIDE, "Authorization": given})).status == 401
        answer = await one.http.get(path, headers={**OUTSIDE, "Authorization": f"Bearer {TOKEN}"})
        assert answer.status in (200, 404)


async def test_a_browser_logs_in_and_keeps_a_cookie_that_is_not_the_token(monkeypatch):
    monkeypatch.setattr(site_module, "WRONG_TOKEN_S", 0.0)
    async with page(TOKEN) as one:
        away = await one.http.get("/", headers=OUTSIDE, allow_redirects=False)
        assert (away.status, away.headers["Location"]) == (303, "/login")
        wrong = await one.http.post("/login", data={"token": "x"}, headers=OUTSIDE, allow_redirects=False)
        assert wrong.headers["Location"] == "/login" and not wrong.cookies
        right = await one.http.post("/login", data={"token": TOKEN}, headers=OUTSIDE, allow_redirects=False)
        kept = next(iter(right.cookies.values()))
        assert right.headers["Location"] == "/" and TOKEN not in kept.value
        assert kept["httponly"] and kept["samesite"] == "Strict"
        cookie = {"Cookie": f"{kept.key}={kept.value}"}
        assert (await one.http.get("/api/v1/devices", headers={**OUTSIDE, **cookie})).status == 200


async def test_pages_may_load_from_here_alone_and_be_framed_by_nobody():
    async with page() as one:
        for path in ("/", "/page.css", "/login", "/api/v1/devices", "/none"):
            headers = (await one.http.get(path)).headers
            assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff" and headers["Server"] == "slimsplit"
        for path in ("/", "/page.css", "/page.js", "/icon.svg", "/login"):
            text = await (await one.http.get(path)).text()
            assert "//" not in text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")  # no other host


async def test_hostile_names_stay_text():
    async with page() as one:
        add_device(one.fleet, time.monotonic(), HOSTILE)
        shown = await (await one.http.get("/api/v1/devices")).json()
        metrics = await (await one.http.get("/metrics")).text()
    assert shown["devices"][0]["name"] == '<img src=x onerror="document.title=1">\\x1b[2J"} 1 slimsplit_evil 1'
    assert not any(line.startswith("slimsplit_evil") for line in metrics.splitlines())


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(300), b"X" * 100_000]
)
async def test_garbage_harms_nobody(garbage):
    async with page() as one:
        reader, writer = await asyncio.open_connection(*one.address.split(":"))
        writer.write(garbage)
        await asyncio.wait_for(reader.read(), timeout=10)  # an answer that says no, and the end
        writer.close()
        assert (await one.http.get("/healthz")).status == 200


async def test_a_port_that_is_taken_is_said_so():
    async with page() as one:
        with pytest.raises(ListenError, match=r"--status 127.0.0.1:\d+: the port is taken"):
            async with listening(facts_of(one.fleet), Access(None), "127.0.0.1", int(one.address.rpartition(":")[2])):
                pass


async def test_the_page_ends_with_its_viewers_still_there():
    fleet = Fleet()
    async with aiohttp.ClientSession() as http:
        async with listening(facts_of(fleet), Access(None), "127.0.0.1", 0) as address:
            stream = await http.get(f"http://{address}/api/v1/events")
            await stream.content.readline()
        rest = await asyncio.wait_for(stream.content.read(), 10)
    assert rest.endswith(b"\n\n")


@pytest.mark.parametrize("content", ["short", "", "with a line\nbreak in it ------", "\u00fc" * 20])
def test_a_token_that_can_be_guessed_or_is_none_is_refused(content, tmp_path):
    (tmp_path / "token").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="--status-token-file"):
        read_token(tmp_path / "token")


def test_a_token_is_read_without_the_end_of_its_line(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token") == TOKEN
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path / "none")
