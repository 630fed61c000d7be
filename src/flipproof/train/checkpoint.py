"""Training checkpoints: network, moving average and the state of Adam in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flipproof.errors import WeightsError

__all__ = ["restore_checkpoint", "save_checkpoint"]


def save_checkpoint(
    path: Path,
    net: nn.Module,
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    header: Mapping[str, str],
) -> None:
    """Writes a checkpoint in one atomic move.

    Arguments:
        path: Where to.
        net: The network in training.
        average: The moving average of its parameters, by name.
        optimizer: Its moments are written, not its settings.
        header: Anything else.
    """
    tensors = {f"net.{name}": t for name, t in net.state_dict().items()}
    tensors |= {f"average.{name}": t for name, t in average.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": t for name, t in state.items()}
    partial = path.with_suffix(".part")
    save_file({name: t.detach().clone().contiguous().cpu() for name, t in tensors.items()}, partial, dict(header))
    partial.replace(path)


def restore_checkpoint(
    path: Path, net: nn.Module, average: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, str]:
    """Puts back what :func:`save_checkpoint` wrote.

    Returns:
        The header.

    Raises:
        WeightsError: The file is no checkpoint of this network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata()
        tensors = load_file(path)
        net.load_state_dict(_under(tensors, "net."))
        for name, tensor in _under(tensors, "average.").items():
            average[name].copy_(tensor)
    except Exception as error:
        raise WeightsError(f"{path} is not a training checkpoint: {str(error).splitlines()[0]}") from error
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(tensors, "optimizer.").items():
        index, key = name.split(".")
        moments.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return header


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
