"""Sets with a class of every pixel: CamVid from tiny files in its layout, and the world's own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from manyviews.data import ItemSet, in_memory, open_data
from manyviews.data.annotated import CAMVID
from manyviews.data.world import SPECIES, world
from manyviews.errors import ManyviewsError

HEIGHT, WIDTH = 18, 24


def camvid(root: Path, mode: str = "L") -> dict[str, np.ndarray]:
    """CamVid in small under ``root``; gives back the ids of each split, [N, H, W]."""
    rng, folder, made = np.random.default_rng(0), root / "camvid" / "CamVid", {}
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        made[split] = rng.integers(0, 12, (count, HEIGHT, WIDTH), dtype=np.uint8)
        lines = []
        for i, ids in enumerate(made[split]):
            image, labels = (folder / part / f"{i}.png" for part in (split, f"{split}annot"))
            for file in (image, labels):
                file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.stack([ids * 20, ids, 255 - ids], -1)).save(image)
            picture = Image.fromarray(ids)
            if mode == "P":
                picture.putpalette([255 - k for k in range(256) for _ in "rgb"])
            picture.save(labels)
            lines.append(f"/SegNet/CamVid/{split}/{i}.png /SegNet/CamVid/{split}annot/{i}.png")
        (folder / f"{split}.txt").write_text("\n".join(reversed(lines)) + "\n")
        made[split] = made[split][::-1]
    return made


@pytest.mark.parametrize("mode", ["L", "P"])
def test_camvid(tmp_path: Path, mode: str):
    made = camvid(tmp_path, mode)
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        data = open_data("camvid", split=split, root=tmp_path)
        assert data.name == f"camvid/{split}" and len(data) == count and data.labels is None
        assert data.pixel_classes == CAMVID and len(CAMVID) == 11
        assert data.names[0] == f"{split}/{count - 1}"  # in the order of the list
        due = torch.from_numpy(np.where(made[split] == 11, 255, made[split]))
        assert torch.equal(data.senses["classes"][:, 0], due)
        assert data.values is not None and torch.equal(
            data.values[:, 1], torch.from_numpy(made[split].copy())
        )


def test_at_a_size_images_and_classes_are_the_same_centre_squares(tmp_path: Path):
    ids = camvid(tmp_path)["train"]
    whole = open_data("camvid", root=tmp_path, size=64)
    square = ids[:, :, 3 : 3 + HEIGHT]
    assert whole.values is not None and whole.values.shape == (4, 3, HEIGHT, HEIGHT)  # never enlarged
    assert torch.equal(whole.values[:, 1], torch.from_numpy(square.copy()))
    small = open_data("camvid", root=tmp_path, size=6)
    assert small.values is not None and small.values.shape[2:] == small.senses["classes"].shape[2:] == (6, 6)
    due = np.where(square == 11, 255, square)[
        :, 1::3, 1::3
    ]  # the middle one of every 3 x 3: ids are not mixed
    assert torch.equal(small.senses["classes"][:, 0], torch.from_numpy(due.copy()))
    assert small.subset([2, 0]).pixel_classes == CAMVID


def break_list(folder: Path) -> None:
    (folder / "train.txt").write_text("/SegNet/CamVid/train/9.png /SegNet/CamVid/trainannot/9.png\n")


def break_empty(folder: Path) -> None:
    (folder / "train.txt").write_text("\n")


def break_shape(folder: Path) -> None:
    Image.new("L", (4, 4)).save(folder / "trainannot" / "1.png")


def break_ids(folder: Path) -> None:
    Image.new("L", (WIDTH, HEIGHT), 12).save(folder / "trainannot" / "1.png")


def break_mode(folder: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "trainannot" / "1.png")


def break_file(folder: Path) -> None:
    (folder / "trainannot" / "1.png").write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (break_list, r"train.txt, line 1: an image and its labels are expected"),
        (break_empty, "lists no images"),
        (break_shape, r"1.png is of \[18, 24\] pixels and its labels of \[4, 4\]"),
        (break_ids, r"1.png have a class 12, but camvid has 0 to 11"),
        (break_mode, "holds RGB pixels, but labels are one number of 8 bits each"),
        (break_file, "1.png cannot be read as labels"),
    ],
)
def test_damaged_sets_are_said(tmp_path: Path, damage, says: str):
    camvid(tmp_path)
    damage(tmp_path / "camvid" / "CamVid")
    with pytest.raises(ManyviewsError, match=says):
        open_data("camvid", root=tmp_path)


def test_a_set_that_is_not_there_and_a_split_that_it_has_not(tmp_path: Path):
    with pytest.raises(
        ManyviewsError, match=r"camvid is not under .*get it from https.*put its folder CamVid into"
    ):
        open_data("camvid", root=tmp_path)
    with pytest.raises(ManyviewsError, match="no split 'extra'"):
        open_data("camvid", split="extra", root=tmp_path)


def test_the_world_says_which_creature_is_where():
    data = world("test", items=40, senses=True)
    assert data.pixel_classes == ("background", *SPECIES) and data.labels is not None
    assert world("test", items=2).pixel_classes is None
    for ids, mask, species in zip(
        data.senses["classes"], data.senses["mask"], data.labels.tolist(), strict=True
    ):
        assert torch.equal(ids, (mask == 255) * torch.tensor(species + 1, dtype=torch.uint8))


def test_other_senses_are_still_means_at_a_smaller_size():
    ids = torch.tensor([[0, 4], [4, 4]], dtype=torch.uint8).repeat(4, 4)[None, None]
    data: ItemSet = in_memory(
        "mixed", ids.expand(1, 3, 8, 8).contiguous(), None, None, {"grey": ids, "classes": ids}
    )
    small = data.resident(4)
    assert small.senses["classes"].unique().tolist() in ([0], [4])
    assert 0 < int(small.senses["grey"][0, 0, 1, 1]) < 4
