"""The rate benchmark's figures as tables."""

from __future__ import annotations

from typing import Any

from benchmarks.accuracy.rate_tables import equal_bytes, failures, rate, rate_summary


def point(curve: str, setting: str, quality: int, ms: float, **more: Any) -> dict[str, Any]:
    row = {"curve": curve, "setting": setting, "size": 416, "quality": quality, "ap": 20.04, "ap_low": 18.0}
    row |= {"ap_high": 22.0, "ap50": 33.3, "bytes_mean": 1234.0, "bytes_p90": 1500.0, "encode_ms_p50": ms, "mmacs": 0.0}
    return row | more


def lead(curve: str, rival: str, kilobytes: float, ap: float, rival_ap: float | None) -> dict[str, Any]:
    row = {"curve": curve, "rival": rival, "kilobytes": kilobytes, "ap": ap, "ap_low": ap - 1, "ap_high": ap + 1}
    return row | {"rival_ap": rival_ap, "lead": None, "low": None, "high": None}


BD = {"rival": "avif", "bd_rate_percent": -31.6, "low": -40.2, "high": -20.0, "ap_from": 18.0, "ap_to": 24.0}
NONE = {"bd_rate_percent": None, "low": None, "high": None, "ap_from": None, "ap_to": None}
RESULT = {
    "bundle": "mine 012345",
    "backend": "torch",
    "images": 213,
    "resamples": 200,
    "rivals_detector": "public",
    "unsplit": [{"detector": "public", "ap": 29.4, "ap50": 45.0, "detect_ms_p50": 19.96, "mmacs": 540.3}],
    "points": [
        point("w4", "split", 0, 5.0, mmacs=140.6),
        point("w4", "split", 1, 7.0, mmacs=140.6),
        point("webp", "webp method 6", 20, 30.04, size=208),
        point("pca", "bundle w1", 0, 8.0, mmacs=252.0),
    ],
    "bd_rate": [{"curve": "w4", "sizes": "any", **BD}, {"curve": "w4", "rival": "jpeg", "sizes": "416", **NONE}],
    "leads": [
        lead("w4", "jpeg", 1.0, 20.0, None),
        lead("w4", "webp", 1.0, 20.0, 14.0),
        lead("w4", "jpeg", 2.5, 25.0, 9.96),
        lead("w4", "webp", 2.5, 25.0, 21.0),
        lead("w1", "jpeg", 2.5, 23.0, 9.96),
        lead("w1", "webp", 2.5, 23.0, 21.0),
    ],
}


def test_all_ways_stand_side_by_side_at_equal_bytes():
    lines = rate_summary(RESULT).splitlines()
    assert "| KB a frame | AP of w4 | AP of w1 | JPEG | WebP |" in lines
    assert "| 1 | 20.0 (19.0 to 21.0) | - | - | 14.0 |" in lines  # what cannot get so small has none
    assert "| 2.5 | 25.0 (24.0 to 26.0) | 23.0 (22.0 to 24.0) | 10.0 | 21.0 |" in lines


def test_the_front_page_shows_the_best_of_all_widths_beside_two_codecs():
    leads = [
        lead("any width", "jpeg", 1.0, 20.04, None),
        lead("any width", "webp", 1.0, 20.04, 9.94),
        lead("any width", "avif", 1.0, 20.04, 9.0),
        lead("w1", "jpeg", 1.0, 16.0, None),
    ]
    assert equal_bytes({**RESULT, "leads": leads}, [1.0]).splitlines() == [
        "| KB a frame | split | WebP | JPEG |",
        "| --- | --- | --- | --- |",
        "| 1 | 20.0 | 9.9 | - |",
        "",
        "213 images; the unsplit detector has AP 29.4 on them, uncompressed.",
    ]


def test_what_the_device_spends_stands_beside_the_whole_detector():
    lines = rate_summary(RESULT).splitlines()
    assert "| w4 | 6.0 | 141 |" in lines
    assert "| WebP method 6 | 30.0 | 0 |" in lines
    assert "| pca w1 | 8.0 | 252 |" in lines
    assert "| the public detector itself | 20.0 | 540 |" in lines


def test_the_terms_are_said():
    text = rate_summary(RESULT)
    assert "213 images, bundle mine 012345 by torch" in text
    assert "public 29.4 (AP50 45.0)" in text


def test_the_plot_is_found_from_where_the_document_lies():
    assert 'src="results/rate-light.png"' in rate_summary(RESULT)
    assert 'srcset="rate-dark.png"' in rate(RESULT)


def test_the_full_form_has_bd_rates_and_every_point():
    lines = rate(RESULT).splitlines()
    assert "| w4 | AVIF | -32 % (-40 to -20) | 18.0 to 24.0 |" in lines
    assert "| w4 | JPEG at 416 pixels | share no AP | - |" in lines
    assert "| WebP method 6 | 208 | 20 | 1.23 (1.50) | 20.0 (18.0 to 22.0) | 33.3 | 30.0 |" in lines


def test_every_row_of_a_table_has_as_many_cells():
    columns = None
    for line in rate(RESULT).splitlines():
        cells = line.count("|") if line.startswith("|") else None
        assert columns is None or cells is None or cells == columns
        columns = cells


def test_what_cannot_be_seen_is_counted_and_shown():
    row = {"photographs_a_side": 4, "objects": 20, "unsplit": 9, "w4 q5": 5}
    lines = failures({"ways": ["unsplit", "w4 q5"], "shown": [2, 4], "scenes": [row]}).splitlines()
    assert lines[0] == "| size of the objects | objects | unsplit finds | w4 q5 finds |"
    assert lines[2] == "| 1/4 | 20 | 9 | 5 |"
    assert [line.partition("(")[2] for line in lines if line.startswith("!")] == [
        "../../docs/results/failures-2.jpg)",
        "../../docs/results/failures-4.jpg)",
    ]
