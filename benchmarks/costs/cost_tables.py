"""What coding, switching, the transport and watching cost, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Result = Mapping[str, Any]


def codec(result: Result) -> str:
    """Return what the entropy coder costs and saves."""
    return (
        "| | |\n|---|---|\n"
        f"| rANS payload, {result['symbols']:,} symbols | {result['rans_bytes']:,} bytes; the entropy of the tables is "
        f"{result['entropy_bytes']:,.0f}, zstd-3 needs {result['zstd3_bytes']:,} |\n"
        f"| coding / decoding them | {result['encode_ms_p50']:.2f} / {result['decode_ms_p50']:.2f} ms |\n"
    )


def switch(result: Result) -> str:
    """Return what changing the operating point costs."""
    return (
        "| | |\n|---|---|\n"
        f"| changing the operating point between two frames | {result['lookup_ms_p50']:.3f} ms |\n"
        f"| loading another model instead | {result['reload_ms_p50']:.0f} ms |\n"
    )


def overhead(result: Result) -> str:
    """Return where the time of a frame over loopback goes."""
    return (
        "| | |\n|---|---|\n"
        f"| end to end over loopback, one frame at a time | {result['end_to_end_ms_p50']:.1f} ms |\n"
        f"| of which computation | {result['compute_ms_p50']:.1f} ms |\n"
        f"| everything else | {result['overhead_ms_p50']:.1f} ms |\n"
    )


def small(result: Result) -> str:
    """Return what a small device takes, and larger ones."""
    header = "| | on disk | resident | at most | first answer after | encode time |\n|---|---|---|---|---|---|\n"
    return header + "".join(
        f"| {row['device']} | {row['disk_mb']:.0f} MB | {row['resident_mb']:.0f} MB | {row['peak_mb']:.0f} MB | "
        f"{row['first_answer_s']:.1f} s | {row['encode_ms_p50']:.1f} ms |\n"
        for row in result["rows"]
    )


def watching(result: Result) -> str:
    """Return what it costs a server to be watched."""
    return (
        "| of one core | |\n|---|---|\n"
        f"| the page with {result['devices']} devices, while somebody looks | {result['page_share']:.2%} |\n"
        f"| counting, at 100 frames a second | {result['counts_share_at_100_fps']:.2%} |\n"
        f"| a scrape every 15 s | {result['scrape_share_every_15_s']:.2%} |\n"
    )


def cameras(result: Result) -> str:
    """Return how long frames of several cameras wait for others at the encoder, and what memory they take."""
    header = (
        "| cameras | frames a second | answered | encode ms p50 | waits for others ms p50 / p99 | "
        "frames of one other camera waited for, at most | memory, MB |\n|---|---|---|---|---|---|---|\n"
    )
    rows = "".join(
        f"| {row['cameras']} | {row['cameras'] * result['fps']:g} | {row['answered'] / row['frames']:.0%} | "
        f"{row['encode_ms_p50']:.1f} | {row['waits_for_others_ms_p50']:.1f} / {row['waits_for_others_ms_p99']:.1f} | "
        f"{row['most_encodes_of_one_other']} | {row['memory_mb']:.0f} |\n"
        for row in result["rows"]
    )
    more = f"{result['memory_ratio']:.2f} times the memory"
    return f"{header}{rows}\nWidth {result['width']}, bundle {result['bundle']}; several cameras take {more} of one.\n"
