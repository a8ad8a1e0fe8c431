"""Results as pictures and videos."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_client.output.annotation import PictureFolderSink, VideoSink, annotated, annotation_sink, fitted
from splitnet.errors import ConfigError
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


@pytest.mark.parametrize(("name", "kind"), [("a.mp4", VideoSink), ("a.AVI", VideoSink), ("a", PictureFolderSink)])
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


def test_a_video_that_cannot_be_opened_is_an_error_of_that_sink(tmp_path):
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(OSError, match="cannot be written"):
        VideoSink(tmp_path / "out.mp4", 10, NAMES).write(result(1))


def test_a_missing_folder_is_refused_at_the_start(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        VideoSink(tmp_path / "missing" / "out.mp4", 10, NAMES)


def test_pictures_are_numbered_by_their_frame(tmp_path):
    sink = PictureFolderSink(tmp_path / "new" / "pictures", NAMES)
    sink.write(result(7))
    sink.close()
    assert cv2.imread(str(tmp_path / "new" / "pictures" / "000007.png")).shape == (48, 64, 3)


def test_a_folder_that_cannot_be_made_is_refused_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be created"):
        PictureFolderSink(tmp_path / "file" / "pictures", NAMES)
