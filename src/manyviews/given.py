"""Encoders to use, wherever they come from: a run's, a pretrained net's of timm or torchvision, or one that was handed over."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from manyviews import distributed, nets, plan
from manyviews.data import ItemSet
from manyviews.errors import ManyviewsError
from manyviews.method import Paper
from manyviews.nets import hub, interop
from manyviews.recipe import Recipe
from manyviews.runs import Run


class Given(Run):
    """An encoder that no run at hand has learned, to be used as a run's is; nothing is entered anywhere."""

    @property
    def paper(self) -> Paper:
        raise ManyviewsError(f"How {self.path} was learned is not known: give the run's folder.")

    @property
    def finished(self) -> bool:
        return True

    def metrics(self) -> list[dict[str, Any]]:
        return []

    def enter(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Nowhere: there is no folder."""


def load(path: str | Path) -> Run:
    """Open what was learned: ``manyviews.load("runs/photos").embed(images)``.

    Args:
        path: a run's folder; an ``encoder.safetensors`` of images or sounds, wherever it lies; or a net with the weights that its
            library has for it: ``timm/NAME``, ``torchvision/NAME``. Such a net looks at images of the size that it was made for.

    Raises:
        ManyviewsError: there is no such thing, its weights cannot be had, or the file is of texts, for which a run's folder is needed.
    """
    path = Path(path)
    library = path.parts[0] if len(path.parts) == 2 else ""
    if library in nets.HUB and not path.exists():
        name = path.as_posix()
        return _given(name, nets.build(name, size=hub.side_of(name), pretrained=True), {})
    if path.suffix == ".safetensors" and path.is_file():
        return _given(str(path), *interop.load_encoder(path))
    return Run.open(path)


def opened(run: str | Path | Run) -> Run:
    """What a user gave where a run is asked for, opened."""
    return run if isinstance(run, Run) else load(run)


def sensed(run: Run, data: Any) -> Any:
    """The data, and of the world what the run's method sees of it, whose file is not opened for anything else."""
    drawn = isinstance(data, str) and data == "world"
    return plan.sensed(run.paper, data) if drawn and not isinstance(run, Given) else data


def require_suits(run: Run, data: ItemSet) -> None:
    """Raises ``ManyviewsError`` for data of another kind than the run's net reads."""
    if data.kind != (reads := nets.sees(run.recipe.net)):
        raise ManyviewsError(f"The encoder of {run.path} reads {reads}; {data.name} holds {data.kind}.")


def _given(name: str, encoder: nets.Encoder, config: dict[str, Any]) -> Given:
    assert encoder.built is not None  # both ways here build it by name
    net, size = encoder.built.name, encoder.built.size
    kind = nets.sees(net)
    if kind == "texts":
        raise ManyviewsError(
            f"{name} reads texts, but does not contain the tokeniser: give the folder of its run."
        )
    if kind == "sounds" and "rate" not in config:
        raise ManyviewsError(
            f"{name} does not say at which rate (samples a second) it reads sounds: give the folder of its run."
        )
    nowhere: dict[str, Any] = {"root": None, "digest": "", "kind": kind, "rate": config.get("rate")}
    about = {"recipe": asdict(Recipe(data="", net=net, size=size)), "data": nowhere}
    given = Given(Path(name), about)
    given.encoder = encoder.to(distributed.device()).eval()
    return given
