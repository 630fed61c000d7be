"""Short names for axes and legends; the full spellings stand in the tables."""

from __future__ import annotations

from collections.abc import Sequence

from flipproof import registry

__all__ = ["metric_digits", "metric_label", "short"]

_METRICS = {
    "psnr": "PSNR",
    "ms-ssim": "MS-SSIM",
    "ssimulacra2": "SSIMULACRA 2",
    "lpips-alex": "LPIPS (Alex)",
    "lpips-vgg": "LPIPS (VGG)",
    "dists": "DISTS",
}
_DIGITS = {"psnr": 2, "ssimulacra2": 1}


def metric_label(name: str) -> str:
    """Returns a metric's name as it is written in print.

    Example:
        >>> metric_label("ms-ssim"), metric_label("of-another-package")
        ('MS-SSIM', 'of-another-package')
    """
    return _METRICS.get(name, name)


def metric_digits(name: str) -> int:
    """Returns how many decimals of a metric say something."""
    return _DIGITS.get(name, 3)


def short(spellings: Sequence[str]) -> dict[str, str]:
    """Shortens spellings to the name, and the parameters in which those of the same name differ.

    Returns:
        The short form of each, by its spelling; unique wherever the spellings are.

    Example:
        >>> list(short(["jpeg[quality=30,restart=8]", "jpeg[quality=50,restart=8]", "webp[quality=40]"]).values())
        ['jpeg[quality=30]', 'jpeg[quality=50]', 'webp']
    """
    parsed = {spelling: registry.parse(spelling) for spelling in spellings}
    return {spelling: _short(*parsed[spelling], list(parsed.values())) for spelling in spellings}


def _short(name: str, texts: dict[str, str], parsed: Sequence[tuple[str, dict[str, str]]]) -> str:
    kin = [others for other, others in parsed if other == name]
    keys = dict.fromkeys(key for others in kin for key in others)
    differing = [key for key in keys if len({others.get(key) for others in kin}) > 1]
    items = [f"{key}={texts[key]}" for key in differing if key in texts]
    return f"{name}[{','.join(items)}]" if items else name
