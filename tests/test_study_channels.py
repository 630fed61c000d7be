"""Studies on channels of every kind: what reaches the decoder, what is counted, and how channels are grouped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import studies
from flipproof import registry
from flipproof.channel.base import Channel
from flipproof.codec.jpeg import JpegCodec
from flipproof.errors import SpecError, UnknownNameError
from flipproof.received import Received
from flipproof.study.series import bit_error_rate, bsc, bsc_channels, is_clean, series_of
from flipproof.study.store.row import ERROR
from studies import CLEAN, MILD, SEVERE, TINY, CountingCodec, RawCodec, but_times

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


def measured(folder, channels, codec=None, trials=3):
    """Runs the tiny study with one codec on one picture."""
    plan = TINY.model_copy(update={"channels": channels, "trials": TINY.trials.model_copy(update={"least": trials})})
    return studies.measured(folder, plan, {"raw": codec or RawCodec()}, arrays={"hill": studies.pictures()["hill"]})


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


@pytest.fixture(name="last_byte")
def _last_byte(monkeypatch):
    known = registry.channel
    made = {str(channel): channel for channel in (LastByteChannel(), LastByteChannel(dropped=False))}
    monkeypatch.setattr(registry, "channel", lambda spelling: made.get(spelling) or known(spelling))


@dataclass(frozen=True)
class ListeningCodec(CountingCodec):
    """Counts the files whose last byte it knows to be unknown."""

    def decode_many(self, files, upto=1.0):
        soft = [isinstance(file, Received) and not file.llr[-8:].any() for file in files]
        self.decoded.append(sum(soft))
        return RawCodec.decode_many(self, files)


@pytest.mark.usefixtures("last_byte")
def test_files_received_alike_are_decoded_once(tmp_path):
    codec = CountingCodec()
    rows = measured(tmp_path, (CLEAN, "last-byte[dropped=true]"), codec, trials=4)
    assert codec.decoded == [2]
    assert [row["flips"] for row in rows] == [0, 8, 8, 8, 8]


@pytest.mark.usefixtures("last_byte")
def test_what_a_receiver_knows_reaches_the_decoder(tmp_path):
    codec = ListeningCodec()
    rows = measured(tmp_path, ("last-byte[dropped=false]",), codec)
    assert codec.decoded[0] == 3
    assert [row["flips"] for row in rows] == [2, 2, 2]


def test_an_adversary_gets_to_know_the_codec_and_the_picture(tmp_path):
    rows = measured(tmp_path, ("targeted[flips=1,budget=4]",), JpegCodec(), trials=2)
    assert [row["flips"] for row in rows] == [1, 1]
    assert {row["status"] for row in rows} != {ERROR}


def test_noise_follows_what_a_channel_is_and_not_how_it_is_spelled(tmp_path):
    rows = [measured(tmp_path / spelling, (spelling,)) for spelling in ("bsc[ber=0.01]", "bsc[ber=1e-2]")]
    assert but_times(rows[0]) == but_times(rows[1])


def test_rows_do_not_depend_on_the_other_channels(tmp_path):
    alone = measured(tmp_path / "a", (MILD,))
    among = measured(tmp_path / "b", (SEVERE, MILD))
    assert but_times(alone) == but_times([row for row in among if row["channel"] == MILD])


def test_a_channel_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(UnknownNameError, match="bscc"):
        measured(tmp_path, ("bscc",))
    with pytest.raises(SpecError, match="ber"):
        measured(tmp_path, ("bsc[ber=2]",))


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
