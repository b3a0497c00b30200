"""A method's own configuration at a size for tests: what every file of tests that walks the methods starts from."""

import atexit
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from manyviews import nets
from manyviews.data import ItemSet, colour_sample, in_memory
from manyviews.data.items import Rows
from manyviews.data.sounds import from_waves
from manyviews.data.tokeniser import Tokeniser
from manyviews.method import find
from manyviews.nets.classifier import save_classifier
from manyviews.nets.interop import save_encoder
from manyviews.rng import generator
from manyviews.views import Kind

# The settings that make a method large, by the names that methods give them; a method has some of them.
FEWER: dict[str, Any] = {
    "queue": 32,
    "splits": 2,
    "hidden": 32,
    "stride": 4,
    "steps": 1,
    "bottleneck": 16,
    "noise": 32,
    "softmax": False,  # so that what is walked is the sampled loss
    "contrast": "nce",  # likewise
    "two_crops": False,
    "local_crops": 1,
    "prototypes": 12,
    "clusters": 12,
    "codes": 12,
    "colours": 12,
    "tokens": "chars",
    "vocabulary": 64,
    "positive": "delete",  # so that what is walked draws nothing rank by rank
    "dropout": 0.0,
}


SIDE = {
    "images": 16,
    "sounds": 2240,
    "texts": 12,
}  # pixels of a side, samples of a window (14 latents), tokens
SMALL = {"images": "cifar_resnet8", "sounds": "small_waveform"}  # nets for tests
LETTERS = "abcdefghijklmnop"  # the vocabulary of texts


def sees(name: str) -> Kind:
    """What a method learns from."""
    return find(name).method.sees


def small_net(name: str) -> str:
    """A net for tests: of a method whose own for the world reads patches, just that one; of texts too, undisturbed."""
    own = find(name).recipes["world"][1].net
    if sees(name) == "texts":
        return own if own.startswith("char") else f"{own}/nodrop"
    if own.startswith("small_igpt"):
        return "small_igpt/8px/2x32"
    return own if own.startswith("small_vit") else SMALL[sees(name)]


def sentences(items: int) -> list[str]:
    """Texts of a few letters in two lines, each text a little longer than a view."""
    source = generator("sentences")
    picks = torch.randint(0, len(LETTERS), (items, SIDE["texts"] + 3), generator=source)
    texts = ["".join(LETTERS[i] for i in row) for row in picks.tolist()]
    return [f"{text[: SIDE['texts'] // 2]}\n{text[SIDE['texts'] // 2 :]}" for text in texts]


def colours(data: ItemSet) -> Callable[[], Tensor] | None:
    """What ``Spec.colours`` is of this data."""
    return partial(colour_sample, data) if data.kind == "images" else None


def words() -> Tokeniser:
    """A tokeniser of a few letters."""
    return Tokeniser.train("chars", [LETTERS], 5 + len(LETTERS))


def noise(kind: Kind, items: int, *parts: str) -> ItemSet:
    """Noise of that kind with labels of four classes: of images as large as a view, of sounds twice as long."""
    source, side, labels = generator(*parts), SIDE[kind], torch.arange(items) % 4
    if kind == "texts":
        tokens = torch.randint(5, 5 + len(LETTERS), (items, side), generator=source, dtype=torch.int32)
        part = torch.ones_like(tokens)
        part[1::3, side // 2 :] = 2  # some of two documents, or sentences
        part[2::3, -3:] = 0  # some shorter
        x = torch.stack([tokens * (part > 0), part], 1)
        names = [f"noise/{i}" for i in range(items)]
        return ItemSet("noise", names, labels, tuple("abcd"), x, Rows(x), kind="texts", tokeniser=words())
    if kind == "sounds":
        return from_waves(torch.randint(-9999, 9999, (items, 2 * side), generator=source).short(), labels)
    pixels = torch.randint(0, 256, (items, 3, side, side), generator=source, dtype=torch.uint8)
    return in_memory("noise", pixels, labels, tuple("abcd"))


def suited(name: str, items: int, *parts: str) -> ItemSet:
    """Noise that the method can learn from."""
    made, reading = (
        noise(sees(name), items, *parts),
        find(name).method.reading(find(name).recipes["world"][0]),
    )
    if reading is None or (reading.texts == 1 and not reading.pairs):
        return made
    other = noise("texts", items, *parts, "other").values
    assert made.values is not None and other is not None
    both = torch.cat([made.values, other], 1)
    return replace(made, values=both, read=Rows(both))


def shrunk(config: Any, **also: Any) -> Any:
    """``config`` with every setting of ``FEWER`` that it has, and then those of ``also`` that it has.

    Where it asks for a teacher, it gets one, and where it asks for a tokeniser, the control.
    """
    known = {field.name for field in dataclasses.fields(config)}
    fewer = FEWER | taught(config) | also
    return dataclasses.replace(config, **{k: v for k, v in fewer.items() if k in known})


def taught(config: Any, classes: Sequence[str] = "abcd") -> dict[str, str]:
    """The settings that a method with a teacher or a tokeniser cannot do without; none for all others."""
    asks = {field.name for field in dataclasses.fields(config)}
    settings = {"teacher": teacher(classes)} if "teacher" in asks else {}
    return settings | ({"tokeniser": "random"} if "tokeniser" in asks else {})


TEACHERS = "MANYVIEWS_TEST_TEACHERS"  # the folder of all teachers, which processes started from here inherit


def teacher(classes: Sequence[str] = "abcd") -> str:
    """The folder of an untrained cifar_resnet8 for images of 16 pixels that tells these classes apart."""
    if TEACHERS not in os.environ:
        os.environ[TEACHERS] = tempfile.mkdtemp(prefix="manyviews-teachers-")
        atexit.register(shutil.rmtree, os.environ[TEACHERS], ignore_errors=True)
    folder = Path(os.environ[TEACHERS]) / "".join(classes)
    if not (folder / "classifier.safetensors").exists():
        folder.mkdir(exist_ok=True)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            encoder = nets.build("cifar_resnet8", size=16)
            head = nn.Linear(encoder.width, len(classes))
        save_encoder(folder, encoder, {"net": "cifar_resnet8", "size": 16})
        save_classifier(folder / "classifier.safetensors", head, classes)
    return str(folder)
