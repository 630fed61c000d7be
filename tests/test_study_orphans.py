"""Workers of the local engine end with the process that started them, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import alive_in_session, kill, wait_until

SCRIPT = """
import numpy as np
from cluster import NoteJob
from flipproof.study.run.local import LocalEngine

if __name__ == "__main__":
    engine = LocalEngine(2, 1)
    engine.submit(NoteJob(0, np.zeros(1)))
    while not engine.collect():
        pass
    engine.submit(NoteJob(1, np.zeros(1), seconds=1000))
    print("ready", flush=True)
    engine.collect()
    input()
"""


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    search = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(
        [sys.executable, script], env=search, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        with process:
            assert process.stdout.readline() == b"ready\n"
            assert len(alive_in_session(process.pid)) > 2
            process.send_signal(signal.SIGKILL)
            process.wait()
            wait_until(lambda: not alive_in_session(process.pid))
    finally:
        kill(alive_in_session(process.pid))
