"""Views of texts: their first tokens, as whole numbers that a net looks up."""

import pytest
import torch

from manyviews.rng import generator
from manyviews.views import Text, Texts, View, kind_of, plain, views_of

TEXTS = torch.randint(0, 99, (5, 2, 8), generator=generator("texts"), dtype=torch.int32)


def test_a_view_is_the_first_tokens_of_every_row() -> None:
    looks = Texts(Text(size=6), Text(size=8), Text(size=20))
    first, second, third = looks(TEXTS, looks.draw(5, "views"))
    assert first.dtype == second.dtype == torch.int64
    assert torch.equal(first, TEXTS[..., :6].long())
    assert torch.equal(second, TEXTS.long()) and torch.equal(third, TEXTS.long())


def test_a_worker_cuts_what_the_batch_would_be() -> None:
    looks = Texts(Text(size=6))
    draws = looks.draw(5, "views")
    crops = [looks.crop(text, draws, row)[0] for row, text in enumerate(TEXTS)]
    assert all(crop.dtype == torch.int32 for crop in crops)
    assert torch.equal(looks.finish([torch.stack(crops)], draws)[0], looks(TEXTS, draws)[0])


def test_what_judges_reads_the_same_tokens() -> None:
    looks = Texts(Text(size=6))
    assert torch.equal(plain(TEXTS, 6), looks(TEXTS, looks.draw(5, "views"))[0])
    assert kind_of(TEXTS) == "texts"


def test_views_of_texts_are_texts_and_are_not_mixed() -> None:
    looks = views_of(Text(size=6), Text(size=6))
    assert isinstance(looks, Texts) and len(looks) == 2
    assert looks.describe() == "2 x its first 6 tokens"
    with pytest.raises(ValueError, match="all View, all Wave or all Text"):
        views_of(Text(size=6), View(size=6))


@pytest.mark.parametrize("size", [0, -3])
def test_a_view_without_tokens_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"Text size is {size}"):
        Text(size=size)


@pytest.mark.parametrize("wrong", [TEXTS.long(), TEXTS[:, :1], TEXTS[:, 0], TEXTS.repeat(1, 4, 1)])
def test_what_is_no_text_is_refused(wrong: torch.Tensor) -> None:
    looks = Texts(Text(size=6))
    with pytest.raises(ValueError, match=r"must be int32 \[B, R, T\] of 2, 4"):
        looks(wrong, looks.draw(5, "views"))


def test_no_views_and_senses_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Texts()
    looks = Texts(Text(size=6))
    with pytest.raises(ValueError, match="Nothing is known of each token"):
        looks.cropped(TEXTS, looks.draw(5, "views"))
