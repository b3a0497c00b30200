"""One door to all protocols: give what embeds and labelled images, name the protocols, get figures.

Which protocols can run is a question of what there is: labels, two images a class, an encoder that can be trained.
Where one cannot, a sentence says why before anything is computed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from manyviews.data import ItemSet
from manyviews.errors import ManyviewsError, nearest
from manyviews.evaluation.features import Embedder, EncoderEmbedder, Features
from manyviews.evaluation.frozen import frozen
from manyviews.evaluation.options import check_options
from manyviews.evaluation.protocols import DENSE, PROTOCOLS, Task
from manyviews.evaluation.sets import (
    MARKED,
    SCORED,
    dense_sets,
    knows,
    labelled_sets,
    marked_sets,
    number_of_classes,
    scored_sets,
)
from manyviews.nets.classifier import Classifier
from manyviews.nets.encoder import Layered


def evaluate(
    model: Embedder | nn.Module,
    train: ItemSet | None,
    test: ItemSet | None,
    *,
    protocols: Sequence[str] = ("knn",),
    classes: int | None = None,
    size: int | None = None,
    seed: int = 0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    classifier: Classifier | None = None,
    show: Callable[[str, Tensor], None] | None = None,
    seen: dict[str, Features] | None = None,
    upright: bool = True,
    mirror: bool = True,
) -> dict[str, dict[str, Any]]:
    """Run protocols on an embedder or encoder; the figures of each, under its name, ready for JSON.

    Args:
        model: an ``Embedder`` (raw pixels, say), or an encoder, which the protocols that train by images need; an
            ``EncoderEmbedder`` is both.
        train: labelled images to learn from; may be None for "labelfree".
        test: labelled images to judge by; None: a fifth of ``train`` is held out, class by class.
        protocols: of ``PROTOCOLS``.
        classes: how many there are; None: as many as the sets name.
        size: side of the square that a bare encoder sees; None: the side of the images, if they are in memory.
        seed: of whatever is drawn, but for the fifth that is held out.
        classifier: what was learned on top of the encoder, for the protocols that judge it as it is; fine-tuning
            begins with it where its classes are those of the sets.
        show: takes what protocols have to show: a title, and pictures uint8 [R, C, 3, S, S].
        seen: what the sets look like to the embedder is kept here, and looked up: for another seed of the same three.
        upright: False: images have no up and down, and the views by which protocols learn or compare are turned too.
        mirror: False: their left and right differ, and no protocol looks at mirror images.
        options: by protocol, keyword arguments of the function behind it, e.g. ``{"linear-sgd": {"epochs": 10}}``.

    Raises:
        ManyviewsError: an unknown protocol or option, a protocol that cannot run, sets that do not match.
    """
    options = dict(options or {})
    for name in [*protocols, *options]:
        _known(name)
    for name, chosen in options.items():
        if name not in protocols:
            raise ManyviewsError(f'"{name}" has options, and is not among the protocols: add it to them.')
        check_options(name, PROTOCOLS[name].behind, chosen)
    data = train if train is not None else test
    if data is None:
        raise ManyviewsError("There are no images to evaluate on; give a training set, a test set or both.")
    embedder = _embedder(model, size, data)
    with_labels = [name for name in protocols if PROTOCOLS[name].labels]
    if with_labels:
        train, test = labelled_sets(train, test, with_labels)
        classes = number_of_classes(train, test, classes)
    for senses, sets_with in ((DENSE, dense_sets), (MARKED, marked_sets), (SCORED, scored_sets)):
        if asked := [name for name in protocols if PROTOCOLS[name].senses == senses]:
            train, test = sets_with(train, test, asked)
    if classifier is not None and train is not None and not knows(classifier, train, classes):
        odd, classifier = classifier, None
        if judged := [name for name in protocols if PROTOCOLS[name].classifier]:
            raise ManyviewsError(
                f'"{judged[0]}" judges a classifier of {len(odd.classes)} classes ({", ".join(odd.classes[:3])} ...), which '
                f'are not those of {train.name}; give data of the same classes, or take "finetune".'
            )
    for name in protocols:
        if PROTOCOLS[name].encoder and not isinstance(embedder, EncoderEmbedder):
            raise ManyviewsError(
                f'"{name}" trains or augments through the encoder itself, which {type(model).__name__} does not have; '
                'take "knn" or "linear".'
            )
        if PROTOCOLS[name].layered and not isinstance(getattr(embedder, "encoder", None), Layered):
            raise ManyviewsError(
                f'"{name}" looks into an encoder layer by layer, which needs an encoder with by_layer(), such as a '
                'ViT or a net that reads pixels; take "linear".'
            )
        if PROTOCOLS[name].classifier and classifier is None:
            raise ManyviewsError(
                f'"{name}" judges the classifier that a run learned on top of its encoder, and here is none; '
                'take "linear" or "finetune", which learn one.'
            )
    kept = {} if seen is None else seen
    task = Task(embedder, train, test, classes or 0, seed, kept, classifier, show, upright, mirror)
    if not isinstance(embedder, EncoderEmbedder):
        return {name: PROTOCOLS[name].run(task, **options.get(name, {})) for name in protocols}
    with frozen(embedder.encoder):
        return {name: PROTOCOLS[name].run(task, **options.get(name, {})) for name in protocols}


def _known(name: str) -> None:
    if name not in PROTOCOLS:
        hint = nearest(name, PROTOCOLS, f"there are {', '.join(PROTOCOLS)}.")
        raise ManyviewsError(f'There is no protocol "{name}"; {hint}')


def _embedder(model: Embedder | nn.Module, size: int | None, data: ItemSet) -> Embedder:
    if not isinstance(model, nn.Module):
        return model
    if size is None and data.values is None:
        raise ManyviewsError(
            "The images differ in size, so say at which size the encoder should see them, for example size=224."
        )
    side = size if size is not None else min(data.values.shape[2:])  # pyright: ignore[reportOptionalMemberAccess]
    return EncoderEmbedder(model, side)
