"""The device's metrics over HTTP, in threads that nothing waits for: a scrape that never reads is cut off."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from splitnet.bounded_http import BoundedServer
from splitnet.errors import ConfigError

MAX_SCRAPES = 4  # at once
TIMEOUT_S = 5.0  # for one that says or takes nothing
LONGEST_S = 10.0  # of any scrape: a byte now and then is no reason to stay
POLL_S = 0.1
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsPage:
    """Answers `/metrics` from now on, until it is closed."""

    def __init__(self, address: tuple[str, int], make: Callable[[], bytes]) -> None:
        """Take HOST and port (0: a free one), and what makes the text. Raises ConfigError if the port is taken."""
        host, port = address
        try:
            self._server = _Server((host.strip("[]"), port), _Handler)
        except OSError as error:
            reason = f"{host}:{port} cannot be had ({error.strerror}): the port is taken, or not of this machine"
            raise ConfigError(f"--metrics {reason}") from error
        self._server.make = make
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="metrics", daemon=True).start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


class _Server(BoundedServer):
    most = MAX_SCRAPES
    make: Callable[[], bytes]

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer within LONGEST_S."""
        longest = threading.Timer(LONGEST_S, _end, (request,))
        longest.daemon = True
        longest.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            longest.cancel()


def _end(connection: socket.socket) -> None:
    with suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        """Send the metrics."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        content = self.server.make()
        with suppress(OSError):  # it has gone, or takes nothing
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of requests."""
