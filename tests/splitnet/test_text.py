"""Text from strangers is printable, bounded and without secrets."""

from __future__ import annotations

import pytest

from splitnet.text import printable, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, größe, 温度", "plain text, größe, 温度"),
        ("two\nlines\tand  blanks ", "two lines and blanks"),
        ("\x1b[2J\x07cleared", "\\x1b[2J\\x07cleared"),
        ("caf\udce9.jpg", "caf\\udce9.jpg"),
        ("right\u202eleft", "right\\u202eleft"),
        ("", ""),
        ("x" * 11, "x" * 9 + "…"),
        (" " * 10_000 + "x", "…"),
    ],
)
def test_what_cannot_be_printed_is_escaped_and_what_is_long_is_cut(text, shown):
    assert printable(text, 10 if text.startswith("xx") else 300) == shown


@pytest.mark.parametrize("text", ["x" * 10**6, "\x00" * 10**6, "\n" * 10**6, "é\x1b" * 10**6])
def test_no_text_gets_longer_than_asked(text):
    assert len(printable(text, 50)) <= 50
    assert printable(text, 50).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:secret@10.0.0.5:554/ch1", "rtsp://***@10.0.0.5:554/ch1"),
        ("rtsp://admin:s@cr/et:x@cam/ch1 is gone", "rtsp://***@cam/ch1 is gone"),
        ("rtsp:/admin:secret@cam", "rtsp:/***@cam"),
        ("no such file 'http://me:secret@h/a.mp4'", "no such file 'http://***@h/a.mp4'"),
        ("rtsp://a:secret@b and rtsp://c:secret@d", "rtsp://***@b and rtsp://***@d"),
        ("http://h/?user=a&password=secret&x=1", "http://h/?user=a&password=***&x=1"),
        ("rtsp://h/user=admin_password=secret_channel=1", "rtsp://h/user=admin_password=***"),
        ("rtsp://cam:554/ch1", "rtsp://cam:554/ch1"),
        ("edge-client enrol --code ABCD-1234 --server a:1", "edge-client enrol --code *** --server a:1"),
        ("slimsplit://a:1/enrol?code=ABCD-1234", "slimsplit://a:1/enrol?code=***"),
        ("authorization: Bearer aB3-_x.y=, and more", "authorization: Bearer ***, and more"),
        ("127.0.0.1:50051, mail me@example", "127.0.0.1:50051, mail me@example"),
    ],
)
def test_passwords_are_hidden(text, shown):
    assert without_secrets(text) == shown
