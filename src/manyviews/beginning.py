"""How a run starts from another one: what it takes over besides the encoder's weights (net, size, tokeniser, classifier)."""

from pathlib import Path
from typing import Any

from torch import nn

from manyviews import nets
from manyviews.method import Method
from manyviews.nets import interop
from manyviews.nets.classifier import Classifier, load_classifier
from manyviews.nets.encoder import shapes


def taken_over(path: str | Path, sees: str) -> dict[str, Any]:
    """Settings of the run, or of the ``encoder.safetensors``, at ``path`` that hold on unless others are asked for.

    These are its net and the size that it learned at; of a net that does not see what the method ``sees``, which is
    refused once the data is there, the net alone.

    Raises:
        ManyviewsError: there are no weights at ``path``, or none that say which net they are of.
    """
    encoder, about = interop.load_encoder(path)
    assert encoder.built is not None
    net = encoder.built.name
    if nets.sees(net) != sees:
        return {"net": net}
    return {"net": net, "size": about.get("size", encoder.built.size)}


def words_of(path: str | Path) -> Path:
    """The tokeniser beside the weights of a run, or of a weights' file."""
    return _beside(path, "tokeniser.json")


def keep_head(method: Method, path: str | Path) -> None:
    """Give the method's classifier the weights of the one that was learned on top of the encoder at ``path``, if that one
    tells the same classes apart; otherwise it stays as it was drawn."""
    head, kept = method.classifier_head(), _kept(path)
    if head is not None and kept is not None and _fits(kept, method, head):
        head.load_state_dict(kept.head.state_dict())


def drawn_anew(method: Method, path: str | Path) -> str | None:
    """What there is to say where ``keep_head`` has to leave a classifier that is there; None where it need not."""
    head, kept = method.classifier_head(), _kept(path)
    if head is None or kept is None or _fits(kept, method, head):
        return None
    return (
        f"the classifier of {path} tells {len(kept.classes)} classes apart ({', '.join(kept.classes[:3])} ...), which are not "
        "those of this data in the same order, so this run's is drawn anew"
    )


def _kept(path: str | Path) -> Classifier | None:
    file = _beside(path, "classifier.safetensors")
    return load_classifier(file) if file.exists() else None


def _fits(kept: Classifier, method: Method, head: nn.Linear) -> bool:
    """Whether a classifier could go on as that of the method: the same classes in the same order, of as wide embeddings."""
    return kept.classes == method.class_names() and shapes(kept.head) == shapes(head)


def _beside(path: str | Path, name: str) -> Path:
    return (Path(path) if Path(path).is_dir() else Path(path).parent).resolve() / name
