"""The `update` command: a small file that makes one bundle's device half of another one's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from splitnet.atomic_write import write_atomically
from splitnet.bundle import load_device, load_server, replace_files
from splitnet.errors import ConfigError
from splitnet.extras import progress_bar
from splitnet.manifest import ENCODER_FILE, FILE_NAME, Manifest
from splitnet.settings import count, option
from splitnet.updates.update_file import UpdatedFile, make_update_file, read_update
from training.command import Command
from training.data.images import find_images
from training.updates.device_half import HalfChange, update_encoder, update_local, with_weights
from training.updates.make import Progress, UpdateSettings


@dataclass(frozen=True, kw_only=True)
class UpdateCommandSettings:
    """What is to be made, and how small."""

    bundle: Path = option("what devices have now", metavar="DIR")
    to: Path = option("what they are to have: a bundle with the same kind of device half", metavar="DIR")
    images: Sequence[Path] = option("folders of images such as the cameras see", metavar="DIR", nargs="+")
    result: Path = option(
        "where the bundle goes that devices have afterwards: the new one, with the weights that the update makes",
        metavar="DIR",
    )
    out: Path = option("where the update goes", metavar="FILE.ssu")
    budget_kb: float = option("most KB of an encoder's changed weights", default=20.0, metavar="KB")
    local_budget_kb: float = option(
        "most KB of those of the detector that devices run alone, if it changes", default=40.0, metavar="KB"
    )
    keep_tables: bool = option(
        "keep the old entropy tables: nothing is sent of them, and frames take more bytes", default=False
    )
    steps: int = option("training steps", default=200, type=count)
    seed: int = option("of the training, and of the order of images", default=0)
    threads: int = option("CPU threads", default=torch.get_num_threads(), type=count)


def make_update_bundle(settings: UpdateCommandSettings) -> Manifest:
    """Train an update, write it and the bundle that it leads to; returns that bundle's manifest.

    ConfigError if the bundles do not fit together, UpdateError if a budget cannot be met; BundleError.
    """
    torch.set_num_threads(settings.threads)
    images = find_images(settings.images)
    old, new = load_device(settings.bundle).manifest, load_device(settings.to).manifest
    load_server(settings.to)  # it is checked before anything is trained
    _check_fits(settings, old, new)
    trained: dict[str, bytes] = {}
    contents: dict[str, bytes] = {}
    trained_as = UpdateSettings(steps=settings.steps, seed=settings.seed)
    change = HalfChange(settings.bundle, settings.to, new, images, trained_as)
    with _Told("encoder", settings.budget_kb) as tell:
        made = update_encoder(change, round(1000 * settings.budget_kb), tell)
    trained[ENCODER_FILE] = made.data
    tables = settings.bundle / ENCODER_FILE if settings.keep_tables else None
    contents[ENCODER_FILE] = with_weights(settings.to / ENCODER_FILE, made.weights, tables)
    if _local_changes(settings, old, new):
        with _Told("local detector", settings.local_budget_kb) as tell:
            made = update_local(change, round(1000 * settings.local_budget_kb), tell)
        trained[new.local_file] = made.data
        contents[new.local_file] = with_weights(settings.to / new.local_file, made.weights)
    shutil.copytree(settings.to, settings.result, dirs_exist_ok=True)
    manifest = replace_files(settings.result, contents)
    write_atomically(settings.out, _file(settings, old, manifest, trained))
    return manifest


def _check_fits(settings: UpdateCommandSettings, old: Manifest, new: Manifest) -> None:
    """Raise ConfigError unless the old device half can become the new one."""
    if (old.front, old.encoder) != (new.front, new.encoder):
        raise ConfigError(f"{settings.to} has another encoder than {settings.bundle}: devices need it whole")
    if settings.keep_tables and old.qualities != new.qualities:
        raise ConfigError(f"{settings.to} has other qualities than {settings.bundle}: leave --keep-tables out")
    for path in (settings.result, settings.out):
        if path.resolve() in (settings.bundle.resolve(), settings.to.resolve()):
            raise ConfigError(f"{path} is one of the bundles that the update is made of: choose another place")


def _local_changes(settings: UpdateCommandSettings, old: Manifest, new: Manifest) -> bool:
    """Return whether both have a detector of the same kind that devices run alone, with other weights."""
    before, after = old.local_detector, new.local_detector
    if before is None or after is None or before.detector != after.detector:
        return False
    paths = settings.bundle / old.local_file, settings.to / new.local_file
    return all(path.is_file() for path in paths) and before.file.sha256 != after.file.sha256


class _Told:
    """A bar of progress over the steps of a training: its loss, and how many KB the update takes by now."""

    def __init__(self, what: str, budget_kb: float) -> None:
        self._bar = progress_bar(desc=what, unit="step")
        self._budget_kb = budget_kb

    def __enter__(self) -> Progress:
        return self._step

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _step(self, step: int, steps: int, loss: float, size: float) -> None:
        self._bar.total = steps
        self._bar.update(step - self._bar.n)
        self._bar.set_postfix_str(f"loss {loss:.4g}, {size / 1000:.1f} of {self._budget_kb:g} KB", refresh=False)


def _file(settings: UpdateCommandSettings, old: Manifest, manifest: Manifest, trained: dict[str, bytes]) -> bytes:
    """Return the update file between the two device halves."""
    with tempfile.TemporaryDirectory(prefix="slimsplit-update-") as folder:
        before, after = Path(folder) / "before", Path(folder) / "after"
        _device_half(settings.bundle, old, before)
        _device_half(settings.result, manifest, after)
        return make_update_file(manifest.name, old.digest, manifest.digest, before, after, trained)


def _device_half(bundle: Path, manifest: Manifest, to: Path) -> None:
    to.mkdir()
    for name in (FILE_NAME, ENCODER_FILE, manifest.local_file):
        if (bundle / name).is_file():
            shutil.copyfile(bundle / name, to / name)


def _run(settings: UpdateCommandSettings) -> str:
    manifest = make_update_bundle(settings)
    data = settings.out.read_bytes()
    parts = ", ".join(_in_words(file) for file in read_update(data).files)
    return (
        f"wrote {settings.out}: {len(data):,} bytes ({parts}), and {settings.result} ({manifest.digest[:12]})\n"
        f"measure it: python -m training evaluate --bundle {settings.result} ...\n"
        f"sign it:    cloud-server bundle sign {settings.result} --update {settings.out}"
    )


def _in_words(file: UpdatedFile) -> str:
    return f"{file.name} {file.way}" + (f" {file.part_bytes:,}" if file.part_bytes else "")


COMMAND = Command("update", "a small file that turns devices' old model into a new one", UpdateCommandSettings, _run)
