"""A network in training, with its optimiser and the moving average of its parameters."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from flipproof.errors import WeightsError
from flipproof.train.checkpoint import prefixed, under

__all__ = ["Learner"]

N = TypeVar("N", bound=nn.Module)


class Learner(Generic[N]):
    """Takes gradient steps and averages what comes of them.

    Arguments:
        net: The network, on the device where it trains; parameters that require no gradient stay as they are.
        optimizer: Of its parameters. A parameter group may have a ``speed``, a factor of its learning rate.
        average: Decay of the moving average; it grows to this from 0.1 as (n + 1) / (n + 10) with the steps n.
    """

    def __init__(self, net: N, optimizer: torch.optim.Optimizer, average: float = 0.999) -> None:
        self.net, self.optimizer, self._decay = net, optimizer, average
        self.average = {name: p.detach().clone() for name, p in net.named_parameters() if p.requires_grad}

    @property
    def device(self) -> torch.device:
        """Where the network trains."""
        return next(self.net.parameters()).device

    def learn(self, loss: Tensor, rate: float, step: int) -> None:
        """Takes one step down the gradient, its norm clipped at 1; none if the gradient is not finite.

        Arguments:
            loss: A number that depends on the network.
            rate: Learning rate.
            step: Steps taken before.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("speed", 1.0)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0).isfinite():
            self.optimizer.step()
        decay = min(self._decay, (step + 1) / (step + 10))
        parameters = dict(self.net.named_parameters())
        for name, mean in self.average.items():
            mean.lerp_(parameters[name].detach(), 1 - decay)

    def averaged(self) -> N:
        """Returns a copy of the network with averaged parameters, on the CPU, for evaluation."""
        net = copy.deepcopy(self.net).cpu()
        net.load_state_dict({**net.state_dict(), **self.average})
        return net.eval().requires_grad_(False)

    def tensors(self) -> dict[str, Tensor]:
        """Returns network, average and moments of the optimiser, by name; its settings are not among them."""
        moments = {
            f"{index}.{name}": torch.as_tensor(value)
            for index, state in self.optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        return {
            **prefixed("net", self.net.state_dict()),
            **prefixed("average", self.average),
            **prefixed("optimizer", moments),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what :meth:`tensors` returned.

        Raises:
            WeightsError: They are of another network.
        """
        moments: dict[int, dict[str, Tensor]] = {}
        try:
            self.net.load_state_dict(under(tensors, "net"))
            average = under(tensors, "average")
            for name, mean in self.average.items():
                mean.copy_(average[name])
            for name, tensor in under(tensors, "optimizer").items():
                index, key = name.split(".")
                moments.setdefault(int(index), {})[key] = tensor
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        except (KeyError, RuntimeError, ValueError) as error:
            raise WeightsError(f"expected tensors of this network: {str(error).splitlines()[0]}") from error
