"""Records what the authors' own StableCodec computes: tests/golden/stablecodec. No part of flipproof, not run by tests.

It runs in an environment of its own with the versions that the authors name, on the CPU, and on the source of the
authors' repository (LuizScarlet/StableCodec) with three changes of its text: other widths, no graphics card, and the
bitstream's integers kept. What is missing is replaced by empty modules. First the files of a miniature are written with
flipproof installed, then the authors' code reads them::

    python tests/tiny_stablecodec.py FILES
    python3.11 -m venv oracle
    oracle/bin/pip install torch safetensors pillow einops tqdm 'numpy<2' diffusers==0.25.1 transformers==4.46.3
    oracle/bin/pip install huggingface_hub==0.25.0 peft==0.13.2 accelerate==1.1.1
    oracle/bin/pip install --no-deps compressai==1.2.8
    oracle/bin/python tests/reference/record_stablecodec.py REPOSITORY FILES
    oracle/bin/python tests/reference/record_stablecodec.py REPOSITORY FILES --shapes

The numbers here were recorded from the files of the repository that public copies hold: StableCodec.py,
latent_codec.py, elic_official.py, and vaehook.py without its fast mode. CompressAI's base class stood for
ELIC/model/base.py.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import re
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

EMPTY = "torchvision torch_geometric pytorch_msssim pandas matplotlib plotly cv2"
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "stablecodec"
WIDTHS = {"320": "32", "256": "16", "192": "24", "128": "16", "64": "8"}
PROMPT = "A high-resolution, 8K, ultra-realistic image with sharp focus, vibrant colors, and natural lighting."
TILES = {"whole": (1024, 160, 96, 32), "tiled": (128, 24, 24, 8)}
UNET = {
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
LAYERS = ["to_k", "to_q", "to_v", "to_out.0", "conv", "conv1", "conv2", "conv_shortcut", "conv_out", "proj_in"]
LAYERS += ["proj_out", "ff.net.2", "ff.net.0.proj"]
ENCODER = r"^encoder\..*(conv1|conv2|conv_in|conv_shortcut|conv|conv_out|to_k|to_q|to_v|to_out\.0)$"


class _Dummy:
    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, x: Any = None, *_: object) -> Any:
        return x


class _Empty(types.ModuleType):
    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Dummy


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules of packages that are not needed as empty ones."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        known = name.partition(".")[0] in EMPTY.split()
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if known else None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class _Source(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the authors' modules with changes of their text.

    Arguments:
        repository: Where they lie.
        narrow: Whether widths are other ones.
    """

    def __init__(self, repository: Path, narrow: bool) -> None:
        self.roots, self.narrow = (repository / "src", repository), narrow

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        for root in self.roots:
            place = root / name.replace(".", "/")
            if place.with_suffix(".py").is_file():
                return importlib.machinery.ModuleSpec(name, self, origin=str(place.with_suffix(".py")))
            if place.is_dir() and (name == "ELIC" or name.startswith(("ELIC.", "my_utils"))):
                return importlib.machinery.ModuleSpec(name, self, origin="", is_package=True)
        return None

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        if not module.__spec__.origin:
            return
        text = Path(module.__spec__.origin).read_text()
        for pattern, other in ((r"\.cuda\(\)", ""), (r"""\.to\(["']cuda["']\)""", ""), (r"""["']cuda["']""", "'cpu'")):
            text = re.sub(pattern, other, text)
        if self.narrow and module.__name__ != "my_utils.vaehook":
            text = re.sub(r"\b(320|256|192|128|64)\b(?!\*)", lambda match: WIDTHS[match[1]], text)
            text = re.sub(r"SCALES_MAX = \d+", "SCALES_MAX = 256", text)
            text = re.sub(r"SCALES_LEVELS = \d+", "SCALES_LEVELS = 64", text)
        if self.narrow and module.__name__ == "my_utils.vaehook":
            text = re.sub(r"(tile|x), 32\b", r"\1, 2", text)
        text = text.replace("y_string = encoder.flush()", "y_string = encoder.flush(); self.kept = locals()")
        exec(compile(text, module.__spec__.origin, "exec"), module.__dict__)


def record(repository: Path, files: Path) -> dict[str, Any]:
    """Codes two pictures, one in tiles."""
    import numpy as np
    import torch
    from StableCodec import StableCodec

    found: dict[str, Any] = {}
    for case, tiles in TILES.items():
        names = ("vae_encoder_tiled_size", "vae_decoder_tiled_size", "latent_tiled_size", "latent_tiled_overlap")
        weights = files / "weights"
        paths = {"codec_path": weights / "stablecodec_ft2.pkl", "elic_path": weights / "elic_official.pth"}
        ranks = {"lora_rank_vae": 2, "lora_rank_unet": 4, "pos_prompt": PROMPT, "lambda_rate": 2.0}
        args = types.SimpleNamespace(**dict(zip(names, tiles, strict=True)), **paths, **ranks)
        net = StableCodec(str(files / "old"), args).eval()
        net.codec.update(force=True)
        picture = torch.from_numpy(np.load(files / f"{case}.npy")).permute(2, 0, 1)[None] / 127.5 - 1
        height, width = picture.shape[2:]
        pad = (0, -width % 256, 0, -height % 256)
        with torch.no_grad():
            file = net.compress(torch.nn.functional.pad(picture, pad, mode="reflect"))
            codes: list[Any] = []
            net.codec.g_s.register_forward_pre_hook(lambda _, inputs, codes=codes: codes.append(inputs[0]))
            output = net.decompress(file["strings"], file["shape"], [1])[0, :, :height, :width]
        kept, medians = net.codec.kept, net.codec.entropy_bottleneck._get_medians().reshape(1, -1, 1, 1)
        found[case] = {
            "side": torch.round(kept["z"] - medians).int().flatten().tolist(),
            "symbols": kept["symbols_list"],
            "rows": kept["indexes_list"],
            "code": _rounded(codes[0][0, :, ::3, ::3].flatten()[::3], 5),
            "picture": _rounded(output[:, 3::19, 5::17].flatten(), 4),
        }
        found["prompt"] = _rounded(net.pos_caption_enc[0, :, ::5].flatten(), 5)
    return found


def shapes() -> dict[str, Any]:
    """Returns the shapes of all tensors in the authors' files, as a tree of names."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from ELIC.model.elic_official import ELIC
    from latent_codec import LatentCodec
    from peft import LoraConfig

    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
        unet.add_adapter(LoraConfig(r=32, init_lora_weights=False, target_modules=LAYERS))
        vae.add_adapter(LoraConfig(r=16, init_lora_weights=False, target_modules=ENCODER), adapter_name="vae_skip")
        unet.conv_in = torch.nn.Conv2d(320, 320, 3)
        modules = {"unet": unet, "vae": vae, "codec": LatentCodec(), "elic": ELIC().g_a}
    tree: dict[str, Any] = {}
    for part, module in modules.items():
        for name, tensor in module.state_dict().items():
            if part in ("codec", "elic") or "lora" in name or name in ("conv_in.weight", "conv_in.bias"):
                *path, last = (part if part == "elic" else f"state_dict_{part}", *name.split("."))
                node = tree
                for step in path:
                    node = node.setdefault(step, {})
                node[last] = "x".join(map(str, tensor.shape))
    return tree


def _rounded(values: Any, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]


def main(repository: Path, files: Path) -> None:
    """Writes both files; each kind of widths needs modules of its own, so the shapes come from a second run."""
    narrow = "--shapes" not in sys.argv
    sys.meta_path[:0] = [_Finder(), _Source(repository, narrow)]
    name, content = ("oracle", record(repository, files)) if narrow else ("shapes", shapes())
    (GOLDEN / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:3]))
