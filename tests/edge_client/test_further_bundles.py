"""One device that watches one camera for two tasks: a frame is sent once, and answered by two bundles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_client.build import build_pipeline
from edge_client.config import RunConfig
from edge_client.output.detection_record import detection_record
from edge_client.output.sinks import CallbackSink, ScoreFilter
from edge_client.output.together import TogetherSink, all_classes
from edge_client.transport.session import open_session
from splitnet.detections import Detections
from splitnet.errors import BundleError, BundleMismatchError, ConfigError
from splitnet.messages import (
    BundleDescription,
    Frame,
    FrameDetections,
    FurtherBundle,
    OpenSession,
    Reply,
    SessionOpened,
)
from splitnet.operating_point import Codec
from tests.support.client_samples import NAMES, result
from tests.support.fake_server import DIGEST, FakeService, ack_and_detect, serving
from tests.support.tiny_bundle import write_tiny_bundle

OTHER = "cd" * 32
ALL_CODECS = (Codec.RANS, Codec.JPEG, Codec.WEBP)
FURTHER = [("highway", ("bus", "truck"))]


def found(*labels: int) -> Detections:
    count = len(labels)
    return Detections(np.ones((count, 4), np.float32), np.linspace(0.9, 0.3, count, dtype=np.float32), np.int32(labels))


def described(*names: str) -> BundleDescription:
    return BundleDescription(416, 8, names, 4, 5, 0.25, ALL_CODECS)


def opened(takes_features: bool, digest: str = DIGEST, other: str = OTHER) -> SessionOpened:
    further = FurtherBundle("highway", other, described("bus", "truck"), takes_features)
    return SessionOpened("fake", digest, "fake server 1", bundle=described("car"), further=(further,))


@pytest.mark.parametrize(
    ("takes_features", "codecs"),
    [(True, {Codec.RANS, Codec.JPEG, Codec.WEBP}), (False, {Codec.JPEG, Codec.WEBP})],
    ids=["features serve both", "images only"],
)
async def test_what_is_sent_is_what_all_bundles_of_the_session_take(takes_features, codecs):
    opening = OpenSession("device", DIGEST, further_digests=(OTHER,))
    async with (
        serving(FakeService(opened(takes_features))) as address,
        open_session(address, opening) as session,
    ):
        assert session.codecs == codecs


async def test_a_server_that_answers_by_one_bundle_only_is_refused_with_what_to_do():
    opening = OpenSession("device", DIGEST, further_digests=(OTHER,))
    async with serving(FakeService()) as address:
        with pytest.raises(BundleMismatchError, match=r"too old for that.*leave out --further-bundle"):
            async with open_session(address, opening):
                pass


def test_a_line_has_what_each_further_bundle_found_under_its_name():
    record = detection_record(replace(result(), further=(found(1),)), NAMES, FURTHER)
    assert [one["label"] for one in record["further"]["highway"]] == ["truck"]
    assert "further" not in detection_record(result(), NAMES)


def test_bundles_that_nobody_asked_about_a_frame_have_found_nothing_that_could_be_said():
    assert detection_record(result(), NAMES, FURTHER)["further"] == {"highway": None}


def test_what_is_drawn_has_the_boxes_and_classes_of_all_bundles():
    seen = []
    sink = TogetherSink(CallbackSink(seen.append), NAMES, FURTHER)
    sink.write(replace(result(), further=(found(1),)))
    sink.write(result())
    names = all_classes(NAMES, FURTHER)
    assert list(seen[0].detections.labels) == [2, 99, 4] and names[4] == "truck"
    assert len(seen[1].detections) == 2


def test_a_least_score_holds_for_further_bundles_too():
    seen = []
    ScoreFilter(CallbackSink(seen.append), 0.5).write(replace(result(), further=(found(0, 1),)))
    assert [len(one) for one in seen[0].further] == [1]


@pytest.mark.parametrize("given", [{"mode": "local"}, {"further_bundle": [Path("x")] * 4}], ids=["local", "four"])
def test_further_bundles_need_a_server_and_are_three_at_most(given):
    with pytest.raises(ConfigError, match="for a server, and for 3 bundles at most"):
        RunConfig(**{"server": "h:1", "source": "0", "further_bundle": [Path("a")], **given})


async def test_a_run_writes_what_two_bundles_find_in_each_frame(tmp_path, photo):
    first, other = write_tiny_bundle(tmp_path / "tiny"), write_tiny_bundle(tmp_path / "other", seed=1)
    for file in (tmp_path / "other").iterdir():
        if file.name != "manifest.json":
            file.unlink()  # the device needs no weights of it
    cv2.imwrite(str(tmp_path / "street.png"), photo)

    def answer(frame: Frame) -> list[Reply]:
        return [
            replace(one, further=(found(1),)) if isinstance(one, FrameDetections) else one
            for one in ack_and_detect(frame)
        ]

    service = FakeService(opened(True, first.digest, other.digest), answer)
    async with serving(service) as address:
        config = RunConfig(
            server=address,
            source=str(tmp_path / "street.png"),
            bundle=tmp_path / "tiny",
            further_bundle=[tmp_path / "other"],
            out=tmp_path / "found.jsonl",
            annotate=tmp_path / "drawn",
            no_status=True,
        )
        statistics = await build_pipeline(config).run()
    assert statistics.detected == 1 and len(service.frames) == 1
    line = json.loads((tmp_path / "found.jsonl").read_text())
    (also,) = line["further"][other.name]
    assert len(line["detections"]) == 1 and also["label"] == other.class_names[1]
    assert len(list((tmp_path / "drawn").iterdir())) == 1


def test_a_further_bundle_without_a_manifest_is_said_before_anything_runs(tmp_path, photo):
    write_tiny_bundle(tmp_path / "tiny")
    cv2.imwrite(str(tmp_path / "street.png"), photo)
    config = RunConfig(
        server="127.0.0.1:9",
        source=str(tmp_path / "street.png"),
        bundle=tmp_path / "tiny",
        further_bundle=[tmp_path / "none"],
    )
    with pytest.raises(BundleError, match="none"):
        build_pipeline(config)
