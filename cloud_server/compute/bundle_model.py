"""A bundle's server half as the engine's model: payloads in, detections in pixels of the frame out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cloud_server.compute.cuda_graphs import CudaGraphModule
from cloud_server.compute.decoded_frame import DecodedFrame
from cloud_server.compute.onnx_module import OnnxModule, exported
from cloud_server.compute.tensor_store import TensorStore, held_bytes, tensors_of
from cloud_server.compute.tuning import Tuning
from splitnet.bundle import ServerBundle
from splitnet.codec.h264 import has_h264
from splitnet.codec.image_codec import decompress_image, decompress_whole_image
from splitnet.codec.references import ReferenceStore
from splitnet.detections import SCORE_THRESHOLD, Detections
from splitnet.errors import BitstreamError, ConfigError
from splitnet.image_header import MAX_IMAGE_PIXELS
from splitnet.letterbox import LATENT_STRIDE, PADDING_VALUE, Letterbox, stretched_canvas
from splitnet.messages import MAX_FRAME_SIDE, BundleDescription, Frame
from splitnet.nn.architectures import architecture_of
from splitnet.operating_point import Codec, Mode, OperatingPoint
from splitnet.sharing_plan import PlannedMerge


class BundleModel:
    """Runs a bundle. `decode` may be called on any thread, the rest on the engine's only."""

    def __init__(
        self,
        bundle: ServerBundle,
        device: torch.device,
        tuning: Tuning = Tuning(),  # noqa: B008
        exports: dict[Mode, bytes] | None = None,
        store: TensorStore | None = None,
        max_image_pixels: int = MAX_IMAGE_PIXELS,
        plan: str = "",
        merge: PlannedMerge | None = None,
    ) -> None:
        """Take a loaded bundle, the device to run on, and how.

        exports: ONNX models that were made of it before; those that are made now go there, too. store: of the tensors
        of other bundles, which are held once. plan: the digest of the sharing plan that the bundle was loaded by.
        merge: what that makes of the bundle. Raises ConfigError if this way does not exist here.
        """
        self._max_image_pixels = max_image_pixels
        self.plan, self.merge = plan, merge
        self._store = TensorStore() if store is None else store
        self._bundle = bundle
        self._device = device
        self._tuning = tuning
        self._input_size = bundle.manifest.input_size
        architecture = architecture_of(bundle.manifest.detector)
        self._fills = architecture.fills
        self._gains = bundle.half.inverse_gains
        self._modules: dict[Mode, nn.Module] = {Mode.SPLIT: bundle.half}
        if bundle.detector is not None:
            self._modules[Mode.IMAGE] = bundle.detector
        self._networks: dict[Mode, Callable[[Tensor], Tensor]] = dict(self._modules)
        self._ways = {mode: tuning.of_mode(mode) for mode in self._modules}
        here = [codec for codec in Codec if codec is not Codec.H264 or has_h264()]
        self._codecs = tuple(codec for codec in here if codec.mode in self._modules)
        exports = {} if exports is None else exports
        for mode, way in self._ways.items():
            if way.onnxruntime and device.type == "cpu":  # here: it takes a second that no batch should wait for
                self._networks[mode] = self._exported(mode, exports)

    @property
    def digest(self) -> str:
        """The bundle's digest."""
        return self._bundle.manifest.digest

    @property
    def device_digest(self) -> str:
        """The digest that its devices name (`Manifest.device_digest`)."""
        return self._bundle.manifest.device_digest

    @property
    def computed_as(self) -> str:
        """The digests of the bundle and of the plan that it is computed by, if there is one."""
        return f"{self.digest} {self.plan}".strip()

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self._bundle.manifest.name

    @property
    def description(self) -> BundleDescription:
        """What a client must know of it."""
        manifest = self._bundle.manifest
        return BundleDescription(
            input_size=self._input_size,
            stride=LATENT_STRIDE,
            class_names=manifest.class_names,
            widths=manifest.widths,
            qualities=manifest.qualities,
            score_threshold=SCORE_THRESHOLD,
            codecs=self._codecs,
        )

    @property
    def tuning(self) -> Tuning:
        """How it is computed."""
        return self._tuning

    @property
    def modes(self) -> Sequence[Mode]:
        """The modes that the bundle can serve."""
        return list(self._modules)

    @property
    def each_size_differs(self) -> bool:
        """Whether every batch size is slow the first time: on a GPU, for its kernels and graphs."""
        return self._device.type != "cpu"

    @property
    def memory_bytes(self) -> int:
        """What the weights take in memory, be they its own or those of other bundles, too."""
        return held_bytes(tensors_of(self._modules.values()))

    def prepare(self) -> None:
        """Compile the codec, and move the networks to the device in the form that was chosen."""
        if self._tuning.threads:
            torch.set_num_threads(self._tuning.threads)
        self._bundle.codec.warm_up()
        self._gains = self._gains.to(self._device)
        for mode, network in self._networks.items():
            if isinstance(network, nn.Module):
                self._networks[mode] = self._placed(network, self._ways[mode])
        for module in self._modules.values():
            self._store.share(module)

    def _exported(self, mode: Mode, exports: dict[Mode, bytes]) -> OnnxModule:
        if mode not in exports:
            exports[mode] = exported(self._modules[mode], self.input_of(mode, [self.blank(mode)]))
        return OnnxModule(exports[mode], self._tuning.threads)

    def _placed(self, module: nn.Module, way: Tuning) -> Callable[[Tensor], Tensor]:
        module.to(self._device, _dtype(way, self._device))
        if way.channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return CudaGraphModule(module) if way.cuda_graphs and self._device.type == "cuda" else module

    def decode(self, frame: Frame, references: ReferenceStore | None = None) -> DecodedFrame:
        """Undo the entropy or image coding; a whole image is fitted, too. Raises BitstreamError.

        references: earlier frames of the same session, on which features may build; they are kept there, too.
        """
        if frame.whole_image:
            return self._fitted(frame)
        letterbox = self._fit(frame)
        if frame.operating_point.mode is Mode.SPLIT:
            return DecodedFrame(self._symbols(frame, letterbox, references), frame.operating_point, letterbox)
        return DecodedFrame(self._canvas(frame, letterbox, references), frame.operating_point, letterbox)

    @torch.inference_mode()
    def raw(self, mode: Mode, batch: Sequence[DecodedFrame]) -> Tensor:
        """Return the raw predictions (N, A, ...) of frames of one mode."""
        return self._networks[mode](self.input_of(mode, batch)).float()

    @torch.inference_mode()
    def infer(
        self, mode: Mode, batch: Sequence[DecodedFrame], score_threshold: float = SCORE_THRESHOLD
    ) -> list[Detections]:
        """Return the detections of each frame of one mode."""
        return self.read(self.raw(mode, batch), batch, self._fills and mode is Mode.IMAGE, score_threshold)

    def read(
        self, raw: Tensor, batch: Sequence[DecodedFrame], fills: bool, score_threshold: float = SCORE_THRESHOLD
    ) -> list[Detections]:
        """Return what raw predictions (N, A, ...) of frames say; fills: the canvases were stretched to the square."""
        found = architecture_of(self._bundle.manifest.detector).detections(raw, self._input_size, score_threshold)
        filled = self._input_size if fills else None
        return [_to_frame(one, frame.letterbox, filled) for one, frame in zip(found, batch, strict=True)]

    @property
    def bundle(self) -> ServerBundle:
        """What is run, its networks where they are run."""
        return self._bundle

    @property
    def fills(self) -> bool:
        """Whether its images are stretched to the square."""
        return self._fills

    def input_of(self, mode: Mode, batch: Sequence[DecodedFrame]) -> Tensor:
        """Return frames of one mode as the network takes them, on the device: one transfer, of integers."""
        whole = self._latents(batch) if mode is Mode.SPLIT else self._squares(batch)
        way = self._ways[mode]
        whole = whole.to(_dtype(way, self._device))
        return whole.contiguous(memory_format=torch.channels_last) if way.channels_last else whole

    def _latents(self, batch: Sequence[DecodedFrame]) -> Tensor:
        """Undo gains and cropping: what lies outside a canvas was never sent and is zero."""
        cells = self._input_size // LATENT_STRIDE
        symbols = np.zeros((len(batch), self._bundle.manifest.latent_channels, cells, cells), np.int16)
        for one, frame in zip(symbols, batch, strict=True):
            one[:, : frame.data.shape[1], : frame.data.shape[2]] = frame.data
        widths = [frame.point.width - 1 for frame in batch]
        gains = self._gains[widths, [frame.point.quality for frame in batch]]
        return self._transfer(symbols).float() * gains[:, :, None, None]

    def _squares(self, batch: Sequence[DecodedFrame]) -> Tensor:
        """Pad canvases with grey, or stretch them."""
        size = self._input_size
        images = np.full((len(batch), size, size, 3), PADDING_VALUE, np.uint8)
        for one, frame in zip(images, batch, strict=True):
            canvas = stretched_canvas(frame.data, size) if self._fills else frame.data
            one[: canvas.shape[0], : canvas.shape[1]] = canvas
        return self._transfer(images).permute(0, 3, 1, 2).float().contiguous()

    def _transfer(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        if self._tuning.pinned_memory and self._device.type == "cuda":
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)

    def _fit(self, frame: Frame) -> Letterbox:
        """Return where the device fitted its frame."""
        point = frame.operating_point
        try:
            return self._bundle.manifest.fit(frame.frame_width, frame.frame_height, point.width)
        except ConfigError as error:
            raise BitstreamError(f"the frame says {point}, but {error}") from None

    def _symbols(self, frame: Frame, letterbox: Letterbox, references: ReferenceStore | None) -> NDArray[np.int16]:
        latent = self._bundle.codec.decode(frame.payload, references)
        symbols, sent = latent.symbols, (latent.codec, latent.width, latent.quality)
        point = frame.operating_point
        if sent != (point.codec, point.width, point.quality):
            inside = OperatingPoint(*sent)
            raise BitstreamError(f"the frame says {point}, its bitstream {inside}: send what you encoded")
        height, width = letterbox.canvas_height // LATENT_STRIDE, letterbox.canvas_width // LATENT_STRIDE
        _check_shape(frame, symbols.shape, (self._bundle.manifest.latent_channels, height, width))
        if references is not None and self._bundle.codec.changes is not None and latent.is_complete:
            references.put(latent.as_reference(frame.frame_id))
        return symbols

    def _fitted(self, frame: Frame) -> DecodedFrame:
        self._check_takes_images()
        codec = frame.operating_point.codec
        most = self._max_image_pixels
        image, width, height = decompress_whole_image(frame.payload, codec, most, MAX_FRAME_SIDE, self._input_size)
        if (frame.frame_width, frame.frame_height) not in ((0, 0), (width, height)):
            raise BitstreamError(
                f"the frame says {frame.frame_width}x{frame.frame_height}, but its image is {width}x{height} upright: "
                "leave the size out, or send the image's own"
            )
        letterbox = Letterbox.fit(width, height, self._input_size)
        return DecodedFrame(letterbox.apply(image), frame.operating_point, letterbox)

    def _check_takes_images(self) -> None:
        if self._bundle.detector is None:
            name = self._bundle.manifest.name
            raise BitstreamError(f"bundle {name} has no detector for images: use a split operating point")

    def _canvas(self, frame: Frame, letterbox: Letterbox, references: ReferenceStore | None) -> NDArray[np.uint8]:
        self._check_takes_images()
        codec, size = frame.operating_point.codec, self._input_size
        if codec is Codec.H264:
            if references is None:
                raise BitstreamError("H.264 needs a session, whose frames build on one another: send JPEG or WebP")
            canvas = references.video.decode(frame.payload, letterbox.canvas_width, letterbox.canvas_height)
        else:
            canvas = decompress_image(frame.payload, codec, size, size)
        _check_shape(frame, canvas.shape, (letterbox.canvas_height, letterbox.canvas_width, 3))
        return canvas

    def blank(self, mode: Mode) -> DecodedFrame:
        """Return a frame that shows nothing."""
        manifest = self._bundle.manifest
        size = self._input_size
        letterbox = Letterbox.fit(size, size, size)
        if mode is Mode.IMAGE:
            return DecodedFrame(np.zeros((size, size, 3), np.uint8), OperatingPoint(Codec.JPEG, 0, 0), letterbox)
        cells = size // LATENT_STRIDE
        symbols = np.zeros((manifest.latent_channels, cells, cells), np.int16)
        return DecodedFrame(symbols, OperatingPoint(Codec.RANS, 1, 0), letterbox)


def _dtype(tuning: Tuning, device: torch.device) -> torch.dtype:
    """Return what the networks compute with. The gains stay in single precision."""
    if device.type == "cuda":
        return torch.half if tuning.half_precision else torch.float
    return torch.bfloat16 if tuning.bfloat16 else torch.float


def choose_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu" or "cuda". Raises ConfigError if there is no CUDA device."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is usable here: install a CUDA build of torch, or use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _check_shape(frame: Frame, actual: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if actual != expected:
        advice = "send the image with whole_image, or check" if frame.operating_point.mode is Mode.IMAGE else "check"
        raise BitstreamError(
            f"the payload has shape {actual}, but a frame of {frame.frame_width}x{frame.frame_height} pixels "
            f"gives {expected} in this bundle: {advice} the frame's size"
        )


def _to_frame(detections: Detections, letterbox: Letterbox, filled: int | None) -> Detections:
    boxes = letterbox.boxes_to_frame(detections.boxes, filled)
    return Detections(boxes, detections.scores, detections.labels)
