from __future__ import annotations

import io
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from PIL import Image
from scipy.signal import correlate2d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn import functional

from conftest import photograph
from flipproof import registry
from flipproof.errors import ImageError, SpecError, WeightsError
from flipproof.metric.dists import Dists, dists
from flipproof.metric.lpips import Lpips, lpips_alex, lpips_vgg
from flipproof.metric.ms_ssim import SMALLEST, ms_ssim, ssim
from flipproof.metric.perceptual import BATCH_PIXELS
from flipproof.metric.psnr import psnr
from flipproof.metric.trunk import ALEXNET, VGG16, Layout, Stage, Trunk, hann_pool, vgg16
from flipproof.weights.catalogue import DISTS, LPIPS_ALEX, LPIPS_VGG

POOLS = {"max": partial(functional.max_pool2d, kernel_size=2), "hann": hann_pool}
SHAPES = ((5, 3, 3, 3), (4, 5, 3, 3), (6, 4, 3, 3), (3, 6, 5, 5))


def tiny_layout(pool):
    stages = (Stage(1, stride=2, padding=0), Stage(2, padding=1, pool=pool), Stage(1, padding=2, pool=pool))
    return Layout(stages, smallest=9)


def tiny_tensors(seed=0):
    rng = np.random.default_rng(seed)
    tensors = {}
    for index, shape in enumerate(SHAPES):
        tensors[f"conv.{index}.kernel"] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        tensors[f"conv.{index}.bias"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)
    for index, channels in enumerate((5, 6, 3)):
        tensors[f"head.{index}"] = rng.random(channels).astype(np.float32)
    for name in ("alpha", "beta"):
        tensors[name] = rng.random(3 + 5 + 6 + 3).astype(np.float32)
    return tensors


def random_like_layout(layout, channels, sizes):
    """Weights for the true layouts, but with few channels."""
    rng = np.random.default_rng(0)
    count = sum(stage.convolutions for stage in layout.stages)
    tensors = {}
    for index in range(count):
        shape = (channels, 3 if index == 0 else channels, sizes[index], sizes[index])
        tensors[f"conv.{index}.kernel"] = rng.normal(size=shape).astype(np.float32)
        tensors[f"conv.{index}.bias"] = np.zeros(channels, np.float32)
    return tensors


METRICS = {
    "lpips": Lpips(tiny_layout(POOLS["max"]), tiny_tensors()),
    "dists": Dists(tiny_layout(POOLS["hann"]), tiny_tensors()),
}
each_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def noisy(picture, deviation, seed=1):
    noise = np.random.default_rng(seed).normal(0, deviation, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


# An implementation of the same mathematics that shares nothing with the package's.


def reference_convolution(x, kernel, bias, stride, padding):
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    sums = [sum(correlate2d(a, k, "valid") for a, k in zip(padded, row, strict=True)) for row in kernel]
    return np.maximum(np.stack(sums)[:, ::stride, ::stride] + bias[:, None, None], 0)


def reference_max(x):
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    return x[:, :height, :width].reshape(len(x), height // 2, 2, width // 2, 2).max(axis=(2, 4))


def reference_hann(x):
    window = np.outer(np.hanning(5)[1:-1], np.hanning(5)[1:-1])
    window /= window.sum()
    return np.stack([np.sqrt(correlate2d(a**2, window, "same")[::2, ::2] + 1e-12) for a in x])


def reference_features(x, pool):
    t = {name: values.astype(np.float64) for name, values in tiny_tensors().items()}
    first = reference_convolution(x, t["conv.0.kernel"], t["conv.0.bias"], 2, 0)
    second = reference_convolution(pool(first), t["conv.1.kernel"], t["conv.1.bias"], 1, 1)
    second = reference_convolution(second, t["conv.2.kernel"], t["conv.2.bias"], 1, 1)
    third = reference_convolution(pool(second), t["conv.3.kernel"], t["conv.3.bias"], 1, 2)
    return first, second, third


def reference_lpips(image, reference):
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x, y = (((p / 127.5 - 1 - shift) / scale).transpose(2, 0, 1) for p in (image, reference))
    total = 0.0
    pairs = zip(reference_features(x, reference_max), reference_features(y, reference_max), strict=True)
    for level, (a, b) in enumerate(pairs):
        a, b = (f / (np.linalg.norm(f, axis=0) + 1e-10) for f in (a, b))
        total += np.mean(np.tensordot(tiny_tensors()[f"head.{level}"], (a - b) ** 2, 1))
    return total


def reference_dists(image, reference):
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    channels = []
    for picture in (image / 255, reference / 255):
        normal = ((picture - mean) / deviation).transpose(2, 0, 1)
        channels.append(
            [*picture.transpose(2, 0, 1), *(f for s in reference_features(normal, reference_hann) for f in s)]
        )
    alpha, beta = tiny_tensors()["alpha"], tiny_tensors()["beta"]
    similarity = 0.0
    for a, b, x, y in zip(alpha, beta, *channels, strict=True):
        similarity += a * (2 * x.mean() * y.mean() + 1e-6) / (x.mean() ** 2 + y.mean() ** 2 + 1e-6)
        similarity += b * (2 * np.mean(x * y) - 2 * x.mean() * y.mean() + 1e-6) / (x.var() + y.var() + 1e-6)
    return 1 - similarity / (alpha.sum() + beta.sum())


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("size", [(24, 31), (17, 22), (9, 9)])
def test_a_trunk_against_scipy(pool, size):
    x = np.random.default_rng(2).normal(size=(3, *size))
    found = Trunk(tiny_layout(POOLS[pool]), tiny_tensors()).features(torch.tensor(x[None], dtype=torch.float32))
    expected = reference_features(x, {"max": reference_max, "hann": reference_hann}[pool])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours[0].numpy(), theirs, atol=1e-5)


@pytest.mark.parametrize(("name", "independent"), [("lpips", reference_lpips), ("dists", reference_dists)])
@pytest.mark.parametrize("size", [(40, 33), (21, 52)])
def test_distances_against_an_independent_computation(name, independent, size):
    picture = photograph(*size)
    for deviation in (3, 60):
        worse = noisy(picture, deviation)
        assert METRICS[name](worse, picture) == pytest.approx(independent(worse, picture), rel=1e-4, abs=1e-6)


# What any distance keeps to.

small_pictures = arrays.arrays(np.uint8, (12, 13, 3))


@each_metric
@settings(max_examples=20)
@given(one=small_pictures, other=small_pictures)
def test_distances_are_symmetric_and_vanish_for_equal_pictures(metric, one, other):
    assert metric(one, one) == pytest.approx(0, abs=1e-6)
    assert metric(one, other) >= -1e-6
    assert metric(one, other) == pytest.approx(metric(other, one), abs=1e-5)


@each_metric
def test_a_batch_is_its_pictures_one_by_one(metric):
    first, second = photograph(30, 41), photograph(26, 20, seed=5)
    pairs = [(noisy(first, s, seed=s), first) for s in (5, 20, 80)]
    pairs += [(noisy(second, 9), second), (noisy(first, 50), first.copy()), (first, first)]
    expected = [metric(*pair) for pair in pairs]
    found = metric.many(*map(list, zip(*pairs, strict=True)))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert metric.many([], []).shape == (0,)


def test_a_batch_is_cut_to_size(monkeypatch):
    metric, picture = METRICS["lpips"], photograph(30, 40)
    whole = metric.many([noisy(picture, s) for s in range(5)], [picture] * 5)
    monkeypatch.setattr("flipproof.metric.perceptual.BATCH_PIXELS", 2 * 30 * 40 + 1)
    parts = metric.many([noisy(picture, s) for s in range(5)], [picture] * 5)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    assert BATCH_PIXELS > 512 * 512


@pytest.mark.parametrize("metric", [*METRICS.values(), ms_ssim, ssim, psnr])
def test_views_of_pictures_are_pictures(metric):
    picture = photograph(164, 170)
    other = noisy(picture, 20)
    expected = metric(other[::-1].copy(), picture[::-1].copy())
    other.flags.writeable = False
    assert metric(other[::-1], picture[::-1]) == expected


@pytest.mark.parametrize("metric", [*METRICS.values(), ms_ssim, ssim, psnr])
def test_pictures_that_do_not_fit_are_refused(metric):
    picture = photograph(176, 180)
    for other in (picture[:-1], picture.astype(float), picture[:, :, 0]):
        with pytest.raises(ImageError, match="expected two uint8 pictures of one shape, got"):
            metric(other, picture)
    with pytest.raises(ImageError, match=r"expected arrays \(H, W, 3\)"):
        metric(picture[:, :, :2], picture[:, :, :2])
    with pytest.raises(ImageError, match=r"expected arrays \(H, W, 3\) with sides of at least"):
        metric(picture[:0], picture[:0])


@each_metric
def test_pairs_and_sizes_are_checked(metric):
    picture = photograph(9, 9)
    assert metric(picture, picture) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ImageError, match="sides of at least 9, got"):
        metric(picture[1:], picture[1:])
    with pytest.raises(ImageError, match="expected as many references as pictures, got 0 and 1"):
        metric.many([picture], [])


@pytest.mark.parametrize(
    ("layout", "kernels"), [(ALEXNET, (11, 5, 3, 3, 3)), (VGG16, (3,) * 13), (vgg16(hann_pool), (3,) * 13)]
)
def test_the_smallest_picture_is_the_smallest(layout, kernels):
    trunk = Trunk(layout, random_like_layout(layout, 2, kernels))
    assert trunk.channels == [2] * 5
    side = layout.smallest
    assert [f.shape[2] for f in trunk.features(torch.zeros(1, 3, side, side))][-1] == 1
    if layout.stages[1].pool is not hann_pool:
        with pytest.raises(RuntimeError, match="too small"):
            list(trunk.features(torch.zeros(1, 3, side - 1, side)))


def test_missing_tensors_are_named():
    tensors = tiny_tensors()
    del tensors["head.2"]
    with pytest.raises(WeightsError, match=r"expected a tensor head\.2, got"):
        Lpips(tiny_layout(hann_pool), tensors)


@pytest.mark.parametrize(("metric", "source"), [(lpips_alex, "lpips"), (lpips_vgg, "lpips"), (dists, "lpips")])
def test_weights_that_were_not_fetched_are_said(tmp_path, monkeypatch, metric, source):
    monkeypatch.setenv("FLIPPROOF_CACHE", str(tmp_path))
    picture = photograph(40, 40)
    with pytest.raises(WeightsError, match=f"run: flipproof weights fetch {source}"):
        metric(picture, picture)


def test_unknown_trunks_are_refused():
    with pytest.raises(SpecError, match="expected a trunk of alex, vgg, got 'squeeze'"):
        Lpips.load("squeeze")


def test_metrics_are_found_by_name():
    assert set(registry.names("metrics")) >= {"dists", "lpips-alex", "lpips-vgg", "ms-ssim", "psnr"}


# Signal and noise.


@pytest.mark.parametrize("size", [(1, 1), (47, 64), (180, 163)])
@pytest.mark.parametrize("deviation", [2, 25, 120])
def test_psnr_against_scikit_image(size, deviation):
    picture = photograph(*size)
    other = noisy(picture, deviation)
    expected = peak_signal_noise_ratio(picture, other, data_range=255)
    assert psnr(other, picture) == pytest.approx(expected, abs=1e-9)


def test_psnr_of_known_errors():
    """One sample of three that is off by 255 leaves a third of the greatest error: 10 log10(3) dB."""
    black = np.zeros((1, 1, 3), np.uint8)
    red = np.array([[[255, 0, 0]]], np.uint8)
    assert psnr(red, black) == pytest.approx(10 * np.log10(3))
    assert psnr(black, 255 - black) == 0
    assert psnr(red, red) == np.inf


# Structural similarity.


@pytest.mark.parametrize("size", [(11, 11), (47, 64), (180, 163)])
@pytest.mark.parametrize("deviation", [2, 25, 120])
def test_ssim_against_scikit_image(size, deviation):
    picture = photograph(*size)
    other = noisy(picture, deviation)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    expected = structural_similarity(other, picture, channel_axis=2, **settings)
    assert ssim(other, picture) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("size", "deviation", "expected"),
    [
        ((192, 208), 5, 0.9711081),
        ((192, 208), 40, 0.5463408),
        ((192, 208), 120, 0.2814851),
        ((176, 176), 5, 0.9725766),
        ((176, 176), 40, 0.5712140),
        ((176, 176), 120, 0.3035626),
    ],
)
def test_ms_ssim_against_stored_values(size, deviation, expected):
    """The values are those of the package pytorch-msssim 1.0.0, whose window is rounded to float32."""
    picture = photograph(*size)
    assert ms_ssim(noisy(picture, deviation), picture) == pytest.approx(expected, abs=1e-5)


def test_ms_ssim_keeps_to_its_range():
    picture = photograph(SMALLEST, SMALLEST + 2)
    assert ms_ssim(picture, picture) == pytest.approx(1, abs=1e-12)
    assert ms_ssim(noisy(picture, 30), picture) == pytest.approx(ms_ssim(picture, noisy(picture, 30)), abs=1e-12)
    assert ms_ssim(255 - picture, picture) == 0, "a negative is the opposite structure"
    quality = [ms_ssim(noisy(picture, deviation), picture) for deviation in (1, 5, 20, 80)]
    assert quality == sorted(quality, reverse=True)
    with pytest.raises(ImageError, match="sides of at least 161, got"):
        ms_ssim(picture[1:], picture[1:])


# The published metrics, on a photograph that is not in this repository.

JPEG_QUALITIES = (5, 20, 50, 90)


@pytest.fixture(scope="module")
def kodak():
    folder = os.environ.get("FLIPPROOF_KODAK")
    if not folder:
        pytest.skip("FLIPPROOF_KODAK names no folder of the Kodak pictures (01.png to 24.png)")
    if not all(stored.path.exists() for stored in (LPIPS_ALEX, LPIPS_VGG, DISTS)):
        pytest.skip("the weights were not fetched (flipproof weights fetch all)")
    with Image.open(Path(folder) / "23.png") as image:
        reference = np.asarray(image.convert("RGB"))
    pictures = []
    for quality in JPEG_QUALITIES:
        file = io.BytesIO()
        Image.fromarray(reference).save(file, "JPEG", quality=quality)
        with Image.open(file) as image:
            pictures.append(np.asarray(image.convert("RGB")))
    return pictures, [reference] * len(pictures)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (partial(Lpips.load, "alex"), (0.516, 0.194, 0.090, 0.013)),
        (partial(Lpips.load, "vgg"), (0.631, 0.413, 0.240, 0.101)),
        (Dists.load, (0.2625, 0.0664, 0.0172, 0.0031)),
    ],
    ids=["lpips-alex", "lpips-vgg", "dists"],
)
def test_published_metrics_on_kodak_23(kodak, load, expected):
    """The values were computed with the authors' own packages."""
    digits = len(str(expected[0])) - 2
    np.testing.assert_allclose(load().many(*kodak), expected, atol=0.7 * 10**-digits)
