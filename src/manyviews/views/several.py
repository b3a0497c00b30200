"""What views of images, of sounds and of texts have in common: several of every item, each as a recipe of its own says."""

from typing import ClassVar, Generic, Protocol, TypeVar

from manyviews.errors import ManyviewsError
from manyviews.views.view import Draws


class Recipe(Protocol):
    """How one view is made."""

    def describe(self) -> str: ...


R = TypeVar("R", bound=Recipe)


class Several(Generic[R]):
    """Recipes in order; whoever extends it makes views by them."""

    items: ClassVar[str]  # what it is given

    def __init__(self, *views: R) -> None:
        if not views:
            raise ManyviewsError(f"{type(self).__name__} needs at least one view.")
        self.views = views

    def __len__(self) -> int:
        return len(self.views)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.views))})"

    def describe(self) -> str:
        """The recipes in plain words; equal ones are told once."""
        texts = [view.describe() for view in self.views]
        return "\n".join(f"{texts.count(text)} x {text}" for text in dict.fromkeys(texts))

    def check_draws(self, draws: Draws, batch: int | None) -> None:
        """Raise a ``ManyviewsError`` where the draws are not for these views, or not for a batch of so many items."""
        if len(draws.uniforms) != len(self.views):
            raise ManyviewsError(f"The draws are for {len(draws.uniforms)} views, not {len(self.views)}.")
        if batch is not None and len(draws) != batch:
            raise ManyviewsError(
                f"The draws are for {len(draws)} {self.items}, not {batch}; slice them with Draws.rows."
            )
