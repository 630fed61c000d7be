from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
from diffusers import DDIMScheduler
from huggingface_hub import constants

import tiny_diffusion as tiny
from fake_hub import COMMIT, serve
from flipproof.errors import MissingExtraError, SpecError, WeightsError
from flipproof.prior import diffusers, hub
from flipproof.prior.base import Space
from flipproof.prior.diffusers import DiffusersPrior
from tiny_diffusion import randn

PREDICTIONS = ("epsilon", "v_prediction")
PRECISIONS = ("float32", "float16", "bfloat16")


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    """A pipeline of each kind, in memory and on disk."""
    folder = tmp_path_factory.mktemp("diffusion")
    made = {}
    for kind in PREDICTIONS:
        made[kind] = tiny.pipeline(folder / f"tokens-{kind}", kind), folder / kind
        made[kind][0].save_pretrained(folder / kind)
    return made


@pytest.fixture(scope="module")
def folder(pipelines):
    return pipelines["epsilon"][1]


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the model on disk, to be damaged."""
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """An empty cache, and a hub at a port that nobody listens to."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    reach(monkeypatch, 9)


def reach(monkeypatch, port):
    """Puts the hub at a port of this machine."""
    endpoint, template = f"http://127.0.0.1:{port}", "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + template)


def bare(prediction="epsilon", precision="float32", **changes):
    """A prior made from modules."""
    parts = {
        "unet": tiny.unet(),
        "vae": tiny.vae(),
        "scheduler": tiny.scheduler(prediction_type=prediction),
        "prompt": randn(1, tiny.TOKENS, tiny.WIDTH),
    } | changes
    return DiffusersPrior(*parts.values(), precision=precision)


def sigmas(scheduler):
    return ((1 - scheduler.alphas_cumprod.double()) / scheduler.alphas_cumprod.double()).sqrt()


def error(a, b):
    """The root mean square of the difference, relative to b."""
    return float((a - b).square().mean().sqrt() / b.square().mean().sqrt())


def load(location, precision="float32"):
    """Loads a model that another test may have altered."""
    diffusers._load.cache_clear()
    return DiffusersPrior.load(str(location), precision=precision)


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


# What it computes


@pytest.mark.parametrize("kind", PREDICTIONS)
@pytest.mark.parametrize("t", [0, 1, 250, 721, 999])
def test_denoising_is_what_the_scheduler_of_diffusers_predicts(pipelines, kind, t):
    pipeline, folder = pipelines[kind]
    ddim = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    x_t = randn(2, 4, 8, 6)
    with torch.inference_mode():
        prompt = pipeline.encode_prompt("", "cpu", 1, do_classifier_free_guidance=False)[0]
        output = pipeline.unet(x_t, t, encoder_hidden_states=prompt.expand(2, -1, -1)).sample
    ddim.set_timesteps(1000)
    expected = ddim.step(output, t, x_t).pred_original_sample
    y = x_t / ddim.alphas_cumprod[t].sqrt()
    assert error(DiffusersPrior.load(str(folder)).denoise(y, float(sigmas(ddim)[t])), expected) < 1e-4


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_denoising_between_timesteps(kind):
    """Against the formulas with the bare network, at the geometric mean of two noise levels."""
    prior, levels, y = bare(kind), sigmas(tiny.scheduler()), randn(1, 4, 8, 8)
    sigma = (levels[400] * levels[401]).sqrt()
    keep = 1 / (1 + sigma**2)
    with torch.inference_mode():
        output = tiny.unet()(keep.sqrt().float() * y, 400.5, randn(1, tiny.TOKENS, tiny.WIDTH)).sample
    clean = y - sigma * output if kind == "epsilon" else keep * y - (1 - keep).sqrt() * output
    assert error(prior.denoise(y, float(sigma)), clean) < 1e-5


def test_timesteps_are_exact_at_their_noise_levels():
    prior, scheduler = bare(), tiny.scheduler()
    found = [prior.timestep(float(sigma)) for sigma in sigmas(scheduler).float()]
    assert np.abs(np.array(found) - np.arange(1000)).max() < 1e-3


def test_noise_levels_beyond_the_schedule_take_its_ends():
    prior = bare()
    assert (prior.timestep(1e-9), prior.timestep(1e9)) == (0, 999)


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_a_schedule_that_ends_in_pure_noise_stays_finite(kind):
    prior = bare(scheduler=tiny.scheduler(prediction_type=kind, rescale_betas_zero_snr=True))
    for sigma in (1e-3, 1.0, 100.0, 3000.0, 1e5):
        assert prior.denoise(sigma * randn(1, 4, 4, 4), sigma).isfinite().all()
    assert prior.timestep(1e9) == 998


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_a_noise_level_that_is_none(sigma):
    with pytest.raises(SpecError, match="expected a noise level above 0"):
        bare().denoise(randn(1, 4, 4, 4), sigma)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 3), (9, 16)])
def test_latents_of_any_size(size):
    y = randn(2, 4, *size)
    x = bare().denoise(y, 0.5)
    assert x.shape == y.shape
    assert x.isfinite().all()


@pytest.mark.parametrize("shift", [None, 0.1])
def test_the_autoencoder_is_applied_with_its_scale(shift):
    """Pictures above the 32 pixels of the tiny autoencoder's own tiles are not tiled."""
    prior, vae, pictures = bare(vae=tiny.vae(shift_factor=shift)), tiny.vae(), randn(1, 3, 40, 64).clamp(-1, 1)
    with torch.inference_mode():
        latents = (vae.encode(pictures).latent_dist.mode() - (shift or 0)) * 0.25
        decoded = vae.decode(latents / 0.25 + (shift or 0)).sample.clamp(-1, 1)
    assert prior.space == Space(channels=4, factor=4, deviation=1.0)
    assert latents.shape == (1, 4, 10, 16)
    assert torch.allclose(prior.encode(pictures), latents, atol=1e-5)
    assert torch.allclose(prior.decode(latents), decoded, atol=1e-5)


def test_pictures_are_clamped():
    assert bare().decode(100 * randn(1, 4, 3, 5)).abs().max() == 1


def test_large_pictures_pass_in_tiles(monkeypatch):
    monkeypatch.setattr(diffusers, "TILE", 16)
    prior = bare()
    latents = prior.encode(randn(1, 3, 36, 20))
    assert latents.shape == (1, 4, 9, 5)
    assert prior.decode(latents).shape == (1, 3, 36, 20)


def test_pictures_that_do_not_fit_the_factor():
    with pytest.raises(SpecError, match="multiples of 4, got 10x8"):
        bare().encode(randn(1, 3, 8, 10))


def test_batches_change_nothing(monkeypatch):
    prior, y, pictures = bare(), randn(3, 4, 5, 6), randn(3, 3, 8, 12)
    whole = prior.denoise(y, 0.7), prior.encode(pictures), prior.decode(y)
    monkeypatch.setattr(diffusers, "BATCH_LATENTS", 1)
    monkeypatch.setattr(diffusers, "BATCH_PIXELS", 1)
    parts = prior.denoise(y, 0.7), prior.encode(pictures), prior.decode(y)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize("kind", PREDICTIONS)
@pytest.mark.parametrize(("precision", "most"), [("float16", 0.01), ("bfloat16", 0.06)])
def test_half_precisions_agree_with_float32(kind, precision, most):
    exact, rounded = bare(kind), bare(kind, precision)
    assert next(rounded._unet.parameters()).dtype == getattr(torch, precision)
    y, pictures = randn(1, 4, 5, 8), randn(1, 3, 20, 32)
    for ours, theirs in (
        (rounded.denoise(y, 0.7), exact.denoise(y, 0.7)),
        (rounded.encode(pictures), exact.encode(pictures)),
        (rounded.decode(y), exact.decode(y)),
    ):
        assert ours.dtype == torch.float32
        assert error(ours, theirs) < most


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_the_prompt_is_what_the_pipeline_makes_of_the_empty_one(pipelines, kind):
    pipeline, folder = pipelines[kind]
    with torch.inference_mode():
        expected = pipeline.encode_prompt("", "cpu", 1, do_classifier_free_guidance=False)[0]
    assert torch.allclose(DiffusersPrior.load(str(folder))._prompt, expected, atol=1e-6)


# The fingerprint


def test_the_fingerprint_does_not_depend_on_precision_or_file_variant(pipelines, tmp_path):
    folder = pipelines["epsilon"][1]
    known = load(folder).fingerprint
    assert [load(folder, precision).fingerprint for precision in PRECISIONS] == [known] * 3
    for part in ("unet", "vae", "text_encoder"):
        for file in shutil.copytree(folder / part, tmp_path / "half" / part).glob("*.safetensors"):
            halves = {name: tensor.half() for name, tensor in load_file(file).items()}
            save_file(halves, file.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
            file.unlink()
    for part in ("scheduler", "tokenizer"):
        shutil.copytree(folder / part, tmp_path / "half" / part)
    assert [load(tmp_path / "half", precision).fingerprint for precision in PRECISIONS] == [known] * 3


def test_files_of_the_old_layout_are_the_same_model(copy, folder):
    tiny.age(copy, folder.parent / "tokens-epsilon")
    assert "encoder.mid_block.attentions.0.query.weight" in load_file(copy / "vae/diffusion_pytorch_model.safetensors")
    old, new, y = load(copy), load(folder), randn(1, 4, 4, 4)
    assert old.fingerprint == new.fingerprint
    assert torch.equal(old.denoise(y, 1.0), new.denoise(y, 1.0))
    assert torch.equal(old.decode(y), new.decode(y))


def test_the_half_variant_is_read_where_it_is_enough(copy):
    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    halves = {name: 2 * tensor.half() for name, tensor in load_file(file).items()}
    save_file(halves, file.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
    assert load(copy, "float16").fingerprint == load(copy, "bfloat16").fingerprint != load(copy).fingerprint


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"])
def test_one_changed_weight_changes_the_fingerprint(copy, part):
    before, file = load(copy).fingerprint, copy / f"{part}.safetensors"
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[0] += 0.01
    save_file(tensors, file, metadata={"format": "pt"})
    assert load(copy).fingerprint != before


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("scheduler/scheduler_config.json", {"prediction_type": "v_prediction"}),
        ("scheduler/scheduler_config.json", {"beta_end": 0.0121}),
        ("vae/config.json", {"scaling_factor": 0.18}),
        ("tokenizer/tokenizer_config.json", {"pad_token": tiny.END}),
    ],
)
def test_settings_change_the_fingerprint(copy, file, changes):
    before = load(copy).fingerprint
    edit(copy / file, **changes)
    assert load(copy).fingerprint != before


def test_the_fingerprint_is_pinned():
    """Files name it: a change here makes every file of this prior unreadable."""
    parts = tiny.unet(), tiny.vae()
    with torch.no_grad():
        for module in parts:
            for parameter in module.parameters():
                parameter.copy_((torch.arange(parameter.numel()) % 61 / 64 - 0.5).view(parameter.shape))
    prior = DiffusersPrior(*parts, tiny.scheduler(), randn(1, tiny.TOKENS, tiny.WIDTH))
    assert prior.fingerprint == 3392730512


# Where it comes from


def test_a_model_is_read_once(folder):
    assert DiffusersPrior.load(str(folder)) is DiffusersPrior.load(str(folder))


def test_nothing_is_printed(folder, capfd):
    load(folder)
    assert capfd.readouterr() == ("", "")


def test_the_default_model_is_named_by_the_environment(folder, monkeypatch, no_hub):
    monkeypatch.setenv(diffusers.MODEL_VARIABLE, str(folder))
    assert DiffusersPrior.load("") is DiffusersPrior.load(str(folder))
    monkeypatch.delenv(diffusers.MODEL_VARIABLE)
    with pytest.raises(WeightsError, match=diffusers.DEFAULT_MODEL):
        DiffusersPrior.load("")


def test_a_model_from_the_hub_is_fetched_once(folder, monkeypatch, no_hub):
    with serve(folder, "owner/tiny") as server:
        reach(monkeypatch, server.server_port)
        prior = load("owner/tiny")
        assert "model_index.json" not in server.sent
        assert "unet/diffusion_pytorch_model.safetensors" in server.sent
    assert prior.fingerprint == load(folder).fingerprint
    assert load("owner/tiny").fingerprint == load(f"owner/tiny@{COMMIT}").fingerprint == prior.fingerprint


def test_a_repository_that_the_hub_does_not_know(folder, monkeypatch, no_hub):
    with serve(folder, "owner/tiny") as server:
        reach(monkeypatch, server.server_port)
        with pytest.raises(WeightsError, match=r"cannot get owner/other@main: .* failed \("):
            load("owner/other")
        with pytest.raises(WeightsError, match="cannot get owner/tiny@v7"):
            load("owner/tiny@v7")


def test_a_repository_without_the_files(copy, monkeypatch, no_hub):
    (copy / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with serve(copy, "owner/tiny") as server:
        reach(monkeypatch, server.server_port)
        with pytest.raises(WeightsError, match=r"owner/tiny@main: expected vae/diffusion_pytorch_model\.safetensors"):
            load("owner/tiny")
        assert not server.sent


def test_a_hub_out_of_reach_is_an_error_at_once(no_hub):
    start = time.monotonic()
    with pytest.raises(WeightsError, match=r"not in the cache .*cache, and http://127.0.0.1:9 failed .* set HF_HOME"):
        load("owner/tiny@v1")
    assert time.monotonic() - start < 20  # without a timeout of its own the client tries for longer


def test_a_hub_that_does_not_answer_is_an_error_soon(monkeypatch, no_hub):
    monkeypatch.setattr(hub, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reach(monkeypatch, silent.getsockname()[1])
        start = time.monotonic()
        with pytest.raises(WeightsError, match="timed out"):
            load("owner/tiny")
    assert time.monotonic() - start < 20  # without a timeout of its own the client tries for longer


@pytest.mark.parametrize(
    "location", ["nowhere", "/nowhere/model", "../owner/tiny", "a/b/c", "owner/tiny@", "~nobody/", "\0", "x" * 9999]
)
def test_a_location_that_is_none(location, no_hub):
    with pytest.raises(WeightsError, match="no such directory"):
        load(location)


def test_a_hub_switched_off_is_an_error(tmp_path):
    code = "from flipproof.prior.hub import locate; locate('owner/tiny', list)"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "WeightsError: cannot get owner/tiny@main" in ran.stderr
    assert "offline mode" in ran.stderr


@pytest.mark.parametrize("location", ["../tiny", "a--b/c", "-/."])
def test_a_hub_id_that_cannot_be(location, no_hub, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(WeightsError, match="cannot get"):
        load(location)


@pytest.mark.parametrize(
    "file",
    [
        "scheduler/scheduler_config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "unet/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ],
)
def test_a_missing_file_is_named(copy, file):
    (copy / file).unlink(missing_ok=True)
    if file.startswith("tokenizer"):
        (copy / "tokenizer/vocab.json").unlink(missing_ok=True)
    (copy / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle is never read")
    with pytest.raises(WeightsError, match=f"copy: expected {file}"):
        load(copy)


@pytest.mark.parametrize(
    "file",
    [
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ],
)
@pytest.mark.parametrize("content", [b"junk", b"[]"])
def test_junk_is_an_error_of_one_line(copy, file, content):
    (copy / file).write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"])
@pytest.mark.parametrize("damage", ["missing", "misshapen"])
def test_weights_that_do_not_fit_are_an_error(copy, part, damage):
    tensors = load_file(copy / f"{part}.safetensors")
    name = next(iter(tensors))
    tensors[name] = tensors[name].flatten()[:3].clone()
    if damage == "missing":
        del tensors[name]
    save_file(tensors, copy / f"{part}.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError):
        load(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": tiny.scheduler(prediction_type="sample")}, "epsilon or v_prediction, got 'sample'"),
        ({"scheduler": tiny.scheduler(trained_betas=[0.1, 0.0, 0.2])}, "noise schedule that rises"),
        ({"unet": tiny.unet(in_channels=9)}, r"from and to 4 channels, got \(9, 4\)"),
        ({"unet": tiny.unet(class_embed_type="timestep")}, "text embeddings alone, got class_embed_type"),
        ({"prompt": randn(1, 5, tiny.WIDTH + 1)}, r"prompt of shape \(1, tokens, 16\)"),
        ({"prompt": randn(2, 5, tiny.WIDTH)}, r"prompt of shape \(1, tokens, 16\)"),
    ],
)
def test_models_of_another_kind_are_an_error(changes, message):
    with pytest.raises(WeightsError, match=message):
        bare(**changes)


def test_a_schedule_of_another_kind_is_an_error(copy):
    edit(copy / "scheduler" / "scheduler_config.json", _class_name="LCMScheduler")
    assert load(copy).timestep(1e9) == 999
    (copy / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "FlowMatchEulerDiscreteScheduler"}')
    with pytest.raises(WeightsError, match="expected beta_end, got 'FlowMatchEulerDiscreteScheduler'"):
        load(copy)


def test_precisions_and_devices_that_there_are_not(folder):
    with pytest.raises(SpecError, match="expected precision"):
        DiffusersPrior.load(str(folder), precision="float8")
    with pytest.raises(
        SpecError, match="expected precision float32, float16 or bfloat16 for a diffusion model, got int8"
    ):
        DiffusersPrior.load(str(folder), precision="int8")
    with pytest.raises(SpecError, match="expected a device that is there, such as cpu or cuda, got 'abacus'"):
        DiffusersPrior.load(str(folder), device="abacus")


@pytest.mark.parametrize("package", ["diffusers", "transformers", "huggingface_hub"])
def test_a_missing_package_is_named(folder, monkeypatch, package, no_hub):
    monkeypatch.setitem(sys.modules, package, None)
    location = "owner/tiny" if package == "huggingface_hub" else str(folder)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed.*flipproof\[diffusers\]"):
        load(location)
