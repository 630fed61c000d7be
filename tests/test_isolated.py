from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hostile
from conftest import photograph
from flipproof.codec.isolated import Isolated
from flipproof.codec.jpeg import JpegCodec, read_jpeg
from flipproof.errors import DecodeError, SpecError, WorkerError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the decoders misbehave in the manner of POSIX")

MODEST = Isolated(hostile.misbehave, seconds=60.0, mebibytes=256)
HASTY = Isolated(hostile.misbehave, seconds=0.3)


def text(pixels):
    return pixels.tobytes().rstrip(b"\0")


def number(pixels):
    return int.from_bytes(pixels.tobytes(), "big")


def gone(pid, seconds=10.0):
    """Whether a process ends within some time; one that nobody waited for counts as ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def script(code, *arguments):
    """Starts another Python program that finds the tests' modules."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        ("abort", "the decoder crashed (signal 6)"),
        ("segfault", "the decoder crashed (signal 11)"),
        ("leave", "the decoder ended (exit status 0)"),
        ("exit", "the decoder ended (exit status 3)"),
        ("send_half_a_picture", "the decoder ended (exit status 0)"),
        ("lie_about_the_size", "expected sides from 1 to 16383 and at most 16777216 pixels, got 4294967295x4294967295"),
        ("lie_about_the_length", "the decoder sent an impossible reply"),
        ("lie_about_the_kind", "the decoder sent an impossible reply"),
        ("refuse", "not like this"),
        ("refuse_silently", "the decoder refused the file"),
        ("raise", "ZeroDivisionError: first line"),
        ("return_nothing", "AttributeError: 'NoneType' object has no attribute 'dtype'"),
        ("return_floats", "expected a picture (H, W, 3) of uint8, got float64 (1, 1, 3)"),
        ("return_gray", "expected a picture (H, W, 3) of uint8, got uint8 (1, 1)"),
        ("return_too_wide", "expected sides from 1 to 16383 and at most 16777216 pixels, got 16384x1"),
        ("return_empty", "expected sides from 1 to 16383 and at most 16777216 pixels, got 1x0"),
    ],
)
def test_whatever_goes_wrong_is_a_decode_error_and_the_next_file_decodes(deed, message):
    with pytest.raises(DecodeError) as caught:
        MODEST(deed.encode())
    assert str(caught.value) == message
    assert text(MODEST(b"next")) == b"next"


@pytest.mark.parametrize("deed", ["spin", "sleep"])
def test_time_is_limited(deed):
    start = time.monotonic()
    with pytest.raises(DecodeError, match=r"^the decoder took longer than 0\.3 s$"):
        HASTY(deed.encode())
    assert time.monotonic() - start < 30


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
@pytest.mark.parametrize("deed", ["allocate", "allocate_in_small_pieces"])
def test_memory_is_limited(deed):
    with pytest.raises(DecodeError, match=r"^the decoder needed more than 256 MiB$"):
        MODEST(deed.encode())
    assert text(MODEST(b"next")) == b"next"


def test_a_file_larger_than_the_memory_is_refused_too():
    with pytest.raises(DecodeError, match=r"^the decoder needed more than 16 MiB$"):
        Isolated(hostile.echo, mebibytes=16)(bytes(2**26))


def test_long_texts_are_cut():
    with pytest.raises(DecodeError) as caught:
        MODEST(b"refuse_at_length")
    assert 100 <= len(str(caught.value)) <= 1000


def test_standard_streams_are_not_the_decoders(capfd):
    assert MODEST(b"print").shape == (1, 1, 3)
    assert text(MODEST(b"read")) == b"end"
    assert text(MODEST(b"next")) == b"next"
    assert capfd.readouterr() == ("", "")


def test_arrays_of_any_strides_come_back():
    assert MODEST(b"return_mirrored").tolist() == [[[3, 4, 5], [0, 1, 2]]]


def test_one_child_serves_many_files():
    read = Isolated(hostile.misbehave)
    first = number(read(b"tell_pid"))
    with pytest.raises(DecodeError):
        read(b"refuse")
    assert number(read(b"tell_pid")) == first
    with pytest.raises(DecodeError):
        read(b"leave")
    assert number(read(b"tell_pid")) != first


def test_a_child_that_ended_while_idle_is_replaced():
    read = Isolated(hostile.misbehave)
    pid = number(read(b"tell_pid"))
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert text(read(b"next")) == b"next"


def test_children_end_with_their_owner():
    read = Isolated(hostile.misbehave)
    pid = number(read(b"tell_pid"))
    del read
    gc.collect()
    assert gone(pid)


def test_a_program_that_the_decoder_started_ends_with_it(tmp_path):
    note = tmp_path / "pid"
    with pytest.raises(DecodeError, match="longer"):
        Isolated(hostile.misbehave, str(note), seconds=1.0)(b"run_a_hanging_program")
    assert gone(int(note.read_text()))


def test_children_import_what_the_decoder_needs_and_no_more():
    modules = text(MODEST(b"tell_modules")).split()
    assert b"hostile" in modules
    assert b"torch" not in modules


def test_there_are_no_core_dumps():
    assert text(MODEST(b"tell_core_limit")) == b"(0, 0)"


def test_threads_may_share_a_decoder():
    read = Isolated(hostile.misbehave)
    files = [f"file {i}".encode() * (1 + 1000 * (i % 3)) for i in range(60)]
    with ThreadPoolExecutor(3) as pool:
        assert [text(pixels) for pixels in pool.map(read, files)] == files


@given(st.binary())
def test_any_bytes_get_through_unchanged(data):
    decoded = MODEST(b"bytes " + data).tobytes()
    assert decoded[: 6 + len(data)] == b"bytes " + data


def nested():
    def decoder(data):
        return data

    return decoder


def elsewhere(data):
    return data


elsewhere.__module__ = "no_such_module"


@pytest.mark.parametrize("function", [lambda data: data, nested(), Path.exists])
def test_functions_without_a_name_of_their_own_are_refused(function):
    with pytest.raises(SpecError, match="under its name"):
        Isolated(function)


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"seconds": float("inf")}, {"mebibytes": 0}])
def test_limits_are_positive(limits):
    with pytest.raises(SpecError, match="positive limits"):
        Isolated(hostile.echo, **limits)


def test_a_decoder_that_cannot_be_imported_is_no_fault_of_the_file():
    with pytest.raises(WorkerError, match="ModuleNotFoundError: No module named 'no_such_module'"):
        Isolated(elsewhere)(b"")


@pytest.mark.parametrize("program", ["/no/such/python", "/bin/false", None, ""])
def test_a_python_that_does_not_start_is_no_fault_of_the_file(program, monkeypatch):
    monkeypatch.setattr(sys, "executable", program)
    with pytest.raises(WorkerError, match="expected"):
        Isolated(hostile.echo)(b"")


def test_forked_processes_start_children_of_their_own():
    code = """
import multiprocessing, hostile
from flipproof.codec.isolated import Isolated
READ = Isolated(hostile.misbehave)
def pid(_):
    return [int.from_bytes(READ(b"tell_pid").tobytes(), "big") for _ in range(3)]
if __name__ == "__main__":
    here = pid(0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        there = pool.map(pid, range(4), chunksize=1)
    print(len(set(here)), all(len(set(pids)) == 1 and pids[0] != here[0] for pids in there), pid(0) == here)
"""
    out, error = script(code).communicate(timeout=60)
    assert (out.decode(), error.decode()) == ("1 True True\n", "")


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)", "os._exit(1)", "raise SystemExit(1)"])
def test_no_child_outlives_the_program(end):
    code = f"""
import os, signal, hostile
from flipproof.codec.isolated import Isolated
READ = Isolated(hostile.misbehave)
print(int.from_bytes(READ(b"tell_pid").tobytes(), "big"), flush=True)
{end}
"""
    out, error = script(code).communicate(timeout=60)
    assert gone(int(out))
    assert not error


def test_ctrl_c_ends_both(tmp_path):
    note = tmp_path / "pid"
    code = """
import signal, sys, hostile
from flipproof.codec.isolated import Isolated
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
try:
    Isolated(hostile.misbehave, sys.argv[1], seconds=500)(b"note_and_sleep")
except KeyboardInterrupt:
    print("interrupted")
"""
    program = script(code, note)
    end = time.monotonic() + 60
    while not (note.exists() and note.read_text()):
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(program.pid, signal.SIGINT)
    out, error = program.communicate(timeout=60)
    assert (out, error) == (b"interrupted\n", b"")
    assert gone(int(note.read_text()))


def test_jpeg_decodes_to_what_pillow_makes_of_it():
    picture = photograph(40, 50)
    data = JpegCodec().encode(picture)
    assert np.array_equal(JpegCodec().decode(data).picture, read_jpeg(data))
