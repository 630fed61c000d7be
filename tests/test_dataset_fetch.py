"""Downloads against a server that breaks off, lies and refuses."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from archives import zipped
from conftest import photograph
from flipproof.errors import DatasetError
from flipproof.study.dataset import catalogue, download
from flipproof.study.dataset.catalogue import DataSet, Download, PinnedFile
from flipproof.study.dataset.collection import open_collection
from flipproof.study.dataset.download import download as bring
from flipproof.study.dataset.fetch import fetch, folder_of, ready
from flipproof.study.dataset.picture import digest

DATA = bytes(range(256)) * 400
NOW = (0.0, 0.0, 0.0)
"""No time between tries."""


@dataclass
class Server:
    """What a server has and how it behaves.

    Attributes:
        files: By path.
        limit: Bytes after which it hangs up, once an answer.
        ranges: Whether it knows the header Range.
        refuse: Status codes to answer the next requests with.
        shift: What it adds to where a range begins.
        asked: Path and range of every request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    limit: int | None = None
    ranges: bool = True
    refuse: list[int] = field(default_factory=list)
    shift: int = 0
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""

    def of(self, name: str, data: bytes, **changes) -> Download:
        """Serves a file; returns what it should be, or is said to be."""
        self.files[f"/{name}"] = data
        return replace(Download(f"{self.address}/{name}", len(data), hashlib.sha256(data).hexdigest()), **changes)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    behaviour = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            asked = self.headers.get("Range")
            behaviour.asked.append((self.path, asked))
            if behaviour.refuse or self.path not in behaviour.files:
                self.send_error(behaviour.refuse.pop(0) if behaviour.refuse else 404)
                return
            data = behaviour.files[self.path]
            first = int(asked.removeprefix("bytes=").rstrip("-")) if asked and behaviour.ranges else 0
            if first >= len(data):
                self.send_error(416)
                return
            first += behaviour.shift if first else 0
            self.send_response(206 if asked and behaviour.ranges else 200)
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - first))
            self.end_headers()
            self.wfile.write(data[first:][: behaviour.limit])

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        behaviour.address = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield behaviour
        running.shutdown()
        thread.join()


def test_a_file_comes_whole(server, tmp_path):
    seen = []
    bring(server.of("a", DATA), tmp_path / "a", lambda *state: seen.append(state), NOW)
    assert (tmp_path / "a").read_bytes() == DATA
    assert seen[-1] == ("a", len(DATA), len(DATA))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_that_is_here_is_not_asked_for(server, tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    bring(server.of("a", DATA), tmp_path / "a", pauses=NOW)
    assert server.asked == []


def test_an_altered_file_is_replaced(server, tmp_path):
    (tmp_path / "a").write_bytes(DATA[::-1])
    bring(server.of("a", DATA), tmp_path / "a", pauses=NOW)
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_connection_that_breaks_off_is_taken_up_where_it_was(server, tmp_path):
    server.limit = 30_000
    bring(server.of("a", DATA), tmp_path / "a", pauses=NOW)
    assert (tmp_path / "a").read_bytes() == DATA
    assert [asked for _, asked in server.asked] == [None, "bytes=30000-", "bytes=60000-", "bytes=90000-"]


def test_what_an_earlier_run_brought_is_used(server, tmp_path):
    (tmp_path / "a.part").write_bytes(DATA[:1000])
    bring(server.of("a", DATA), tmp_path / "a", pauses=NOW)
    assert (tmp_path / "a").read_bytes() == DATA
    assert server.asked == [("/a", "bytes=1000-")]


def test_a_whole_part_needs_no_server(tmp_path):
    (tmp_path / "a.part").write_bytes(DATA)
    what = Download("http://127.0.0.1:9/a", len(DATA), hashlib.sha256(DATA).hexdigest())
    bring(what, tmp_path / "a", pauses=NOW)
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize("part", [b"x" * 1000, b"x" * len(DATA), b"x" * (len(DATA) + 1)])
def test_a_part_of_another_file_is_thrown_away(server, tmp_path, part):
    (tmp_path / "a.part").write_bytes(part)
    bring(server.of("a", DATA), tmp_path / "a", pauses=NOW)
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    (tmp_path / "a.part").write_bytes(DATA[:1000])
    bring(server.of("a", DATA), tmp_path / "a", pauses=NOW)
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_server_without_ranges_that_breaks_off_is_given_up(server, tmp_path):
    server.ranges, server.limit = False, 1000
    with pytest.raises(DatasetError, match=r"cannot download .*the connection ended after 1000 of 102400 bytes"):
        bring(server.of("a", DATA), tmp_path / "a", pauses=NOW)
    assert (tmp_path / "a.part").stat().st_size == 1000


def test_a_range_that_begins_elsewhere_is_not_believed(server, tmp_path):
    server.limit, server.shift = 30_000, 5
    with pytest.raises(DatasetError, match="the server began at byte 30005 and not at 30000"):
        bring(server.of("a", DATA), tmp_path / "a", pauses=NOW)


def test_a_file_that_shrank_is_asked_for_anew(server, tmp_path):
    (tmp_path / "a.part").write_bytes(DATA[:500])
    what = server.of("a", DATA[:400], size=600)
    with pytest.raises(DatasetError, match="the connection ended after 400 of 600 bytes"):
        bring(what, tmp_path / "a", pauses=NOW)
    assert server.asked[:2] == [("/a", "bytes=500-"), ("/a", None)]


def test_a_wrong_file_is_refused_and_not_kept(server, tmp_path):
    with pytest.raises(DatasetError, match=rf"expected .*/a with SHA-256 {'0' * 64}, got "):
        bring(server.of("a", DATA, sha256="0" * 64), tmp_path / "a", pauses=NOW)
    assert list(tmp_path.iterdir()) == []


def test_no_more_is_read_than_there_should_be(server, tmp_path):
    right = hashlib.sha256(DATA[:1000]).hexdigest()
    bring(server.of("a", DATA, size=1000, sha256=right), tmp_path / "a", pauses=NOW)
    assert (tmp_path / "a").read_bytes() == DATA[:1000]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_final(server, tmp_path, status):
    what = server.of("a", DATA)
    server.refuse = [status] * 9
    with pytest.raises(DatasetError, match=rf"cannot download .*/a: {status} "):
        bring(what, tmp_path / "a", pauses=NOW)
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server, tmp_path):
    what = server.of("a", DATA)
    server.refuse = [503, 429, 500]
    bring(what, tmp_path / "a", pauses=NOW)
    server.refuse = [503] * 9
    with pytest.raises(DatasetError, match=r"cannot download .*/b: 503 Service Unavailable"):
        bring(server.of("b", DATA), tmp_path / "b", pauses=NOW)


def test_nobody_there_is_an_error(tmp_path):
    what = Download("http://127.0.0.1:9/a", 1, "0" * 64)
    with pytest.raises(DatasetError, match=r"cannot download http://127.0.0.1:9/a: .*refused"):
        bring(what, tmp_path / "a", pauses=NOW)
    with pytest.raises(DatasetError, match=r"cannot download http://nowhere\.invalid/a: "):
        bring(replace(what, address="http://nowhere.invalid/a"), tmp_path / "a", pauses=(1e9,))


def test_a_full_disk_is_an_error_and_keeps_what_came(server, tmp_path, monkeypatch):
    real = download._Writer.write
    room = [40_000]

    def write(self, data):
        room[0] -= len(data)
        if room[0] < 0:
            raise self._failed(OSError(errno.ENOSPC, "No space left on device"))
        real(self, data)

    monkeypatch.setattr(download, "_CHUNK", 10_000)
    monkeypatch.setattr(download._Writer, "write", write)
    what = server.of("a", DATA)
    with pytest.raises(DatasetError, match=r"cannot write .*a\.part: No space left on device"):
        bring(what, tmp_path / "a", pauses=NOW)
    assert (tmp_path / "a.part").read_bytes() == DATA[:40_000]
    monkeypatch.undo()
    bring(what, tmp_path / "a", pauses=NOW)
    assert server.asked[-1] == ("/a", "bytes=40000-")


def test_a_folder_that_cannot_be_written_is_an_error(server, tmp_path):
    with pytest.raises(DatasetError, match="cannot write"):
        bring(server.of("a", DATA), tmp_path / "nowhere" / "a", pauses=NOW)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photograph(12, 16, seed)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FLIPPROOF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture
def loose(server, monkeypatch) -> DataSet:
    """A data set of three files."""
    pinned = tuple(
        PinnedFile(f"0{seed}", server.of(f"toy0{seed}.png", png(seed)), digest(photograph(12, 16, seed)))
        for seed in (1, 2, 3)
    )
    made = DataSet("toys", "", "", r"toy(\d\d)\.png", pinned, pictures=("01", "02", "03"))
    monkeypatch.setattr(catalogue, "_all", lambda: {"toys": made})
    monkeypatch.setattr("flipproof.study.dataset.fetch.PAUSES", NOW)
    return made


@pytest.fixture
def packed(server, monkeypatch) -> DataSet:
    """A data set of an archive with two pictures and some more."""
    members = {"zoo/lion.png": png(1), "zoo/tiger.png": png(2), "zoo/README.txt": b"-", "__MACOSX/zoo/._lion.png": b"-"}
    made = DataSet("zoo", "", "", r"(.+)\.png", archive=server.of("zoo.zip", zipped(members)))
    monkeypatch.setattr(catalogue, "_all", lambda: {"zoo": made})
    return made


def test_a_data_set_of_files_is_fetched_once(server, loose, cache):
    assert not ready(loose)
    opened = open_collection(["toys"])
    assert [one.name for one in opened.pictures] == ["01", "02", "03"]
    assert len(server.asked) == 3
    assert ready(loose)
    assert open_collection(["toys"]) == opened
    assert len(server.asked) == 3
    assert sorted(path.name for path in (cache / "toys").iterdir()) == [".lock", "toy01.png", "toy02.png", "toy03.png"]


def test_only_what_is_asked_for_is_fetched(server, loose, cache):
    assert [one.name for one in open_collection(["toys"], only=["02"]).pictures] == ["02"]
    assert [path for path, _ in server.asked] == ["/toy02.png"]
    assert [one.name for one in open_collection(["toys"], only=["toys/03"]).pictures] == ["03"]
    assert len(server.asked) == 2


def test_a_data_set_of_which_nothing_is_asked_for_is_not_fetched(server, loose, cache, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "lion.png").write_bytes(png(1))
    [one] = open_collection(["toys", str(tmp_path / "mine")], only=["lion"]).pictures
    assert one.name == "lion"
    assert server.asked == []


def test_a_damaged_file_in_the_cache_is_fetched_again(server, loose, cache):
    fetch(loose, pauses=NOW)
    (cache / "toys" / "toy02.png").write_bytes(b"damaged")
    assert not ready(loose)
    fetch(loose, pauses=NOW)
    assert [path for path, _ in server.asked[3:]] == ["/toy02.png"]


def test_an_archive_is_fetched_and_unpacked_once(server, packed, cache):
    opened = open_collection(["zoo"])
    assert [one.name for one in opened.pictures] == ["lion", "tiger"]
    assert ready(packed)
    assert open_collection(["zoo"]) == opened
    assert len(server.asked) == 1
    assert sorted(path.name for path in (cache / "zoo").iterdir()) == [".lock", "manifest.json", "pictures"]
    assert json.loads((cache / "zoo" / "manifest.json").read_text())["archive"] == packed.archive.sha256


@pytest.mark.parametrize("damage", ["altered", "gone", "manifest", "other archive", "nonsense"])
def test_a_damaged_cache_is_made_anew(server, packed, cache, damage):
    home = cache / "zoo"
    fetch(packed)
    if damage == "altered":
        (home / "pictures" / "lion.png").write_bytes(b"damaged")
    elif damage == "gone":
        (home / "pictures" / "lion.png").unlink()
    elif damage == "manifest":
        (home / "manifest.json").unlink()
    else:
        text = "[]" if damage == "nonsense" else json.dumps({"archive": "0" * 64, "pictures": {}})
        (home / "manifest.json").write_text(text)
    (home / ".new-killed" / "pictures").mkdir(parents=True)
    assert not ready(packed)
    fetch(packed)
    assert ready(packed)
    assert len(server.asked) == 2
    assert sorted(path.name for path in home.iterdir()) == [".lock", "manifest.json", "pictures"]


def test_a_file_brought_by_hand_will_do(server, packed, cache):
    (cache / "zoo").mkdir(parents=True)
    (cache / "zoo" / "zoo.zip").write_bytes(server.files["/zoo.zip"])
    assert len(open_collection(["zoo"]).pictures) == 2
    assert server.asked == []


def test_what_cannot_be_had_says_how_to_bring_it(server, loose, packed, cache):
    server.files.clear()
    with pytest.raises(DatasetError) as error:
        fetch(packed, pauses=NOW)
    assert str(error.value) == (
        f"zoo: cannot download {server.address}/zoo.zip: 404 Not Found; where that works, download "
        f"{server.address}/zoo.zip and put it at {cache}/zoo/zoo.zip, or give a folder that has it: --data zoo=FOLDER"
    )
    with pytest.raises(DatasetError, match=r"put it at .*/toys/toy01\.png, or give a folder .*--data toys=FOLDER"):
        fetch(loose, pauses=NOW)


def test_a_data_set_without_an_address_says_so(cache):
    with pytest.raises(
        DatasetError, match=r"own has no address to download it from; give a folder .*--data own=FOLDER"
    ):
        fetch(DataSet("own", "", "", "(.+)"))


def test_a_cache_that_cannot_be_written_is_an_error(loose, cache):
    cache.parent.mkdir()
    cache.write_text("a file in the way")
    with pytest.raises(DatasetError, match=r"cannot write .*--data toys=FOLDER"):
        fetch(loose, pauses=NOW)


def test_a_folder_needs_no_download(server, packed, cache, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "lion.png").write_bytes(png(1))
    [one] = open_collection(["zoo"], folders={"zoo": tmp_path / "mine"}).pictures
    assert (one.dataset, one.name) == ("zoo", "lion")
    assert server.asked == []
    assert not cache.exists()


def test_those_that_fetch_at_once_do_not_get_into_each_others_way(server, packed, cache):
    """Locks belong to open files, so threads see what processes see."""
    start = threading.Barrier(3)

    def run() -> Path:
        start.wait()
        return fetch(packed, pauses=NOW)

    with ThreadPoolExecutor(3) as pool:
        assert {future.result() for future in [pool.submit(run) for _ in range(3)]} == {folder_of(packed)}
    assert ready(packed)
    assert len(server.asked) == 1


def test_folders_of_data_sets_are_in_the_cache(cache):
    assert folder_of(catalogue.find("kodak24")) == cache / "kodak24"
    assert folder_of(catalogue.find("div2k-valid")) == cache / "div2k-valid" / "pictures"
