"""From the bytes of a file to its picture."""

from __future__ import annotations

import numpy as np

from reference.bits import FieldReader
from reference.chain import walk
from reference.container import open_container
from reference.denoiser import denoiser_of
from reference.diffc import read_diffc
from reference.header import Space, read_header
from reference.network import network_of
from reference.payload import receive
from reference.plan import Plan
from reference.refusal import require
from reference.tracks import read_tracks
from reference.trellis import read_trellis
from reference.uniform import read_uniform

PIXELS = Space(channels=3, factor=1, deviation=0.5)
READERS = {"trellis": read_trellis, "tracks": read_tracks, "diffc": read_diffc, "robust-diffc": read_diffc}


def decode(data: bytes) -> np.ndarray:
    """Returns the picture (H, W, 3), uint8.

    Raises:
        NoPictureError: There is none.
    """
    container = open_container(data)
    plan = read_plan(container.fields)
    header = plan.header
    network = network_of(header.fingerprint)
    require(network is not None and header.space == PIXELS)
    x = walk(plan, denoiser_of(network, header.fingerprint), receive(container, plan))
    x = x[:, : header.height, : header.width]
    return np.rint(127.5 * (np.clip(x, -1, 1) + 1)).astype(np.uint8).transpose(1, 2, 0)


def read_plan(fields: bytes) -> Plan:
    """Reads all header fields.

    Raises:
        NoPictureError: They break a constraint.
    """
    reader = FieldReader(fields)
    header = read_header(reader)
    plan = READERS.get(header.codec, read_uniform)(reader, header)
    plan.check_gaussian_work()
    return plan
