"""Results as images and videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_client.output import annotation
from edge_client.output.annotation import ImageFolderSink, VideoSink, annotation_sink
from edge_client.output.drawing import annotated, fitted
from splitnet.errors import ConfigError
from splitnet.image_file import read_image
from tests.support.client_samples import NAMES, result


def frames_of(path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def test_boxes_are_drawn_into_a_copy():
    taken = result(size=(160, 120))
    before = taken.frame.image.copy()
    picture = annotated(taken, NAMES)
    assert (taken.frame.image == before).all()
    assert (picture[5, 10:25] != before[5, 10:25]).any()
    assert picture.shape == before.shape


@pytest.mark.parametrize(("name", "kind"), [("a.mp4", VideoSink), ("a.AVI", VideoSink), ("a", ImageFolderSink)])
def test_the_name_decides_between_video_and_folder(tmp_path, name, kind):
    assert isinstance(annotation_sink(tmp_path / name, 10, NAMES), kind)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_video_can_be_read_back(tmp_path, suffix):
    sink = VideoSink(tmp_path / f"out{suffix}", 10, NAMES)
    for frame_id in (1, 2, 3):
        sink.write(result(frame_id))
    sink.close()
    frames = frames_of(tmp_path / f"out{suffix}")
    assert len(frames) == 3
    assert frames[0].shape == (48, 64, 3)


def test_a_gap_in_the_results_does_not_compress_time(tmp_path):
    sink = VideoSink(tmp_path / "out.avi", 10, NAMES)
    for frame_id in (1, 5, 6):
        sink.write(result(frame_id))
    sink.close()
    assert len(frames_of(tmp_path / "out.avi")) == 6


def test_a_frame_that_another_one_has_overtaken_is_not_shown_after_it(tmp_path):
    sink = VideoSink(tmp_path / "out.avi", 10, NAMES)
    for frame_id in (1, 3, 2, 4):
        sink.write(result(frame_id))
    sink.close()
    assert len(frames_of(tmp_path / "out.avi")) == 4


def test_a_very_long_gap_is_not_filled(tmp_path):
    sink = VideoSink(tmp_path / "out.avi", 10, NAMES)
    sink.write(result(1))
    sink.write(result(100_001))
    sink.write(result(100_002))
    sink.close()
    assert len(frames_of(tmp_path / "out.avi")) == 1 + 100 + 2


def test_pictures_of_other_sizes_are_fitted_into_the_first(tmp_path):
    sink = VideoSink(tmp_path / "out.avi", 10, NAMES)
    sink.write(result(1, size=(64, 48)))
    sink.write(result(2, size=(30, 90)))
    sink.close()
    assert {frame.shape for frame in frames_of(tmp_path / "out.avi")} == {(48, 64, 3)}


def test_a_smaller_image_is_not_enlarged():
    small = fitted(np.full((10, 10, 3), 200, np.uint8), (64, 48))
    assert small[:10, :10].min() == 200 and small[10:].max() == small[:, 10:].max() == 0


def test_fitting_keeps_the_aspect_and_pads_with_black():
    picture = fitted(np.full((90, 30, 3), 200, np.uint8), (64, 48))
    assert picture.shape == (48, 64, 3)
    assert picture[:, 16:].max() == 0
    assert picture[:48, :16].min() == 200


def test_a_disk_that_fills_up_ends_the_video_while_it_can_be_finished(tmp_path):
    free = iter([1 << 30, 1 << 30, 1 << 20])
    sink = VideoSink(tmp_path / "out.avi", 10, NAMES, free_bytes=lambda folder: next(free))
    sink.write(result(1))
    sink.write(result(2))
    with pytest.raises(OSError, match="disk full"):
        sink.write(result(3))
    sink.close()
    assert len(frames_of(tmp_path / "out.avi")) == 2


@pytest.mark.parametrize("size", [(63, 47), (1, 1), (2, 300)])
def test_odd_and_small_frames_lose_no_pixel(tmp_path, size):
    sink = VideoSink(tmp_path / "out.avi", 10, NAMES)
    sink.write(result(1, size=size))
    sink.close()
    height, width = frames_of(tmp_path / "out.avi")[0].shape[:2]
    assert width % 2 == height % 2 == 0
    assert width >= max(16, size[0]) and height >= max(16, size[1])


@pytest.mark.parametrize("stem", ["2026-11-30T14:02:37", "caf\udce9", "100%", "-o"])
def test_a_video_may_have_any_name(tmp_path, monkeypatch, stem):
    monkeypatch.chdir(tmp_path)
    sink = VideoSink(Path(f"{stem}.mp4"), 10, NAMES)
    sink.write(result(1))
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == [f"{stem}.mp4"]
    (tmp_path / f"{stem}.mp4").rename("plain.mp4")
    assert len(frames_of("plain.mp4")) == 1


class PickyWriter:
    """A writer of videos that takes one codec and one rate only."""

    def __init__(self, name, backend, codec, fps, size) -> None:
        self.opened = (codec, fps) == (cv2.VideoWriter.fourcc(*"MJPG"), 13.0)
        if self.opened:
            Path(name).touch()

    fourcc = staticmethod(cv2.VideoWriter.fourcc)

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def write(self, image) -> None:
        pass

    def release(self) -> None:
        pass


def test_what_the_format_does_not_take_is_replaced_by_the_next_best_which_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(annotation.cv2, "VideoWriter", PickyWriter)
    VideoSink(tmp_path / "out.mp4", 12.9, NAMES).write(result(1))
    assert caplog.messages == [f"{tmp_path / 'out.mp4'}: written as MJPG with 13 frames a second"]
    with pytest.raises(OSError, match="cannot be written as a video"):
        VideoSink(tmp_path / "out.mp4", 15.0, NAMES).write(result(1))


@pytest.mark.parametrize("name", ["missing/out.mp4", "folder.mp4"])
def test_a_video_that_cannot_be_written_is_refused_at_the_start(tmp_path, name):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        VideoSink(tmp_path / name, 10, NAMES)


def test_a_video_without_a_frame_leaves_no_file(tmp_path):
    VideoSink(tmp_path / "out.mp4", 10, NAMES).close()
    assert list(tmp_path.iterdir()) == []


def test_images_keep_the_names_of_their_sources_and_the_rest_is_numbered(tmp_path):
    folder = tmp_path / "new" / "images"
    sink = ImageFolderSink(folder, NAMES)
    for frame_id, file in enumerate(("a.JPG", "caf\udce9.png", "clip.mp4", None, "a.JPG"), start=1):
        taken = result(frame_id)
        sink.write(replace(taken, frame=replace(taken.frame, file=file)))
    sink.close()
    found = sorted(path.name for path in folder.iterdir())
    assert found == ["000003.png", "000004.png", "a-000005.JPG", "a.JPG", "caf\udce9.png"]
    assert read_image(folder / "a.JPG").shape == (48, 64, 3)


def test_a_folder_that_cannot_be_made_is_refused_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be created"):
        ImageFolderSink(tmp_path / "file" / "images", NAMES)
