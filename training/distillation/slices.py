"""The start of encoders with slices of the detector's own stages: statistics, and a linear transform in closed form.

A slice lacks channels, so what it puts out has another mean and deviation than the whole. A scale and a shift of every
channel put that right, one convolution after another, on some images. Then least squares with a little ridge finds the
linear transform whose latent is nearest to that of the whole front. So decoder and quantiser know it from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.nn.encoder.front import FrontEncoder
from splitnet.nn.encoder.front_ensemble import FrontEnsembleEncoder
from splitnet.nn.encoder.sliced_front import SlicedFrontEncoder
from splitnet.nn.yolox.slices import leading_weights
from training.distillation.channel_order import order_channels

RIDGE = 1e-3  # of the mean square of a feature
CROP = 192  # pixels a side of what the statistics are measured on
MIN_DEVIATION = 1e-6
Corrections = dict[str, tuple[Tensor, Tensor]]  # scale and shift (C,) of what each convolution puts out, by its name


@torch.no_grad()
def start_sliced_front(encoder: SlicedFrontEncoder, front: FrontEncoder, images: Sequence[Tensor]) -> None:
    """Begin with the weights of a whole front; images: canvases (1, 3, h, w) float32, at least one."""
    _take_whole(encoder.stages, encoder.analyses[-1], front)
    for share in range(len(encoder.spec.shares) - 1):
        found = corrections(encoder.slice(share).stages, encoder.stages, images)
        for i, name in enumerate(encoder.convolutions):
            scale, shift = found[name]
            encoder.scales[i][share, : len(scale)] = scale
            encoder.shifts[i][share, : len(shift)] = shift
        _fit_linear(encoder.analyses[share], encoder.slice(share).stages, front, images)


@torch.no_grad()
def start_front_ensemble(encoder: FrontEnsembleEncoder, front: FrontEncoder, images: Sequence[Tensor]) -> None:
    """Begin with the weights of a whole front; the second member fits what the first one at half the size lacks."""
    whole, second = encoder.first.stages, encoder.second.stages
    _take_whole(whole, encoder.first.analysis, front)
    sizes = {name: value.shape for name, value in second.state_dict().items()}
    weights = leading_weights(whole.state_dict(), sizes)
    second.load_state_dict(weights)
    for name, (scale, shift) in corrections(second, whole, images).items():
        conv = second.get_submodule(name)
        conv.load_state_dict(
            {
                "weight": weights[f"{name}.weight"] * scale[:, None, None, None],
                "bias": weights[f"{name}.bias"] * scale + shift,
            }
        )

    def lacking(image: Tensor) -> Tensor:
        target: Tensor = front(image)
        return target - encoder.coarse(image)[..., : target.shape[2], : target.shape[3]]

    _fit_linear(encoder.second.analysis, second, lacking, images)


@torch.no_grad()
def corrections(slice_: nn.Module, whole: nn.Module, images: Sequence[Tensor]) -> Corrections:
    """Return what gives the convolutions of a slice the means and deviations of the whole's leading channels.

    Each is found behind those before it, corrected. images: (1, 3, h, w) float32, whose top left is looked at.
    """
    crops = torch.cat([_crop(image) for image in images])
    wanted: Corrections = {}
    found: Corrections = {}

    def note(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _, __, output: wanted.update({name: _mean_and_deviation(output)})

    def correct(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            mean, deviation = _mean_and_deviation(output)
            scale = wanted[name][1][: len(mean)] / deviation
            shift = wanted[name][0][: len(mean)] - mean * scale
            found[name] = scale, shift
            return output * scale[:, None, None] + shift[:, None, None]

        return hook

    _run_hooked(whole, note, crops)
    _run_hooked(slice_, correct, crops)
    return found


def _run_hooked(network: nn.Module, hook_of: Callable[[str], Callable[..., Any]], images: Tensor) -> None:
    """Run images through a network, every convolution of which has a hook of its own."""
    convolutions = [(name, one) for name, one in network.named_modules() if isinstance(one, nn.Conv2d)]
    hooks = [conv.register_forward_hook(hook_of(name)) for name, conv in convolutions]
    network(images)
    for hook in hooks:
        hook.remove()


def _mean_and_deviation(output: Tensor) -> tuple[Tensor, Tensor]:
    return output.mean(dim=(0, 2, 3)), output.std(dim=(0, 2, 3)).clamp(min=MIN_DEVIATION)


def _crop(image: Tensor) -> Tensor:
    """Return the top left of an image (1, 3, h, w), repeated where it is too small."""
    height, width = (max(0, CROP - side) for side in image.shape[2:])
    return F.pad(image[..., :CROP, :CROP], (0, width, 0, height), mode="replicate")


def _take_whole(stages: nn.Sequential, analysis: nn.Module, front: FrontEncoder) -> None:
    """Give stages and linear transform a front's weights, its channels in order of importance."""
    stages.load_state_dict(front.stages.state_dict())
    order = order_channels(stages)
    linear = front.analysis.linear.state_dict()
    analysis.get_submodule("linear").load_state_dict({**linear, "weight": linear["weight"][:, order]})


def _fit_linear(
    analysis: nn.Module, stages: nn.Module, target_of: Callable[[Tensor], Tensor], images: Sequence[Tensor]
) -> None:
    """Set an analysis's linear transform to the one whose latent is nearest to a target, by least squares."""
    linear = analysis.get_submodule("linear")
    assert isinstance(linear, nn.Conv2d)
    side = linear.kernel_size[0]
    count = linear.weight[0].numel() + 1  # and a bias
    squares, products = torch.zeros(count, count), torch.zeros(count, linear.out_channels)
    for image in images:
        patches = F.unfold(stages(image), side, stride=side)[0]
        rows = torch.cat((patches, torch.ones(1, patches.shape[1])))
        squares += rows @ rows.T
        products += rows @ target_of(image)[0].flatten(1).T
    ridge = RIDGE * squares.diagonal().mean() * torch.eye(count)
    found = torch.linalg.solve(squares + ridge, products).T
    linear.load_state_dict({"weight": found[:, :-1].reshape(linear.weight.shape), "bias": found[:, -1]})
