"""What Stable Diffusion 2.1 costs: a UNet step, encoding and decoding a picture's latents, and whole codecs.

The networks have the published configuration of stable-diffusion-2-1-base and random weights, so nothing has to be
downloaded and nothing can be said about quality. Each figure is the median of some runs after one to warm up, and
waits for the device. Threads are PyTorch's; set OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from flipproof import registry
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.rcc import ChainCodec
from flipproof.container import unpack
from flipproof.metric.psnr import psnr
from flipproof.prior.diffusers import DiffusersPrior
from flipproof.seeds import generator

UNET = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
VAE = {
    "sample_size": 768,
    "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "scaling_factor": 0.18215,
}
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "epsilon"}
PROMPT = (1, 77, 1024)


def main() -> None:
    options = _options()
    unet, vae = build(UNet2DConditionModel, UNET, seed=1), build(AutoencoderKL, VAE, seed=2)
    print(f"UNet {_millions(unet)}, autoencoder {_millions(vae)} million parameters")
    start = time.perf_counter()
    prior = DiffusersPrior(
        unet,
        vae,
        DDPMScheduler(**SCHEDULE),
        randn(*PROMPT),
        device=options.device,
        precision=options.precision,
    )
    print(f"fingerprint and moving to {options.device}: {time.perf_counter() - start:.1f} s")
    picture = randn(options.batch, 3, options.size, options.size).clamp(-1, 1).to(options.device)
    latents = prior.encode(picture)
    jobs = {
        "denoise": lambda: prior.denoise(latents, 1.0),
        "encode latents": lambda: prior.encode(picture),
        "decode latents": lambda: prior.decode(latents),
    }
    shape = f"{options.batch} x {options.size}x{options.size}, {options.precision}, {_machine(options.device)}"
    print(f"\n| {shape} | seconds |\n|---|---|")
    for name, job in jobs.items():
        print(f"| {name} | {seconds(job, options.repeats, options.device):.3f} |", flush=True)
    for spelling in options.codec or ():
        _run(registry.codec(spelling, prior=prior, device=options.device), options.size)
    print(f"\nPeak memory {_peak(options.device):.1f} GiB")


def _run(codec: ChainCodec, size: int) -> None:
    """Encodes a picture, decodes its file and a damaged copy, and prints what came out; random weights show noise."""
    y, x = np.mgrid[0:size, 0:size] / size
    picture = (255 * np.stack([x, y, 1 - x * y], axis=2)).astype(np.uint8)
    started = time.perf_counter()
    data = codec.encode(picture)
    encoded = time.perf_counter()
    result = codec.decode(data)
    decoded = time.perf_counter()
    damaged = codec.decode(BinarySymmetricChannel(1e-3).corrupt(data, generator(purpose="stable diffusion")))
    _, script = type(codec).open(unpack(data))
    coded = [step.bits for step in script.steps if step.bits]
    print(f"\n`{codec.name}`: {len(data)} bytes; {sum(coded)} bits in {len(coded)} steps, {coded[0]} in the first")
    print(f"encode {encoded - started:.1f} s, decode {decoded - encoded:.1f} s; {result.status}, {result.damage}")
    print(f"at BER 1e-3: {damaged.status}, {damaged.damage}; PSNR to the clean decoding", end=" ")
    print(f"{psnr(damaged.picture, result.picture):.2f} dB", flush=True)


def build(kind: Callable[..., nn.Module], settings: dict[str, object], seed: int) -> nn.Module:
    """Makes a network whose random weights keep the scale of what passes through a layer."""
    with torch.device("meta"):
        module = kind(**settings)
    module.to_empty(device="cpu")
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                bound = math.sqrt(3 / parameter[0].numel())
                parameter.uniform_(-bound, bound, generator=rng)
            else:
                parameter.fill_(float(name.endswith("weight")))
    return module


def seconds(job: Callable[[], Tensor], repeats: int, device: str) -> float:
    """Returns the median duration of a job, which must give finite numbers."""
    durations = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        result = job()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        durations.append(time.perf_counter() - start)
    if not result.isfinite().all():
        raise SystemExit("expected finite numbers, got others")
    return statistics.median(durations[1:])


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _millions(module: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()) / 1e6:.1f}"


def _machine(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads"


def _peak(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="where to compute (cpu)")
    parser.add_argument("--precision", default="float32", help="float32, float16 or bfloat16 (float32)")
    parser.add_argument("--size", type=int, default=512, help="side of the picture in pixels (512)")
    parser.add_argument("--batch", type=int, default=1, help="pictures at once (1)")
    parser.add_argument("--codec", action="append", help="codec to run, such as robust-turbo-ddcm[count=73]; repeat it")
    parser.add_argument("--repeats", type=int, default=3, help="runs that count (3)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
