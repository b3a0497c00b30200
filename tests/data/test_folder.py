"""Folders and CSV files of images."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyviews.data import ItemSet, open_data
from manyviews.errors import ManyviewsError


def write(folder: Path, *files: str) -> Path:
    for i, file in enumerate(files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3), (i, 0, 0)).save(folder / file)
    return folder


def files_of(data: ItemSet, folder: Path) -> list[str]:
    return [Path(name).relative_to(folder).as_posix() for name in data.names]


def test_flat_folder_in_sorted_order_without_labels(tmp_path: Path):
    write(tmp_path, "b.png", "a.JPG", "c.webp", ".hidden.png")
    (tmp_path / "notes.txt").write_text("not an image")
    data = open_data(tmp_path)
    assert files_of(data, tmp_path) == ["a.JPG", "b.png", "c.webp"]
    assert data.labels is None and data.classes is None and data.values is None
    assert data.read(1).shape == (3, 3, 4)


def test_nested_folder_has_no_labels(tmp_path: Path):
    write(tmp_path, "2023/may/a.png", "2023/b.png", "2024/june/c.png", ".cache/x.png", "__MACOSX/y.png")
    data = open_data(tmp_path)
    assert files_of(data, tmp_path) == ["2023/b.png", "2023/may/a.png", "2024/june/c.png"]
    assert data.labels is None


def test_class_folders(tmp_path: Path):
    data = open_data(write(tmp_path, "cat/1.png", "ant/1.png", "cat/0.png"))
    assert data.classes == ("ant", "cat")
    assert data.labels is not None and data.labels.tolist() == [0, 1, 1]
    assert files_of(data, tmp_path) == ["ant/1.png", "cat/0.png", "cat/1.png"]


def test_split_folders_share_their_classes(tmp_path: Path):
    write(tmp_path, "train/ant/1.png", "train/cat/1.png", "train/dog/1.png", "val/cat/2.png", "val/dog/2.png")
    train, test = open_data(tmp_path), open_data(tmp_path, split="test")
    assert train.classes == test.classes == ("ant", "cat", "dog")
    assert train.labels is not None and train.labels.tolist() == [0, 1, 2]
    assert test.labels is not None and test.labels.tolist() == [1, 2]
    assert files_of(test, tmp_path) == ["val/cat/2.png", "val/dog/2.png"]
    assert len(open_data(tmp_path, split="all")) == 5


def test_a_class_called_train_is_a_class(tmp_path: Path):
    data = open_data(write(tmp_path, "train/1.png", "car/1.png"))
    assert data.classes == ("car", "train")


def test_no_test_split(tmp_path: Path):
    write(tmp_path, "a.png")
    with pytest.raises(ManyviewsError, match="has no split 'test': it has train"):
        open_data(tmp_path, split="test")
    with pytest.raises(ManyviewsError, match="A split is train, val, test or all, not 'tset'"):
        open_data(tmp_path, split="tset")


def test_a_link_to_the_folder_above_is_followed_once(tmp_path: Path):
    write(tmp_path / "photos", "a.png")
    write(tmp_path / "more", "b.png")
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "more")
    assert files_of(open_data(tmp_path / "photos"), tmp_path / "photos") == ["a.png", "more/b.png"]


def test_no_such_folder(tmp_path: Path):
    with pytest.raises(ManyviewsError, match=r"There is no folder or file .*/photoz\."):
        open_data(tmp_path / "photoz")


def test_empty_folder(tmp_path: Path):
    with pytest.raises(ManyviewsError, match=r"The folder .* is empty\."):
        open_data(tmp_path)


def test_folder_without_images(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ManyviewsError, match=r"The folder .* has no images: no file ends in .*\.jpg"):
        open_data(tmp_path)


def test_a_file_that_is_neither(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ManyviewsError, match=r"notes\.txt is neither a folder of images, nor a CSV"):
        open_data(tmp_path / "notes.txt")


def test_one_image_and_a_list_of_images(tmp_path: Path):
    write(tmp_path, "a.png", "b.png")
    assert len(open_data(tmp_path / "a.png")) == 1
    data = open_data([tmp_path / "b.png", tmp_path / "a.png"])
    assert data.read(0)[0, 0, 0] == 1 and data.read(1)[0, 0, 0] == 0
    with pytest.raises(ManyviewsError, match=r"There is no file .*gone\.png\."):
        open_data([tmp_path / "gone.png"])


def test_labels_csv_in_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tmp_path = write(tmp_path / "photos", "x/1.png", "2.png", "unlisted.png")
    (tmp_path / "labels.csv").write_text("﻿Path,Label,weight\n2.png,dog,1\nx/1.png,ant,2\n", encoding="utf-8")
    data = open_data(tmp_path)
    assert files_of(data, tmp_path) == ["2.png", "x/1.png"]
    assert data.classes == ("ant", "dog")
    assert data.labels is not None and data.labels.tolist() == [1, 0]
    assert "labels.csv does not name 1 of the 3 files in its folder" in capsys.readouterr().err
    open_data(tmp_path, split="all")  # it was said
    (tmp_path / "unlisted.png").unlink()
    (tmp_path / "2.png").rename(tmp_path.parent / "2.png")
    (tmp_path / "labels.csv").write_text("path,label\n../2.png,dog\nx/1.png,ant\n")
    open_data(tmp_path)
    assert not capsys.readouterr().err


def test_a_csv_of_windows(tmp_path: Path):
    write(tmp_path, "x/1.png", "2.png")
    (tmp_path / "labels.csv").write_text("path,label\nx\\1.png,ant\n2.png,dog\n")
    assert files_of(open_data(tmp_path), tmp_path) == ["x/1.png", "2.png"]


def test_a_folder_that_cannot_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, "cat/1.png", "dog/2.png", "eel/3.png", "lost+found/4.png")
    scandir = os.scandir

    def refusing(path: str):
        if Path(path).name in ("dog", "lost+found"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(ManyviewsError, match=r"dog cannot be looked into \(Permission denied\)"):
        open_data(tmp_path)
    (tmp_path / "labels.csv").write_text("path,label\ncat/1.png,cat\neel/3.png,eel\n")
    assert len(open_data(tmp_path)) == 2  # a table says what is wanted


def test_pages_that_are_not_read_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page = Image.new("RGB", (4, 4))
    page.save(tmp_path / "stack.tif", save_all=True, append_images=[page, page])
    page.save(tmp_path / "one.tif")
    open_data(tmp_path, split="all")
    assert "files of several pages, of which the first is read" in capsys.readouterr().err
    (tmp_path / "stack.tif").unlink()
    open_data(tmp_path)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("brightest", "dark"), [(4_095, True), (60_000, False), (0, False)])
def test_16_bits_of_which_a_camera_uses_fewer_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], brightest: int, dark: bool
):
    grey = np.zeros((4, 4), np.uint16)
    grey[1, 2] = brightest
    for suffix in ("png", "tif"):
        Image.fromarray(grey).save(tmp_path / f"a.{suffix}")
    open_data(tmp_path)
    assert ("16-bit images reach 4,095 of 65,535" in capsys.readouterr().err) == dark


def test_csv_with_numbers_and_splits(tmp_path: Path):
    write(tmp_path, "1.png", "2.png", "3.png")
    path = tmp_path / "list.csv"
    path.write_text("file;class;split\n1.png;10;train\n2.png;9;test\n3.png;9;train\n")
    train, test = open_data(path), open_data(path, split="test")
    assert train.classes == test.classes == ("9", "10")
    assert train.labels is not None and train.labels.tolist() == [1, 0]
    assert test.labels is not None and test.labels.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,label\nhere.png,a\ngone.png,b\n", r"names a file that is not there: .*gone\.png\."),
        (
            "path,label\n" + "".join(f"{i}.png,a\n" for i in range(5)),
            r"names 5 files that are not there: .*0\.png, .*1\.png, .*2\.png, \.\.\.",
        ),
        ("name,label\nhere.png,a\n", "has the columns name, label: one of them should be called path or"),
        ("path,kind\nhere.png,a\n", "has the columns path, kind: one of them should be called label or"),
        ("path,label\n", "lists no files"),
        ("", "lists no files"),
        ("path,label\nhere.png,a\nhere.png,b\n", r"lists .*here\.png twice"),
        ("path,label\nhere.png, \n", "line 2: the label is empty"),
        ("path,label\nhere.png\n", "line 2: not as many fields as the first line has columns"),
        ("path,label,split\nhere.png,a,holdout\n", "a split is train, val or test, not 'holdout'"),
    ],
)
def test_a_csv_that_does_not_match(tmp_path: Path, text: str, sentence: str):
    write(tmp_path, "here.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ManyviewsError, match=rf"labels\.csv.*{sentence}"):
        open_data(tmp_path)


def test_a_csv_that_is_not_text(tmp_path: Path):
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(
        ManyviewsError, match=r"is not a CSV file in UTF-8: byte 0 is not\. .* iconv -f UTF-16 -t"
    ):
        open_data(tmp_path)


def test_a_test_split_without_classes_leaves_those_of_train(tmp_path: Path):
    for name in ("train/cat/a.png", "train/dog/b.png", "test/c.png", "val/dog/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    train, val, test = (open_data(tmp_path, split=split) for split in ("train", "val", "test"))
    assert train.classes == ("cat", "dog") and train.labels is not None and train.labels.tolist() == [0, 1]
    assert test.labels is None and len(test) == 1
    assert val.labels is not None and val.labels.tolist() == [1]  # a class alone, but among those of train


def test_a_quote_that_is_not_closed_is_said(tmp_path: Path):
    for name in "ab":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text('path,label\na.png,"cat\nb.png,dog\n')
    with pytest.raises(ManyviewsError, match=r"not CSV .* see to its quotes"):
        open_data(tmp_path / "labels.csv")


@pytest.mark.parametrize("odd", ["cover.png", "unlabelled/3.png"])
def test_what_lies_beside_splits_is_named_lest_test_images_be_learned_from(tmp_path: Path, odd: str):
    write(tmp_path, "train/ant/1.png", "train/cat/1.png", "test/ant/2.png", odd)
    with pytest.raises(
        ManyviewsError, match=f"has splits, test and train, and {odd.partition('/')[0]} beside them"
    ):
        open_data(tmp_path)
    assert len(open_data(tmp_path, split="all")) == 4
    assert open_data(tmp_path / "train").classes == ("ant", "cat")


def test_a_run_below_is_no_data(tmp_path: Path):
    write(tmp_path, "ant/1.png", "cat/1.png", "runs/mae/pictures/1.png")
    (tmp_path / "runs" / "mae" / "run.json").write_text("{}")
    assert files_of(open_data(tmp_path), tmp_path) == ["ant/1.png", "cat/1.png"]
