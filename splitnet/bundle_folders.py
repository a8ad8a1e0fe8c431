"""The places of bundles: a folder may be one, or hold some."""

from __future__ import annotations

from pathlib import Path

from splitnet.errors import BundleError
from splitnet.groups.group_manifest import is_group
from splitnet.manifest import FILE_NAME


def bundles_in(folder: Path) -> list[Path]:
    """Return the folder itself if it is a bundle, else the bundles right inside it, by name; [] if there are none.

    Groups' bundles come last: the first bundle is the default one, and they have no use for an image.
    """
    if (folder / FILE_NAME).is_file():
        return [folder]
    found = [path.parent for path in folder.glob(f"*/{FILE_NAME}")]
    return sorted(found, key=lambda bundle: (is_group(bundle), bundle))


def find_bundles(folder: Path) -> list[Path]:
    """Return the same; BundleError, which says what to give, if there are none."""
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a folder: give a bundle, or a folder of bundles")
    found = bundles_in(folder)
    if not found:
        raise BundleError(f"{folder} holds no bundle: no {FILE_NAME} in it or in the folders inside it")
    return found
