"""Texts on a run's page: quoted as they are, beside those that lie nearest."""

import html

import pytest
import torch

from manyviews.report import Quotes, Story, page
from manyviews.report.numbers import DASH

EVIL = """<script>alert("x")</script>'&"""


def told(quotes: Quotes) -> str:
    return page(Story(title="GPT on poems", subtitle="", command="manyviews pretrain gpt", quotes=quotes))


def test_texts_are_quoted_with_what_lies_near_and_how_near() -> None:
    similarity = torch.tensor([[0.912, -0.25], [0.5, float("nan")]])
    same = torch.tensor([[True, False], [True, True]])
    text = told(Quotes(["a cat", EVIL], [["a dog", "the cats"], ["one", "two"]], similarity, same))
    assert "What it finds alike" in text and text.count("<blockquote>") == 2
    assert EVIL not in text and EVIL in html.unescape(text)
    for word in ("a cat", "a dog", "the cats", "0.91", "\u22120.25", DASH):
        assert word in html.unescape(text)
    assert "3 of these 4 neighbours are of their query" in text
    assert text.count('<b class="yes">') == 3 and text.count('<b class="no">') == 1


def test_without_labels_no_class_is_spoken_of() -> None:
    text = told(Quotes(["a cat"], [["a dog"]], torch.tensor([[0.9]])))
    assert "neighbours are of" not in text and '<b class="yes">' not in text


def test_no_texts_leave_no_trace() -> None:
    assert "What it finds alike" not in told(Quotes([], [], torch.empty(0, 0)))


@pytest.mark.parametrize(
    ("similarity", "same"), [(torch.ones(1, 2), None), (torch.ones(2, 1), None), (torch.ones(1, 1), torch.ones(1, 2) > 0)]
)  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(similarity: torch.Tensor, same: torch.Tensor | None) -> None:
    with pytest.raises(ValueError, match="quotes"):
        Quotes(["a cat"], [["a dog"]], similarity, same)
