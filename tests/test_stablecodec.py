from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import tiny_diffusion as tiny
import tiny_stablecodec as made
from contracts import check_any_bytes, check_batches, check_codec
from flipproof import registry
from flipproof.codec import stablecodec as codecs
from flipproof.codec.stablecodec import MAGIC, StableCodec
from flipproof.errors import ImageError, MissingExtraError, RateError, SpecError, WeightsError
from flipproof.learned import stablecodec as networks
from flipproof.learned import stablecodec_base, stablecodec_unet, stablecodec_vae
from flipproof.learned.envelope import Envelope
from flipproof.learned.stablecodec_entropy import Writer
from flipproof.learned.stablecodec_read import convert, read_tensors
from flipproof.learned.stablecodec_vae import Tiling
from flipproof.result import Status

GOLDEN = Path(__file__).parent / "golden" / "stablecodec"
ORACLE = json.loads((GOLDEN / "oracle.json").read_text())
CASES = {"whole": None, "tiled": (128, 24, 24, 8)}
RATE_WEIGHTS = (2, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of a miniature."""
    folder = tmp_path_factory.mktemp("stablecodec")
    made.base(folder / "base")
    made.weights(folder / "weights", RATE_WEIGHTS)
    return folder


@pytest.fixture(scope="module", autouse=True)
def registered():
    """The codec by its name, wherever the package was installed from."""
    entry = EntryPoint("stablecodec", "flipproof.codec.stablecodec:StableCodec", "flipproof.codecs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._entries("codecs"), "stablecodec", entry)
        yield


@pytest.fixture
def codec(folder):
    return StableCodec(weights=str(folder / "weights"), base=str(folder / "base"))


def place(folder, kind, precision="float32"):
    load = {"sender": networks.load_sender, "receiver": networks.load_receiver}[kind]
    return load(str(folder / "weights"), str(folder / "base"), 2, "cpu", precision)


# Against the authors' own code, with the same weights


@pytest.fixture(params=CASES)
def case(request, monkeypatch):
    tiles = CASES[request.param]
    if tiles is not None:
        monkeypatch.setattr(stablecodec_vae, "ENCODER_TILE", Tiling(tiles[0], 32))
        monkeypatch.setattr(stablecodec_vae, "DECODER_TILE", Tiling(tiles[1], 11))
        monkeypatch.setattr(stablecodec_unet, "TILE", tiles[2])
        monkeypatch.setattr(stablecodec_unet, "OVERLAP", tiles[3])
    return made.picture(*made.PICTURES[request.param]), ORACLE[request.param]


def test_the_sender_codes_the_integers_that_the_authors_code(folder, case, monkeypatch):
    picture, expected = case
    stages = []

    class Spy(Writer):
        def write(self, symbols, rows, tables):
            stages.append((symbols, rows))
            super().write(symbols, rows, tables)

    monkeypatch.setattr(networks, "Writer", Spy)
    place(folder, "sender").encode(picture)
    side, *code = stages
    assert side[0].tolist() == expected["side"]
    assert np.concatenate([symbols for symbols, _ in code]).tolist() == expected["symbols"]
    assert np.concatenate([rows for _, rows in code]).tolist() == expected["rows"]


def test_the_receiver_makes_the_picture_that_the_authors_make(folder, case):
    picture, expected = case
    height, width = picture.shape[:2]
    data, receiver = place(folder, "sender").encode(picture), place(folder, "receiver")
    code = receiver._entropy.decode(data, -(-height // 256), -(-width // 256))
    assert np.allclose(code[0, :, ::3, ::3].flatten()[::3], expected["code"], atol=3e-5)
    found = receiver.synthesise(code).clamp(-1, 1)[0, :, :height, :width]
    assert np.allclose(found[:, 3::19, 5::17].flatten(), expected["picture"], atol=1e-3)
    levels = receiver.decode(data, height, width)
    assert np.abs(levels - (found.permute(1, 2, 0).numpy() + 1) * 127.5).max() <= 0.501


def test_the_prompt_is_embedded_as_the_authors_embed_it(folder):
    prompt = stablecodec_base.Base(str(folder / "base"), "float32").prompt()
    assert np.allclose(prompt[0, :, ::5].flatten(), ORACLE["prompt"], atol=1e-4)


# The codec


def test_the_contract(codec, monkeypatch):
    monkeypatch.setattr(codecs, "MOST_PIXELS", 2**17)
    monkeypatch.setattr("contracts.check_batches", lambda *_: None)
    monkeypatch.setattr("contracts.check_any_bytes", lambda *_: None)
    check_codec(codec, made.picture(100, 70), least_db=3)


@pytest.mark.slow
def test_the_contract_for_any_bytes(codec, monkeypatch):
    monkeypatch.setattr(codecs, "MOST_PIXELS", 2**17)
    data = codec.encode(made.picture(100, 70))
    check_batches(codec, data)
    check_any_bytes(codec, data)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (256, 256), (257, 3)])
def test_any_size_comes_back(codec, size):
    result = codec.decode(codec.encode(made.picture(*size)))
    assert result.picture.shape == (*size, 3)


@pytest.mark.slow
def test_half_precision_comes_near(codec):
    picture = made.picture(60, 60)
    data = codec.encode(picture)
    half = codec.with_parameters(precision="bfloat16")
    distance = half.decode(data).picture.astype(int) - codec.decode(data).picture
    assert 0 < np.abs(distance).mean() < 12
    assert half.decode(half.encode(picture)).status is Status.OK


def test_a_rate_takes_the_largest_file_that_fits(codec):
    picture = made.picture(100, 70)
    size = len(codec.encode(picture))
    assert len(codec.with_rate(8.0 * (size + 1) / 7000).encode(picture)) <= size + 1
    with pytest.raises(RateError, match="the smallest file needs"):
        codec.with_rate(0.01).encode(picture)


@pytest.mark.slow
def test_the_other_model_reads_its_own_files(codec):
    other = codec.with_parameters(rate_weight=32)
    data = other.encode(made.picture(40, 40))
    assert data[8] == 32
    assert (codec.decode(data).picture == other.decode(data).picture).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "expected a header"),
        (b"FPSB" + bytes(30), "expected the magic"),
        (Envelope(4000, 4000, 2, (b"abc",)).pack(MAGIC), "4000x4000 is larger than 4194304 pixels"),
        (Envelope(1, 16383, 5, (b"abc",)).pack(MAGIC), "expected rate_weight 2, 3, 4, 6, 8, 12, 16, 24, 32, got 5"),
        (Envelope(9, 9, 4, (b"abc",)).pack(MAGIC), "the header asks for the model of rate_weight 4"),
    ],
)
def test_damaged_headers_are_reported(codec, data, reason):
    result = codec.decode_many([data])[0]
    assert result.status is Status.FAILED
    assert reason in result.error


def test_pictures_too_large_are_refused(codec):
    with pytest.raises(ImageError, match="rounded up to multiples of 256, got 2049x2048"):
        codec.encode(np.zeros((2048, 2049, 3), np.uint8))


@pytest.mark.parametrize("parameters", [{"rate_weight": 5}, {"bpp": 0}, {"precision": "int8"}])
def test_bad_parameters_are_refused(parameters):
    with pytest.raises(SpecError, match=r"stablecodec: expected"):
        StableCodec(**parameters)


def test_priorities_and_parts_are_refused(codec):
    with pytest.raises(SpecError, match="priority"):
        codec.encode(made.picture(8, 8), np.ones((8, 8)))
    with pytest.raises(SpecError, match="upto"):
        codec.decode(b"", upto=0.5)


def test_an_unknown_device_is_refused(codec):
    with pytest.raises(SpecError, match="device"):
        codec.with_parameters(device="abacus").encode(made.picture(8, 8))


# Where the weights are


def test_missing_weights_say_where_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("FLIPPROOF_CACHE", str(tmp_path))
    codec, data = StableCodec(), Envelope(9, 9, 2, (b"abc",)).pack(MAGIC)
    for action in (lambda: codec.encode(made.picture(8, 8)), lambda: codec.decode_many([data])):
        with pytest.raises(
            WeightsError, match=r"stablecodec_ft2\.pkl, found no such file; download it from https://dr"
        ):
            action()
    with pytest.raises(WeightsError, match=r"stablecodec_ft4\.pkl"):
        codec.with_parameters(rate_weight=4).decode_many([data.replace(b"\x02abc", b"\x04abc")])


def test_missing_auxiliary_weights_are_named(folder, codec, tmp_path):
    (tmp_path / "stablecodec_ft2.pkl").write_bytes((folder / "weights" / "stablecodec_ft2.pkl").read_bytes())
    with pytest.raises(WeightsError, match=r"elic_official\.pth, found no such file"):
        codec.with_parameters(weights=str(tmp_path)).encode(made.picture(8, 8))


def test_a_missing_base_is_named(codec):
    with pytest.raises(WeightsError, match="no such directory"):
        codec.with_parameters(base="/nowhere").encode(made.picture(8, 8))


def test_a_missing_library_names_its_extra(codec, monkeypatch):
    networks.load_sender.cache_clear()
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(
        MissingExtraError, match=r"diffusers is not installed; run: pip install 'flipproof\[diffusers\]'"
    ):
        codec.encode(made.picture(8, 8))


def test_the_default_base_is_pinned():
    assert stablecodec_base.DEFAULT_BASE.startswith("stabilityai/sd-turbo@")
    assert len(stablecodec_base.DEFAULT_BASE.partition("@")[2]) == 40


@pytest.mark.slow
def test_one_file_of_weights_is_enough(folder, codec):
    one = codec.with_parameters(weights=str(folder / "weights" / "stablecodec_ft32.pkl"), rate_weight=32)
    data = one.encode(made.picture(40, 40))
    assert (one.decode(data).picture == codec.decode(data).picture).all()
    with pytest.raises(WeightsError, match="expected the weights of rate_weight 2"):
        one.with_parameters(rate_weight=2).encode(made.picture(40, 40))
    other = codec.encode(made.picture(40, 40))
    assert "rate_weight 2" in one.decode_many([other])[0].error


@pytest.mark.slow
def test_converted_weights_are_the_same(folder, codec, tmp_path):
    for name in ("stablecodec_ft2.pkl", "elic_official.pth"):
        convert(folder / "weights" / name, (tmp_path / name).with_suffix(".safetensors"))
    picture = made.picture(40, 40)
    assert codec.with_parameters(weights=str(tmp_path)).encode(picture) == codec.encode(picture)


# Weights that are something else


@pytest.fixture
def converted(folder, tmp_path):
    """A safetensors file, to be damaged."""
    convert(folder / "weights" / "stablecodec_ft2.pkl", tmp_path / "stablecodec_ft2.safetensors")
    convert(folder / "weights" / "elic_official.pth", tmp_path / "elic.safetensors")
    return tmp_path


ATTENTION = "encoder.mid_block.attentions.0.to_q.lora_A.vae_skip.weight"


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        (f"state_dict_vae/{ATTENTION}", None, f"vae: expected a tensor {ATTENTION}"),
        ("state_dict_vae/extra", np.zeros(3), "vae: did not expect a tensor extra"),
        (f"state_dict_vae/{ATTENTION}", np.zeros((2, 3)), "vae: expected a LoRA of encoder.mid_block"),
        ("state_dict_codec/h_a.reduction.0.weight", None, "weights of a convolution h_a.reduction.0.weight"),
        ("state_dict_codec/g_a.pre2.bias", None, "Analysis: expected pre2.bias (8,), got none"),
        ("state_dict_codec/g_a.pre2.bias", np.zeros(5), "Analysis: expected pre2.bias (8,), got (5,)"),
        ("state_dict_codec/entropy_bottleneck._bias0", None, "expected a tensor entropy_bottleneck._bias0"),
        ("state_dict_codec/entropy_bottleneck.quantiles", np.full((16, 1, 3), [-1e9, 0, 1]), "expected quantiles"),
    ],
)
def test_weights_of_another_model_are_refused(codec, converted, name, change, reason):
    file = converted / "stablecodec_ft2.safetensors"
    tensors = load_file(file)
    tensors.pop(name, None)
    save_file(tensors | ({} if change is None else {name: change.astype(np.float32)}), file)
    with pytest.raises(WeightsError) as caught:
        codec.with_parameters(weights=str(converted)).encode(made.picture(8, 8))
    assert reason in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip archive at all"])
def test_files_that_are_no_weights_are_refused(content, tmp_path):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.pkl: unreadable"):
        read_tensors(tmp_path / "a.pkl", "")


@pytest.mark.parametrize("stored", [[torch.zeros(2)], {"a": torch.zeros(3, 4).T}, {"a": "text"}])
def test_files_with_something_else_are_refused(stored, tmp_path):
    torch.save(stored, tmp_path / "a.pkl")
    with pytest.raises(WeightsError, match="expected"):
        read_tensors(tmp_path / "a.pkl", "")


def test_parts_that_are_not_there_are_named(folder):
    with pytest.raises(WeightsError, match=r"expected tensors state_dict_text/\.\.\., found none"):
        read_tensors(folder / "weights" / "stablecodec_ft2.pkl", "state_dict_text/")


def test_tensors_are_read_as_they_were_saved(tmp_path):
    tensors = {
        "half": torch.arange(6).reshape(2, 3).half(),
        "view": torch.arange(10.0)[4:8],
        "parameter": nn.Parameter(torch.ones(2)),
        "long": torch.arange(3),
    }
    torch.save({"part": tensors}, tmp_path / "a.pkl")
    found = read_tensors(tmp_path / "a.pkl", "part/")
    assert all(np.array_equal(found[name], tensor.detach().numpy()) for name, tensor in tensors.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scheduler": tiny.scheduler(prediction_type="v_prediction")}, "expected prediction_type epsilon"),
        ({"vae": tiny.vae()}, "expected a factor of 8"),
    ],
)
def test_other_diffusion_models_are_refused(codec, folder, tmp_path, changes, reason):
    data = codec.encode(made.picture(8, 8))
    other = codec.with_parameters(base=str(made.base(tmp_path / "base", **changes)))
    with pytest.raises(WeightsError, match=reason):
        other.decode_many([data])


def test_the_codec_is_light_to_import():
    script = "import sys, flipproof.codec.stablecodec; print('torch' in sys.modules or 'diffusers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
