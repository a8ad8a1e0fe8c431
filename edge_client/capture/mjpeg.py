"""Motion JPEG over HTTP: one response that never ends, a part for each image (multipart/x-mixed-replace).

ESP32-CAM, mjpg-streamer, motion and most network cameras offer it. What comes is bounded before it is kept.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from contextlib import suppress
from email.message import Message
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from edge_client.capture.camera import DEFAULT_FPS
from edge_client.capture.source import Wait
from edge_client.frames import Image
from splitnet.environment import version
from splitnet.errors import ImageFileError, SourceError
from splitnet.image_file import decode_image
from splitnet.messages import MAX_FRAME_SIDE
from splitnet.text import printable, without_secrets

MULTIPART = "multipart/x-mixed-replace"
MAX_JPEG_BYTES = 1 << 24
MAX_PIXELS = 1 << 25
MAX_LINE_BYTES = 1 << 16  # of a part without a length, where the bytes of an image are read like lines
MAX_HEADER_LINES = 64
MAX_DAMAGED = 100  # images in a row; then it has gone

_GONE = (OSError, http.client.HTTPException, ValueError)  # ValueError: a response that was closed


class MjpegCamera:
    """A stream of JPEGs. The proxies of the environment are not used: cameras are near."""

    fps = DEFAULT_FPS  # nothing says it

    def __init__(self, url: str, timeout_s: float) -> None:
        """Open it. Raises SourceError if it is no such stream."""
        self.unreadable = 0
        self.reason = ""
        self.part_headers: dict[str, str] = {}  # of the latest part, by their names in small letters
        self._name = without_secrets(url)
        self._timeout_s = timeout_s
        try:
            self._response = _opened(url, timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            raise SourceError(f"{self._name}: the camera answers {error.code} {printable(error.reason)}") from None
        except _GONE as error:
            raise SourceError(f"{self._name}: {_reason_of(error, timeout_s)}") from None
        self._boundary = _boundary(self._response.headers)
        if self._boundary is None:
            self._response.close()
            raise SourceError(f"{self._name}: no stream of JPEGs")

    def read(self, wait: Wait) -> Image | None:
        """Return the next image that can be read; None if the stream has ended."""
        for _ in range(MAX_DAMAGED):
            if wait(0.0):
                return None
            try:
                data = self._part()
            except _GONE as error:
                self.reason = _reason_of(error, self._timeout_s)
                return None
            if data is None:
                self.reason = self.reason or "the stream has ended"
                return None
            with suppress(ImageFileError):
                image = decode_image(data, MAX_PIXELS)
                if max(image.shape[:2]) <= MAX_FRAME_SIDE:
                    return image
            self.unreadable += 1
        self.reason = f"{MAX_DAMAGED} images in a row cannot be read"
        return None

    def close(self) -> None:
        """Hang up."""
        self._response.close()

    def _part(self) -> bytes | None:
        """Return the bytes of the next image; None at the end, or if they are too many."""
        length, has_header, headers = 0, False, {}
        for _ in range(MAX_HEADER_LINES):
            line = self._response.readline(MAX_LINE_BYTES)
            if not line:
                return None
            key, colon, value = line.partition(b":")
            if colon:
                has_header = True
                headers[key.decode("latin-1").strip().lower()] = value.decode("latin-1").strip()
                if key.strip().lower() == b"content-length":
                    length = int(value) if value.strip().isdigit() and len(value) < 16 else 0
            elif has_header and not line.strip():  # lines before that are the boundary, or blank
                self.part_headers = headers
                return self._exactly(length) if length else self._until_boundary()
        self.reason = "what it sends are no JPEGs"
        return None

    def _exactly(self, length: int) -> bytes | None:
        if length > MAX_JPEG_BYTES:
            self.reason = f"an image of {length} bytes is too large"
            return None
        data = self._response.read(length)
        return data if len(data) == length else None

    def _until_boundary(self) -> bytes | None:
        assert self._boundary is not None
        data = bytearray()
        while len(data) <= MAX_JPEG_BYTES:
            line = self._response.readline(MAX_LINE_BYTES)
            if not line:
                return None
            if line.startswith(self._boundary):
                return bytes(data.removesuffix(b"\r\n"))
            data += line
        self.reason = f"an image of over {MAX_JPEG_BYTES} bytes is too large"
        return None


class _HangsUp:
    """Ends the answer that asks for a password, which the library leaves open."""

    def http_error_401(self, req: urllib.request.Request, fp: Any, *rest: Any) -> Any:
        try:
            return super().http_error_401(req, fp, *rest)  # type: ignore[misc]
        finally:
            fp.close()


class _Basic(_HangsUp, urllib.request.HTTPBasicAuthHandler):
    pass


class _Digest(_HangsUp, urllib.request.HTTPDigestAuthHandler):
    pass


def _opened(url: str, timeout_s: float) -> http.client.HTTPResponse:
    """Return the response to a GET. A user and password in the URL are shown by Basic or Digest, as is asked."""
    parts = urlsplit(url)
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if parts.username is not None:
        passwords.add_password(None, plain, unquote(parts.username), unquote(parts.password or ""))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        _Basic(passwords),
        _Digest(passwords),
    )
    opener.addheaders = [("User-Agent", f"slimsplit/{version()}")]
    response: http.client.HTTPResponse = opener.open(plain, timeout=timeout_s)
    return response


def _boundary(headers: Message) -> bytes | None:
    """Return what stands between the parts; None if there are none."""
    if headers.get_content_type() != MULTIPART:
        return None
    named = str(headers.get_param("boundary", "")).strip().removeprefix("--")
    return b"--" + named.encode("latin-1", "replace")


def _reason_of(error: BaseException, timeout_s: float) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return f"nothing has come for {timeout_s:g} s"
    said = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    return printable(without_secrets(said)) or type(error).__name__
