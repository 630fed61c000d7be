"""Records what the authors' own MS-ILLM computes: tests/golden/illm. No part of flipproof, and not run by its tests.

It runs in an environment of its own, because the authors' package pins old versions of much that it imports and hardly
needs. What is missing is replaced by empty modules: of all of that, only PyTorch, NumPy, SciPy and einops compute::

    python3.11 -m venv oracle && oracle/bin/pip install torch numpy scipy einops tqdm pillow
    oracle/bin/pip install --no-deps neuralcompression==0.3.1 compressai==1.2.8
    oracle/bin/python tests/reference/record_illm.py

The model is narrow, with weights made by the formula of tests/illm_weights.py. The authors' code has its widths as
numbers, so narrow networks come from their source with other numbers.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import inspect
import json
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden" / "illm"
EMPTY = "torchvision pytorch_msssim torch_geometric pandas lpips DISTS_pytorch fvcore pytorchvideo torch_fidelity"
EMPTY += " torchmetrics matplotlib plotly"
SIZE = (75, 150)

sys.path.insert(0, str(TESTS))

from illm_weights import BLOCKS, ENCODER, HYPER, LATENTS, made, picture  # noqa: E402


class _Empty(types.ModuleType):
    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {"__init__": lambda self, *_, **__: None, "__call__": lambda self, x=None, *_: x})
        setattr(self, name, made)
        return made


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules of packages that are not needed as empty ones."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        known = name.partition(".")[0] in EMPTY.split()
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if known else None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def authors() -> Any:
    """Imports the modules of the authors' models."""
    sys.meta_path.insert(0, _Finder())
    return importlib.import_module("neuralcompression.models")


def fill(model: Any) -> Any:
    """Gives a model the weights of the formula, by the names that the published checkpoints have."""
    import torch

    for name, parameter in model.named_parameters():
        parameter.data = torch.from_numpy(made(old_name(name), tuple(parameter.shape)))
    return model.eval()


def old_name(name: str) -> str:
    """CompressAI renamed some parameters after the checkpoints were published."""
    for new, old in (("matrices.", "_matrix"), ("biases.", "_bias"), ("factors.", "_factor")):
        name = name.replace(f"hyper_bottleneck.{new}", f"hyper_bottleneck.{old}")
    return name


def narrow(models: Any) -> Any:
    """Returns the authors' model with the widths of the tests."""
    source = inspect.getsource(models._hific_encoder_decoder)
    decoder = ENCODER[::-1]
    for old, new in (("(60, 120, 240, 480, 960)", str(ENCODER)), ("[960, 480, 240, 120, 60]", str(list(decoder)))):
        if source.count(old) != 1:
            raise SystemExit(f"expected {old} once in the authors' code")
        source = source.replace(old, new)
    module = types.ModuleType("narrow")
    exec(source, module.__dict__)
    for name in ("HiFiCEncoder", "HiFiCGenerator"):
        setattr(models._hific_autoencoder, name, getattr(module, name))
    return models.HiFiCAutoencoder(latent_features=LATENTS, hyper_features=HYPER, num_residual_blocks=BLOCKS)


def record(model: Any) -> dict[str, Any]:
    """Returns what a model makes of a picture, step by step."""
    import torch

    torch.set_grad_enabled(False)
    model.update()
    rgb = picture(*SIZE)
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    packed = model.compress(image)
    height, width = packed.padded_size
    hyper = model.hyper_bottleneck.decompress(packed.hyper_latent_strings, (height // 64, width // 64))
    means, scales = model.hyper_synthesis_mean(hyper), model.hyper_synthesis_scale(hyper)
    rows = model.latent_bottleneck.build_indexes(scales)
    latents = model.latent_bottleneck.decompress(packed.latent_strings, rows, means=means)
    bottleneck = model.hyper_bottleneck
    return {
        "hyper_symbols": (hyper - bottleneck.quantiles[:, 0, 1, None, None])[0].round().to(torch.int16),
        "means": means[0],
        "scales": scales[0],
        "rows": rows[0].to(torch.int8),
        "symbols": (latents - means)[0].round().to(torch.int16),
        "picture": model.decompress(packed)[0],
        "sizes": torch.tensor([len(packed.hyper_latent_strings[0]), len(packed.latent_strings[0])]),
        "cdfs": bottleneck.quantized_cdf,
        "cdf_lengths": bottleneck.cdf_length,
        "offsets": bottleneck.offset,
    }


def main() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    models = authors()
    state = models.HiFiCAutoencoder().state_dict()
    lines = {old_name(name): list(tensor.shape) for name, tensor in state.items()}
    (GOLDEN / "shapes.json").write_text(
        "{\n" + ",\n".join(f"{json.dumps(n)}: {s}" for n, s in sorted(lines.items())) + "\n}\n"
    )
    arrays = {name: np.asarray(values) for name, values in record(fill(narrow(models))).items()}
    np.savez_compressed(GOLDEN / "narrow.npz", **arrays)


if __name__ == "__main__":
    main()
