from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from conftest import photograph
from flipproof.errors import ImageError, WeightsError
from flipproof.metric.frechet import Gaussian, frechet_distance
from flipproof.metric.inception import FEATURES, Inception
from flipproof.metric.patch_fid import PatchFid, patches
from reference import inception as reference

GOLDEN = json.loads((Path(__file__).parent / "golden" / "inception.json").read_text())


@cache
def network():
    return Inception(reference.tensors(GOLDEN["kernels"]))


class Moments:
    """Features that need no network."""

    def features(self, pictures):
        flat = pictures.reshape(len(pictures), -1, 3).astype(np.float64)
        return np.concatenate([flat.mean(axis=1), flat.std(axis=1)], axis=1)


# The network.


@pytest.mark.parametrize("size", reference.SIZES, ids=str)
def test_features_are_those_of_torch_fidelity(size):
    """On generated weights of the true shapes; how the numbers were made is in reference/inception.py."""
    found = network().features(reference.pictures(*size))
    assert found.shape == (size[0], FEATURES)
    expected = GOLDEN["features"]["x".join(map(str, size))]
    np.testing.assert_allclose(found[:, reference.KEPT], expected, rtol=2e-4, atol=2e-4)


def test_pictures_that_are_none_are_refused():
    for wrong in (np.zeros((1, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 0, 8, 3), np.uint8)):
        with pytest.raises(ImageError, match=r"expected pictures \(B, H, W, 3\) of uint8, got"):
            network().features(wrong)
    assert network().features(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, FEATURES)


def test_missing_tensors_are_named():
    tensors = reference.tensors({"Conv2d_1a_3x3": (32, 3, 3, 3)})
    with pytest.raises(WeightsError, match=r"expected a tensor Conv2d_2a_3x3\.conv\.weight"):
        Inception(tensors).features(np.zeros((1, 8, 8, 3), np.uint8))
    del tensors["Conv2d_1a_3x3.bn.bias"]
    with pytest.raises(WeightsError, match=r"expected a tensor Conv2d_1a_3x3\.bn\.bias"):
        Inception(tensors)


def test_weights_that_were_not_fetched_are_said(tmp_path, monkeypatch):
    monkeypatch.setenv("FLIPPROOF_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"inception are not here .* run: flipproof weights fetch inception"):
        PatchFid.load()


# The distance.


def axes_aligned(mean, deviations):
    """Points whose sample moments are exactly these: mean plus or minus a deviation along every axis."""
    dimensions = len(deviations)
    scaled = np.diag(deviations) * np.sqrt((2 * dimensions - 1) / 2)
    return Gaussian.fit(np.concatenate([scaled, -scaled]) + mean)


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(0, 2**32))
def test_the_distance_of_gaussians_along_the_axes_has_a_closed_form(dimensions, seed):
    rng = np.random.default_rng(seed)
    means, deviations = rng.normal(size=(2, dimensions)), rng.uniform(0, 3, (2, dimensions))
    found = frechet_distance(*(axes_aligned(*moments) for moments in zip(means, deviations, strict=True)))
    expected = np.sum((means[0] - means[1]) ** 2) + np.sum((deviations[0] - deviations[1]) ** 2)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", GOLDEN["distances"])
def test_the_distance_is_that_of_torch_fidelity(name):
    """With 40 points in 64 dimensions its eigenvalues are off by the roots of rounding errors."""
    count, dimensions = map(int, name.split("x"))
    sets = [reference.points(count, dimensions, seed) for seed in (1, 2)]
    assert frechet_distance(*map(Gaussian.fit, sets)) == pytest.approx(GOLDEN["distances"][name], rel=1e-5)


def test_the_distance_is_that_of_a_square_root_of_matrices():
    x, y = (reference.points(200, 12, seed) for seed in (3, 4))
    covariances = [np.cov(points, rowvar=False) for points in (x, y)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(sum(covariances) - 2 * root)
    assert frechet_distance(Gaussian.fit(x), Gaussian.fit(y)) == pytest.approx(expected, rel=1e-9)


def test_fewer_points_than_dimensions_are_no_trouble():
    """Turned to axes of their own, sets of rank r have a distance that a small problem gives exactly."""
    rng = np.random.default_rng(5)
    basis = np.linalg.qr(rng.normal(size=(300, 4)))[0].T
    low = [rng.normal(size=(7, 4)) * scale for scale in (1, 3)]
    expected = frechet_distance(*map(Gaussian.fit, low))
    assert frechet_distance(*(Gaussian.fit(points @ basis) for points in low)) == pytest.approx(expected, rel=1e-9)
    same = Gaussian.fit(low[0] @ basis)
    assert frechet_distance(same, same) == pytest.approx(0, abs=1e-9)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 2**32))
def test_moments_of_parts_add_up(sizes, seed):
    points = np.random.default_rng(seed).normal(5, 2, (sum(sizes), 3))
    parts = [Gaussian.fit(part) for part in np.split(points, np.cumsum(sizes)[:-1])]
    total = parts[0]
    for part in parts[1:]:
        total += part
    assert total.count == len(points)
    np.testing.assert_allclose(total.mean, points.mean(axis=0), atol=1e-12)
    centred = points - points.mean(axis=0)
    np.testing.assert_allclose(total.scatter.T @ total.scatter, centred.T @ centred, atol=1e-9)
    assert len(total.scatter) <= 3 + 9 + 1


# Patches.


@pytest.mark.parametrize(
    ("size", "count"), [((64, 64), 1), ((95, 300), 4), ((96, 96), 1 + 1), ((512, 512), 64 + 49), ((512, 768), 96 + 77)]
)
def test_how_many_patches_a_picture_has(size, count):
    """As many as the code of MS-ILLM takes: a second grid only from one and a half patches on."""
    assert patches(np.zeros((*size, 3), np.uint8), 64).shape == (count, 64, 64, 3)


def test_patches_are_cut_where_they_should_be():
    picture = photograph(50, 70)
    cut = patches(picture, 20)
    assert len(cut) == 2 * 3 + 2 * 3
    np.testing.assert_array_equal(cut[4], picture[20:40, 20:40])
    np.testing.assert_array_equal(cut[6 + 5], picture[30:50, 50:70])


def test_pictures_come_one_by_one_and_in_any_size():
    fid = PatchFid(Moments(), patch=16)
    decoded, originals = [], []
    for seed, size in enumerate([(64, 80), (33, 47), (16, 16)]):
        original = photograph(*size, seed=seed)
        damaged = np.roll(original, 1, axis=2) // 2
        assert fid.update(damaged, original) == len(patches(original, 16))
        decoded.append(Moments().features(patches(damaged, 16)))
        originals.append(Moments().features(patches(original, 16)))
    expected = frechet_distance(Gaussian.fit(np.concatenate(decoded)), Gaussian.fit(np.concatenate(originals)))
    assert fid.count == sum(map(len, decoded))
    assert fid.compute() == pytest.approx(expected, rel=1e-9)


def test_more_damage_is_further_away():
    distances = []
    for deviation in (0, 5, 20, 60):
        fid = PatchFid(Moments(), patch=16)
        for seed in range(2):
            picture = photograph(48, 48, seed=seed)
            noise = np.random.default_rng(seed).normal(0, deviation, picture.shape)
            fid.update(np.clip(picture + noise, 0, 255).astype(np.uint8), picture)
        distances.append(fid.compute())
    assert distances[0] == pytest.approx(0, abs=1e-9)
    assert distances == sorted(distances)


def test_the_published_network_takes_patches():
    fid = PatchFid(network(), patch=32)
    picture = photograph(32, 64)
    assert fid.update(picture // 2, picture) == 2
    assert fid.compute() > 1


def test_what_cannot_be_compared_is_said():
    with pytest.raises(ImageError, match="expected patches of at least 2 pixels, got 1"):
        PatchFid(Moments(), patch=1)
    fid = PatchFid(Moments(), patch=16)
    with pytest.raises(ImageError, match="expected at least two patches to compare, got none"):
        fid.compute()
    with pytest.raises(ImageError, match="sides of at least 16, got"):
        fid.update(photograph(15, 40), photograph(15, 40))
    fid.update(photograph(16, 16), photograph(16, 16))
    with pytest.raises(ImageError, match="expected at least two points to compare, got 1"):
        fid.compute()
