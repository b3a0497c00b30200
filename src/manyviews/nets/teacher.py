"""A teacher: the encoder and the classifier of a finished run, frozen, for students to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.classifier import Classifier, load_classifier
from manyviews.nets.encoder import Encoder
from manyviews.nets.interop import load_encoder

HOW = "`manyviews pretrain supervised --out RUN` makes one"


class Teacher(nn.Module):
    """Images in, embeddings `[B, D]` and class scores `[B, K]` out.

    It asks for no gradient, and stays in eval mode whatever mode the module around it is put into.
    """

    def __init__(self, encoder: Encoder, classifier: Classifier):
        super().__init__()
        self.encoder, self.head, self.classes = encoder, classifier.head, classifier.classes
        self.width = encoder.width
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Teacher:
        return super().train(False)

    @torch.no_grad()
    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        h_BD = self.encoder(x_BCHW)
        return h_BD, self.head(h_BD)


def load_teacher(run: str, classes: int | None = None, names: Sequence[str] | None = None) -> Teacher:
    """The teacher in the folder of a finished run.

    Args:
        classes, names: how many classes the student's data has, and what they are called; None where it has no labels,
            or nobody knows.

    Raises `ManyviewsError` where no run is named, or it has no encoder, no classifier, or other classes.
    """
    if not run:
        raise ManyviewsError(
            f"A student needs a teacher: say --teacher RUN, a finished run with a classifier; {HOW}."
        )
    folder = Path(run).expanduser()
    if not (folder / "encoder.safetensors").is_file():
        raise ManyviewsError(f"There is no finished run at {folder} (--teacher) to learn from; {HOW}.")
    if not (folder / "classifier.safetensors").is_file():
        raise ManyviewsError(
            f"The run at {folder} (--teacher) learned no classifier, and a teacher needs one; {HOW}."
        )
    encoder, _ = load_encoder(folder)
    teacher = Teacher(encoder, load_classifier(folder / "classifier.safetensors"))
    if teacher.head.in_features != teacher.width:
        raise ManyviewsError(
            f"The encoder at {folder} (--teacher) gives {teacher.width} numbers and its classifier takes "
            f"{teacher.head.in_features}: they belong to different runs; train the teacher again."
        )
    if (classes or len(teacher.classes)) != len(teacher.classes):
        raise ManyviewsError(
            f"The teacher at {folder} tells {len(teacher.classes)} classes apart, but the data has {classes}; "
            "take a teacher that was trained on the same classes."
        )
    if names is not None and tuple(names) != teacher.classes:
        ours, theirs = next(pair for pair in zip(names, teacher.classes, strict=True) if pair[0] != pair[1])
        raise ManyviewsError(
            f'The teacher at {folder} knows a class as "{theirs}" which is "{ours}" in the data; take a teacher that '
            "was trained on the same classes in the same order."
        )
    return teacher
