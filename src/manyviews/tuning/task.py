"""A small task: a net of two convolutions learns the species of the embedded world, by any optimiser.

A run sees the same items the same number of times whatever the optimiser. Gradient descent takes all of them for
one step, so it takes few; the others take a step a batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyviews.data.world import world
from manyviews.errors import ManyviewsError
from manyviews.rng import generator, seed_of
from manyviews.training.optimisers import groups, over
from manyviews.tuning.entrants import RATES, recipe


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every optimiser is given."""

    items: int = 1000  # of the world's training split; as many of its test split judge
    size: int = 16  # pixels a side
    batch: int = 50
    epochs: int = 8
    seeds: int = 3  # runs at the chosen rate; the seed that chose it is another one


@dataclass(frozen=True, eq=False)
class Learned:
    """One run: what it knew after each epoch, the first before any."""

    rate: float
    loss: list[float]  # mean cross-entropy over all training items, in nats; epochs + 1 of them
    top1: float  # share of test items named rightly at the end


class Learner:
    """The task with its images ready."""

    def __init__(self, task: Task) -> None:
        if min(task.items, task.batch, task.epochs, task.seeds) < 1:
            raise ManyviewsError(
                f"A task needs at least one item, epoch and seed, and a batch: it got {task}"
            )
        if task.items % task.batch:
            raise ManyviewsError(
                f"Batches of {task.batch} do not divide {task.items} items; choose a number that does"
            )
        self.task = task
        self.train, self.test = (self._images(split) for split in ("train", "test"))

    def _images(self, split: str) -> tuple[Tensor, Tensor]:
        data = world(split, size=self.task.size, items=self.task.items)
        assert data.values is not None and data.labels is not None
        return data.values.float().div(127.5).sub(1.0), data.labels

    def net(self, seed: int) -> nn.Sequential:
        """A fresh net; the seed's alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, "net"))
            return nn.Sequential(
                nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
                nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
            )  # fmt: skip

    def learn(self, name: str, rate: float, seed: int) -> Learned | None:
        """One run; None where the loss is no longer a number, or ten times what it was at the start."""
        task, net = self.task, self.net(seed)
        batch = task.items if name == "GD" else task.batch
        settings = recipe(name, rate, batch)
        built = over(groups(net, settings), settings)
        images, labels = self.train
        losses = [self._loss(net)]
        for epoch in range(task.epochs):
            order = torch.randperm(task.items, generator=generator(seed, "order", epoch))
            for chosen in order.split(batch):
                built.zero_grad()
                F.cross_entropy(net(images[chosen]), labels[chosen]).backward()
                built.step()
            losses.append(self._loss(net))
            if not math.isfinite(losses[-1]) or losses[-1] > 10 * losses[0]:
                return None
        return Learned(rate, losses, self._top1(net))

    def tune(self, name: str, seed: int, rates: Sequence[float] = RATES) -> float:
        """The rate with the lowest training loss at the end of a run with this seed.

        Raises:
            ManyviewsError: every rate diverges.
        """
        runs = [self.learn(name, rate, seed) for rate in rates]
        left = [run for run in runs if run is not None]
        if not left:
            raise ManyviewsError(f"On the task {name} diverges at every rate of the grid; add smaller ones")
        return min(left, key=lambda run: run.loss[-1]).rate

    def runs(self, name: str, rate: float, seed: int) -> list[Learned]:
        """The runs with the seeds after ``seed``, less those that diverge.

        Raises:
            ManyviewsError: all of them do.
        """
        runs = [self.learn(name, rate, seed + 1 + number) for number in range(self.task.seeds)]
        left = [run for run in runs if run is not None]
        if not left:
            raise ManyviewsError(
                f"With every seed {name} diverges at the rate that was best; choose another --seed"
            )
        return left

    @torch.no_grad()
    def _loss(self, net: nn.Module) -> float:
        return float(F.cross_entropy(net(self.train[0]), self.train[1]))

    @torch.no_grad()
    def _top1(self, net: nn.Module) -> float:
        return float((net(self.test[0]).argmax(1) == self.test[1]).float().mean())
