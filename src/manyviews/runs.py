"""A run is a folder that explains itself: what was asked, what happened, what came out.

run.json              every setting, the seed, versions, commit and machine: what repeats it
metrics.jsonl         one line a moment; tensorboard/ holds the same
tokeniser.json        what the tokens mean, where it learned from texts
checkpoints/          the last two, each whole or refused
encoder.safetensors   what was learned, with encoder.json beside it; classifier.safetensors, where there is one
results.json          what the encoder is worth
pictures/             what the method can show of images, and written.txt, what it writes
report.html           all of it to look at
"""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manyviews import beginning, distributed, nets
from manyviews.data import ItemSet, Reading
from manyviews.data.reading import laid_out
from manyviews.data.tokeniser import Tokeniser, require_size
from manyviews.errors import Diverged, ManyviewsError
from manyviews.evaluation import EncoderEmbedder, LabelFree, Verdict, held_apart, verdict
from manyviews.evaluation.labels import label_subset
from manyviews.files import alone, change_json, read_json, set_aside, writable, write_json
from manyviews.method import Method, Paper, find
from manyviews.nets import interop, net_factory
from manyviews.nets.classifier import Classifier, load_classifier, save_classifier
from manyviews.recipe import Recipe, record
from manyviews.rng import seed_of
from manyviews.training import checkpoint
from manyviews.training.hooks import Bar, Interrupt, Log, Saver, logged
from manyviews.training.loop import Loop
from manyviews.training.monitor import Monitor, looks_among
from manyviews.training.showing import show
from manyviews.training.spec import spec_of


@dataclass
class Run:
    """A run's folder, and the encoder in it."""

    path: Path
    settings: dict[str, Any]

    # -- making and opening ------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, settings: dict[str, Any], overwrite: bool = False) -> "Run":
        """Make the folder and write ``run.json``; what is overwritten stays whole until that stands.

        Raises:
            ManyviewsError: something is there already and ``overwrite`` is not set, or is not a run.
        """
        there = path.exists() and (not path.is_dir() or any(path.iterdir()))
        if there and not (path / "run.json").exists():
            raise ManyviewsError(f"{path} exists and is no run, so it is left as it is; choose another --out")
        if there and not overwrite:
            how = f"continue it with `manyviews resume {path}`, or replace it with --overwrite"
            raise ManyviewsError(f"{path} exists already; choose another --out, {how}")
        with set_aside(path) if there else nullcontext():
            path.resolve().mkdir(parents=True, exist_ok=True)
            with alone(path):
                if (path / "run.json").exists():  # made by another command in the meantime
                    raise ManyviewsError(f"Another process is at work on {path}: choose another --out.")
                write_json(path / "run.json", settings)
        return cls(path, settings)

    @classmethod
    def open(cls, path: Path | str) -> "Run":
        """Open a run that exists.

        Raises:
            ManyviewsError: there is no run at ``path``, or its ``run.json`` cannot be read.
        """
        file = Path(path) / "run.json"
        if not file.is_file():
            raise ManyviewsError(f"There is no run at {path}: it has no run.json; give a run's folder")
        try:
            return cls(Path(path), read_json(file))
        except json.JSONDecodeError as error:
            why = "without it, the run cannot be opened"
            raise ManyviewsError(f"{file} is not whole JSON ({error}); {why}") from error

    # -- what it was ---------------------------------------------------------------------------------------------

    @property
    def paper(self) -> Paper:
        return find(self.settings["method"], asked=False)

    @property
    def recipe(self) -> Recipe:
        return record(Recipe, self.settings["recipe"])

    @property
    def size(self) -> int:
        """Side of the images that the encoder was trained on, in pixels; of sounds, samples of a window."""
        return self.recipe.size

    @property
    def senses(self) -> tuple[str, ...]:
        """What the method looks at beside images."""
        return self.paper.method.senses(record(self.paper.config, self.settings["config"]))

    @property
    def rate(self) -> int | None:
        """Samples a second of the sounds that were learned from; None of images, and where it is not known."""
        return self.settings["data"].get("rate")

    @property
    def reading(self) -> Reading | None:
        """How its texts become tokens: by the tokeniser in its folder, which a finished run cannot do without."""
        if self.settings["data"].get("kind", "texts") != "texts":
            return None  # nor is the method's file opened, which may lie elsewhere and be gone
        reading = self.paper.method.reading(record(self.paper.config, self.settings["config"]))
        kept = self.finished or self.words.exists()
        return replace(reading, tokeniser=str(self.words)) if reading and kept else reading

    @property
    def words(self) -> Path:
        """Where its tokeniser lies, of a run that learned from texts."""
        return self.path / "tokeniser.json"

    @property
    def apart(self) -> Reading | None:
        """The same, a text an item: what is used and judged."""
        return self.reading and replace(self.reading, packed=False, joined=True)

    def keep(self, tokeniser: Tokeniser | None) -> None:
        """Write ``tokeniser.json``, where there is a tokeniser and it does not lie there yet."""
        if tokeniser is not None and not self.words.exists():
            tokeniser.save(self.words)

    @property
    def finished(self) -> bool:
        return (self.path / "encoder.safetensors").exists()

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; a line cut short by a kill is left out."""
        return logged(self.path / "metrics.jsonl")

    def looks(self) -> list[LabelFree]:
        """What the monitor saw of the representation, oldest first."""
        return looks_among(self.metrics())

    def verdict(self) -> Verdict | None:
        """What the monitor's looks come to, now that the run has ended; None where it never looked."""
        looks = self.looks()
        return verdict(looks, finished=True) if looks else None

    def results(self) -> dict[str, Any]:
        """What ``results.json`` holds so far."""
        return read_json(self.path / "results.json")

    @property
    def judged(self) -> bool:
        """Whether all that a finished run is judged by is entered."""
        return "verdict" in self.results()

    def add_results(self, **figures: Any) -> None:
        """Enter figures beside those that are there."""
        self.enter(lambda _: figures)

    def enter(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Enter what is to be changed in the results, given those that are there; said and left where they cannot be written."""
        if writable(file := self.path / "results.json"):
            return change_json(file, change)
        print(f"manyviews: {file} cannot be written, so the figures are not entered there", file=sys.stderr)

    # -- what came out -------------------------------------------------------------------------------------------

    @cached_property
    def encoder(self) -> nets.Encoder:
        """The encoder, in eval mode, on this machine's device.

        Raises:
            ManyviewsError: the run has not finished yet, the file is damaged, or the tokeniser beside it is of other weights.
        """
        if not self.finished:
            how = f"finish it with `manyviews resume {self.path}`"
            raise ManyviewsError(f"{self.path} has no encoder yet; {how}")
        encoder, _ = interop.load_encoder(self.path)
        if self.reading is not None:
            require_size(Tokeniser.load(self.words), encoder.in_channels, f"the encoder of {self.path}")
        return encoder.to(distributed.device()).eval()

    @cached_property
    def classifier(self) -> Classifier | None:
        """The classifier that was learned on top of the encoder; None where the method learned none."""
        file = self.path / "classifier.safetensors"
        return load_classifier(file, distributed.device()) if file.exists() else None

    @property
    def embedder(self) -> EncoderEmbedder:
        return EncoderEmbedder(self.encoder, self.size, distributed.device())

    def embed(self, image_BCHW: Tensor | np.ndarray | list[str]) -> Tensor:
        """Embeddings ``[B, width]`` of uint8 images ``[B, 3, H, W]`` of any size, int16 sounds ``[B, 1, T]``, or texts."""
        if isinstance(image_BCHW, list):
            if self.reading is None:
                raise ManyviewsError("Give files and folders to manyviews.embed(run, ...), and arrays here.")
            image_BCHW = laid_out(image_BCHW, Tokeniser.load(self.words), self.size)
        image_BCHW = torch.as_tensor(image_BCHW)
        return torch.cat([self.embedder.embed(part_BCHW) for part_BCHW in image_BCHW.split(512)])

    # -- training ------------------------------------------------------------------------------------------------

    def start(self, data: ItemSet | None = None) -> nets.Encoder | None:
        """The encoder that every encoder of this run begins as; None: they are drawn from the seed. Texts say their tokens."""
        found, source = self.settings.get("init_from"), self.recipe.pretrained
        if found is not None and source is not None:
            raise ManyviewsError(
                f"This run would start from {found} and from weights of {source}; leave out --init-from or --pretrained."
            )
        if source is not None:
            words = len(data.tokeniser) if data is not None and data.tokeniser is not None else None
            return nets.build(self.recipe.net, in_channels=words, size=self.size, pretrained=source)
        return None if found is None else interop.load_encoder(found)[0]

    def seen(self, data: ItemSet) -> ItemSet:
        """The set as the method may see it: items held out to judge by, or without a label, are hidden or carry -1."""
        share, method = self.recipe.labels, self.paper.method
        data = held_apart(data)[0] if self.settings.get("held_out") else data
        if share == 1.0 or data.labels is None:
            return data
        known = label_subset(data.labels, share, self.recipe.seed)
        if not method.unlabelled:
            return data.subset(known)
        hidden = torch.full_like(data.labels, -1)
        hidden[known] = data.labels[known]
        return replace(data, labels=hidden)

    def build(self, data: ItemSet, start: nets.Encoder | None = None) -> Method:
        """The run's method for this data, its first weights drawn from the run's seed, its encoders like ``start``, and
        its classifier like the one that was learned on top of it, as far as `beginning.keep_head` can."""
        recipe, paper = self.recipe, self.paper
        paper.suits(data.kind, data.name, recipe.net)
        torch.manual_seed(seed_of(recipe.seed, "weights"))
        senses = self.settings["data"].get("senses", {})  # of what is learned from, whatever is asked about
        spec = spec_of(data, recipe, senses, labels=paper.method.supervised)
        config = record(paper.config, self.settings["config"])
        method = paper.method(config, net_factory(recipe.net, recipe.size, start), spec)  # pyright: ignore[reportCallIssue]
        if start is not None and (begins_as := self.settings.get("init_from")):
            beginning.keep_head(method, begins_as)
        return method.to(distributed.device())

    def loop(self, seen: ItemSet, start: nets.Encoder | None = None, **how: Any) -> Loop:
        """Its training, ready to begin: what this run cannot do is said by now."""
        return Loop(self.build(seen, start), seen, self.recipe, **how)

    def train(self, data: ItemSet, *, workers: int = 2, quiet: bool = False, save_every: float = 30.0) -> str:
        """Train from the newest whole checkpoint, or the start; "finished" or "interrupted". How: as in `learn.pretrain`."""
        seen = self.seen(data)
        state, refused = checkpoint.agreed(self.path / "checkpoints")
        for sentence in refused:
            print(f"manyviews: {sentence}; the one before it is used", file=sys.stderr)
        if state is None and self.finished:
            return "finished"  # its checkpoints are gone, and what it learned is not
        start = self.start(seen) if state is None else None
        bar = Bar(self.paper.name, quiet)
        with Interrupt() as interrupt:
            loop = self.loop(seen, start, workers=workers, interrupted=interrupt)
            if state is not None:
                loop.restore(state)
            log, saver = Log(self.path, loop.step), Saver(self.path / "checkpoints", save_every)
            loop.hooks = (Monitor(loop.method, data, self.looks(), loop.done), log, bar, saver)
            try:
                ends = loop.run()
            except Diverged as error:
                raise Diverged(f"{error} ({saver.kept()})") from error
            finally:
                bar.close()
        skipped = data.skipped | loop.skipped
        if skipped.files and distributed.is_main():
            print(f"manyviews: {skipped}", file=sys.stderr)
            self.add_results(skipped=skipped.as_dict())
        learned = loop.whole() if ends == "finished" else None
        if learned is not None:
            if distributed.is_main():
                self.save_encoder(learned)
            show(learned, data, self.path, self.recipe.seed)
        return ends

    def save_encoder(self, method: Method) -> None:
        """Write ``encoder.safetensors`` and what is needed to use it."""
        about = {"net": self.recipe.net, "size": self.size, "rate": self.rate, "method": self.paper.name}
        if (head := method.classifier_head()) is not None:
            names = method.class_names() or self.settings["data"]["classes"]
            save_classifier(self.path / "classifier.safetensors", head, names)
        interop.save_encoder(self.path, method.encoder, about)  # last, for a run that has it is finished
        for name in ("encoder", "classifier"):
            self.__dict__.pop(name, None)
