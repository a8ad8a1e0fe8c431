"""Principal components: exact moments from any batches, a rotation that keeps lengths, and the way there and back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splitnet.errors import ConfigError
from splitnet.nn.encoder.projection import BackProjection, Patch, Projection
from splitnet.nn.graph import nodes_of, run_front
from tests.support.tiny_student import make_teacher, random_images
from training.cuts.components import (
    Basis,
    Moments,
    bases_of,
    canvas_of,
    canvases,
    cosine_transform,
    fill_back_projection,
    fill_projection,
    patches_of,
)

CHANNELS = 6


def rows(count: int, seed: int = 0, mean: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (mean + rng.normal(size=(count, CHANNELS)) @ rng.normal(size=(CHANNELS, CHANNELS))).astype(np.float32)


def basis(grey: float = -0.2) -> Basis:
    moments = Moments(CHANNELS)
    moments.add(rows(200, mean=1.0))
    return Basis.of(moments, np.full(CHANNELS, grey))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.sampled_from([0.0, 3.0, 1e4]))
@settings(max_examples=25)
def test_moments_do_not_depend_on_how_the_rows_are_batched(sizes, mean):
    whole = rows(sum(sizes), mean=mean)
    moments = Moments(CHANNELS)
    for part in np.split(whole, np.cumsum(sizes)[:-1]):
        moments.add(part)
    assert moments.count == len(whole)
    if len(whole):
        exact = whole.astype(np.float64)
        np.testing.assert_allclose(moments.mean, exact.mean(axis=0), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(moments.covariance, np.cov(exact.T, bias=True), rtol=1e-6, atol=1e-7)


def test_components_are_orthonormal_and_the_strongest_comes_first():
    found = basis()
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(CHANNELS), atol=1e-12)
    assert (np.diff(found.variances) <= 0).all()
    projected = (rows(200, mean=1.0) - found.mean) @ found.components.T
    np.testing.assert_allclose(projected.var(axis=0), found.variances, rtol=1e-5)


def test_as_many_components_as_hold_the_energy_are_kept():
    found = Basis(np.zeros(4), np.zeros(4), np.array([6.0, 3.0, 1.0, 0.0]), np.eye(4))
    assert [found.components_for(energy) for energy in (0.1, 0.6, 0.61, 0.9, 0.91, 1.0)] == [1, 1, 2, 2, 3, 4]
    assert [found.energy(count) for count in (1, 2, 3, 4)] == [0.6, 0.9, 1.0, 1.0]
    assert found.deviation == pytest.approx(np.sqrt(2.5))


def test_features_that_never_change_have_no_energy_to_lose():
    found = Basis(np.ones(3), np.zeros(3), np.zeros(3), np.eye(3))
    assert (found.energy(1), found.components_for(0.9), found.deviation) == (1.0, 3, 1.0)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_the_cosine_transform_is_orthonormal_and_its_first_row_constant(size):
    matrix = cosine_transform(size)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-12)
    np.testing.assert_allclose(matrix[0], size**-0.5)


def projections(found: Basis, components: int, side: int) -> tuple[Projection, BackProjection]:
    patches = patches_of({"x": found}, {"x": components}, {"x": side})
    there, back = Projection(patches), BackProjection(patches)
    fill_projection(there, {"x": found}, patches)
    fill_back_projection(back, {"x": found}, patches)
    return there, back


@pytest.mark.parametrize("side", [1, 2, 4])
def test_all_components_there_and_back_change_nothing(side):
    there, back = projections(basis(), CHANNELS, side)
    x = torch.rand(2, CHANNELS, 8, 8)
    with torch.inference_mode():
        latent = there({"x": x})
        assert latent.shape == (2, CHANNELS * side**2 + 1, 8 // side, 8 // side)
        torch.testing.assert_close(back(latent)["x"], x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [1, 2])
def test_an_error_of_the_latent_is_an_error_of_the_features(side):
    there, back = projections(basis(), CHANNELS, side)
    x = 5 + torch.rand(1, CHANNELS, 4, 4)
    with torch.inference_mode():
        latent = there({"x": x})
        noise = 0.1 * torch.randn(latent.shape)
        noise[:, -1] = 0
        error = back(latent + noise)["x"] - x
    assert float(error.norm()) == pytest.approx(float(noise.norm()), rel=1e-4)


def test_what_was_never_sent_is_grey_and_what_says_nothing_is_the_mean():
    found = basis(grey=0.3)
    for components in (1, 3):
        there, back = projections(found, components, 2)
        latent = torch.zeros(1, components * 4 + 1, 2, 2)
        latent[0, -1, 0] = 1
        with torch.inference_mode():
            features = back(latent)["x"][0]
            mean = torch.from_numpy(found.mean).float()[None, :, None, None].expand(1, -1, 2, 2)
            sent = there({"x": mean})[0, :, 0, 0]
        torch.testing.assert_close(sent, torch.tensor([0.0] * components * 4 + [1.0]), atol=1e-5, rtol=0)
        np.testing.assert_allclose(features[:, :2], np.broadcast_to(mean[0, :, :1, :1], (CHANNELS, 2, 4)), atol=1e-5)
        np.testing.assert_allclose(features[:, 2:], 0.3, atol=1e-6)


def test_fewer_components_keep_the_strongest():
    found = basis()
    x = rows(200, mean=1.0).T.reshape(1, CHANNELS, 10, 20) + 20  # above what SiLU cuts off
    shifted = Basis(found.mean + 20, found.grey, found.variances, found.components)
    errors = []
    for components in (1, 3, 5):
        there, back = projections(shifted, components, 1)
        with torch.inference_mode():
            errors.append(float(((back(there({"x": torch.from_numpy(x)}))["x"] - torch.from_numpy(x)) ** 2).mean()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] == pytest.approx(found.variances[5:].sum() / CHANNELS, rel=1e-2)


@pytest.mark.parametrize("components", [0, 7])
def test_more_components_than_there_are_channels_are_refused(components):
    with pytest.raises(ConfigError, match=f"has 6 components, not {components}"):
        patches_of({"x": basis()}, {"x": components}, {"x": 1})


def test_patches_are_as_asked_for():
    assert patches_of({"x": basis()}, {"x": 2}, {"x": 4}) == {"x": Patch(CHANNELS, 2, 4)}


@pytest.fixture(scope="module")
def image_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    for i, image in enumerate(random_images(3, 48, 64)):
        assert cv2.imwrite(str(folder / f"{i}.png"), image)
    (folder / "broken.png").write_bytes(b"no image")
    return sorted(folder.iterdir())


def test_bases_are_those_of_all_positions_of_all_readable_images(image_paths):
    nodes = nodes_of(make_teacher())
    bases = bases_of(nodes, ["dark3", "dark4"], image_paths, 64, 16)
    assert list(bases) == ["dark3", "dark4"]
    with torch.inference_mode():
        images = [canvas_of(cv2.imread(str(path)), 64, 16) for path in image_paths if path.stem != "broken"]
        features = [run_front(nodes, "dark4", image)["dark4"][0].flatten(1).T.double().numpy() for image in images]
    whole = np.concatenate(features)
    np.testing.assert_allclose(bases["dark4"].mean, whole.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bases["dark4"].variances.sum(), whole.var(axis=0).sum(), rtol=1e-5)


def test_a_canvas_is_padded_with_grey_to_whole_strides():
    frame = np.zeros((30, 64, 3), np.uint8)
    assert canvas_of(frame, 64, 16).shape == (1, 3, 32, 64)
    canvas = canvas_of(frame, 48, 32)
    assert canvas.shape == (1, 3, 32, 64)
    assert canvas[0, :, :22, :48].max() == 0
    assert (canvas[0, :, 22:] == 114).all()
    assert (canvas[0, :, :, 48:] == 114).all()


def test_without_a_readable_image_there_are_no_components(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match="none of 1 images can be read: a task needs some"):
        list(canvases([tmp_path / "a.png"], 64, 16, "a task"))
