"""The bits of all steps, and which of them are known."""

from __future__ import annotations

import numpy as np

from reference.bits import Received
from reference.container import Container
from reference.plan import Plan
from reference.rangecoder import decode_seeds


def receive(container: Container, plan: Plan) -> Received:
    payload = container.payload(plan.payload_size)
    if plan.stored is None:
        return Received(payload)
    arrived = len(payload) if payload.known.all() else int(np.argmin(payload.known))
    return Received(
        decode_seeds(payload.to_bytes()[: arrived // 8], [step.coding for step in plan.steps if step.coding])
    )
