"""An HTTP server with a thread for each request, of which there are only so many at once."""

from __future__ import annotations

import threading
from http.server import ThreadingHTTPServer
from typing import Any, ClassVar


class BoundedServer(ThreadingHTTPServer):
    """Hangs up on whoever comes while all places are taken. Nothing waits for its threads."""

    daemon_threads = True
    block_on_close = False
    most: ClassVar[int]  # requests at once

    def __init__(self, *arguments: Any) -> None:
        self._places = threading.Semaphore(self.most)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if there is a place."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and free the place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: whoever has gone is no failure of the run."""
