"""The loop: views, loss, backward, step, after_step, hooks. It never asks which method it runs."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from manyviews import distributed
from manyviews.data import Drawn, ItemSet, Skipped, batches, require, steps_per_epoch
from manyviews.errors import ManyviewsError
from manyviews.evaluation.features import EncoderEmbedder, embed_all
from manyviews.method import Batch, Method, Out
from manyviews.nets.encoder import compile_encoders
from manyviews.nets.norms import in_pieces
from manyviews.nets.synchronised import synchronise
from manyviews.recipe import Recipe
from manyviews.rng import seed_of
from manyviews.training import sharding
from manyviews.training.boxes import Boxes
from manyviews.training.finite import Done, ill_loss, stop_all
from manyviews.training.optimisers import laid_out_as_weights, optimiser, set_rate
from manyviews.training.pieces import merged, pieces
from manyviews.training.progress import Hook, Length, Moment


@dataclass
class Loop:
    """One run of one method over one data set.

    Args:
        method: on its device already.
        data: what is learned from; its labels reach the method only if it declares ``supervised``.
        recipe: optimiser, schedule, length.
        hooks: called with a ``Moment`` after every step, on every rank.
        workers: processes that decode images which do not fit into memory.
        interrupted: asked after every step; True ends the run early but tidily.
    """

    method: Method
    data: ItemSet
    recipe: Recipe
    hooks: Sequence[Hook] = ()
    workers: int = 2
    interrupted: Callable[[], bool] = lambda: False
    step: int = 0
    seconds: float = 0.0
    skipped: Skipped = field(default_factory=Skipped)

    def __post_init__(self) -> None:
        self.missed = 0  # items that could not be read, added up over ranks, when these last told each other
        recipe, self.skipped.kind = self.recipe, self.data.kind
        self.steps_per_epoch = steps_per_epoch(len(self.data), recipe.batch)
        if recipe.batch % (ranks := distributed.world_size()):
            raise ManyviewsError(
                f"A batch of {recipe.batch} does not divide among {ranks} devices; choose a multiple"
            )
        self._require_more_than_one()
        in_pieces(self.method, recipe.accumulate)
        self.length = Length.of(recipe, self.steps_per_epoch)
        self.device = next(self.method.parameters()).device
        self.views = self.method.suited_views()
        self.senses = self.method.senses(self.method.config)
        require(self.data, self.senses)
        synchronise(self.method)
        self.sharded = recipe.shard and distributed.world_size() > 1
        if recipe.channels_last and not self.sharded:  # FSDP2 wants its weights contiguous
            self.method.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.boxes = None
        if recipe.crops == "contrastive":
            self.boxes = Boxes(
                self.method, self.data, recipe, self.views, self.length.steps, self.steps_per_epoch
            )
        self.shell = sharding.hollow(self.method) if self.sharded else None
        if recipe.compile:
            compile_encoders(self.method)
        self.compute = self._across_devices()
        self.optimiser = optimiser(self.method, recipe)

    def _require_more_than_one(self) -> None:
        """Raises ``ManyviewsError`` where a norm over vectors of a batch would be given one."""
        rows = self.recipe.batch // (distributed.world_size() * self.recipe.accumulate)
        if rows < 2 and any(isinstance(part, nn.BatchNorm1d) for part in self.method.modules()):
            raise ManyviewsError(
                f"A batch of {self.recipe.batch} leaves {rows} item to each device and piece (--accumulate), and batch normalisation "
                "needs two; choose a larger --batch or fewer pieces."
            )

    def _across_devices(self) -> nn.Module:
        compute = _Loss(self.method)
        if distributed.world_size() == 1:
            return compute
        return sharding.shard(compute) if self.sharded else sharding.replicate(compute, self.device)

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs to end as the unbroken one would have."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "method": sharding.whole(self.method.state_dict(), self.sharded),
            "optimiser": sharding.whole(self.optimiser.state_dict(), self.sharded),
            "boxes": self.boxes and self.boxes.state(),
            "skipped": dict(self.skipped.files),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what ``state()`` gave."""
        self.step, self.seconds = state["step"], state["seconds"]
        self.skipped.files |= state.get("skipped", {})
        if self.boxes:
            self.boxes.restore(state["boxes"])
        if self.sharded:
            return sharding.restore(self.method, self.optimiser, state)
        self.method.load_state_dict(state["method"])
        self.optimiser.load_state_dict(state["optimiser"])
        laid_out_as_weights(self.optimiser)

    @property
    def done(self) -> float:
        """Share of the run that is over, the same on all ranks."""
        return self.length.progress(self.step, self.seconds)

    def whole(self) -> Method:
        """The method with all its weights: itself, or, where they are split, a copy; then every rank has to ask.

        The copy is as large as the method, and made for who asks: let go of it as soon as you can.
        """
        return self.method if self.shell is None else sharding.filled(self.shell, self.method)

    # -- running -------------------------------------------------------------------------------------------------

    def run(self) -> str:
        """Train to the end of the budget; returns "finished" or "interrupted".

        Raises:
            ManyviewsError: a loss is not finite, or too many images cannot be read.
        """
        started = time.monotonic() - self.seconds
        self.method.train()
        progress, last = self.done, None
        if progress >= 1.0:
            return "finished"
        for drawn in self._drawn():
            if self.step % self.steps_per_epoch == 0:
                self._agree(started, last)  # what is found as an epoch begins rests on the step before
                self._begin_epoch(progress)
            lr = set_rate(self.optimiser, self.recipe, progress)
            out = self._advance(drawn, progress)
            self.step += 1
            stop = self._agree(started, last)  # one step late, so that the device is never waited for
            progress = self.done
            last = Done.of(self.step, drawn.index, out.loss.detach())
            ends = "finished" if progress >= 1.0 else "interrupted" if stop else None
            if ends:
                self._agree(started, last)
            self._tell(out, progress, lr, ends)
            if ends:
                return ends
        raise AssertionError("batches never end")

    def _drawn(self) -> Iterator[Drawn]:
        return batches(
            self.data,
            batch=self.recipe.batch,
            seed=self.recipe.seed,
            step=self.step,
            rank=distributed.rank(),
            world=distributed.world_size(),
            views=self.views,
            workers=self.workers,
            device=self.device,
            skipped=self.skipped,
            senses=self.senses,
        )

    def _begin_epoch(self, progress: float) -> None:
        epoch = self.step // self.steps_per_epoch
        torch.manual_seed(seed_of(self.recipe.seed, "epoch", epoch))
        self.method.before_epoch(epoch, self._embed)
        if self.boxes and (due := self.boxes.due(progress)) > self.boxes.found:
            self.boxes.find(self.whole().encoder, due)

    def _advance(self, drawn: Drawn, progress: float) -> Out:
        recipe = self.recipe
        torch.manual_seed(seed_of(recipe.seed, "step", self.step, distributed.rank()))
        batch = self._seen(drawn)
        self.optimiser.zero_grad(set_to_none=True)
        *first, last = pieces(batch, recipe.accumulate)
        with self._kept_here():
            outs = [self._backward(piece, progress) for piece in first]
        outs.append(self._backward(last, progress))
        self.method.before_step(progress)
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.method.parameters(), recipe.clip)
        self.optimiser.step()
        out = merged(outs)
        self.method.after_step(out, progress)
        return out

    def _seen(self, drawn: Drawn) -> Batch:
        rows = distributed.local_rows(self.recipe.batch)
        draws = self.views.draw(self.recipe.batch, self.recipe.seed, "views", drawn.step)
        draws = draws.rows(rows.start, rows.stop)
        if self.boxes:
            draws = self.boxes.focused(draws, drawn.index)
        if drawn.image is not None:
            views = self.views(drawn.image, draws)
        else:
            assert drawn.crops is not None
            views = self.views.finish(drawn.crops, draws)
        if self.recipe.channels_last and self.data.kind == "images":
            views = [view.contiguous(memory_format=torch.channels_last) for view in views]
        senses = {name: self.views.cropped(sense, draws) for name, sense in drawn.senses.items()}
        return Batch(views, drawn.index, drawn.label if self.method.supervised else None, senses)

    def _kept_here(self) -> AbstractContextManager[None]:
        """Gradients of the block are sent to other devices with the next one's, not by themselves."""
        if isinstance(self.compute, nn.parallel.DistributedDataParallel):
            return self.compute.no_sync()
        return nullcontext()  # FSDP2 would have to hold them whole

    def _backward(self, batch: Batch, progress: float) -> Out:
        bf16 = self.recipe.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            out: Out = self.compute(batch, progress)
        (out.loss / self.recipe.accumulate).backward()
        return out

    def _agree(self, started: float, before: Done | None) -> bool:
        """Take rank 0's clock, stop all where a loss of any is not finite, and tell whether any was interrupted."""
        wrong = ill_loss(before, self.data) if before else None
        clock = 0.0 if distributed.rank() else time.monotonic() - started
        missed = len(self.skipped.files)
        self.seconds, asked, ill, all_missed = distributed.added(
            clock, self.interrupted(), wrong is not None, missed
        )
        if ill:
            stop_all(wrong)
        if all_missed != self.missed:
            self._share_missed()
        return asked > 0

    def _share_missed(self) -> None:
        """What any rank could not read, all know: a checkpoint holds it, and together it may be too much."""
        for files in distributed.everyone(self.skipped.files):
            self.skipped.files |= files
        self.missed = distributed.world_size() * len(self.skipped.files)
        self.skipped.check(self.data.name, len(self.data))

    def _tell(self, out: Out, progress: float, lr: float, ends: str | None) -> None:
        moment = Moment(
            step=self.step,
            epoch=self.step / self.steps_per_epoch,
            progress=progress,
            seconds=self.seconds,
            items=self.step * self.recipe.batch,
            lr=lr,
            loss=out.loss.detach(),
            log={name: value.detach() for name, value in out.log.items()},
            whole=self.whole,
            z=None if out.z is None else out.z.detach(),
            state=self.state,
            ends=ends,
        )
        for hook in self.hooks:
            hook(moment)

    def _embed(self) -> Tensor:
        """Every item's features, a row each; those of an image that cannot be read are the mean of all others."""
        embedder = EncoderEmbedder(self.whole().encoder, self.method.spec.size, self.device)
        found = embed_all(embedder, self.data)
        if found.index is None:
            return found.h_ND
        h_ND = found.h_ND.mean(0).repeat(len(self.data), 1)
        h_ND[found.index] = found.h_ND
        return h_ND


class _Loss(nn.Module):
    """The method's loss as a forward pass, which is what DDP and FSDP2 wrap."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch, progress: float) -> Out:
        return self.method.loss(batch, progress)
