"""Images that the owner of a group's camera hands on, taken by the group's other devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from edge_client.capture.address import open_source
from edge_client.capture.group_source import GroupSource
from edge_client.capture.handing_on import SharedCamera
from edge_client.capture.source import FrameStamp, SourceSettings
from edge_client.frames import CapturedFrame
from splitnet.errors import ConfigError, SourceError
from tests.edge_client.capture.clips import never
from tests.edge_client.capture.test_mjpeg import camera_of, jpeg, part

NOW = 1000.0
STREAM = (1 << 64) - 5


@pytest.fixture
def owner() -> Iterator[SharedCamera]:
    with closing(SharedCamera(("127.0.0.1", 0), clock=lambda: NOW)) as camera:
        yield camera


def frame(frame_id: int, shade: int = 0, age_s: float = 0.25) -> CapturedFrame:
    return CapturedFrame(frame_id, NOW - age_s, 0.0, np.full((48, 64, 3), shade, np.uint8), stream=STREAM)


def follow(port: int, **settings) -> GroupSource:
    source = open_source(f"group://127.0.0.1:{port}", SourceSettings(patience_s=0.0, **settings))
    assert isinstance(source, GroupSource) and not source.finite
    return source


def test_followers_get_the_image_its_number_and_its_age(owner):
    owner.give(frame(7, 50))
    with closing(follow(owner.port)) as one, closing(follow(owner.port)) as other:
        shown = next(one.images(never))
        assert shown.stamp == FrameStamp(STREAM, 7, 0.25)
        assert shown.image.shape == (48, 64, 3) and abs(int(shown.image.mean()) - 50) <= 2
        assert next(other.images(never)).stamp == shown.stamp


def test_whoever_does_not_keep_up_gets_the_newest_image(owner):
    owner.give(frame(1))
    with closing(follow(owner.port)) as source:
        images = source.images(never)
        assert next(images).stamp.frame_id == 1
        for number in range(2, 50):
            owner.give(frame(number))
        seen = [next(images).stamp.frame_id]
        while seen[-1] != 49:
            seen.append(next(images).stamp.frame_id)
        assert seen == sorted(set(seen))


def test_a_frame_without_followers_is_not_compressed(owner, monkeypatch):
    monkeypatch.setattr("edge_client.capture.handing_on.compress_image", None)
    owner.give(frame(1))


def test_a_password_is_asked_for(tmp_path):
    with closing(SharedCamera(("127.0.0.1", 0), "open sesame: 1 2/3", clock=lambda: NOW)) as owner:
        owner.give(frame(3))
        for wrong in ("", "open sesame"):
            with pytest.raises(SourceError, match="401"):
                follow(owner.port, password=wrong)
        with closing(follow(owner.port, password="open sesame: 1 2/3")) as source:
            assert next(source.images(never)).stamp.frame_id == 3


def test_an_owner_that_goes_is_looked_for_and_then_missed(owner):
    owner.give(frame(1))
    with closing(follow(owner.port)) as source:
        images = source.images(never)
        next(images)
        owner.close()
        with pytest.raises(SourceError, match="has been away for 0 s"):
            next(images)


def test_a_port_that_is_taken_is_named(owner):
    with pytest.raises(ConfigError, match=f"--group-listen 127.0.0.1:{owner.port} cannot be had"):
        SharedCamera(("127.0.0.1", owner.port))


@pytest.mark.parametrize("address", ["group://", "group://host:1/path", "group://host:1?x=1"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(SourceError, match="give group://HOST:PORT"):
        open_source(address, SourceSettings())


@pytest.mark.parametrize(
    "headers",
    [
        "",
        "X-SlimSplit-Stream: 1\r\nX-SlimSplit-Frame: 1\r\n",
        "X-SlimSplit-Stream: g\r\nX-SlimSplit-Frame: 1\r\nX-SlimSplit-Age-Us: 0\r\n",
        f"X-SlimSplit-Stream: 1{'0' * 16}\r\nX-SlimSplit-Frame: 1\r\nX-SlimSplit-Age-Us: 0\r\n",
        "X-SlimSplit-Stream: 1\r\nX-SlimSplit-Frame: 0\r\nX-SlimSplit-Age-Us: 0\r\n",
        f"X-SlimSplit-Stream: 1\r\nX-SlimSplit-Frame: {1 << 63}\r\nX-SlimSplit-Age-Us: 0\r\n",
    ],
)
def test_an_ordinary_camera_is_no_owner_of_a_group(headers):
    body = part(jpeg(1)).replace(b"Content-Type", headers.encode() + b"Content-Type", 1)
    settings = SourceSettings(patience_s=0)
    with (
        camera_of(body) as address,
        closing(open_source(f"group://{address}", settings)) as source,
        pytest.raises(SourceError, match="do not say which frames they are"),
    ):
        next(source.images(never))


@pytest.mark.parametrize(("said_us", "age_s"), [(-5, 0.0), (10**15, 60.0)])
def test_an_age_that_cannot_be_is_bounded(said_us, age_s):
    headers = f"X-SlimSplit-Stream: 1\r\nX-SlimSplit-Frame: 1\r\nX-SlimSplit-Age-Us: {said_us}\r\n".encode()
    body = part(jpeg(1)).replace(b"Content-Type", headers + b"Content-Type", 1)
    with camera_of(body) as address, closing(open_source(f"group://{address}", SourceSettings())) as source:
        assert next(source.images(never)).stamp == FrameStamp(1, 1, age_s)
