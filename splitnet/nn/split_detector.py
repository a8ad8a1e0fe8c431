"""The two halves as they run: `DeviceHalf` makes symbols from a canvas, `ServerHalf` detections' raw form."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE, PADDING_VALUE, stretched_canvas
from splitnet.nn.blocks import place
from splitnet.nn.detector import Detector
from splitnet.nn.encoder.spec import Encoder
from splitnet.nn.macs import count_macs
from splitnet.nn.onnx_network import OnnxNetwork, onnx_model
from splitnet.quantiser import Quantiser


class DeviceHalf:
    """Encoder, gains and quantiser of every operating point, all in memory: switching loads nothing."""

    def __init__(self, encoder: Encoder, gains: Tensor) -> None:
        """Take the full-width network and gains (widths, qualities, channels) float32."""
        self.spec = encoder.spec
        self._quantiser = Quantiser(gains.detach().cpu().numpy())
        self.widths, self.qualities = self._quantiser.widths, self._quantiser.qualities
        self._networks: list[nn.Module] = [encoder.narrow(w + 1) for w in range(self.widths)]
        self._sessions: list[OnnxNetwork] = []
        self._device = torch.device("cpu")
        self.to("cpu")

    def to(self, device: str | torch.device) -> DeviceHalf:
        """Move to a device; returns itself."""
        self._device = torch.device(device)
        self._networks = [place(network, self._device) for network in self._networks]
        return self

    @property
    def gains(self) -> NDArray[np.float32]:
        """The gains (widths, qualities, channels, 1, 1)."""
        return self._quantiser.gains

    @property
    def device(self) -> str:
        """Where the networks are: "cpu" or "cuda"."""
        return self._device.type

    def use_onnxruntime(self, threads: int) -> DeviceHalf:
        """Run the networks by ONNX Runtime from now on; returns itself. ConfigError without it, or not on the CPU."""
        if self._device.type != "cpu":
            raise ConfigError(f"ONNX Runtime encodes on the CPU, not on {self._device.type}: choose one of them")
        return self.run_by(lambda network: OnnxNetwork(network, self.spec.latent_channels, threads))

    def onnx_models(self) -> list[bytes]:
        """Return each width's network as an ONNX model (`onnx_network.onnx_model`). ConfigError if it has none."""
        made = {network: onnx_model(network, self.spec.latent_channels) for network in dict.fromkeys(self._networks)}
        return [made[network] for network in self._networks]

    def run_by(self, runner: Callable[[nn.Module], OnnxNetwork]) -> DeviceHalf:
        """Run each network by what `runner` makes of it from now on; returns itself. Raises what it raises."""
        made = {network: runner(network) for network in dict.fromkeys(self._networks)}  # widths may share one
        self._sessions = [made[network] for network in self._networks]
        return self

    def encode(self, canvas: NDArray[np.uint8], width: int, quality: int) -> NDArray[np.int16]:
        """Turn a BGR canvas (H, W, 3), sides multiples of 16, into symbols (C, H/16, W/16).

        ConfigError if the bundle has no such width or quality, or the canvas no such sides.
        """
        self._quantiser.check(width, quality)
        return self.quantise(self.latent(canvas, width), width, quality)

    @torch.inference_mode()
    def latent(self, canvas: NDArray[np.uint8], width: int) -> Tensor:
        """Turn a BGR canvas (H, W, 3), sides multiples of 16, into the latent (C, H/16, W/16) of every quality."""
        self._quantiser.check(width, 0)
        _check_canvas(canvas)
        if self._sessions:
            return torch.from_numpy(self._sessions[width - 1](canvas))
        image = torch.from_numpy(canvas).to(self._device).permute(2, 0, 1)[None].float()
        return cast(Tensor, self._networks[width - 1](image)[0])

    def quantise(self, latent: Tensor, width: int, quality: int) -> NDArray[np.int16]:
        """Return the symbols (C, h, w) of a width's latent at a quality. ConfigError if the bundle has no such one."""
        return self._quantiser.quantise(latent.cpu().numpy(), width, quality)

    def quantise_near(
        self, latent: Tensor, width: int, quality: int, reference: NDArray[np.int16], hysteresis: float
    ) -> NDArray[np.int16]:
        """Return the symbols (C, h, w) of a latent, but a reference's (C, h, w) where they are about as good.

        A reference's symbol stays while the latent is within half a step and `hysteresis` of one from it: so noise
        changes nothing, and errors do not add up. ConfigError if the bundle has no such width or quality.
        """
        return self._quantiser.quantise_near(latent.cpu().numpy(), width, quality, reference, hysteresis)

    def warm_up(self, width: int, canvas_height: int, canvas_width: int) -> None:
        """Run a width once, so that the first frame is not the slow one."""
        self.encode(np.full((canvas_height, canvas_width, 3), PADDING_VALUE, np.uint8), width, 0)

    def mmacs(self, width: int, canvas_height: int, canvas_width: int) -> float:
        """Return the millions of multiply-accumulates of a width on a canvas."""
        network = self._networks[width - 1]
        image = torch.zeros(1, 3, canvas_height, canvas_width, device=self._device)
        return count_macs(network, lambda: network(image)) / 1e6


def _check_canvas(canvas: NDArray[np.uint8]) -> None:
    if canvas.ndim != 3 or canvas.shape[2] != 3 or canvas.shape[0] % LATENT_STRIDE or canvas.shape[1] % LATENT_STRIDE:
        raise ConfigError(f"a canvas is (H, W, 3) with sides multiples of {LATENT_STRIDE}, not {canvas.shape}")


class ServerHalf(nn.Module):
    """Decoder and the rest of the detector, with what undoes the gains."""

    inverse_gains: Tensor

    def __init__(self, decoder: nn.Module, detector: Detector, inverse_gains: Tensor, input_size: int) -> None:
        """Take inverse gains (widths, qualities, channels) float32 and the square's side in pixels."""
        super().__init__()
        self.decoder = decoder
        self.detector = detector
        self.register_buffer("inverse_gains", inverse_gains)
        self.cells = input_size // LATENT_STRIDE

    @torch.inference_mode()
    def dequantise(self, symbols: NDArray[np.int16], width: int, quality: int) -> Tensor:
        """Turn symbols (C, h, w) into the latent of the whole square (C, S/16, S/16) float32.

        What lies outside the canvas was never sent and is zero.
        """
        device = self.inverse_gains.device
        gains = self.inverse_gains[width - 1, quality][:, None, None]
        latent = torch.from_numpy(symbols).to(device) * gains
        below, right = (self.cells - side for side in symbols.shape[1:])
        return F.pad(latent, (0, right, 0, below))

    def forward(self, latent: Tensor) -> Tensor:
        """Map latents (N, C, S/16, S/16), as `dequantise` makes them, to raw predictions (N, A, ...)."""
        return self.detector.from_features(self.decoder(latent))


def image_input(canvas: NDArray[np.uint8], input_size: int, fills: bool = False) -> Tensor:
    """Pad a BGR canvas (H, W, 3) with grey to the square; returns (3, S, S) float32 0..255.

    fills: pad it to whole positions of the latent only, and stretch it to the square (`Architecture.fills`).
    """
    if fills:
        return torch.from_numpy(stretched_canvas(canvas, input_size)).permute(2, 0, 1).float()
    image = torch.full((3, input_size, input_size), float(PADDING_VALUE))
    image[:, : canvas.shape[0], : canvas.shape[1]] = torch.from_numpy(canvas).permute(2, 0, 1)
    return image
