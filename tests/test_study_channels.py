"""Studies on channels of every kind: what reaches the decoder, what is counted, and how channels are grouped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

import studies
from flipproof.channel.base import Channel
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.jpeg import JpegCodec
from flipproof.errors import SpecError, UnknownNameError
from flipproof.received import Received
from flipproof.study import report
from flipproof.study.run import channels_of, run
from flipproof.study.series import bit_error_rate, bsc, bsc_channels, is_clean, series_of
from flipproof.study.store import ERROR
from flipproof.study.summary import summarise
from studies import CLEAN, MILD, SEVERE, TINY, RawCodec, but_seconds

PLAN = replace(TINY, photographs=("hill",), codecs=("raw",))
MANY = (
    CLEAN,
    SEVERE,
    "gilbert-elliott[ber=0.001,burst=20,bad_ber=0.5]",
    "gilbert-elliott[ber=0.001,burst=4,bad_ber=0.5]",
    "packet-loss[rate=0.05,size=64,known=true]",
    "packet-loss[rate=0.2,size=64,known=true]",
    "packet-loss[rate=0.2,size=64,known=false]",
    "awgn[snr=4,modulation=bpsk,soft=true]",
    "awgn[snr=10,modulation=bpsk,soft=true]",
    "slip[lost=1,inserted=0,size=2]",
)


@pytest.fixture(name="pictures")
def _pictures():
    return studies.pictures()


@dataclass(frozen=True)
class LastByteChannel(Channel):
    """Does something to the last byte: drops it, or says that nothing is known of it."""

    name: ClassVar[str] = "last-byte"
    dropped: bool = True

    def send(self, data, rng):
        if self.dropped:
            return data[:-1]
        llr = np.full(8 * len(data), np.inf, np.float32)
        llr[-8:] = 0
        return Received(data[:-1] + bytes([data[-1] ^ 0b101]), llr)


@dataclass(frozen=True)
class ListeningCodec(RawCodec):
    """Counts the files whose last byte it knows to be unknown."""

    def decode_many(self, files):
        soft = [isinstance(file, Received) and not file.llr[-8:].any() for file in files]
        self.decoded.append(sum(soft))
        return super().decode_many(files)


def test_files_received_alike_are_decoded_once(tmp_path, pictures):
    codec = RawCodec()
    plan = replace(PLAN, channels=(CLEAN, "bsc[ber=0.0]", "last-byte"), trials=4)
    built = {CLEAN: BinarySymmetricChannel(0.0), "bsc[ber=0.0]": BinarySymmetricChannel(0.0)}
    rows = run(plan, pictures, {"raw": codec}, tmp_path, channels=built | {"last-byte": LastByteChannel()})
    assert codec.decoded == [2]
    assert len(rows) == 1 + 1 + 4
    assert [row.flips for row in rows] == [0, 0, 8, 8, 8, 8]


def test_what_a_receiver_knows_reaches_the_decoder(tmp_path, pictures):
    codec, plan = ListeningCodec(), replace(PLAN, channels=("last-byte",), trials=3)
    rows = run(plan, pictures, {"raw": codec}, tmp_path, channels={"last-byte": LastByteChannel(dropped=False)})
    assert codec.decoded[0] == 3
    assert [row.flips for row in rows] == [2, 2, 2]


def test_an_adversary_gets_to_know_the_codec_and_the_picture(tmp_path, pictures):
    spelling = "targeted[flips=1,budget=4]"
    plan = replace(PLAN, codecs=("jpeg",), channels=(spelling,), trials=2)
    rows = run(plan, pictures, {"jpeg": JpegCodec()}, tmp_path)
    assert [row.flips for row in rows] == [1, 1]
    assert {row.status for row in rows} != {ERROR}


def test_noise_follows_what_a_channel_is_and_not_how_it_is_spelled(tmp_path, pictures):
    plans = [replace(PLAN, channels=(spelling,)) for spelling in ("bsc[ber=0.01]", "bsc[ber=1e-2]")]
    rows = [run(plan, pictures, {"raw": RawCodec()}, tmp_path / plan.channels[0]) for plan in plans]
    assert [row.flips for row in rows[0]] == [row.flips for row in rows[1]]


def test_rows_do_not_depend_on_the_other_channels(tmp_path, pictures):
    alone = run(replace(PLAN, channels=(MILD,)), pictures, {"raw": RawCodec()}, tmp_path / "a")
    among = run(replace(PLAN, channels=(SEVERE, MILD)), pictures, {"raw": RawCodec()}, tmp_path / "b")
    assert but_seconds(alone) == but_seconds(row for row in among if row.channel == MILD)


def test_a_channel_that_was_not_given_or_does_not_exist_is_an_error(tmp_path, pictures):
    with pytest.raises(SpecError, match="bsc"):
        run(PLAN, pictures, {"raw": RawCodec()}, tmp_path, channels={})
    with pytest.raises(UnknownNameError, match="bscc"):
        channels_of(replace(PLAN, channels=("bscc",)))
    with pytest.raises(SpecError, match="ber"):
        channels_of(replace(PLAN, channels=("bsc[ber=2]",)))


def test_series_vary_one_number_from_harmless_to_harmful():
    series = series_of(MANY)
    assert [each.title for each in series] == [
        "bsc",
        "gilbert-elliott[ber=0.001,bad_ber=0.5]",
        "packet-loss[size=64,known=true]",
        "awgn[modulation=bpsk,soft=true]",
        "other channels",
    ]
    assert [each.headings for each in series[1:4]] == [
        ("no errors", "burst 4", "burst 20"),
        ("no errors", "5 % lost", "20 % lost"),
        ("4 dB", "10 dB", "no errors"),
    ]
    assert series[3].channels == ("awgn[snr=4,modulation=bpsk,soft=true]", MANY[8], CLEAN)
    assert [each.ticks for each in series[2:4]] == [("0 %", "5 %", "20 %"), ("4", "10", "no errors")]
    assert series[4].channels == (CLEAN, MANY[6], MANY[9])
    assert {channel for each in series for channel in each.channels} == set(MANY)


def test_series_without_a_clean_channel_and_with_nothing_else():
    assert [each.channels for each in series_of([SEVERE, MILD])] == [(MILD, SEVERE)]
    assert [each.channels for each in series_of([CLEAN])] == [(CLEAN,)]
    assert [each.axis for each in series_of(["slip[lost=2,size=1]"])] == [""]
    assert [each.headings for each in series_of(["slip[lost=2]", "slip[lost=1]"])] == [("lost 1", "lost 2")]


def test_bit_error_rates_have_a_short_form():
    assert bsc_channels("0,1e-3") == (bsc(0), bsc(1e-3)) == (CLEAN, MILD)
    assert [is_clean(channel) for channel in (CLEAN, MILD, MANY[2])] == [True, False, False]
    assert bit_error_rate(MANY[7]) is None
    with pytest.raises(SpecError, match="1e-3"):
        bsc_channels("0,some")
    with pytest.raises(SpecError, match="bsc"):
        bit_error_rate("bsc")


def test_a_report_shows_every_series(tmp_path, pictures):
    plan = replace(PLAN, codecs=("raw", "jpeg[quality=50]"), channels=MANY)
    rows = run(plan, pictures, studies.codecs(), tmp_path)
    assert max(row.flips for row in rows if row.channel == MANY[9]) >= 16
    html = report.write(tmp_path).read_text(encoding="utf-8")
    tables = report.tables(summarise(rows, plan), plan)
    assert len(tables) == html.count('<table class="summary">') == 5
    for heading in ("burst 20", "5 % lost", "10 dB", MANY[9]):
        assert f">{heading}</th>" in html
    for name in ("psnr", "failures", "psnr-awgn-modulation-bpsk-soft-true", "psnr-packet-loss-size-64-known-true"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert 1000 <= image.width <= 1300
    assert not list(tmp_path.glob("*other*.png"))


def test_a_study_without_random_flips_has_a_report(tmp_path, pictures):
    plan = replace(PLAN, channels=MANY[7:9])
    run(plan, pictures, {"raw": RawCodec()}, tmp_path)
    assert "1 codecs on 1 photographs, on 2 channels" in report.write(tmp_path).read_text(encoding="utf-8")
    assert report.headline([], plan) is None


def test_codecs_with_stages_are_named_in_full(tmp_path, pictures):
    spelling = "raw[side=16]+fec[bch,t=7]"
    run(replace(PLAN, codecs=(spelling,), channels=(CLEAN,)), pictures, {spelling: RawCodec()}, tmp_path)
    html = report.write(tmp_path).read_text(encoding="utf-8")
    assert f"<code>{spelling}</code>" in html
    assert "<code>raw+fec</code><small>side=16</small><small>fec=bch,t=7</small>" in html
