"""How the daemon's bundles share: by the plan that the operator gave, and by sessions that ask for several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch

from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.decoded_frame import DecodedFrame
from cloud_server.compute.planned import Planned, planned
from cloud_server.compute.task_model import TaskModel
from cloud_server.compute.tensor_store import TensorStore
from cloud_server.registry import BundleModelOf, Plan
from cloud_server.tunings import Tunings
from splitnet.image_header import MAX_IMAGE_PIXELS
from splitnet.manifest import load_manifest


class BundleSharing:
    """Loads what a plan merges, and puts bundles together."""

    def __init__(
        self,
        plan: Path | None,
        device: torch.device,
        tunings: Tunings,
        store: TensorStore,
        max_image_pixels: int = MAX_IMAGE_PIXELS,
    ) -> None:
        """Take the plan's folder, if there is one, and what bundles are loaded with."""
        self._max_image_pixels = max_image_pixels
        self._plan = plan
        self._device = device
        self._tunings = tunings
        self._store = store

    def plan_for(self, served: Mapping[str, Path]) -> Planned | None:
        """Return the plan as its folder has it now. BundleError if it is broken, or for other bundles."""
        return None if self._plan is None else planned(self._plan, served)

    def load(self, folder: Path, plan: Plan) -> BundleModel:
        """Load a bundle that the plan merges."""
        assert isinstance(plan, Planned)
        digest = load_manifest(folder).digest
        tuning = self._tunings.of(folder)
        return BundleModel(
            plan.load(digest),
            self._device,
            tuning,
            store=self._store,
            max_image_pixels=self._max_image_pixels,
            plan=plan.digest,
            merge=plan.merge_of(digest),
        )

    def together(self, models: Sequence[BundleModelOf[DecodedFrame]]) -> TaskModel:
        """Return what computes several bundles on the same frames."""
        return TaskModel(cast("Sequence[BundleModel]", models))
