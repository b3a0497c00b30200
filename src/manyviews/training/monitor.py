"""Is it working? A look at the representation at even marks of a run, without labels, and by kNN where there are some."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from manyviews import distributed
from manyviews.data import ItemSet
from manyviews.evaluation import EncoderEmbedder, LabelFree, embed_all, labelfree, verdict
from manyviews.evaluation.knn import knn_accuracy
from manyviews.method import Method
from manyviews.nets.encoder import judging
from manyviews.rng import generator
from manyviews.training.progress import Moment
from manyviews.views import views_of

QUERIES = 512  # images whose representation is looked at; where they have labels, a kNN among
BANK = 2048  # others of the training set guesses theirs: a trend, not a result
MARKS = 12  # looks a run
SHARE = 0.1  # of a budget in seconds that has passed may have gone into looks when another one begins


def looks_among(rows: Sequence[Mapping[str, Any]]) -> list[LabelFree]:
    """What a monitor saw, among the lines of a log."""
    names = {field.name for field in fields(LabelFree)}
    seen = [row for row in rows if "verdict" in row]
    return [LabelFree(**{name: value for name, value in row.items() if name in names}) for row in seen]


class Monitor:
    """Adds spread, RankMe, alignment, uniformity, a verdict and an online kNN to the log at ``MARKS`` even marks.

    Everything is read in eval mode and changes no state. The images looked at are the same at every mark. A run that goes
    on has been looked at ``since`` its start up to this progress, which left ``history``. Where the budget is a time and
    the net is slow, marks pass without a look, so that most of it is spent on learning.
    """

    def __init__(
        self, method: Method, data: ItemSet, history: Sequence[LabelFree] = (), since: float = 0.0
    ) -> None:
        self.data, self.history, self.next = data, list(history), int(since * MARKS) + 1
        self.before = since  # progress at the step before
        self.pace: float | None = None  # progress of the step of the last look; the next step tells its cost
        self.spent = 0.0  # progress that went into looks: none where the budget is in steps
        view, size = method.suited_views().views[0], method.spec.size
        self.view = views_of(
            replace(view, size=size)
        )  # what the encoder sees, whatever the method cuts from it
        order = torch.randperm(len(data), generator=generator("monitor", len(data)))
        count = min(QUERIES, max(2, len(data) // 4))
        self.queries, self.bank = order[:count], order[count : count + BANK]

    def __call__(self, moment: Moment) -> None:
        if not self._due(moment):
            return
        self.next, moment.looked = int(moment.progress * MARKS) + 1, True
        method = moment.whole()  # all ranks ask, one looks
        if not distributed.is_main():
            return
        embedder = EncoderEmbedder(method.encoder, method.spec.size)
        query = embed_all(embedder, self.watched)
        seen = [] if self.data.kind == "texts" else [self._seen(method, which) for which in (0, 1)]
        z_ND = (
            moment.z if moment.z is not None and len(moment.z) > 1 else None
        )  # a row alone is like no other
        self.history.append(labelfree(query.h_ND, *seen, z_ND=None if z_ND is None else z_ND.float().cpu()))
        moment.log |= self.history[-1].as_dict() | {"verdict": verdict(self.history).state}
        if query.labels is not None and self.history[-1].finite and len(self.bank):
            bank = embed_all(embedder, self.data.subset(self.bank))
            assert bank.labels is not None
            classes = int(torch.cat([bank.labels, query.labels]).max()) + 1
            moment.log["knn"] = knn_accuracy(
                bank.h_ND, bank.labels, query.h_ND, query.labels, classes=classes, k=20
            )

    def _due(self, moment: Moment) -> bool:
        """The same on every rank, for all have the same progress."""
        gone, self.before = moment.progress - self.before, moment.progress
        if self.pace is not None:
            self.spent += max(0.0, gone - self.pace)
        at_mark = moment.progress >= self.next / MARKS and self.spent <= SHARE * moment.progress
        due = at_mark or moment.ends == "finished"
        self.pace = gone if due else None
        return due

    @cached_property
    def watched(self) -> ItemSet:
        """The images that are looked at, in memory."""
        some = self.data.subset(self.queries)
        return some if some.values is not None else some.resident(2 * self.view.views[0].size)

    @torch.no_grad()
    def _seen(self, method: Method, which: int) -> Tensor:
        """Embeddings of one random view of each watched image, the same view at every mark."""
        pixels = self.watched.values
        assert pixels is not None
        device = next(method.parameters()).device
        with judging(method.encoder):
            (view,) = self.view(pixels.to(device), self.view.draw(len(pixels), "monitor", which))
            return torch.cat([method.encoder(part).float().cpu() for part in view.split(256)])
