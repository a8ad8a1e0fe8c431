"""The rows that a controller chooses from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_client.adaptation.point_table import PointCosts, PointTable, build_table, left_of, work_kind
from edge_client.adaptation.profile import DeviceProfile
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy, FileEntry, LocalDetector, load_manifest
from splitnet.measured_point import MeasuredPoint
from splitnet.operating_point import LOCAL, Codec, Mode, OperatingPoint


def measured(codec: Codec, width: int, quality: int, ap: float, size: float, encode_ms: float) -> MeasuredPoint:
    """Return a measured point."""
    return MeasuredPoint(codec.mode, codec, width, quality, ap, 2 * ap, size, 1.2 * size, encode_ms, 10.0)


POINTS = (
    measured(Codec.RANS, 1, 0, 14.0, 700, 2.0),
    measured(Codec.RANS, 1, 1, 18.0, 1500, 2.0),
    measured(Codec.RANS, 2, 0, 15.0, 750, 4.0),
    measured(Codec.RANS, 2, 1, 17.0, 1600, 4.0),  # dominated by w1 q1
    measured(Codec.JPEG, 0, 50, 26.0, 15_000, 1.0),
    measured(Codec.WEBP, 0, 20, 25.0, 8000, 10.0),
)


@pytest.fixture
def manifest(tiny_bundle):
    return load_manifest(tiny_bundle).with_measurements(Accuracy(29.0, 44.0), POINTS)


def profile(encode_ms: dict[str, float], local_ms: float | None = None) -> DeviceProfile:
    """Return a profile of a device."""
    return DeviceProfile("device", "digest", encode_ms, local_ms, local_ms)


def names(table: PointTable) -> list[str]:
    return [str(row.point) for row in table.rows]


def test_the_rows_worth_choosing_are_left_smallest_first(manifest):
    assert names(build_table(manifest, profile({}))) == ["w1 q0", "w2 q0", "w1 q1", "webp 20", "jpeg 50"]


@pytest.mark.parametrize(
    ("mode", "expected"), [("split", ["w1 q0", "w2 q0", "w1 q1"]), ("image", ["webp 20", "jpeg 50"])]
)
def test_a_mode_leaves_only_its_own_rows(manifest, mode, expected):
    table = build_table(manifest, profile({}, 100.0), mode)
    assert names(table) == expected
    assert table.local_ms is None


def test_the_detector_is_there_if_the_device_has_it(manifest):
    table = build_table(manifest, profile({}, 100.0))
    assert (table.local_ap, table.local_ms) == (29.0, 100.0)
    assert build_table(manifest, profile({}, 100.0), "local") == PointTable((), 29.0, 100.0)


def test_a_local_detector_of_its_own_has_the_accuracy_that_was_measured_of_it(manifest):
    light = LocalDetector("yolox-nano", 64, manifest.class_names, FileEntry("ab", 1), Accuracy(21.5, 40.0))
    assert build_table(replace(manifest, local=light), profile({}, 20.0)).local_ap == 21.5
    unmeasured = replace(manifest, local=replace(light, accuracy=None))
    assert build_table(unmeasured, profile({}, 20.0)).local_ms is None


def test_nothing_to_choose_is_refused(manifest):
    with pytest.raises(ConfigError, match="training evaluate"):
        build_table(manifest.with_measurements(None, ()), profile({}))


def test_one_quality_counts_for_all_of_its_width(manifest):
    rows = {str(row.point): row.encode_ms for row in build_table(manifest, profile({"w1 q0": 30.0})).rows}
    assert rows["w1 q1"] == 30.0


def test_what_was_not_measured_on_the_device_is_scaled_from_the_bundles_machine(manifest):
    rows = {str(row.point): row.encode_ms for row in build_table(manifest, profile({"w1 q0": 30.0})).rows}
    assert rows["webp 20"] == 150.0


def test_a_measured_point_counts_as_measured(manifest):
    rows = {
        str(row.point): row.encode_ms for row in build_table(manifest, profile({"w1 q0": 30.0, "w1 q1": 31.0})).rows
    }
    assert rows["w1 q1"] == 31.0


@pytest.mark.parametrize("wrong", [{"bytes_p50": 0.0}, {"bytes_p90": -1.0}, {"encode_ms": 0.0}, {"ap": -1.0}])
def test_rows_that_no_measurement_gives_are_refused(wrong):
    row = PointCosts(OperatingPoint(Codec.JPEG, 0, 50), 26.0, 15_000, 20_000, 1.0)
    with pytest.raises(ConfigError, match="measure"):
        replace(row, **wrong)


def test_kinds_of_work_are_widths_and_codecs():
    kinds = [work_kind(point) for point in (OperatingPoint(Codec.ZSTD, 3, 1), OperatingPoint(Codec.WEBP, 0, 9), LOCAL)]
    assert kinds == ["w3", "webp", "local"]
    assert LOCAL.mode is Mode.LOCAL


ROWS = st.lists(
    st.builds(
        PointCosts,
        st.integers(0, 100).map(lambda q: OperatingPoint(Codec.JPEG, 0, q)),
        st.integers(0, 30).map(float),
        st.integers(1, 5).map(float),
        st.integers(1, 5).map(float),
        st.integers(1, 5).map(float),
    ),
    max_size=20,
)


@given(ROWS)
def test_every_row_is_kept_or_dominated_by_one_that_is(rows):
    kept = left_of(rows)
    for row in rows:
        assert any(
            k.ap >= row.ap
            and k.bytes_p50 <= row.bytes_p50
            and k.bytes_p90 <= row.bytes_p90
            and k.encode_ms <= row.encode_ms
            for k in kept
        )
    assert set(kept) <= set(rows)
