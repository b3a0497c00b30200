"""What any method's views become where the data is not made of photos."""

from dataclasses import replace

from manyviews.errors import ManyviewsError
from manyviews.views.kinds import Looks
from manyviews.views.pipeline import Views
from manyviews.views.view import View


def suited(
    looks: Looks,
    *,
    upright: bool = True,
    mirror: bool = True,
    colour: float = 1.0,
    elsewhere: bool = False,
) -> Looks:
    """The same views of things that have no up and down, whose left and right differ, or whose colours tell.

    Args:
        upright: False: each view is also turned by 0 to 3 quarters.
        mirror: False: no view is flipped.
        colour: share in [0, 1] of the strength of its changes of colour, and of the probability of those that have none;
            RandAugment's are all there, or with 0 none.
        elsewhere: colours are also changed later, by that share.

    Raises:
        ManyviewsError: these are not of images, or change no colours that could be changed less.
    """
    if upright and mirror and colour == 1:
        return looks
    if not isinstance(looks, Views):
        raise ManyviewsError(
            "--no-upright, --no-mirror and --colour are of images, and these are none; leave them out."
        )
    found = [weaker(view, colour) for view in looks.views]
    if colour < 1 and found == list(looks.views) and not elsewhere:
        raise ManyviewsError(
            "--colour is a share of the changes of colour, and the views of this method have none that can be weaker; leave it out."
        )
    return Views(*(posed(view, upright, mirror) for view in found))


def posed(view: View, upright: bool, mirror: bool) -> View:
    """The same view, turned by 0 to 3 quarters if what it shows is not ``upright``, and flipped only if that may ``mirror``."""
    return replace(view, turn=view.turn or not upright, flip=view.flip if mirror else 0.0)


def weaker(view: View, colour: float) -> View:
    """The same view with a share ``colour`` of its changes of colour."""
    return replace(
        view,
        jitter=tuple(colour * strength for strength in view.jitter) if view.jitter and colour else None,
        grey=colour * view.grey,
        solarise=colour * view.solarise,
        pca=colour * view.pca,
        randaugment_colours=view.randaugment_colours and (colour > 0 or view.randaugment[0] == 0),
    )
