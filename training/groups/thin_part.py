"""A part's network as it is trained: `ThinFront` with batch normalisation, which is folded away in the end."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.groups.part_kinds import ThinFront, ThinFrontSpec

NOISE = 0.05  # of the filters that depthwise layers begin with


class TrainedThinFront(nn.Module):
    """Maps halved, normalised images to a part, in units of a reference gain and less its mean."""

    def __init__(self, spec: ThinFrontSpec) -> None:
        super().__init__()
        self.spec = spec
        kernel = spec.kernel
        self.stem = nn.Sequential(*_normed(nn.Conv2d(3, spec.stem, 3, 2, 1, bias=False)), nn.ReLU(inplace=True))
        self.s8 = nn.Sequential(_depthwise(spec.stem, kernel, 2), _pointwise(spec.stem, spec.middle))
        self.s16 = nn.Sequential(_depthwise(spec.middle, kernel, 2), _pointwise(spec.middle, spec.wide))
        self.mix = nn.Sequential(_depthwise(spec.wide, kernel, 1))
        self.out = nn.Conv2d(spec.wide, spec.channels, 1)
        for block in (self.s8, self.s16, self.mix):
            _begin(block)

    def forward(self, halved: Tensor) -> Tensor:
        """Map images (N, 3, H/2, W/2), normalised as `ThinFront` does it, to the part (N, C, H/16, W/16)."""
        return cast(Tensor, self.out(self.features(halved)))

    def features(self, halved: Tensor) -> Tensor:
        """Map the same to what the last layer sees."""
        x = self.s16(self.s8(self.stem(halved)))
        return F.relu(x + self.mix(x))

    @torch.no_grad()
    def folded(self, gain: Tensor, mean: Tensor) -> ThinFront:
        """Return the network that puts out the part itself. gain, mean: (C,), what it was trained in units of."""
        deployed = ThinFront(self.spec)
        blocks = (self.stem, self.s8, self.s16, self.mix)
        normed = [_convolutions(block) for block in blocks]
        targets = [
            [deployed.stem],
            [deployed.down8, deployed.mix8],
            [deployed.down16, deployed.mix16],
            [deployed.blur],
        ]
        for into, found in zip(targets, normed, strict=True):
            for target, (conv, norm) in zip(into, found, strict=True):
                _fold(target, conv, norm)
        assert self.out.bias is not None and deployed.out.bias is not None
        deployed.out.weight.copy_(self.out.weight / gain[:, None, None, None])
        deployed.out.bias.copy_((self.out.bias + mean) / gain)
        return deployed.eval()


def _normed(conv: nn.Conv2d) -> tuple[nn.Module, nn.Module]:
    return conv, nn.BatchNorm2d(conv.out_channels)


def _depthwise(channels: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        *_normed(nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False))
    )


def _pointwise(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(*_normed(nn.Conv2d(channels_in, channels_out, 1, bias=False)), nn.ReLU(inplace=True))


@torch.no_grad()
def _begin(block: nn.Sequential) -> None:
    """Let depthwise layers begin as smoothing and derivatives, the pointwise ones as turns: a scattering of edges."""
    for conv, _ in _convolutions(block):
        if conv.groups > 1:
            bank = filters(conv.kernel_size[0])
            conv.weight[:, 0] = bank[torch.arange(len(conv.weight)) % len(bank)]
            conv.weight += torch.randn_like(conv.weight) * NOISE / conv.kernel_size[0]
        else:
            nn.init.orthogonal_(conv.weight.view(len(conv.weight), -1))


def filters(kernel: int) -> Tensor:
    """Return four filters (4, K, K) of absolute sum 1: a Gaussian, its two first derivatives, and its Laplacian."""
    at = (torch.arange(kernel) - kernel // 2) / (kernel / 4)
    smooth = torch.exp(-at.square() / 2)
    slope = smooth * at
    bowl = torch.outer(smooth, smooth) * (at.square()[:, None] + at.square()[None] - 2)
    bank = torch.stack([torch.outer(smooth, smooth), torch.outer(smooth, slope), torch.outer(slope, smooth), bowl])
    return bank / bank.abs().sum((1, 2), keepdim=True)


def _convolutions(block: nn.Sequential) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return the convolutions of a block in their order, each with its normalisation."""
    convolutions = [one for one in block.modules() if isinstance(one, nn.Conv2d)]
    norms = [one for one in block.modules() if isinstance(one, nn.BatchNorm2d)]
    return list(zip(convolutions, norms, strict=True))


def _fold(target: nn.Conv2d, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None and target.bias is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    target.weight.copy_(conv.weight * scale[:, None, None, None])
    target.bias.copy_(norm.bias - norm.running_mean * scale)
