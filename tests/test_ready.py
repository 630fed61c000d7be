"""What codecs and metrics need, asked before anything runs; and the weights behind them."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import threading
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from conftest import photograph
from contracts import check_weights
from fake_hub import serve
from family import CHEAP, FREE, Wiener
from flipproof import registry
from flipproof.codec.htj2k import Htj2kCodec
from flipproof.codec.hyperprior import HyperpriorCodec
from flipproof.codec.illm import MsIllmCodec
from flipproof.codec.stablecodec import StableCodec
from flipproof.codec.tracks import TracksCodec
from flipproof.errors import MissingExtraError, SpecError, UnknownNameError, WeightsError
from flipproof.learned.weights import HYPERPRIOR_SHA256
from flipproof.metric import ready
from flipproof.metric.ready import higher_is_better, require_metric
from flipproof.prior import SMALL_SHA256, hub
from flipproof.protection import library
from flipproof.result import Status
from flipproof.weights.digest import file_digest, folder_digest

MODEL = (
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
)
"""The files of a model of diffusers."""
SPELLINGS = [*registry.names("codecs"), *(f"{name}+fec[bch,t=7]" for name in registry.names("codecs"))]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def model(folder: Path) -> Path:
    """Files with the names of those of a model, with nothing in them that could be read."""
    for name in MODEL:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"no model: {name}")
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Empty caches, and a hub that must not be asked."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setenv("FLIPPROOF_CACHE", str(tmp_path / "flipproof"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "_download", None)
    return tmp_path


@pytest.mark.parametrize("name", FREE)
def test_codecs_that_need_nothing_are_ready(name):
    check_weights(registry.codec(name))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_codecs_travel_to_other_processes(spelling):
    codec = registry.codec(spelling)
    again = pickle.loads(pickle.dumps(codec))
    assert (again, hash(again), str(again)) == (codec, hash(codec), str(codec))


@pytest.mark.parametrize("code", ["rs", "ldpc", "convolutional"])
def test_codes_in_use_travel_too(code):
    codec = registry.codec(f"jpeg+fec[{code}]")
    data = codec.encode(photograph(16, 16))
    assert pickle.loads(pickle.dumps(codec)).decode(data).status is Status.OK


def test_a_prior_in_memory_is_ready_and_named_by_its_fingerprint():
    CHEAP[0].require()
    assert TracksCodec(prior=Wiener(fingerprint=7)).digests() == "wiener:00000007"


def test_digests_of_the_weights_in_the_package():
    assert TracksCodec().digests() == registry.codec("ddcm+fec[bch,t=7]").digests() == f"small:{SMALL_SHA256}"
    assert HyperpriorCodec().digests() == f"hyperprior:{HYPERPRIOR_SHA256}"
    assert registry.codec("jpeg").digests() == ""


def test_weights_of_ones_own(tmp_path):
    codec = HyperpriorCodec(weights=str(tmp_path / "a"))
    for call in (codec.require, codec.digests):
        with pytest.raises(WeightsError, match=r"cannot read the weights .*a: [Nn]o such file"):
            call()
    (tmp_path / "a").write_bytes(b"one")
    codec.require()
    assert codec.digests() == f"hyperprior:{sha256(b'one')}"


def test_ms_illm_names_the_command_that_fetches_it(cache):
    for codec in (MsIllmCodec(), MsIllmCodec(bpp=0.1), registry.codec("ms-illm+fec[bch,t=7]")):
        for call in (codec.require, codec.digests):
            with pytest.raises(WeightsError, match=r"run: flipproof weights fetch ms-illm-2 .*or give the file"):
                call()
    with pytest.raises(WeightsError, match="weights fetch ms-illm-vlo1 "):
        MsIllmCodec("vlo1").require()


def test_ms_illm_with_weights_of_some_qualities(tmp_path):
    for name in ("0.035", "0.14"):
        (tmp_path / f"msillm_target_{name}bpp.ckpt").write_bytes(name.encode())
    one, three = (f"ms-illm-{quality}:{sha256(data)}" for quality, data in (("1", b"0.035"), ("3", b"0.14")))
    codec = MsIllmCodec("1", weights=str(tmp_path))
    codec.require()
    assert codec.digests() == one
    assert codec.with_rate(0.1).digests() == f"{one},{three}"
    MsIllmCodec(bpp=0.1, weights=str(tmp_path)).require()  # of quality 2, were it not for the rate
    with pytest.raises(WeightsError, match="fetch ms-illm-2 "):
        MsIllmCodec("2", weights=str(tmp_path)).require()


def test_stablecodec_asks_for_its_files_one_after_the_other(cache):
    pytest.importorskip("diffusers")
    folder = cache / "flipproof" / "weights" / "stablecodec"
    codec = StableCodec(base=str(cache / "base"))
    for missing, remedy in (
        ("stablecodec_ft2.pkl", "download it from https://drive.google.com"),
        ("elic_official.pth", "download it from https://drive.google.com"),
        ("", "no such directory: .*base"),
    ):
        for call in (codec.require, codec.with_rate(0.1).require, codec.digests):
            with pytest.raises(WeightsError, match=f"{missing}.*{remedy}"):
                call()
        if missing:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / missing).write_bytes(missing.encode())
    with pytest.raises(WeightsError, match=r"run: hf download stabilityai/sd-turbo --revision b261bac6\w{32} "):
        StableCodec().require()
    model(cache / "base")
    codec.require()
    with pytest.raises(SpecError, match="expected a device that is there"):
        codec.with_parameters(device="abacus").require()
    first, second, base = codec.digests().split(",")
    assert first == f"stablecodec_ft2:{sha256(b'stablecodec_ft2.pkl')}"
    assert second == f"elic_official:{sha256(b'elic_official.pth')}"
    assert base == f"base:{folder_digest(cache / 'base', MODEL)}"
    (folder / "stablecodec_ft32.pkl").write_bytes(b"another")
    assert codec.digests() == f"{first},{second},{base}"
    assert codec.with_rate(0.1).digests() == f"stablecodec_ft32:{sha256(b'another')},{first},{second},{base}"


def test_a_model_in_a_folder_is_not_read(cache):
    pytest.importorskip("diffusers")
    codec = TracksCodec(prior=f"diffusers:{model(cache / 'model')}")
    codec.require()
    digest = codec.digests()
    assert digest == f"diffusers:{folder_digest(cache / 'model', MODEL)}"
    (cache / "model" / "vae" / "config.json").write_text("changed")
    assert codec.digests() != digest
    (cache / "model" / "vae" / "config.json").unlink()
    for call in (codec.require, codec.digests):
        with pytest.raises(WeightsError, match=r"model: expected vae/config\.json"):
            call()


def test_a_model_of_the_hub_must_be_in_its_cache(cache):
    """A folder as the hub's client keeps it; whatever is missing, the hub is not asked."""
    pytest.importorskip("diffusers")
    codec = TracksCodec(prior="diffusers:owner/tiny")
    command = "run: hf download owner/tiny --revision main --include '[*]/[*]', or give a directory"
    for call in (codec.require, codec.digests):
        with pytest.raises(WeightsError, match=f"owner/tiny is not in the cache .*hub; {command}"):
            call()
    repository, commit = cache / "hub" / "models--owner--tiny", "c0ffee" * 6 + "c0de"
    snapshot = model(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    codec.require()
    assert codec.digests() == f"diffusers:{folder_digest(snapshot, MODEL)}"
    TracksCodec(prior=f"diffusers:owner/tiny@{commit}").require()
    (snapshot / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(WeightsError, match="hf download owner/tiny"):
        codec.require()


def test_the_default_model_is_that_of_the_environment(cache, monkeypatch):
    pytest.importorskip("diffusers")
    with pytest.raises(WeightsError, match="hf download Manojb/stable-diffusion-2-1-base --revision main"):
        TracksCodec(prior="diffusers").require()
    monkeypatch.setenv("FLIPPROOF_DIFFUSERS_MODEL", str(model(cache / "model")))
    TracksCodec(prior="diffusers").require()


@pytest.mark.slow
def test_the_command_that_the_error_names_brings_the_model(tmp_path):
    """Run as it stands, against a hub on this machine: the parts of the model come, and nothing beside them."""
    pytest.importorskip("diffusers")
    (model(tmp_path / "model") / "whole.safetensors").write_text("gigabytes")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ask = "from flipproof import registry; registry.codec('tracks[prior=diffusers:owner/tiny]').require()"
    with serve(tmp_path / "model", "owner/tiny") as server:
        home = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "home")}
        run = partial(subprocess.run, env=os.environ | home | {"PATH": path}, capture_output=True, text=True)
        command = run([sys.executable, "-c", ask], check=False).stderr.partition("run: ")[2].partition(", or")[0]
        assert not server.sent
        run(command, shell=True, check=True)
    assert sorted(server.sent) == sorted(MODEL)
    run([sys.executable, "-c", ask], check=True)


@pytest.mark.parametrize("location", ["nowhere", "owner/a--b", "a/b/c"])
def test_a_location_that_is_none(location, cache):
    with pytest.raises(WeightsError, match=r"no such directory|cannot get"):
        TracksCodec(prior=f"diffusers:{location}").require()


@pytest.mark.parametrize("spec", ["small:x", "large"])
def test_a_prior_that_there_is_not(spec):
    for call in (TracksCodec(prior=spec).require, TracksCodec(prior=spec).digests):
        with pytest.raises(UnknownNameError, match="unknown prior"):
            call()


@pytest.mark.parametrize("package", ["diffusers", "transformers", "huggingface_hub"])
def test_a_missing_library_of_a_model_is_named(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    for codec in (
        TracksCodec(prior=f"diffusers:{tmp_path}"),
        registry.codec("ddcm[prior=diffusers:owner/tiny]+fec[bch,t=7]"),
    ):
        with pytest.raises(MissingExtraError, match=rf"{package} is not installed.*flipproof\[diffusers\]"):
            codec.require()


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("bpg", "av", "bpg"), ("heic", "pillow_heif", "classical"), ("jpegxl", "imagecodecs", "classical")],
)
def test_a_missing_library_of_a_format_is_named(name, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"flipproof\[{extra}\]"):
        registry.codec(name).require()


def test_htj2k_needs_a_library_to_encode_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(MissingExtraError, match="imagecodecs is not installed"):
        Htj2kCodec().require()
    assert Htj2kCodec().decode_many([b"no file"])[0].status is Status.FAILED


@pytest.mark.parametrize("code", ["rs", "ldpc", "convolutional"])
def test_a_missing_library_of_a_code_is_named(code, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("reedsolo", "sionna")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("reedsolo", "sionna"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("flipproof.protection.ldpc._LOCAL", threading.local())
    monkeypatch.setattr("flipproof.protection.ldpc._LOCAL.graphs", {}, raising=False)
    library.load_library.cache_clear()
    with pytest.raises(MissingExtraError, match=r"flipproof\[fec\]"):
        registry.codec(f"jpeg+fec[{code}]").require()
    library.load_library.cache_clear()


def test_a_file_is_read_again_when_it_changed(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    os.utime(file, (1, 1))
    assert file_digest(file) == sha256(b"one")
    file.write_bytes(b"two")
    os.utime(file, (1, 1))
    assert file_digest(file) == sha256(b"one"), "nothing tells that it is another"
    os.utime(file, (2, 2))
    assert file_digest(file) == sha256(b"two")
    with pytest.raises(WeightsError, match="cannot read the weights"):
        file_digest(tmp_path / "none")


def test_the_digest_of_a_folder_is_of_names_and_files(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    whole = sha256(f"{sha256(b'1')} a\n{sha256(b'2')} b\n".encode())
    assert folder_digest(tmp_path, ["b", "a"]) == folder_digest(tmp_path, ["a", "b"]) == whole


# Metrics


def test_every_metric_has_a_direction():
    """Against what a worse picture does to it."""
    picture = photograph(176, 176)
    worse = np.clip(picture + np.random.default_rng(0).normal(0, 40, picture.shape), 0, 255).astype(np.uint8)
    slightly = np.clip(picture + np.random.default_rng(0).normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
    for name in registry.names("metrics"):
        try:
            require_metric(name)
        except WeightsError:
            assert not higher_is_better(name), "only distances on features need weights"
        else:
            metric = registry.metric(name)
            assert (metric(slightly, picture) > metric(worse, picture)) == higher_is_better(name)


@pytest.mark.parametrize("name", ["lpips-alex", "lpips-vgg", "dists"])
def test_metrics_without_weights_say_how_to_get_them(name, tmp_path, monkeypatch):
    monkeypatch.setenv("FLIPPROOF_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="run: flipproof weights fetch lpips"):
        require_metric(name)


def test_metrics_that_need_nothing_and_such_that_there_are_not():
    for name in ("psnr", "ms-ssim", "ssimulacra2"):
        require_metric(name)
    for ask in (require_metric, higher_is_better):
        with pytest.raises(UnknownNameError, match="unknown metric 'vmaf'; known: dists, lpips-alex"):
            ask("vmaf")


def other(image, reference):
    return 0.0


def test_metrics_of_other_packages_speak_for_themselves(monkeypatch):
    monkeypatch.setitem(registry._entries("metrics"), "other", EntryPoint("other", f"{__name__}:other", "any"))
    require_metric("other")
    with pytest.raises(SpecError, match="expected an attribute higher_is_better, true or false, of the metric other"):
        higher_is_better("other")
    monkeypatch.setattr(other, "higher_is_better", True, raising=False)
    assert higher_is_better("other")

    def refuse() -> None:
        raise WeightsError("fetch them")

    monkeypatch.setattr(other, "require", refuse, raising=False)
    with pytest.raises(WeightsError, match="fetch them"):
        require_metric("other")


def test_the_tables_name_metrics_that_there_are():
    assert {*ready._WEIGHTS} < {*ready._HIGHER_IS_BETTER} <= {*registry.names("metrics")}
