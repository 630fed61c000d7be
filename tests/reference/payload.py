"""The payload: its bits, and which of them are known."""

from __future__ import annotations

import numpy as np

from reference.bits import Received
from reference.container import Container
from reference.plan import Plan
from reference.rangecoder import decode_seeds


def receive(container: Container, plan: Plan) -> Received:
    size, split = plan.payload_size, plan.protected_size
    payload = container.protected[:split].ljust(split, b"\0") + container.rest
    payload = payload[:size].ljust(size, b"\0")
    known = np.zeros(size, bool)
    known[: min(split, container.protected_arrived)] = True
    known[split : split + len(container.rest)] = True
    if plan.stored is None:
        return Received(np.unpackbits(np.frombuffer(payload, np.uint8)), np.repeat(known, 8))
    arrived = size if known.all() else int(np.argmin(known))
    return Received(*decode_seeds(payload[:arrived], [step.coding for step in plan.steps if step.coding]))
