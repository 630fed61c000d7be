from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from flipproof import registry
from flipproof.clock import device_name, synchronised
from flipproof.codec.tracks import TracksCodec


class FakeCuda:
    """Remembers which devices were waited for."""

    def __init__(self, initialised: bool) -> None:
        self.initialised, self.waited = initialised, []

    def is_initialized(self) -> bool:
        return self.initialised

    def synchronize(self, device: str) -> None:
        self.waited.append((device, time.perf_counter()))

    def get_device_name(self, device: str) -> str:
        return f"GPU of {device}"


@pytest.fixture
def cuda(monkeypatch, request):
    cuda = FakeCuda(getattr(request, "param", True))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    return cuda


def on(codec, device):
    """The same codec with a device that is not here."""
    object.__setattr__(codec, "device", device)
    return codec


def test_the_device_is_waited_for_before_the_clock_is_read(cuda):
    now = synchronised()
    (device, waited), *others = cuda.waited
    assert (device, others) == ("cuda", [])
    assert waited <= now <= time.perf_counter()
    synchronised("cuda:1")
    assert [device for device, _ in cuda.waited] == ["cuda", "cuda:1"]


def test_other_devices_are_not_waited_for(cuda):
    assert synchronised("cpu") <= synchronised("mps")
    assert not cuda.waited


@pytest.mark.parametrize("cuda", [False], indirect=True)
def test_cuda_is_left_alone_where_nobody_used_it(cuda):
    assert synchronised() <= synchronised()
    assert not cuda.waited


def test_torch_is_not_imported():
    script = "import sys; from flipproof.clock import synchronised; synchronised(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout.strip() == b"False"


def test_names_of_devices(cuda):
    assert device_name(registry.codec("jpeg+fec[bch,t=7]")) == device_name(TracksCodec()) == "cpu"
    assert device_name(on(TracksCodec(), "cuda:1")) == "GPU of cuda:1"
    assert device_name(on(TracksCodec(), "mps")) == "mps"
    protected = registry.codec("tracks+fec[bch,t=7]+fec[bch,t=3]")
    on(protected.inner.inner, "cuda")
    assert device_name(protected) == "GPU of cuda"
