from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import flipproof
from flipproof import cli
from flipproof.metric.psnr import psnr


@pytest.fixture
def run(monkeypatch, capfd):
    """Runs the command as the shell would: exit code, standard output, standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["flipproof", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        text = capfd.readouterr()
        return end.value.code or 0, text.out, text.err

    return call


@pytest.fixture
def png(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_photo_to_flip_to_damage_to_photo(run, png, tmp_path):
    flip, damaged, back = (tmp_path / name for name in ("a.flip", "b.flip", "c.png"))
    code, _, text = run("encode", png, flip, "--bpp", 0.6)
    assert code == 0
    assert f"{flip.stat().st_size} bytes, 0.59" in text
    assert run("corrupt", flip, damaged, "--ber", 0.01, "--seed", 3)[0] == 0
    assert flip.stat().st_size == damaged.stat().st_size
    assert flip.read_bytes() != damaged.read_bytes()
    code, _, text = run("decode", damaged, back)
    assert code == 0
    assert "degraded" in text
    assert np.asarray(Image.open(back)).shape == (96, 128, 3)
    code, _, text = run("decode", damaged, tmp_path / "d.png", "--strict")
    assert code == 2
    assert not (tmp_path / "d.png").exists()


def test_corrupting_twice_with_one_seed_is_the_same(run, png, tmp_path):
    for name in "ab":
        run("corrupt", png, tmp_path / name, "--ber", 0.1)
    run("corrupt", png, tmp_path / "c", "--ber", 0.1, "--seed", 1)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_corrupting_through_any_channel(run, png, tmp_path):
    data = png.read_bytes()
    code, _, text = run("corrupt", png, tmp_path / "a", "--channel", "gilbert-elliott[ber=1e-2,burst=20]")
    received = (tmp_path / "a").read_bytes()
    flips = (int.from_bytes(data) ^ int.from_bytes(received)).bit_count()
    assert (code, text) == (0, f"{tmp_path / 'a'}: {flips} of {8 * len(data)} bits flipped\n")
    assert flips
    run("corrupt", png, tmp_path / "b", "--ber", 1e-3, "--seed", 2)
    run("corrupt", png, tmp_path / "c", "--channel", "bsc[ber=1e-3]", "--seed", 2)
    run("corrupt", png, tmp_path / "d", "--seed", 2)
    b, c, d = ((tmp_path / name).read_bytes() for name in "bcd")
    assert b == c == d != data
    _, _, text = run("corrupt", png, tmp_path / "a", "--channel", "slip[lost=2]")
    assert text == f"{tmp_path / 'a'}: {len(data) - 2} bytes of {len(data)} sent\n"
    for name, spelling in (("a", "awgn[snr=3,soft=true]"), ("b", "awgn[snr=3]")):
        run("corrupt", png, tmp_path / name, "--channel", spelling)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != data, "hard decisions are written"


def test_info_counts_every_bit(run, png, tmp_path):
    run("encode", png, tmp_path / "a.flip")
    code, text, _ = run("info", tmp_path / "a.flip")
    assert code == 0
    assert "128x96" in text
    assert "TrellisProtocol" in text
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    *parts, described, whole, repaired = [(row[0], int(row[1])) for row in cells if len(row) == 2]
    assert described[0].startswith("file as described")
    assert repaired == ("flipped bits repaired, but for the payload", 0)
    size = 8 * (tmp_path / "a.flip").stat().st_size
    assert sum(bits for _, bits in parts) == described[1] == size
    assert whole == ("file as received", size)


def test_files_of_other_codecs_are_recognised(run, png, tmp_path):
    file, back = tmp_path / "a.jpg", tmp_path / "b.png"
    run("encode", png, file, "--codec", "jpeg")
    code, text, _ = run("info", file)
    assert (code, "jpeg file" in text, str(8 * file.stat().st_size) in text) == (0, True, True)
    assert run("decode", file, back)[0] == 0
    assert back.exists()


def test_a_quality_and_a_region_that_matters(run, png, photo, tmp_path):
    flip, back, region = (tmp_path / name for name in ("a.flip", "b.png", "region.png"))
    code, _, text = run("encode", png, flip, "--psnr", 24)
    assert code == 0
    assert text == f"{flip}: {flip.stat().st_size} bytes, {8 * flip.stat().st_size / photo[..., 0].size:.4g} bpp\n"
    assert flip.read_bytes() == flipproof.encode(photo, psnr=24)
    run("decode", flip, back)
    assert 24 <= psnr(np.asarray(Image.open(back)), photo) < 24.75
    weights = np.full((96, 128), 40, np.uint8)
    weights[:, :64] = 160
    Image.fromarray(weights).save(region)
    assert run("encode", png, flip, "--bpp", 0.6, "--priority", region)[0] == 0
    assert flip.read_bytes() == flipproof.encode(photo, bpp=0.6, priority=weights) != flipproof.encode(photo, bpp=0.6)


def test_a_part_of_a_file_and_another_reconstruction(run, png, photo, tmp_path):
    flip, back = tmp_path / "a.flip", tmp_path / "b.png"
    run("encode", png, flip, "--bpp", 0.2, "--prior", "small", "--device", "cpu", "--precision", "float32")
    assert flip.read_bytes() == flipproof.encode(photo, "trellis[precision=float32]", bpp=0.2)
    for options in ({"upto": 0.5}, {"upto": 0.7, "reconstruction": "sharp"}):
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        code, _, text = run("decode", flip, back, "--prior", "small", "--device", "cpu", *words)
        assert (code, text) == (0, f"{back}: ok, no damage seen\n")
        assert np.array_equal(Image.open(back), flipproof.decode(flip, **options).picture)
    for precision in ("auto", "bfloat16"):
        run("decode", flip, back, "--precision", precision)
        assert np.array_equal(Image.open(back), flipproof.decode(flip, precision=precision).picture)


def test_a_codec_says_which_options_are_not_its_own(run, png, tmp_path):
    jpeg = tmp_path / "a.jpg"
    assert run("encode", png, jpeg, "--codec", "jpeg", "--psnr", 26)[0] == 0
    assert psnr(np.asarray(Image.open(jpeg)), np.asarray(Image.open(png))) >= 26
    for option in (("--prior", "small"), ("--device", "cpu"), ("--priority", png)):
        code, _, error = run("encode", png, tmp_path / "b.jpg", "--codec", "jpeg", *option)
        assert code == 2
        assert f"jpeg has no parameter '{option[0][2:]}'" in error or "jpeg: expected priority none" in error
    for option in (("--upto", 0.5), ("--reconstruction", "sharp"), ("--prior", "small")):
        code, _, error = run("decode", jpeg, tmp_path / "b.png", "--codec", "jpeg", *option)
        assert code == 2
        assert f"jpeg has no parameter '{option[0][2:]}'" in error or "jpeg: expected upto 1" in error
    assert not (tmp_path / "b.png").exists()


def test_lists(run):
    code, text, _ = run("codecs")
    assert code == 0
    assert all(name in text for name in ("jpeg", "trellis", "tracks", "turbo-ddcm", "robust-turbo-ddcm"))
    code, text, _ = run("channels")
    assert code == 0
    assert all(name in text for name in ("bsc", "gilbert-elliott", "packet-loss", "rayleigh", "targeted", "snr=4.0"))
    assert run("--version")[1].strip() == "0.1.0"
    assert "Usage" in run("--help")[1]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("encode", "none.png", "a.flip"), "cannot read none.png: No such file"),
        (("encode", "PNG", "no/such/a.flip"), "no/such/a.flip: No such file"),
        (("encode", "PNG", "a.flip", "--codec", "nope"), "unknown codec 'nope'"),
        (("encode", "PNG", "a.flip", "--codec", "trellis[x=1]"), "no parameter 'x'"),
        (("encode", "PNG", "a.flip", "--bpp", "0"), "expected bpp above 0"),
        (("encode", "PNG", "a.flip", "--bpp", "0.001"), "expected at least"),
        (("encode", "PNG", "a.flip", "--bpp", "x"), "--bpp"),
        (("encode", "PNG", "a.flip", "--bpp", "1", "--psnr", "30"), "expected bpp or psnr, got both"),
        (("encode", "PNG", "a.flip", "--psnr", "0"), "expected a PSNR above 0 dB"),
        (("encode", "PNG", "a.flip", "--psnr", "90", "--codec", "jpeg"), "expected a codec that reaches 90 dB"),
        (("encode", "PNG", "a.flip", "--priority", "none.png"), "cannot read none.png: No such file"),
        (("encode", "PNG", "a.flip", "--priority", "SMALL"), "expected a priority map of (96, 128), got (4, 5)"),
        (("encode", "PNG", "a.flip", "--prior", "large"), "unknown prior 'large'; known: small, "),
        (("encode", "PNG", "a.flip", "--prior", "diffusers:/nowhere/model"), "no such directory"),
        (("encode", "PNG", "a.flip", "--device", "abacus"), "expected a device"),
        (("encode", "PNG", "a.flip", "--precision", "int4"), "expected precision one of auto, float32"),
        (("decode", "FLIP", "a.png", "--upto", "2"), "--upto"),
        (("decode", "FLIP", "a.png", "--upto", "nan"), "--upto"),
        (
            ("decode", "FLIP", "a.png", "--reconstruction", "best"),
            "expected reconstruction one of none, mse, crisp, sharp",
        ),
        (("decode", "FLIP", "a.png", "--prior", "diffusers:/nowhere/model"), "no such directory"),
        (("decode", "FLIP", "a.png", "--codec", "diffc"), "expected a file of diffc, got one of trellis"),
        (("encode", "PNG"), "Missing argument"),
        (("decode", "PNG", "a.png"), "expected a .flip file"),
        (("decode", "none.flip", "a.png"), "none.flip: No such file"),
        (("decode", "EMPTY", "a.png"), "got no bytes"),
        (("info", "PNG"), "expected a .flip file"),
        (("corrupt", "PNG", "a", "--ber", "2"), "--ber"),
        (("corrupt", "PNG", "a", "--ber", "0.1", "--channel", "awgn"), "expected --ber or --channel, got both"),
        (("corrupt", "PNG", "a", "--channel", "pigeon"), "unknown channel 'pigeon'"),
        (("corrupt", "PNG", "a", "--channel", "bsc[ber=2]"), "bsc: expected ber from 0 to 1, got 2"),
        (("corrupt", "PNG", "a", "--channel", "targeted"), "needs a judge"),
        (("encode", "PNG", "a.flip", "--codec", "tracks[device=nowhere]"), "expected a device"),
        (("train", "hyperprior", "--data", ".", "--patch", "65"), "multiple of 64"),
        (("train", "small", "--data", "."), "expected index.tsv"),
        (("nonsense",), "No such command"),
        (("study", "run", "nope"), "nope"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(run, png, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").touch()
    Image.new("L", (5, 4), 9).save(tmp_path / "small.png")
    names = {"PNG": str(png), "EMPTY": str(tmp_path / "empty"), "SMALL": str(tmp_path / "small.png")}
    if "FLIP" in arguments:
        names["FLIP"] = str(tmp_path / "a.flip")
        (tmp_path / "a.flip").write_bytes(flipproof.encode(np.zeros((16, 16, 3), np.uint8)))
    code, out, error = run(*(names.get(a, a) for a in arguments))
    assert code == 2
    assert text in error
    assert error.count("\n") == 1
    assert "Traceback" not in out + error


def test_unwritable_output(run, png, tmp_path):
    for command in ("encode", "corrupt"):
        code, _, error = run(command, png, tmp_path)
        assert code == 2
        assert "Is a directory" in error
        assert error.count("\n") == 1


def test_nothing_is_written_over_what_is_read(run, png, tmp_path):
    before = png.read_bytes()
    for command in ("encode", "decode", "corrupt"):
        code, _, error = run(command, png, png)
        assert code == 2
        assert "two different files" in error
    assert png.read_bytes() == before


def test_interrupting_says_so(run, png, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("flipproof.api.encode", interrupt)
    code, _, error = run("encode", png, tmp_path / "a.flip")
    assert (code, error) == (130, "flipproof: interrupted\n")


def test_terminals_are_told_what_goes_on(run, png, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "err", Console(stderr=True, force_terminal=True, color_system=None))
    _, _, text = run("encode", png, tmp_path / "a.flip", "--codec", "jpeg", "--bpp", 1)
    assert "encoding photo.png" in text
    assert "decoding a.flip" in run("decode", tmp_path / "a.flip", tmp_path / "b.png")[2]


def test_unknown_picture_format(run, png, tmp_path):
    run("encode", png, tmp_path / "a.flip", "--bpp", 0.6)
    code, _, error = run("decode", tmp_path / "a.flip", tmp_path / "a.xyz")
    assert code == 2
    assert "xyz" in error


def test_a_rate_beyond_use_is_explained(run, tmp_path):
    Image.new("RGB", (64, 64), "gray").save(tmp_path / "gray.png")
    code, _, text = run("encode", tmp_path / "gray.png", tmp_path / "a.flip", "--bpp", 10)
    assert code == 0
    assert "10 asked, the nearest below" in text
