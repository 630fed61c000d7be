from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codewords import draw, noisy, over_air
from flipproof import registry
from flipproof.errors import MissingExtraError, SpecError, UnknownNameError
from flipproof.protection import library
from flipproof.protection.accumulate import RepeatAccumulate
from flipproof.protection.bch import BCH
from flipproof.protection.convolutional import Convolutional
from flipproof.protection.ldpc import LDPC
from flipproof.protection.library import load_library
from flipproof.protection.reed_solomon import ReedSolomon

CODES = [
    BCH(7),
    BCH(3, m=6),
    BCH(20, m=11),
    ReedSolomon(),
    ReedSolomon(data=1, parity=2),
    ReedSolomon(data=20, parity=11),
    LDPC(data=64, parity=32),
    LDPC(data=37, parity=4),
    LDPC(data=2, parity=1),
    RepeatAccumulate(data=64, parity=32),
    RepeatAccumulate(data=300, parity=10),
    RepeatAccumulate(data=1, parity=4),
    Convolutional(data=32),
    Convolutional(data=5, outputs=3, memory=7),
]
DETECTING = [code for code in CODES if not isinstance(code, Convolutional)]
each = pytest.mark.parametrize("code", CODES, ids=str)


@each
def test_blocks_come_back_at_every_length(code):
    sizes = {8, 16, 24, code.data_bits // 16 * 8, code.data_bits - 8, code.data_bits}
    for size in sorted(size for size in sizes if 8 <= size <= code.data_bits):
        data, words = draw(code, 3, size, size)
        assert (words.shape, words.dtype) == ((3, size + code.parity_bits), np.uint8)
        assert (words == code.encode(data)).all()
        sure = np.where(words == 1, -np.inf, np.inf).astype(np.float32)
        for llr in (None, sure, sure.clip(-6, 6)):
            decoded = code.decode(words, llr)
            assert (decoded.data == data).all()
            assert decoded.flips.tolist() == [0, 0, 0]
            assert decoded.failed.tolist() == [False] * 3
            assert (decoded.data.dtype, decoded.failed.dtype) == (np.uint8, np.bool_)


@each
def test_sizes_are_whole_bytes_and_the_spelling_comes_back(code):
    assert code.data_bits % 8 == code.parity_bits % 8 == 0
    assert code.rate == code.data_bits / (code.data_bits + code.parity_bits)
    name, _, parameters = str(code).partition(",")
    assert name == code.name
    assert registry.code(f"{name}[{parameters}]") == code
    assert hash(registry.code(f"{name}[{parameters}]")) == hash(code)


@each
def test_no_blocks_are_no_trouble(code):
    data, words = draw(code, 0)
    assert words.shape == (0, code.data_bits + code.parity_bits)
    for llr in (None, np.zeros(words.shape, np.float32)):
        decoded = code.decode(words, llr)
        assert decoded.data.shape == data.shape
        assert decoded.flips.shape == decoded.failed.shape == (0,)


@each
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["none", "erased", "any", "infinite"]))
@example(seed=0, kind="erased")
def test_any_bits_whatever_are_decoded(code, seed, kind):
    rng = np.random.default_rng(seed)
    size = 8 * int(rng.integers(1, code.data_bits // 8 + 1))
    received = rng.integers(0, 2, (2, size + code.parity_bits), dtype=np.uint8)
    signs = 1 - 2 * received.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        llr = {
            "none": None,
            "erased": signs * (rng.random(received.shape) < rng.random()),
            "any": signs * np.exp(rng.normal(0, 20, received.shape)).clip(0, 3e38),
            "infinite": signs * np.inf,
        }[kind]
    before = received.copy()
    decoded = code.decode(received, None if llr is None else llr.astype(np.float32))
    assert (received == before).all()
    assert decoded.data.shape == (2, size)
    assert decoded.data.max(initial=0) <= 1
    assert (decoded.flips >= 0).all()
    assert (decoded.flips <= received.shape[1]).all()
    assert (decoded.flips[decoded.failed] == 0).all()


@each
def test_a_lost_block_takes_no_other_with_it(code):
    data, words = draw(code, 4)
    received = words.copy()
    received[2] = np.random.default_rng(5).integers(0, 2, words.shape[1], dtype=np.uint8)
    for llr in (None, 6 - 12 * received.astype(np.float32)):
        decoded, alone = code.decode(received, llr), code.decode(received[2:3], None if llr is None else llr[2:3])
        kept = [0, 1, 3]
        assert (decoded.data[kept] == data[kept]).all()
        assert not decoded.failed[kept].any()
        assert not decoded.flips[kept].any()
        assert (decoded.data[2] == alone.data[0]).all()
        assert decoded.failed[2] == alone.failed[0]


@pytest.mark.parametrize("code", [c for c in DETECTING if c.parity_bits >= 32], ids=str)
def test_a_block_beyond_repair_keeps_its_bits_and_says_so(code):
    _, words = draw(code, 20)
    received = np.random.default_rng(1).integers(0, 2, words.shape, dtype=np.uint8)
    decoded = code.decode(received)
    assert decoded.failed.mean() > 0.5
    first = 2 * code._graph(code.data_bits)._encoder.z if isinstance(code, LDPC) else 0
    assert (decoded.data == received[:, : code.data_bits])[decoded.failed][:, first:].all()


@each
def test_a_block_of_which_nothing_arrived_is_lost(code):
    received = 1 - draw(code, 2)[1]
    assert code.decode(received, np.zeros(received.shape, np.float32)).failed.all()


@pytest.mark.parametrize(
    "code", [BCH(7), ReedSolomon(), LDPC(data=64, parity=32), RepeatAccumulate(64, 32), Convolutional(32)], ids=str
)
def test_erased_bits_come_back_whatever_stands_in_their_place(code):
    data, words = draw(code, 3)
    rng = np.random.default_rng(0)
    llr = 8 - 16 * words.astype(np.float32)
    for row in llr:
        row[rng.choice(row.size, 7, replace=False)] = 0
    received = np.where(llr == 0, rng.integers(0, 2, words.shape, dtype=np.uint8), words)
    decoded = code.decode(received, llr)
    assert (decoded.data == data).all()
    assert not decoded.failed.any()


@pytest.mark.parametrize(
    "code", [BCH(7), ReedSolomon(), LDPC(data=64, parity=32), RepeatAccumulate(64, 32), Convolutional(32)], ids=str
)
def test_reliabilities_help(code):
    """Block losses over Gaussian noise with and without them; with them never more."""
    ber = {"bch": 8e-3, "rs": 1e-2, "ldpc": 3.5e-2, "ira": 3.5e-2, "convolutional": 5e-2}[code.name]
    data, words = draw(code, 60)
    received, llr = over_air(words, ber)
    soft, plain = ((code.decode(received, known).data != data).any(axis=1).sum() for known in (llr, None))
    assert soft < plain


@pytest.mark.parametrize(
    "spelling",
    [
        "rs[data=0]",
        "rs[parity=1]",
        "rs[data=224]",
        "rs[data=-1]",
        "ldpc[data=1]",
        "ldpc[data=1057]",
        "ldpc[parity=20]",
        "ldpc[parity=513]",
        "ldpc[ber=0]",
        "ldpc[ber=0.5]",
        "ldpc[ber=nan]",
        "ldpc[iterations=0]",
        "ldpc[data=many]",
        "ira[data=0]",
        "ira[data=8193,parity=4000]",
        "ira[parity=3]",
        "ira[data=8192,parity=100]",
        "ira[data=10,parity=41]",
        "ira[iterations=0]",
        "convolutional[outputs=4]",
        "convolutional[memory=8]",
        "convolutional[data=0]",
        "bch[t=0]",
        "bch[t=7,t=8]",
        "rs[size=3]",
    ],
)
def test_bad_parameters_are_refused(spelling):
    with pytest.raises(SpecError, match=spelling.partition("[")[0]):
        registry.code(spelling)


def test_unknown_codes_name_the_known_ones():
    with pytest.raises(UnknownNameError, match="bch, convolutional, ira, ldpc, rs"):
        registry.code("turbo")


@pytest.mark.parametrize(
    "code", [ReedSolomon(data=3, parity=4), LDPC(data=8, parity=5), Convolutional(data=9)], ids=str
)
def test_missing_libraries_name_the_extra(code, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("reedsolo", "sionna")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("reedsolo", "sionna"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("flipproof.protection.ldpc._LOCAL", threading.local())
    monkeypatch.setattr("flipproof.protection.ldpc._LOCAL.graphs", {}, raising=False)
    library.load_library.cache_clear()
    with pytest.raises(MissingExtraError, match=r"flipproof\[fec\]"):
        draw(code, 1)
    library.load_library.cache_clear()


def test_libraries_leave_random_numbers_alone(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("sionna.phy")]:
        monkeypatch.delitem(sys.modules, name)
    load_library.cache_clear()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        before = torch.random.get_rng_state()
        load_library("sionna.phy.config")
        assert torch.equal(torch.random.get_rng_state(), before)
    load_library.cache_clear()


def test_threads_do_not_meet_in_a_decoder():
    code, results = LDPC(data=64, parity=32), {}
    sent = {seed: draw(code, 6, seed) for seed in range(4)}

    def work(seed: int) -> None:
        data, words = sent[seed]
        results[seed] = all((code.decode(noisy(words, 1e-2, turn)).data == data).all() for turn in range(4))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in sent]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(sent, True)
