"""Pictures of a study: found, named, read once, and the same ever after."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import photograph
from flipproof.errors import DatasetError, ImageError, SpecError, UnknownNameError
from flipproof.study.dataset import bundled, catalogue, picture
from flipproof.study.dataset.catalogue import DataSet, Download, PinnedFile
from flipproof.study.dataset.choice import Choice, choose
from flipproof.study.dataset.collection import files_of, open_collection
from flipproof.study.dataset.folder import names_of, picture_files
from flipproof.study.dataset.frame import Centre, Full
from flipproof.study.dataset.picture import Picture, digest, read
from flipproof.study.record import PictureEntry


def save(path: Path, seed: int = 0, **options) -> np.ndarray:
    image = photograph(12, 16, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return image


@pytest.fixture
def toys(monkeypatch) -> dict[str, np.ndarray]:
    """Puts a pinned data set ``toys`` and an archive ``zoo`` into the catalogue; returns the pictures of the first."""
    images = {name: photograph(12, 16, int(name)) for name in ("01", "02", "03")}
    pinned = tuple(
        PinnedFile(name, Download(f"http://127.0.0.1:9/toy{name}.png", 1, "0" * 64), digest(image))
        for name, image in images.items()
    )
    suffix = r"\.(?:png|jpg|webp)"
    known = {
        "toys": DataSet("toys", "", "", rf"(?:toy)?(\d{{1,2}}){suffix}", pinned, pictures=tuple(images)),
        "zoo": DataSet("zoo", "", "", rf"(.+){suffix}", archive=Download("http://127.0.0.1:9/zoo.zip", 1, "0" * 64)),
        "years": DataSet("years", "", "", rf"(\d{{4}}){suffix}", pictures=("1999", "2000")),
        "bundled": catalogue.find("bundled"),
    }
    monkeypatch.setattr(catalogue, "_all", lambda: known)
    return images


def test_a_folder_gives_its_pictures(tmp_path):
    images = {name: save(tmp_path / f"{name}.png", seed) for seed, name in enumerate("ba")}
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    opened = open_collection([str(tmp_path)], frame="centre[8]")
    assert [one.name for one in opened.pictures] == ["a", "b"]
    assert not opened.unreadable
    for one in opened.pictures:
        part = Centre(8, 8).apply(images[one.name])
        assert (one.load() == part).all()
        assert one.entry == PictureEntry(dataset=str(tmp_path), name=one.name, sha256=digest(part), height=8, width=8)


def test_a_glob_gives_what_it_matches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "x" / "a.png")
    save(tmp_path / "x" / "b.jpg")
    save(tmp_path / "y" / "a.png")
    (tmp_path / "x" / "c.png").write_bytes(b"")
    opened = open_collection(["*/*.png"])
    assert [one.name for one in opened.pictures] == ["x/a.png", "y/a.png"]
    assert [one.name for one in opened.unreadable] == ["c"]
    assert {one.dataset for one in opened.pictures} == {"*/*.png"}
    assert [one.name for one in open_collection(["**/*.jpg"]).pictures] == ["b"]


def test_a_folder_with_brackets_in_its_name_is_a_folder(tmp_path):
    save(tmp_path / "[1]" / "a.png")
    assert len(open_collection([str(tmp_path / "[1]")]).pictures) == 1


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "photos" / "a.png")
    assert len(open_collection(["~/photos"]).pictures) == 1
    assert len(open_collection(["~/photos/*"]).pictures) == 1


@pytest.mark.parametrize("text", ["", "/", "/*.png", "/sub/**"])
def test_nothing_there_is_an_error(tmp_path, text):
    with pytest.raises(DatasetError, match="expected pictures"):
        open_collection([f"{tmp_path}{text}"])


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match=r"expected a folder of pictures, got .*nowhere, which is not there"):
        open_collection([f"{tmp_path}/nowhere"])
    save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"got .*a\.png, which is a file"):
        open_collection([f"{tmp_path}/a.png"])
    with pytest.raises(DatasetError):
        open_collection(["a\0b/"])


def broken(folder: Path) -> dict[str, str]:
    """Makes files that give no picture; returns what is said about each."""
    save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:60])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    Image.new("L", (16384, 1)).save(folder / "wide.png")
    Image.new("1", (4097, 4096)).save(folder / "large.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    with (folder / "heavy.png").open("wb") as file:
        file.truncate(picture.MOST_BYTES + 1)
    return {
        "cut": "cannot read",
        "empty": "is no picture that Pillow can read",
        "text": "is no picture that Pillow can read",
        "wide": "expected sides from 1 to 16383",
        "large": "at most 16777216 pixels, got 4097x4096",
        "gone": "no such file",
        "pipe": "not a plain file",
        "heavy": "expected a file of at most 268435456 bytes, got 268435457",
    }


def test_files_that_are_no_pictures_are_listed_and_the_rest_goes_on(tmp_path):
    expected = broken(tmp_path)
    save(tmp_path / "good.png")
    opened = open_collection([str(tmp_path)])
    assert [one.name for one in opened.pictures] == ["good"]
    reasons = {one.name: one.reason for one in opened.unreadable}
    assert reasons.keys() == expected.keys()
    for name, text in expected.items():
        assert text in reasons[name], name
        assert "\n" not in reasons[name]
    assert {one.dataset for one in opened.unreadable} == {str(tmp_path)}


def test_nothing_that_can_be_read_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"got 1 that cannot be read, such as a: .* is no picture"):
        open_collection([str(tmp_path)])


@pytest.mark.parametrize(
    "save_as",
    [
        lambda path: Image.new("CMYK", (5, 4), (0, 90, 80, 10)).save(path.with_suffix(".tif")),
        lambda path: Image.new("I;16", (5, 4), 40_000).save(path.with_suffix(".png")),
        lambda path: Image.new("P", (5, 4)).save(path.with_suffix(".png")),
        lambda path: Image.new("RGBA", (5, 4), (1, 2, 3, 4)).save(path.with_suffix(".webp")),
        lambda path: Image.new("LA", (5, 4), (1, 2)).save(path.with_suffix(".png")),
        lambda path: Image.new("1", (5, 4)).save(path.with_suffix(".bmp")),
        lambda path: Image.new("RGB", (5, 4)).save(
            path.with_suffix(".webp"), save_all=True, append_images=[Image.new("RGB", (5, 4), "red")]
        ),
    ],
    ids=["cmyk", "16-bit", "palette", "alpha", "gray-alpha", "bits", "animated"],
)
def test_every_kind_of_picture_gives_one(tmp_path, save_as):
    save_as(tmp_path / "a")
    [one] = open_collection([str(tmp_path)]).pictures
    assert (one.height, one.width) == (4, 5)
    assert one.load().shape == (4, 5, 3)


def test_turned_pictures_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = save(tmp_path / "a.png", exif=exif)
    [one] = open_collection([str(tmp_path)]).pictures
    assert (one.load() == np.rot90(image, -1)).all()


def test_names_are_unique_with_as_little_as_it_takes():
    paths = [Path(text) for text in ("p/a.png", "p/a.jpg", "p/b.png", "p/q/c.png", "p/q/d.png", "p/r/d.png")]
    assert names_of(paths) == ["a.png", "a.jpg", "b", "c", "q/d.png", "r/d.png"]
    assert names_of([]) == []


def test_file_names_that_are_no_text_are_listed(tmp_path):
    save(tmp_path / "good.png")
    (tmp_path / "good.png").with_name(os.fsdecode(b"b\xffd.png")).write_bytes((tmp_path / "good.png").read_bytes())
    opened = open_collection([str(tmp_path)])
    assert [one.name for one in opened.pictures] == ["good"]
    assert [(one.name, one.reason) for one in opened.unreadable] == [
        ("b\ufffdd", "expected a file name in UTF-8, got another")
    ]


def test_two_data_sets_share_names_only_with_their_own_in_front(tmp_path):
    save(tmp_path / "p" / "a.png", 1)
    save(tmp_path / "p" / "b.png", 2)
    save(tmp_path / "q" / "a.png", 3)
    first, second = str(tmp_path / "p"), str(tmp_path / "q")
    opened = open_collection([first, second])
    assert [one.name for one in opened.pictures] == [f"{first}/a", "b", f"{second}/a"]
    assert [one.dataset for one in opened.pictures] == [first, first, second]
    assert [one.name for one in open_collection([first, second], only=["a"]).pictures] == [f"{first}/a", f"{second}/a"]
    assert [one.name for one in open_collection([first, second], only=[f"{second}/a"]).pictures] == [f"{second}/a"]


def test_some_pictures_can_be_chosen_and_stay_in_order(tmp_path):
    for name in "abc":
        save(tmp_path / f"{name}.png")
    assert [one.name for one in open_collection([str(tmp_path)], only=["c", "a"]).pictures] == ["a", "c"]
    with pytest.raises(UnknownNameError, match=r"unknown picture 'dd'.*known: "):
        open_collection([str(tmp_path)], only=["a", "dd"])


def test_the_bundled_photographs():
    opened = open_collection(["bundled"], frame="centre[64]")
    assert [one.name for one in opened.pictures] == bundled.names()
    assert all((one.load() == bundled.centre_crop(bundled.load(one.name), 64)).all() for one in opened.pictures)
    assert {one.dataset for one in opened.pictures} == {"bundled"}


def test_a_folder_cannot_stand_in_for_the_bundled_photographs(tmp_path):
    save(tmp_path / "coffee.png")
    with pytest.raises(SpecError, match="bundled: expected another name for"):
        open_collection(["bundled"], folders={"bundled": tmp_path})


def test_a_changed_bundled_photograph_is_listed(tmp_path, monkeypatch):
    for name in bundled.names()[1:]:
        path = bundled.path_of(name)
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(bundled, "_folder", lambda: tmp_path)
    opened = open_collection(["bundled"], frame="centre[8]")
    assert [one.name for one in opened.pictures] == bundled.names()[1:]
    assert "does not have" in opened.unreadable[0].reason


def test_a_picture_that_changes_is_noticed(tmp_path):
    save(tmp_path / "a.png", 1)
    [one] = open_collection([str(tmp_path)], frame="centre[8]").pictures
    save(tmp_path / "a.png", 2)
    with pytest.raises(
        DatasetError, match="picture a has changed since the study began: expected samples with SHA-256"
    ):
        one.load()
    (tmp_path / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"picture a: cannot read .*no such file"):
        one.load()


def test_a_copy_without_loss_is_the_same_picture(tmp_path):
    image = save(tmp_path / "a.png")
    [one] = open_collection([str(tmp_path)]).pictures
    Image.fromarray(image).save(tmp_path / "a.png", compress_level=0)
    assert (one.load() == image).all()


def test_pictures_are_small_and_can_be_sent_to_other_processes(tmp_path):
    image = photograph(300, 400)
    Image.fromarray(image).save(tmp_path / "a.png")
    [one] = open_collection([str(tmp_path)]).pictures
    data = pickle.dumps(one)
    assert len(data) < 1000
    assert pickle.loads(data) == one
    assert hash(one) == hash(pickle.loads(data))


def test_a_picture_in_memory():
    image = photograph(9, 7)
    one = Picture.of("flat", image)
    assert (one.load() == image).all()
    assert one.load().flags.writeable
    assert one.entry == PictureEntry(dataset="memory", name="flat", sha256=digest(image), height=9, width=7)
    assert pickle.loads(pickle.dumps(one)) == one
    assert one.frame == Full()
    with pytest.raises(ImageError):
        Picture.of("deep", image.astype(np.uint16))


def test_the_digest_knows_shape_and_samples():
    image = photograph(6, 4)
    assert digest(image) == digest(image.copy(order="F"))
    assert len({digest(image), digest(image.reshape(4, 6, 3)), digest(image[::-1])}) == 3


def test_pinned_pictures_are_known_in_a_folder_by_name(tmp_path, toys):
    for name, image in toys.items():
        Image.fromarray(image).save(tmp_path / f"toy{name}.png")
    save(tmp_path / "holiday.png")
    opened = open_collection(["toys"], folders={"toys": tmp_path})
    assert [(one.dataset, one.name) for one in opened.pictures] == [("toys", name) for name in toys]
    assert not opened.unreadable


def test_names_without_leading_zeros_are_known_too(tmp_path, toys):
    for name, image in toys.items():
        Image.fromarray(image).save(tmp_path / f"{int(name)}.webp", lossless=True)
    assert [one.name for one in open_collection(["toys"], folders={"toys": tmp_path}).pictures] == list(toys)


def test_pinned_pictures_that_differ_or_are_missing_are_listed(tmp_path, toys):
    Image.fromarray(toys["01"]).save(tmp_path / "01.png")
    Image.fromarray(toys["02"]).save(tmp_path / "02.jpg")
    opened = open_collection(["toys"], folders={"toys": tmp_path})
    assert [one.name for one in opened.pictures] == ["01"]
    assert [one.name for one in opened.unreadable] == ["02", "03"]
    assert opened.unreadable[0].reason.startswith("expected the samples of toys's 02 (SHA-256 ")
    assert opened.unreadable[1].reason == f"not in {tmp_path}"
    assert len(open_collection([str(tmp_path)]).pictures) == 2  # as a plain folder


def test_a_data_set_may_lie_one_level_deeper(tmp_path, toys):
    Image.fromarray(toys["01"]).save(tmp_path / "01.png")
    (tmp_path / "deep").mkdir()
    (tmp_path / "01.png").rename(tmp_path / "deep" / "01.png")
    assert [one.name for one in open_collection(["toys"], folders={"toys": tmp_path}).pictures] == ["01"]
    assert files_of(catalogue.find("toys"), tmp_path) == {"01": tmp_path / "deep" / "01.png"}
    save(tmp_path / "deep" / "lion.png")
    assert [one.name for one in open_collection(["zoo"], folders={"zoo": tmp_path}).pictures] == ["01", "lion"]


def test_a_folder_without_any_of_a_data_set_is_an_error(tmp_path, toys):
    save(tmp_path / "holiday.png")
    with pytest.raises(DatasetError, match=r"expected pictures of toys, such as 01\.png, in .*, got none"):
        open_collection(["toys"], folders={"toys": tmp_path})
    with pytest.raises(DatasetError, match=r"cannot list .*No such file"):
        open_collection(["toys"], folders={"toys": tmp_path / "nowhere"})


def test_any_name_will_do_for_a_folder_of_ones_own(tmp_path):
    save(tmp_path / "a.png")
    [one] = open_collection(["mine"], folders={"mine": tmp_path}).pictures
    assert one.dataset == "mine"
    with pytest.raises(UnknownNameError, match="unknown data set 'mine'"):
        open_collection(["mine"])


def test_the_same_folder_twice_is_an_error(tmp_path):
    save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"got .* twice"):
        open_collection([str(tmp_path), str(tmp_path)])


def test_a_bad_frame_is_an_error_before_anything_is_read(tmp_path):
    with pytest.raises(SpecError):
        open_collection([str(tmp_path / "nowhere")], frame="centre[0]")


def test_unreadable_folders_are_an_error(tmp_path):
    with pytest.raises(DatasetError, match="cannot list"):
        picture_files(f"{'x' * 5000}/*")
    with pytest.raises(ImageError):
        read(Path("x" * 5000))


def test_data_options_name_data_sets_and_folders(tmp_path, toys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(toys["02"]).save(save_to := tmp_path / "held.png")
    (tmp_path / "held").mkdir()
    save_to.rename(tmp_path / "held" / "02.png")
    save(tmp_path / "other" / "02.png", 9)
    save(tmp_path / "years" / "1999.png")
    held = Path("held")
    assert choose(["toys"], []) == Choice(("toys",))
    assert choose(["bundled"], ["toys"]) == Choice(("toys",))
    assert choose(["bundled"], ["toys=held"]) == Choice(("toys",), {"toys": held})
    assert choose(["bundled"], ["mine=other", "held/*.png"]) == Choice(("mine", "held/*.png"), {"mine": Path("other")})
    assert choose(["years", "toys"], ["held"]) == Choice(("toys",), {"toys": held})
    assert choose(["bundled"], ["held"]) == Choice(("held",))
    assert choose(["toys"], ["other"]) == Choice(("other",)), "its pictures are not the pinned ones"
    assert choose(["toys", "years"], ["./years"]) == Choice(("years",), {"years": Path("years")})
    assert choose(["toys"], ["years"]) == Choice(("years",)), "a name comes before a folder"
    save(tmp_path / "years" / "holiday.png")
    assert choose(["toys", "years"], ["./years"]) == Choice(("./years",))


def test_data_options_that_make_no_sense_are_errors(tmp_path, toys):
    with pytest.raises(SpecError, match="expected data sets that differ, got toys, toys"):
        choose(["toys"], ["toys", f"toys={tmp_path}"])
    with pytest.raises(UnknownNameError, match="unknown data set 'tois'; did you mean 'toys'"):
        choose(["toys"], ["tois"])
