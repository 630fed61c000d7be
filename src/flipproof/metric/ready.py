"""What a study must know of a metric before it runs: which way is better, and whether its weights are here.

A metric of another package says so itself, by an attribute ``higher_is_better``; if it needs something, a function
``require`` that raises what is missing may be its attribute too.
"""

from __future__ import annotations

from flipproof import registry
from flipproof.errors import SpecError
from flipproof.weights.catalogue import DISTS, LPIPS_ALEX, LPIPS_VGG

__all__ = ["higher_is_better", "require_metric"]

_HIGHER_IS_BETTER = {
    "dists": False,
    "lpips-alex": False,
    "lpips-vgg": False,
    "ms-ssim": True,
    "psnr": True,
    "ssimulacra2": True,
}
_WEIGHTS = {"dists": (LPIPS_VGG, DISTS), "lpips-alex": (LPIPS_ALEX,), "lpips-vgg": (LPIPS_VGG,)}


def higher_is_better(name: str) -> bool:
    """Returns whether a higher value of a metric means a closer picture.

    Raises:
        UnknownNameError: There is no such metric.
        SpecError: A metric of another package does not say.

    Example:
        >>> higher_is_better("psnr"), higher_is_better("lpips-alex")
        (True, False)
    """
    if name in _HIGHER_IS_BETTER:
        return _HIGHER_IS_BETTER[name]
    stated = getattr(registry.metric(name), "higher_is_better", None)
    if not isinstance(stated, bool):
        raise SpecError(f"expected an attribute higher_is_better, true or false, of the metric {name}, got {stated}")
    return stated


def require_metric(name: str) -> None:
    """Checks that a metric can work here; reads weights of up to 60 MB to see that they are intact.

    Raises:
        UnknownNameError: There is no such metric.
        WeightsError: Weights were not fetched, or are damaged; says how to get them.
    """
    metric = registry.metric(name)
    for stored in _WEIGHTS.get(name, ()):
        stored.load()
    getattr(metric, "require", lambda: None)()
