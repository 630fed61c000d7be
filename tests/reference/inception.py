"""Golden numbers of the Inception network of FID, made by torch-fidelity on generated weights.

    python tests/reference/inception.py

in an environment with torch-fidelity 0.4.0 (its torchvision is not needed: a stand-in is enough) prints what
``tests/golden/inception.json`` holds: the shape of every convolution's kernel, some features of generated pictures, and
the distance between two generated sets of points. Nothing of flipproof is imported.
"""

from __future__ import annotations

import json
import sys
import types
import zlib

import numpy as np

SIZES = ((3, 64, 64), (2, 299, 299), (1, 40, 350))
KEPT = slice(0, 2048, 128)


def tensors(shapes):
    """Weights for kernels of these shapes, by name: the same on every machine, and of a size that keeps signals."""
    made = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        kernel = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        made[f"{name}.conv.weight"] = kernel
        made[f"{name}.bn.weight"] = rng.uniform(0.5, 1.5, shape[0])
        made[f"{name}.bn.bias"] = rng.normal(0, 0.2, shape[0])
        made[f"{name}.bn.running_mean"] = rng.normal(0, 0.2, shape[0])
        made[f"{name}.bn.running_var"] = rng.uniform(0.5, 1.5, shape[0])
    return {name: values.astype(np.float32) for name, values in made.items()}


def pictures(count, height, width):
    """Smooth pictures with some grain, (count, height, width, 3) of uint8."""
    rng = np.random.default_rng(1000 * height + width)
    y, x = np.mgrid[0:height, 0:width] / 64
    waves = rng.uniform(0.5, 4, (count, 3, 2))
    values = np.sin(np.multiply.outer(waves[..., 0], y) + np.multiply.outer(waves[..., 1], x))
    grain = rng.normal(0, 12, (count, 3, height, width))
    return np.clip(128 + 90 * values + grain, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def points(count, dimensions, seed):
    """Correlated points, (count, dimensions)."""
    rng = np.random.default_rng(seed)
    return rng.normal(0.1 * seed, 1, (count, dimensions)) @ rng.normal(0, dimensions**-0.5, (dimensions, dimensions))


def _stand_in():
    """Puts modules in the place of torchvision, which torch-fidelity imports for other networks."""

    def invent(name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})

    for name in ("", ".transforms", ".transforms.functional", ".datasets", ".models"):
        module = types.ModuleType(f"torchvision{name}")
        module.__path__ = []
        module.__getattr__ = invent
        sys.modules[module.__name__] = module
        parent, _, child = module.__name__.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def _main():
    _stand_in()
    import tempfile

    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    class Unloaded(FeatureExtractorInceptionV3):
        def load_state_dict(self, state, *args, **kwargs):
            if state:
                super().load_state_dict(state, *args, **kwargs)

    with tempfile.NamedTemporaryFile() as file:
        torch.save({}, file.name)
        network = Unloaded("inception", ["2048"], feature_extractor_weights_path=file.name)
    blocks = {name: module for name, module in network.named_modules() if isinstance(module, BasicConv2d)}
    shapes = {name: tuple(block.conv.weight.shape) for name, block in blocks.items()}
    state = network.state_dict() | {name: torch.tensor(values) for name, values in tensors(shapes).items()}
    network.load_state_dict(state)
    features = {}
    for size in SIZES:
        (found,) = network(torch.tensor(pictures(*size)).permute(0, 3, 1, 2))
        features["x".join(map(str, size))] = [[round(float(v), 6) for v in row] for row in found[:, KEPT]]
    distances = {}
    for count, dimensions in ((500, 16), (40, 64)):
        stats = [fid_features_to_statistics(torch.tensor(points(count, dimensions, seed))) for seed in (1, 2)]
        distance = fid_statistics_to_metric(*stats, False)["frechet_inception_distance"]
        distances[f"{count}x{dimensions}"] = round(float(distance), 6)
    print(json.dumps({"kernels": shapes, "features": features, "distances": distances}))


if __name__ == "__main__":
    _main()
