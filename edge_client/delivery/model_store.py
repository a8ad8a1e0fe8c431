"""The models of a device on disk: installed whole or not at all, tried, committed, rolled back, and cleared away.

models/
  models.sqlite                 what is believed
  7-3f2a91c04b7d.torch/         a device half; never changed
  .partial/                     downloads, by the digest of what they shall be
  .new-8-90ab12cd34ef.torch/    one that is being made
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import zstandard

from edge_client.delivery.durable_files import DurableFiles, in_words
from edge_client.delivery.model_state import CURRENT, TRIAL, Model, ModelState, Outcome, Trust
from splitnet.errors import BundleError, ConfigError, SplitError, UpdateError
from splitnet.home import data_folder
from splitnet.updates.applying import apply
from splitnet.updates.artefact import BUNDLE, PLAIN, SELF_TEST_FILE, Artefact, ArtefactFile
from splitnet.updates.delivery import Phase

PARTIAL, NEW = ".partial", ".new-"
MOST_RESTARTS = 3  # during trials of one version; then it is refused
SPARE_BYTES = 8_000_000  # of a disk, that an installation leaves
_PIECE = 1 << 20


def default_models() -> Path:
    """Return the folder of a user who names none."""
    return data_folder() / "models"


class ModelStore:
    """The folder. One process at a time may change it; others may read what is current."""

    def __init__(self, folder: Path, most_bytes: int = 300_000_000, files: DurableFiles | None = None) -> None:
        """Take the folder, and how much models may take that are not needed any more. Raises ConfigError."""
        self.folder = folder
        self._most_bytes = most_bytes
        self._files = files or DurableFiles()
        self.state = ModelState(folder, self._files.step)
        self._lock: int | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot be made ({error.strerror}): give another place with --models"
            ) from error

    @property
    def current(self) -> Model | None:
        """The model that a device begins with; None before the first, or if somebody has removed it."""
        found = self.state.in_slot(CURRENT)
        return found if found is not None and found.folder.is_dir() else None

    def own(self) -> bool:
        """Take the store for this process, and clear up after one that has died; return whether that is possible.

        A model that was on trial then is not any more.
        """
        if self._lock is not None:
            return True
        lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._lock = lock
        self._recover()
        return True

    def release(self) -> None:
        """Let another process own the store."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _recover(self) -> None:
        tried = self.state.in_slot(TRIAL)
        if tried is not None:
            reason = "the device was restarted during the trial"
            target = f"{tried.version}-{tried.folder.name}"
            tries = self.state.end_trial(tried.version, Outcome(Phase.IDLE, target, reason), is_final=False)
            if tries >= MOST_RESTARTS:
                outcome = Outcome(Phase.ROLLED_BACK, target, f"{reason}, {tries} times")
                self.state.refuse(tried.version, outcome)
        known = {model.folder.name for model in self.state.models()}
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in known and path.name != PARTIAL:
                self._files.remove(path)

    def partial(self, file: ArtefactFile) -> Path:
        """Return where a download is kept until it is whole."""
        return self.folder / PARTIAL / file.stored_sha256

    def received(self, file: ArtefactFile) -> int:
        """Return how many bytes of a download are here."""
        path = self.partial(file)
        size = path.stat().st_size if path.exists() else 0
        if size > file.stored_bytes:
            self._files.remove(path)
            return 0
        return size

    def receive(self, file: ArtefactFile, data: bytes) -> None:
        """Keep further bytes of a download. Raises UpdateError if they are more than it has, OutputError."""
        if self.received(file) + len(data) > file.stored_bytes:
            self._files.remove(self.partial(file))
            raise UpdateError(f"the server sends more than the {file.stored_bytes} bytes of {file.name}")
        try:
            self._files.make_folder(self.folder / PARTIAL)
            self._files.append(self.partial(file), data)
        except OSError as error:
            raise in_words(error, self.folder) from error

    def has(self, file: ArtefactFile) -> bool:
        """Return whether a download is whole; one that is another file is thrown away. Raises UpdateError then."""
        path = self.partial(file)
        if not path.exists() or path.stat().st_size != file.stored_bytes:
            return False
        if _sha256(path) == file.stored_sha256:
            return True
        self._files.remove(path)
        raise UpdateError(f"what the server sent is not {file.name}: SHA-256 differs; it was thrown away")

    def check_room(self, artefact: Artefact) -> None:
        """Raise OutputError unless the disk has room for an artefact: downloaded, and installed."""
        needed = sum(file.stored_bytes - self.received(file) + 2 * file.bytes for file in artefact.files) + SPARE_BYTES
        if shutil.disk_usage(self.folder).free < needed:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise in_words(full, self.folder)

    def installed(self, artefact: Artefact) -> Model | None:
        """Return a model that is here already, whole, and is what an artefact gives, under the artefact's version."""
        for model in self.state.models():
            if (model.digest, model.form) == (artefact.result, artefact.form) and _is_whole(model.folder, artefact):
                found = Model(model.folder, model.digest, max(model.version, artefact.version), model.form, model.bytes)
                self.state.add(found)
                return found
        return None

    def install(
        self, steps: list[Artefact], base: Path | None, trust: Trust, found: Mapping[str, Path], version: int = 0
    ) -> Model:
        """Make a model of artefacts, one after the other, whose downloads are whole.

        base: device half that the first applies to. found: files that are here already, by SHA-256. version: that the
        model was offered as, if an older artefact gives the same. What is made is verified before it is believed.
        Raises UpdateError, BundleError, OutputError.
        """
        goal = steps[-1]
        version = max(version, goal.version)
        folder = self.folder / f"{version}-{goal.result[:12]}.{goal.form}"
        making = self.folder / f"{NEW}{folder.name}"
        try:
            self._files.remove(making)
            for number, step in enumerate(steps):
                out = making / str(number)
                self._files.make_folder(out)
                self._make(step, base, out, found)
                base = out
            self._settle(making / str(len(steps) - 1), folder, making)
        except OSError as error:
            self._files.remove(making)
            raise in_words(error, self.folder) from error
        except SplitError:
            self._files.remove(making)
            raise
        size = sum(path.stat().st_size for path in folder.iterdir())
        model = Model(folder, goal.result, version, goal.form, size)
        self.state.add(model, trust)
        for step in steps:
            for file in step.files:
                self._files.remove(self.partial(file))
        return model

    def _make(self, step: Artefact, base: Path | None, out: Path, found: Mapping[str, Path]) -> None:
        unpacked = out.with_name(f"{out.name}-files")
        self._files.make_folder(unpacked)
        contents = {}
        for file in step.files:
            contents[file.name] = unpacked / file.name
            self._unpack(file, found, contents[file.name])
        self._files.step("apply", out)
        apply(base, step, contents, out)

    def _unpack(self, file: ArtefactFile, found: Mapping[str, Path], to: Path) -> None:
        """Write a file's content, which is verified while it is written and never larger than it was said to be."""
        self._files.step("unpack", to)
        if file.sha256 in found:
            shutil.copyfile(found[file.sha256], to)
        else:
            with self.partial(file).open("rb") as stored, to.open("wb") as content:
                source = stored if file.packing == PLAIN else zstandard.ZstdDecompressor().stream_reader(stored)
                left = file.bytes + 1
                try:
                    while left > 0 and (piece := source.read(min(_PIECE, left))):
                        content.write(piece)
                        left -= len(piece)
                except zstandard.ZstdError as error:
                    raise UpdateError(f"{file.name} cannot be unpacked: sign it again") from error
        if to.stat().st_size != file.bytes or _sha256(to) != file.sha256:
            raise UpdateError(f"{file.name} is not what was signed: sign it again")

    def _settle(self, made: Path, folder: Path, making: Path) -> None:
        """Bring a whole folder to the disk under its own name."""
        for path in sorted(made.iterdir()):
            self._files.sync(path)
        self._files.sync(made)
        if folder.exists():
            self._files.remove(folder)  # of a transaction that was never made, or damaged since
        self._files.rename(made, folder)
        self._files.remove(making)

    def clear(self, keep: Path | None = None) -> None:
        """Remove the longest unused models until they take no more than they may; those in slots stay, and `keep`."""
        used = set(self.state.slots().values()) | ({keep.name} if keep is not None else set())
        models = self.state.models()
        total = sum(model.bytes for model in models)
        for model in models:
            if total <= self._most_bytes:
                break
            if model.folder.name not in used:
                self.state.forget(model)
                self._files.remove(model.folder)
                total -= model.bytes
        partial = sorted((self.folder / PARTIAL).glob("*"), key=lambda path: path.stat().st_mtime)
        while sum(path.stat().st_size for path in partial) > self._most_bytes:
            self._files.remove(partial.pop(0))


def files_of(folder: Path, artefact: Artefact) -> dict[str, Path]:
    """Return which files of an artefact a folder holds already, by SHA-256."""
    found = {}
    for file in artefact.files:
        path = folder / file.name
        try:
            facts = path.stat()
            if facts.st_size == file.bytes and _sha256_once(path, facts.st_mtime_ns, facts.st_ino) == file.sha256:
                found[file.sha256] = path
        except (OSError, BundleError):
            continue
    return found


def _is_whole(folder: Path, artefact: Artefact) -> bool:
    """Return whether a folder holds what an artefact gives, as far as its files say: of an update, the self-test."""
    found = files_of(folder, artefact)
    given = [file for file in artefact.files if artefact.kind == BUNDLE or file.name == SELF_TEST_FILE]
    return folder.is_dir() and all(file.sha256 in found for file in given)


@lru_cache(maxsize=64)
def _sha256_once(path: Path, changed: int, inode: int) -> str:
    return _sha256(path)


def _sha256(path: Path) -> str:
    sha = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                sha.update(piece)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror})") from error
    return sha.hexdigest()
