"""What a user can ask for: a quality, a region that matters, a kind of picture, a precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import flipproof
from conftest import photograph
from family import CHEAP, NAMES, Wiener, opened, squared_error
from flipproof import registry
from flipproof.codec.ddcm import DDCM
from flipproof.codec.diffc import RobustDiffC
from flipproof.codec.jpeg import JpegCodec
from flipproof.codec.rcc import ChainCodec
from flipproof.codec.tracks import TracksCodec
from flipproof.codec.turbo import HybridTurboDDCM, RobustTurboDDCM, TurboDDCM
from flipproof.errors import ImageError, RateError, SpecError
from flipproof.metric.psnr import psnr
from flipproof.prior.small import SmallPrior
from flipproof.rate import encode_at_psnr
from flipproof.result import Status
from flipproof.study.dataset.bundled import load

by_codec = pytest.mark.parametrize("codec", CHEAP, ids=NAMES)
HEIGHT, WIDTH = 64, 96


@pytest.fixture(scope="module")
def picture():
    return photograph(HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def textured():
    """The middle of a real photograph."""
    return load("coffee")[120:216, 220:348]


# Quality


@pytest.mark.parametrize("target", [25.0, 29.0])
def test_tracks_reach_a_quality_and_hardly_more(target, textured):
    found = encode_at_psnr(TracksCodec(), textured, target)
    assert found.psnr == psnr(flipproof.decode(found.data).picture, textured)
    assert 0 <= found.psnr - target <= 1.2  # quality jumps where a code of other strength pays
    assert 1 <= found.trials <= 12
    assert TracksCodec(bpp=found.bpp).encode(textured) == found.data


@pytest.mark.parametrize("target", [23.0, 27.0])
def test_jpeg_reaches_a_quality_at_its_lowest_quality_that_does(target, picture):
    data = flipproof.encode(picture, "jpeg", psnr=target)
    assert psnr(JpegCodec().decode(data).picture, picture) >= target
    enough = [
        JpegCodec(q)
        for q in range(1, 96)
        if psnr(JpegCodec().decode(JpegCodec(q).encode(picture)).picture, picture) >= target
    ]
    assert len(data) <= 1.1 * len(enough[0].encode(picture))


def test_a_better_quality_takes_more_bytes(picture):
    sizes = [len(flipproof.encode(picture, "turbo-ddcm[steps=8,atoms=1024]", psnr=target)) for target in (16, 20, 24)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


@pytest.mark.parametrize("spec", ["turbo-ddcm[steps=6,atoms=64,grid=4]", "jpeg"])
def test_a_quality_out_of_reach(spec, picture):
    with pytest.raises(RateError, match="expected a codec that reaches 60 dB on this picture, got"):
        flipproof.encode(picture, spec, psnr=60)


@pytest.mark.parametrize(("protect", "gap"), [("none", 1), ("uniform[t=8]", 12), ("uep", 75)])
def test_tracks_fill_the_file_at_any_rate(protect, gap, picture):
    """Within one percent, or a byte, or the parity of a block more than fits; a last step that grows does not claim to
    know the coarser samples better.
    """
    codec = TracksCodec(prior=Wiener(), protect=protect)
    for rate in np.geomspace(0.2, 2, 50):
        data, size = codec.with_rate(float(rate)).encode(picture), int(rate * HEIGHT * WIDTH / 8)
        assert min(0.99 * size, size - gap) <= len(data) <= size
        before, last = opened(codec, data).script.steps[-2:]
        assert not last.growing or last.level.sigma >= 1.99 * before.level.sigma


@pytest.mark.parametrize("target", [0, -3, float("nan"), float("inf")])
def test_a_quality_that_is_none(target, picture):
    with pytest.raises(SpecError, match="expected a PSNR above 0 dB"):
        flipproof.encode(picture, psnr=target)


@pytest.mark.parametrize("codec", ["tracks", TracksCodec(), "jpeg"])
def test_a_rate_and_a_quality_are_too_much(codec, picture):
    with pytest.raises(SpecError, match="expected bpp or psnr, got both"):
        flipproof.encode(picture, codec, bpp=0.5, psnr=25)


# Priority


@pytest.fixture(scope="module")
def region():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[16:48, 16:64] = True
    return mask


@pytest.mark.parametrize(
    ("codec", "most"),
    [
        (TracksCodec(bpp=0.32, protect="none"), 0.85),
        (RobustTurboDDCM(bpp=0.29, steps=20, atoms=4096), 0.95),
        (DDCM(bpp=0.22, steps=20, atoms=4096, grid=4), 0.95),
        (RobustDiffC(bpp=0.29, steps=20, seed_bits=12), 0.99),
    ],
    ids=str,
)
def test_what_matters_is_closer_to_the_original(codec, most, textured):
    """At four times the weight, in about the same bytes; everything else pays for it."""
    region = np.zeros(textured.shape[:2], bool)
    region[24:64, 32:80] = True
    codec = replace(codec, precision="float32")  # of one small picture, rounding decides how much is gained
    files = codec.encode(textured), codec.encode(textured, 1 + 3 * region)
    errors = [squared_error(codec.decode(data).picture, textured) for data in files]
    assert len(files[1]) == pytest.approx(len(files[0]), rel=0.04)
    assert errors[1][region].mean() < most * errors[0][region].mean()
    assert errors[1][~region].mean() > errors[0][~region].mean()


@by_codec
def test_equal_weights_are_no_weights(codec):
    """To the byte, whatever the weight, for a picture that fills no whole blocks of any grid too."""
    picture, codec = photograph(35, 43), replace(codec, bpp=1.0)
    plain = codec.encode(picture)
    for value in (0.3, True, 1e-250, 1e250):
        assert codec.encode(picture, np.full(picture.shape[:2], value)) == plain


def test_only_ratios_of_weights_count(picture, region):
    codec = TracksCodec(bpp=0.6, prior=Wiener())
    assert codec.encode(picture, 1 + 3 * region) == codec.encode(picture, 0.25 + 0.75 * region)
    assert codec.encode(picture, (1 + 3 * region).astype(np.uint8)) == codec.encode(picture, (1 + 3 * region).tolist())


@by_codec
def test_what_does_not_matter_at_all_may_be_anything(codec, picture, region):
    """Other pixels outside of the region change nothing that is written; it consists of whole blocks of all grids."""
    other = picture.copy()
    other[~region] = 255 - other[~region]
    assert codec.encode(picture, region) == codec.encode(other, region)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (np.ones((HEIGHT, WIDTH - 1)), r"priority map of \(64, 96\), got \(64, 95\)"),
        (np.ones((HEIGHT, WIDTH, 3)), r"priority map of \(64, 96\), got \(64, 96, 3\)"),
        (4.0, r"priority map of \(64, 96\), got \(\)"),
        (np.zeros((HEIGHT, WIDTH)), "more than 0 somewhere"),
        (-np.ones((HEIGHT, WIDTH)), "0 or more"),
        (np.where(np.arange(WIDTH) == 3, np.nan, np.ones((HEIGHT, WIDTH))), "finite"),
        (np.where(np.arange(WIDTH) == 3, np.inf, np.ones((HEIGHT, WIDTH))), "finite"),
        ("bright", "priority map of numbers"),
        ([[1, 2], [3]], "priority map of numbers"),
        (np.ones((HEIGHT, WIDTH), complex), "priority map of real numbers"),
        (object(), "priority map of numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("codec", ["trellis", "tracks", "ddcm[steps=3,atoms=4,count=1]"])
def test_a_map_that_is_none(codec, weights, text, picture):
    with pytest.raises(ImageError, match=text):
        flipproof.encode(picture, codec, priority=weights)


def test_jpeg_follows_no_map(picture):
    with pytest.raises(SpecError, match="jpeg: expected priority none"):
        flipproof.encode(picture, "jpeg", priority=np.ones((HEIGHT, WIDTH)))


def test_a_quality_with_a_map(picture, region):
    found = encode_at_psnr(TracksCodec(), picture, 24, 1 + 3 * region)
    assert 0 <= psnr(flipproof.decode(found.data).picture, picture) - 24 <= 1.2  # as above
    assert TracksCodec(bpp=found.bpp).encode(picture, 1 + 3 * region) == found.data


# Reconstruction


def detail(picture):
    """Mean squared difference of each pixel to the mean of its 2x2 block."""
    values = picture.astype(float)
    blocks = values.reshape(values.shape[0] // 2, 2, values.shape[1] // 2, 2, 3).mean(axis=(1, 3))
    return ((values - blocks.repeat(2, axis=0).repeat(2, axis=1)) ** 2).mean()


@pytest.mark.parametrize(
    ("codec", "more"),
    [
        (TracksCodec(bpp=0.16, protect="none"), 1.02),
        (RobustDiffC(bpp=0.15, steps=12), 1.2),
    ],
    ids=str,
)
def test_sharp_has_more_detail_and_more_error(codec, more, textured):
    """Where the chain ended on a coarse grid, or at much noise; elsewhere there is nothing left to invent."""
    data = codec.encode(textured)
    least, sharp = (flipproof.decode(data, reconstruction=kind).picture for kind in ("mse", "sharp"))
    assert detail(sharp) > more * detail(least)
    assert -2 < psnr(sharp, textured) - psnr(least, textured) < 0


@by_codec
def test_reconstruction_is_the_decoders_choice(codec, picture):
    none, least, sharp = (replace(codec, reconstruction=kind) for kind in (None, "mse", "sharp"))
    data = codec.encode(picture)
    assert sharp.encode(picture) == least.encode(picture) == data
    same = np.array_equal(none.decode(data).picture, least.decode(data).picture)
    assert same == (not isinstance(codec, TurboDDCM))


class Counting(Wiener):
    """Remembers the noise levels that it was asked about."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def denoise(self, y, sigma):
        self.asked.append(sigma)
        return super().denoise(y, sigma)


@pytest.mark.parametrize("kind", [TurboDDCM, RobustTurboDDCM, HybridTurboDDCM])
def test_the_least_error_of_turbo_has_no_free_steps(kind, picture):
    """T = 9, N = 3: five coded steps; then the posterior mean, or three free steps and the posterior mean."""
    codec = kind(count=6, atoms=64, steps=9, free_steps=3, grid=1, prior=Counting())
    data = codec.encode(picture)
    levels = [step.level.sigma for step in opened(codec, data).script.steps]
    for reconstruction, steps in (("mse", 6), (None, 9)):
        codec.prior.asked.clear()
        codec.with_parameters(reconstruction=reconstruction).decode(data)
        assert codec.prior.asked == levels[:steps]


def test_free_steps_bring_detail_at_the_price_of_error(textured):
    codec = TurboDDCM(bpp=0.3, atoms=1024, steps=20, free_steps=10, grid=1)
    data = codec.encode(textured)
    free, least = codec.decode(data).picture, replace(codec, reconstruction="mse").decode(data).picture
    assert psnr(least, textured) > psnr(free, textured)
    assert detail(free) > detail(least)


# Parameters of the decoder


def test_parameters_of_a_decoder_that_there_are_not(picture):
    data = TracksCodec(bpp=0.6).encode(picture)
    for codec in (None, "tracks", TracksCodec()):
        with pytest.raises(SpecError, match="tracks has no parameter 'speed'; it has:"):
            flipproof.decode(data, codec, speed=3)
        with pytest.raises(SpecError, match="expected precision one of"):
            flipproof.decode(data, codec, precision="int4")
    assert flipproof.decode(data, TracksCodec(), precision="bfloat16").status is Status.OK


@pytest.mark.parametrize("name", NAMES)
def test_every_chain_codec_has_the_same_controls(name):
    kind = "rotated" if name == "trellis" else "gaussian"
    codec = registry.codec(name, prior="small", codebook=kind, reconstruction="sharp", precision="float16")
    assert isinstance(codec, ChainCodec)
    assert isinstance(codec.denoiser, SmallPrior)
    assert registry.codec(str(codec)) == codec
