"""MS-ILLM: the same numbers as the authors' code gives, and the contract of every codec."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import torch as safetensors
from torch import Tensor

from contracts import check_any_bytes, check_codec
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.illm import MOST_PIXELS, MsIllmCodec
from flipproof.codec.jpeg import JpegCodec
from flipproof.errors import ImageError, RateError, SpecError, UnknownNameError, WeightsError
from flipproof.learned import illm_weights
from flipproof.learned.density import density_tables
from flipproof.learned.envelope import Envelope
from flipproof.learned.illm import DENSITY_LAYERS, Illm, Widths
from flipproof.learned.illm_model import IllmModel, load_model
from flipproof.result import Status
from illm_weights import BLOCKS, ENCODER, HYPER, LATENTS, made, picture

GOLDEN = Path(__file__).parent / "golden" / "illm"
NARROW = Widths(ENCODER, LATENTS, ENCODER[::-1], HYPER, BLOCKS)
RGB = picture(75, 150)


def state(widths: Widths = NARROW) -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in Illm(widths).state_dict().items()}
    return {name: torch.from_numpy(made(name, shape)) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[Any]]:
    return dict(np.load(GOLDEN / "narrow.npz"))


@pytest.fixture(scope="module")
def model() -> IllmModel:
    return IllmModel.from_tensors(state())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("illm") / "narrow.safetensors"
    safetensors.save_file(state(), path)
    return path


@pytest.fixture(scope="module")
def codec(file: Path) -> MsIllmCodec:
    return MsIllmCodec(weights=str(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three qualities, of which the higher have larger latents and so larger files."""
    folder = tmp_path_factory.mktemp("qualities")
    for name, gain in (("1", 1.0), ("3", 3.0), ("4", 9.0)):
        tensors = state()
        tensors["encoder.blocks.5.weight"] *= gain
        safetensors.save_file(tensors, folder / f"{illm_weights.find(name).stem}.safetensors")
    return folder


def torch_file(tensors: dict[str, Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def test_names_and_shapes_are_those_of_the_authors() -> None:
    expected = json.loads((GOLDEN / "shapes.json").read_text())
    with torch.device("meta"):
        network = Illm(Widths())
    got = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    rest = expected.keys() - got.keys()
    assert {name: expected[name] for name in got} == got
    assert rest == {*illm_weights.TABLES, illm_weights.SCALE_TABLE, *illm_weights.CONSTANTS}
    assert sum(parameter.numel() for parameter in network.parameters()) == 181_481_103


def test_hyper_latents_are_those_of_the_authors(model: IllmModel, golden: dict[str, NDArray[Any]]) -> None:
    shape = golden["hyper_symbols"].shape
    rows = np.repeat(np.arange(HYPER), shape[1] * shape[2])
    assert (model.hyper_tables.decode(model.compress(RGB)[0], rows).reshape(shape) == golden["hyper_symbols"]).all()


def test_means_and_scales_are_those_of_the_authors(model: IllmModel, golden: dict[str, NDArray[Any]]) -> None:
    means, scales = model.parameters(golden["hyper_symbols"].astype(np.int32))
    assert np.allclose(means, golden["means"], atol=2e-6)
    assert np.allclose(scales, golden["scales"], atol=2e-6)


def test_latents_are_those_of_the_authors(model: IllmModel, golden: dict[str, NDArray[Any]]) -> None:
    rows = golden["rows"].astype(np.int64).ravel()
    symbols = model.latent_tables.decode(model.compress(RGB)[1], rows)
    assert (symbols == golden["symbols"].ravel()).all()


def test_pictures_are_those_of_the_authors(model: IllmModel, golden: dict[str, NDArray[Any]]) -> None:
    decoded = model.decompress(model.compress(RGB), *RGB.shape[:2])
    assert np.abs(decoded - 255 * golden["picture"].transpose(1, 2, 0)).max() < 0.501


def test_streams_are_no_longer_than_those_of_the_authors(model: IllmModel, golden: dict[str, NDArray[Any]]) -> None:
    """Both coders end at whole words of four bytes."""
    for stream, size in zip(model.compress(RGB), golden["sizes"], strict=True):
        assert 0.99 * size - 8 <= len(stream) <= 1.01 * size + 4


def test_densities_are_those_of_the_authors(model: IllmModel, golden: dict[str, NDArray[Any]]) -> None:
    """But for 16-bit rounding, and the escape's share, for which CompressAI takes the last edge of the longest row."""
    assert list(model.hyper_tables.offsets) == golden["offsets"].tolist()
    for frequencies, cdf, length in zip(
        model.hyper_tables.frequencies, golden["cdfs"], golden["cdf_lengths"], strict=True
    ):
        theirs = np.diff(cdf[:length])[:-1]
        assert len(frequencies) == length - 1
        assert np.allclose(frequencies[:-1] / frequencies[:-1].sum(), theirs / theirs.sum(), atol=1e-4)


def test_tables_in_a_checkpoint_are_used(model: IllmModel, golden: dict[str, NDArray[Any]]) -> None:
    tensors = state()
    for name, key in (("_quantized_cdf", "cdfs"), ("_cdf_length", "cdf_lengths"), ("_offset", "offsets")):
        tensors[f"hyper_bottleneck.{name}"] = torch.from_numpy(golden[key])
    tensors |= {f"latent_bottleneck.{name}": torch.zeros(0, dtype=torch.int32) for name in ("_offset", "_cdf_length")}
    tensors["latent_bottleneck.scale_table"] = torch.tensor([0.5, 2.0, 8.0])
    other = IllmModel.from_tensors(tensors)
    assert other.hyper_tables.frequencies[0].sum() == 2**16
    assert len(other.latent_tables.offsets) == 3
    decoded = other.decompress(other.compress(RGB), *RGB.shape[:2])
    assert (decoded == model.decompress(model.compress(RGB), *RGB.shape[:2])).all()


def test_contract(codec: MsIllmCodec) -> None:
    check_codec(codec, RGB, least_db=3)


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (1, 200), (33, 65), (130, 2)])
def test_any_size(codec: MsIllmCodec, size: tuple[int, int]) -> None:
    assert codec.decode(codec.encode(picture(*size))).picture.shape == (*size, 3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.binary(max_size=60))
def test_any_streams_give_a_picture(codec: MsIllmCodec, first: bytes, last: bytes) -> None:
    data = Envelope(40, 70, 3, (first, last)).pack(b"FPMI")
    result = codec.decode_many([data])[0]
    assert result.status is Status.OK
    assert result.picture.shape == (40, 70, 3)


def test_batches_equal_singles(codec: MsIllmCodec) -> None:
    data = codec.encode(RGB)
    channel = BinarySymmetricChannel(1e-3)
    files = [data, *(channel.corrupt(data, np.random.default_rng(i)) for i in range(4)), codec.encode(RGB[:20, :30])]
    for one, many in zip((codec.decode_many([f])[0] for f in files), codec.decode_many(files), strict=True):
        assert one.status == many.status
        assert one.image is None or (one.image == many.image).all()


def test_a_wrong_bit_in_a_stream_leaves_a_picture(codec: MsIllmCodec) -> None:
    data = codec.encode(RGB)
    for place in range(11, len(data), 23):
        damaged = bytearray(data)
        damaged[place] ^= 16
        assert codec.decode_many([bytes(damaged)])[0].status is Status.OK


def test_huge_integers_give_a_picture(model: IllmModel) -> None:
    """Escapes can be as large as 32 bits; no network sees more than 2^15."""
    count = HYPER * 2
    first = model.hyper_tables.encode(np.full(count, 2**31 - 1, np.int32), np.repeat(np.arange(HYPER), 2))
    decoded = model.decompress((first, b"\xff" * 500), 64, 128)
    assert decoded.shape == (64, 128, 3)


def test_weights_that_are_not_finite_give_a_picture() -> None:
    tensors = state()
    tensors["decoder.blocks.4.bias"][0] = torch.nan
    tensors["hyper_synthesis_scale.4.bias"][0] = torch.nan
    decoded = IllmModel.from_tensors(tensors).decompress((b"", b""), 64, 64)
    assert (decoded[..., 0] == 128).all()


def test_files_of_others_are_refused(codec: MsIllmCodec) -> None:
    data = codec.encode(RGB)
    for other, reason in (
        (JpegCodec().encode(RGB), "expected the magic"),
        (b"", "expected a header"),
        (data[:4] + b"\xff\xff" + data[6:], "damaged header"),
        (data[:4] + b"\x3f\xff\x3f\xff" + data[8:], "pixels"),
        (data[:8] + b"\xf0" + data[9:], "level 240"),
        (data[:8] + b"\x05" + data[9:], "one of quality 4"),
    ):
        result = codec.decode_many([other])[0]
        assert result.status is Status.FAILED
        assert reason in result.error


def test_too_large_pictures_are_refused(codec: MsIllmCodec) -> None:
    with pytest.raises(ImageError, match=f"at most {MOST_PIXELS} pixels"):
        codec.encode(np.zeros((2**11, 2**11 + 1, 3), np.uint8))


def test_rate_picks_the_best_quality_that_fits(folder: Path) -> None:
    sizes = {name: len(MsIllmCodec(name, weights=str(folder)).encode(RGB)) for name in ("1", "3", "4")}
    assert sizes["1"] < sizes["3"] < sizes["4"]
    pixels = RGB.shape[0] * RGB.shape[1]
    for name, size in sizes.items():
        codec = MsIllmCodec(bpp=8 * (size + 2) / pixels, weights=str(folder))
        data = codec.encode(RGB)
        assert data == MsIllmCodec(name, weights=str(folder)).encode(RGB)
        assert codec.decode(data).status is Status.OK
    with pytest.raises(RateError, match=r"too low.*weights are here of quality 1, 3, 4"):
        MsIllmCodec(bpp=0.01, weights=str(folder)).encode(RGB)


def test_damage_to_the_level_is_about_the_file(folder: Path) -> None:
    data = MsIllmCodec("1", weights=str(folder)).encode(RGB)
    codec = MsIllmCodec("3", weights=str(folder))
    assert codec.decode(data).status is Status.OK
    result = codec.decode_many([data[:8] + b"\x03" + data[9:]])[0]
    assert result.status is Status.FAILED
    assert "of quality 1, 3, 4, whose weights are here, got one of quality 2" in result.error


def test_missing_weights_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLIPPROOF_CACHE", str(tmp_path))
    for call in (lambda: MsIllmCodec().encode(RGB), lambda: MsIllmCodec().decode_many([b"any"])):
        with pytest.raises(WeightsError, match=r"download https://.*/msillm_target_0\.07bpp\.ckpt .*weights=FILE"):
            call()
    with pytest.raises(WeightsError, match=r"not here \(expected .*none.*msillm_target_0\.9bpp"):
        MsIllmCodec(6, weights=str(tmp_path / "none")).encode(RGB)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "tensor", "reason"),
    [
        ("encoder.blocks.2.1.beta", None, r"tensor encoder\.blocks\.2\.1\.beta of shape \(1, 8, 1, 1\), got none"),
        ("encoder.blocks.0.0.weight", None, r"expected a tensor encoder\.blocks\.0\.0\.weight, got none"),
        ("encoder.blocks.0.0.weight", torch.zeros(3), r"expected a kernel of 4 axes, got \(3,\)"),
        ("hyper_analysis.2.weight", torch.zeros(8, 8, 3, 3), r"hyper_analysis\.2\.weight .*got \(8, 8, 3, 3\)"),
        ("hyper_analysis.2.bias", torch.zeros(8, dtype=torch.float16), "in float32, got torch.float16"),
        ("discriminator.weight", torch.zeros(8), "tensors of MS-ILLM only, got discriminator.weight"),
        ("hyper_bottleneck.quantiles", torch.full((8, 1, 3), torch.inf), "density: expected finite"),
        ("hyper_bottleneck._bias0", torch.full((8, 3, 1), torch.nan), "density: expected finite"),
        ("latent_bottleneck.scale_table", torch.tensor([1.0, 0.5]), "scales that ascend"),
        ("latent_bottleneck.scale_table", torch.tensor([-1.0, 0.5]), "expected scales from"),
    ],
)
def test_other_checkpoints_name_what_is_wrong(tmp_path: Path, name: str, tensor: Tensor | None, reason: str) -> None:
    tensors = state()
    tensors.pop(name, None)
    if tensor is not None:
        tensors[name] = tensor
    path = tmp_path / "wrong.safetensors"
    safetensors.save_file(tensors, path)
    with pytest.raises(WeightsError, match=reason):
        MsIllmCodec(weights=str(path)).encode(RGB)


def test_stored_tables_of_another_size_are_refused() -> None:
    tensors = state()
    tensors["hyper_bottleneck._quantized_cdf"] = torch.tensor([[0, 9, 65536]], dtype=torch.int32)
    tensors["hyper_bottleneck._cdf_length"] = torch.tensor([3], dtype=torch.int32)
    tensors["hyper_bottleneck._offset"] = torch.tensor([0], dtype=torch.int32)
    with pytest.raises(WeightsError, match="expected 8 rows"):
        IllmModel.from_tensors(tensors)


def test_files_of_pytorch_are_read_without_running_them(tmp_path: Path, codec: MsIllmCodec) -> None:
    """The layout of the published files: names before CompressAI 1.2.5, constants, tables of size zero."""
    tensors = state() | {name: torch.ones(1) for name in illm_weights.CONSTANTS}
    tensors |= {name: torch.zeros(0, dtype=torch.int32) for name in illm_weights.TABLES}
    tensors["latent_bottleneck.scale_table"] = torch.zeros(0)
    path = tmp_path / "published.ckpt"
    path.write_bytes(torch_file(tensors))
    assert MsIllmCodec(weights=str(path)).encode(RGB) == codec.encode(RGB)


def test_newer_names_of_densities_are_known(tmp_path: Path, codec: MsIllmCodec) -> None:
    newer = {"_matrix": "matrices.", "_bias": "biases.", "_factor": "factors."}
    tensors = {}
    for name, tensor in state().items():
        for old, new in newer.items():
            name = name.replace(f"hyper_bottleneck.{old}", f"hyper_bottleneck.{new}")
        tensors[name] = tensor
    assert "hyper_bottleneck.matrices.0" in tensors
    path = tmp_path / "newer.safetensors"
    safetensors.save_file(tensors, path)
    assert MsIllmCodec(weights=str(path)).encode(RGB) == codec.encode(RGB)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 and nothing", b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R."])
def test_other_files_are_no_checkpoints(tmp_path: Path, data: bytes) -> None:
    for name in ("file.ckpt", "file.safetensors"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(WeightsError, match=name):
            load_model(tmp_path / name, "cpu")


def test_fetch_keeps_safetensors_in_the_cache(
    tmp_path: Path, codec: MsIllmCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLIPPROOF_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "downloaded"
    source.write_bytes(torch_file(state()))
    quality = illm_weights.find("2")
    digest = illm_weights.fetch(quality, source)
    kept = illm_weights.locate(quality, None)
    assert kept.name == "msillm_target_0.07bpp.safetensors"
    assert digest.encode() in kept.read_bytes()[:20_000]
    assert illm_weights.here(quality, None) == [quality]
    assert MsIllmCodec().encode(RGB) == codec.encode(RGB)
    monkeypatch.setattr(illm_weights, "_ADDRESS", tmp_path.as_uri() + "/")
    with pytest.raises(WeightsError, match="could not download"):
        illm_weights.fetch(illm_weights.find("3"))
    (tmp_path / "msillm_target_0.14bpp.ckpt").write_bytes(source.read_bytes())
    assert illm_weights.fetch(illm_weights.find("3")) == digest


def test_wrong_downloads_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLIPPROOF_CACHE", str(tmp_path / "cache"))
    for number, tensors in enumerate(({"weight": torch.ones(3)}, {})):
        source = tmp_path / str(number)
        source.write_bytes(torch_file(tensors))
        with pytest.raises(WeightsError, match=r"expected a tensor encoder\.blocks\.0\.0\.weight"):
            illm_weights.fetch(illm_weights.find("2"), source)
    with pytest.raises(WeightsError, match="cannot read"):
        illm_weights.fetch(illm_weights.find("2"), tmp_path / "none")
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_addresses() -> None:
    stems = [quality.address.rpartition("/")[2] for quality in illm_weights.QUALITIES]
    assert stems[:3] == [
        "msillm_target_0.00218bpp.ckpt",
        "msillm_target_0.00438bpp.ckpt",
        "msillm_target_0.035bpp.ckpt",
    ]
    assert stems[-1] == "msillm_target_0.9bpp.ckpt"
    with pytest.raises(UnknownNameError, match="vlo1, vlo2, 1, 2"):
        illm_weights.find("7")


def test_parameters_are_checked(codec: MsIllmCodec) -> None:
    for bad in ({"quality": "7"}, {"bpp": 0}, {"device": "abacus"}):
        with pytest.raises(SpecError):
            MsIllmCodec(**bad)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="priority"):
        codec.encode(RGB, priority=np.ones(RGB.shape[:2]))
    with pytest.raises(SpecError, match="upto"):
        codec.decode_many([b""], upto=0.5)
    assert MsIllmCodec(3) == MsIllmCodec("3")  # type: ignore[arg-type]
    assert str(MsIllmCodec("vlo1")) == "ms-illm[quality=vlo1]"


def test_densities_far_apart_are_refused() -> None:
    parts = {name.removeprefix("hyper_bottleneck."): t.numpy() for name, t in state().items() if "bottleneck" in name}
    wide = parts | {"quantiles": np.array([[[-1e6, 0, 1e6]]] * HYPER, np.float32)}
    with pytest.raises(WeightsError, match="quantiles"):
        density_tables(wide, DENSITY_LAYERS)


def test_any_bytes_of_a_zip_are_a_checkpoint_or_an_error(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}q\x00.")
    path = tmp_path / "empty.ckpt"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(WeightsError, match=r"encoder\.blocks\.0\.0\.weight"):
        load_model(path, "cpu")


@pytest.mark.slow
def test_true_size(tmp_path: Path) -> None:
    """The published shapes, 726 MB of weights, about 2.5 GiB of memory."""
    path = tmp_path / "true.safetensors"
    safetensors.save_file(state(Widths()), path)
    codec = MsIllmCodec(weights=str(path))
    data = codec.encode(picture(192, 256))
    assert codec.decode(data).picture.shape == (192, 256, 3)
    check_any_bytes(codec, data)
