"""The rows of a table in layers: when each layer is expected, and what it adds. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_client.adaptation.layer_sender import WINDOW
from edge_client.adaptation.point_table import LAYER_AP, LAYER_BYTES, PointCosts
from edge_client.adaptation.prediction import Figures, Predictions
from splitnet.operating_point import Codec

LAYERS = len(LAYER_AP)
# How long before the deadline a server stops waiting for layers: so many times its usual time, and a margin.
SERVER_ALLOWANCE, SERVER_MARGIN_MS = 0.5, 4.0


class LayeredRows:
    """What layers make of each row of a table. Arrays are (layers, rows)."""

    def __init__(self, rows: Sequence[PointCosts]) -> None:
        self.can = np.array([row.point.codec is Codec.RANS and bool(row.layer_ap) for row in rows])
        known = [(row.layer_bytes, row.layer_ap) if row.layer_ap else (LAYER_BYTES, LAYER_AP) for row in rows]
        self.shares: Figures = np.array([shares for shares, _ in known]).T  # of the bytes, cumulative
        self.gains: Figures = np.diff(np.array([aps for _, aps in known]).T, axis=0, prepend=0.0)

    def totals(self, predictions: Predictions) -> Figures:
        """Return by when each layer is there, as the time that the answer takes, in milliseconds after capture.

        The first WINDOW layers go at once. A later one waits for an ack, which costs what a round trip is longer than
        the layers on their way. And for all but the first the server waits no longer than it can be sure to be in time.
        """
        own_ms = predictions.own_ms * self.shares
        waits_ms = np.zeros_like(own_ms)
        waits_ms[WINDOW:] = np.maximum(0.0, predictions.propagate_ms - (own_ms[1] - own_ms[0]))
        waits_ms[1:] += SERVER_ALLOWANCE * predictions.server_ms + SERVER_MARGIN_MS
        before_ms = predictions.total_ms - predictions.own_ms
        return np.asarray(before_ms + own_ms + waits_ms)
