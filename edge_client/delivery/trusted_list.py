"""The newest signed list of artefacts, verified by TUF's own client (`tuf.ngclient`).

That client keeps its metadata as files and writes them as it goes. Here they lie in a scratch folder for one refresh;
what counts is the copy in the device's state, which changes in one transaction.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

from tuf.api import exceptions
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edge_client.delivery.model_state import Trust
from splitnet.errors import SplitError, UntrustedError
from splitnet.updates.artefact import Artefact
from splitnet.updates.signed_list import artefacts_in, signed_at

Fetch = Callable[[str], Iterator[bytes] | None]  # a file of TUF by its name, piece by piece; None: there is none

ROLES = ("timestamp", "snapshot", "targets")
NOT_FOUND = 404
_PLACE = "slimsplit://server/"


class _Fetcher(FetcherInterface):
    """Asks whatever connects to the server."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch_file = fetch

    def _fetch(self, url: str) -> Iterator[bytes]:
        found = self._fetch_file(urlsplit(url).path.lstrip("/"))
        if found is None:
            raise exceptions.DownloadHTTPError(f"the server has no {url}", NOT_FOUND)
        return found


class _Updater(Updater):
    def set_time(self, now: float) -> None:
        """Let this be the time that expiry is judged by."""
        self._trusted_set.reference_time = datetime.fromtimestamp(now, timezone.utc)


def refreshed(kept: Trust, fetch: Fetch, clock: float) -> tuple[Trust, list[Artefact]]:
    """Return what is trusted now, and the artefacts, the newest first.

    kept: what was trusted before, at least a root. clock: seconds since 1970, by the device. A device whose clock is
    behind what was last signed, or that has none, counts from there. Raises UntrustedError if the server's lists are
    not signed by whom the root names, expired, or older than what was seen before; LinkError if they did not come.
    """
    now = max(clock, kept.signed_at)
    with tempfile.TemporaryDirectory(prefix="slimsplit-tuf-") as name:
        folder = Path(name)
        for role in ROLES:
            if data := getattr(kept, role):
                (folder / f"{role}.json").write_bytes(data)
        try:
            updater = _Updater(
                name, _PLACE, fetcher=_Fetcher(fetch), config=UpdaterConfig(max_root_rotations=64), bootstrap=kept.root
            )
            updater.set_time(now)
            updater.refresh()
        except exceptions.DownloadError as error:
            raise _of_download(error) from error
        except (exceptions.RepositoryError, ValueError) as error:
            raise UntrustedError(_in_words(error, now)) from error
        roles = {role: (folder / f"{role}.json").read_bytes() for role in ROLES}
        root = (folder / "root.json").read_bytes()
    trust = Trust(root, **roles, signed_at=max(kept.signed_at, signed_at(roles["timestamp"])))
    return trust, artefacts_in(trust.targets)


def _of_download(error: exceptions.DownloadError) -> SplitError:
    if isinstance(error.__cause__, SplitError):
        return error.__cause__
    if isinstance(error, exceptions.DownloadLengthMismatchError):
        return UntrustedError("the server sends a list without end: refused")
    return UntrustedError(f"the server's signed list is incomplete: {error}")


def _in_words(error: Exception, now: float) -> str:
    """Return why a list is refused."""
    if isinstance(error, exceptions.ExpiredMetadataError):
        date = datetime.fromtimestamp(now, timezone.utc).date()
        return f"the server's list has expired ({error}); by this device it is {date}: look at both clocks"
    if isinstance(error, exceptions.BadVersionNumberError):
        return f"the server's list is older than what this device has seen: replayed? ({error})"
    if isinstance(error, exceptions.UnsignedMetadataError):
        return f"the server's list is not signed by whom this device trusts ({error})"
    return f"the server's list is damaged ({error})"
