"""The way each bundle is computed: as the operator says, as was found before on this machine, or as is measured now."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import torch

from cloud_server.compute.tune import tune, usable_cores
from cloud_server.compute.tuning import UNMEASURED, TuneConfig, Tuning, in_words, read_tuning, write_tuning
from cloud_server.config import ServeConfig
from splitnet.environment import machine
from splitnet.errors import ConfigError
from splitnet.home import cache_folder
from splitnet.manifest import load_manifest

QUICK = TuneConfig(batch_size=4, rounds=3, max_seconds=4.0, max_images=4)  # devices wait for it
KEY_CHARS = 24

logger = logging.getLogger(__name__)


class Tunings:
    """Finds the tuning of a bundle. Measures only before frames flow: it would hold them up."""

    def __init__(self, config: ServeConfig, device: torch.device, folder: Path | None = None) -> None:
        """Take the daemon's settings and where it computes. folder: for what is found, if not the user's cache.

        Raises ConfigError if the operator's file is none.
        """
        self._config = config
        self._device = device
        self._folder = folder or cache_folder() / "tunings"
        self._given = None if config.tuning is None else read_tuning(config.tuning)
        self._first: Tuning | None = None  # of the default bundle
        self.may_measure = not config.no_tune

    def of(self, bundle: Path) -> Tuning:
        """Return how to compute a bundle. Raises BundleError, ConfigError."""
        tuning = self._given or self._kept_or_measured(bundle)
        self._first = self._first or tuning
        if (self._config.small_memory or self._config.plan) and tuning != in_torch(
            tuning
        ):  # which copies the weights into a form of its own
            tuning = in_torch(tuning)
        return replace(tuning, threads=self._config.threads) if self._config.threads else tuning

    def _kept_or_measured(self, bundle: Path) -> Tuning:
        if self._config.no_tune:
            return UNMEASURED
        path = self._path(bundle)
        try:
            return read_tuning(path)
        except ConfigError:
            return self._measured(bundle, path) if self.may_measure else self._of_the_first()

    def _of_the_first(self) -> Tuning:
        """Return what a bundle that comes while frames flow is computed by: nobody has judged its detections yet."""
        first = self._first or UNMEASURED
        return UNMEASURED if first.bfloat16 or first.half_precision else first

    def _measured(self, bundle: Path, path: Path) -> Tuning:
        start = time.monotonic()
        tuning, facts = tune(replace(QUICK, bundle=bundle, device=self._device.type, threads=self._config.threads))
        found = {"tuning": in_words(tuning), "seconds": round(time.monotonic() - start, 1)}
        logger.info("tuned", extra={"bundle": facts["bundle_name"], **found})
        self._keep(path, tuning, facts)
        return tuning

    def _keep(self, path: Path, tuning: Tuning, facts: dict[str, object]) -> None:
        partial = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tuning(partial, tuning, facts)
            partial.replace(path)
        except (OSError, ConfigError) as error:
            logger.warning("the tuning cannot be kept, and is measured again at the next start: %s", error)

    def _path(self, bundle: Path) -> Path:
        """Return where the tuning of a bundle is kept, by all that it depends on."""
        depends_on = {
            "bundle": load_manifest(bundle).digest,
            "machine": machine(),
            "cores": usable_cores(),
            "threads": self._config.threads,
            "device": self._device.type,
            "onnxruntime": _version("onnxruntime"),
        }
        key = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
        return self._folder / f"{key[:KEY_CHARS]}.json"


def in_torch(tuning: Tuning) -> Tuning:
    """Return a way that computes in PyTorch, and all modes alike: then bundles can have the same tensors."""
    if not (tuning.onnxruntime or tuning.bfloat16):
        return tuning
    return replace(tuning, onnxruntime=False, bfloat16=False, channels_last=True)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
