"""Rivals that take two models as they are, and code what lies between them. Nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.updates.quantising import Quantised, Values, code_of, of_bits, of_step, sent_bytes
from benchmarks.updates.sealing import HEADER_BYTES, float16_bytes, plane_bytes
from benchmarks.updates.study import Method, Point, Study, as_matrix
from splitnet.updates.weights.counter_random import signs, words

VECTOR_BITS = 8  # of biases, where a method says nothing of them
SVD_SHARES = (0.5, 0.75, 0.9)  # of each matrix's energy
MIXED_BITS = {"8/3/2": ((2, 8), (16, 3), (10**6, 2)), "5": ((10**6, 5),)}


def whole(study: Study, _: object) -> Iterator[Point]:
    """All weights in half precision, by Zstandard."""
    weights = _halves(study)
    yield Point("fp16", HEADER_BYTES + float16_bytes([*weights.values()]), study.target.weights)


def planes(study: Study, _: object) -> Iterator[Point]:
    """Old and new weights in half precision, XORed, bytes in planes, by Zstandard."""
    new, old = _halves(study), {name: value.numpy().astype(np.float16) for name, value in study.task.base.items()}
    known = [name for name in new if name not in study.news]
    mixed = [np.bitwise_xor(new[name].view(np.uint16), old[name].view(np.uint16)).ravel() for name in known]
    fresh = [new[name].view(np.uint16).ravel() for name in study.news]
    yield Point("XOR", HEADER_BYTES + plane_bytes(np.concatenate([*mixed, *fresh])), study.target.weights)


def binary_diff(study: Study, _: object) -> Iterator[Point]:
    """The two files in half precision by bsdiff, as operators do it. Needs the `rivals` extra."""
    import bsdiff4

    new, old = _halves(study), {name: value.numpy().astype(np.float16) for name, value in study.task.base.items()}
    files = [b"".join(value.tobytes() for value in model.values()) for model in (old, new)]
    yield Point("bsdiff4", HEADER_BYTES + len(bsdiff4.diff(*files)), study.target.weights)


def dense(study: Study, bits: int) -> Iterator[Point]:
    """Differences in so many bits, a step for each tensor."""
    yield quantised_point(f"int{bits}", study, {n: of_bits(v, bits) for n, v in study.differences.items()})


def dense_one_step(study: Study, octaves: float) -> Iterator[Point]:
    """Differences by one step for all tensors: the least squared error that entropy coding can have for its bytes."""
    everything = np.concatenate([value.ravel() for value in study.differences.values()])
    step = float(np.sqrt(np.mean(everything**2))) * 2**octaves
    yield quantised_point(f"rms x {2**octaves:g}", study, {n: of_step(v, step) for n, v in study.differences.items()})


def singular_vectors(study: Study, share: float) -> Iterator[Point]:
    """The leading singular vectors of each matrix's difference; leading ones in more bits than later ones.

    The bits fall with the singular value (Ping et al., "Delta-CoMe", arXiv 2406.08903).
    """
    for words_of, scheme in MIXED_BITS.items():
        parts: dict[str, Quantised] = {}
        differences: dict[str, Values] = {}
        for name, value in study.differences.items():
            matrix = as_matrix(value)
            if min(matrix.shape) < 2 or value.ndim < 2:
                parts[name] = of_bits(value, VECTOR_BITS)
                differences[name] = parts[name].values
                continue
            left, sizes, right = np.linalg.svd(matrix, full_matrices=False)
            rank = rank_of(sizes, share)
            total = np.zeros_like(matrix)
            for number in range(rank):
                bits = next(bits for upto, bits in scheme if number < upto)
                pair = (left[:, number] * np.sqrt(sizes[number]), right[number] * np.sqrt(sizes[number]))
                columns = [of_bits(one, bits) for one in pair]
                parts |= {f"{name} {number} {side}": one for side, one in zip("ab", columns, strict=True)}
                total += np.outer(columns[0].values, columns[1].values)
            differences[name] = total.reshape(value.shape)
        size = sent_bytes({**parts, **study.news})
        yield Point(f"energy {share:g}, {words_of} bits", size, study.weights(differences))


def rank_of(sizes: Values, share: float) -> int:
    """Return the least rank that has a share of a matrix's energy, from its singular values, falling."""
    energy = np.cumsum(sizes.astype(np.float64) ** 2)
    return int(np.searchsorted(energy, share * energy[-1]) + 1) if energy[-1] > 0 else 0


def sketched(study: Study, variant: tuple[float, int]) -> Iterator[Point]:
    """Sketched updates (Konecny et al., arXiv 1610.05492): rotated at random, a random part of it, in few bits.

    Signs, rotation and choice come from a seed. What is not sent counts as zero: one device has nobody to average
    with, and the unbiased estimate of the paper is worse here.
    """
    share, bits = variant
    found: dict[str, Quantised] = {}
    differences: dict[str, Values] = {}
    for number, (name, value) in enumerate(study.differences.items()):
        flips = signs(study.seed, number, 1, 1 << max(0, int(value.size - 1).bit_length())).ravel().astype(np.float32)
        rotated = hadamard(np.pad(value.ravel(), (0, flips.size - value.size)) * flips)
        chosen = words(study.seed + 1, number << 32, flips.size).argsort()[: max(1, round(share * flips.size))]
        found[name] = _spread(rotated[chosen], bits)
        sent = np.zeros_like(rotated)
        sent[chosen] = found[name].values
        differences[name] = (hadamard(sent) * flips)[: value.size].reshape(value.shape)
    size = sent_bytes({**found, **study.news})
    yield Point(f"{share:.0%} in {bits} bits", size, study.weights(differences))


def hadamard(values: Values) -> Values:
    """Return the orthonormal Walsh-Hadamard transform of values (2**k,); it is its own inverse."""
    result, half = values.astype(np.float32), 1
    while half < result.size:
        pairs = result.reshape(-1, 2, half)
        result = np.stack((pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]), axis=1).reshape(-1)
        half *= 2
    return np.asarray(result / np.sqrt(np.float32(values.size)))


def _spread(values: Values, bits: int) -> Quantised:
    """Return rotated values, which are nearly normal, in steps that give about 2**bits levels, as far as they reach.

    A single bit is the sign, times the mean size. What lies far out is not clipped: entropy coding makes it cheap.
    """
    if bits == 1:
        return Quantised(np.where(values < 0, -1, 1).astype(np.int16), code_of(float(np.abs(values).mean())))
    return of_step(values, 4 * float(np.sqrt(np.mean(values**2))) / 2**bits)


def quantised_point(setting: str, study: Study, tensors: dict[str, Quantised]) -> Point:
    """Return the update that sends differences as quantised tensors."""
    size = sent_bytes({**tensors, **study.news})
    shaped = {name: one.values.reshape(study.differences[name].shape) for name, one in tensors.items()}
    return Point(setting, size, study.weights(shaped))


def _halves(study: Study) -> dict[str, NDArray[np.float16]]:
    return {name: value.to(torch.float16).numpy() for name, value in study.target.weights.items()}


METHODS = (
    Method("whole, fp16 and zstd", (0,), whole),
    Method("XOR of byte planes, zstd", (0,), planes),
    Method("bsdiff4", (0,), binary_diff),
    Method("dense delta", (8, 6, 5, 4, 3), dense),
    Method("dense delta, one step", (-1.0, 0.0, 1.0, 2.0, 3.0), dense_one_step),
    Method("SVD of the delta", SVD_SHARES, singular_vectors),
    Method("Konecny, sketched", ((1.0, 4), (1.0, 3), (1.0, 1), (0.25, 4)), sketched),
)
