"""What every encoder of texts has to beat: how often each token stands in a text."""

from collections import Counter

import torch

from manyviews.data import Reading, open_data
from manyviews.evaluation import embed_all
from manyviews.evaluation.baselines import MOST_COUNTS, WordCounts, raw

TEXTS = ["a cat sat", "aaaa", "the cat and the dog sat"]


def test_word_counts_are_roots_of_how_often_each_token_stands_in_a_text() -> None:
    data = open_data(TEXTS, size=12, reading=Reading("chars", 64))
    assert data.tokeniser is not None and data.values is not None
    ((name, counts),) = raw(data, 12).items()
    assert name == "word counts"
    h_ND = embed_all(counts, data).h_ND
    assert h_ND.shape == (3, len(data.tokeniser))
    for row, (token_T, part_T) in zip(h_ND, data.values, strict=True):
        found = {token: round(float(row[token] ** 2)) for token in row.nonzero()[:, 0].tolist()}
        assert found == Counter(token_T[part_T > 0].tolist())


def test_it_reads_no_more_tokens_than_the_encoder() -> None:
    data = open_data(TEXTS, size=12, reading=Reading("chars", 64))
    assert data.values is not None and data.tokeniser is not None
    counts = WordCounts(len(data.tokeniser), 4)
    assert torch.equal(counts.embed(data.values), counts.embed(data.values[..., :4]))
    assert (counts.embed(data.values).square().sum(1).round() == 4).all()


def test_counts_of_a_large_vocabulary_are_shared() -> None:
    tokens_T = torch.tensor([3, 3 + MOST_COUNTS, 5, 0], dtype=torch.int32)
    text_12T = torch.stack([tokens_T, torch.tensor([1, 1, 1, 0], dtype=torch.int32)])[None]
    h_D = WordCounts(3 * MOST_COUNTS, 4).embed(text_12T)[0]
    assert len(h_D) == MOST_COUNTS
    assert h_D.nonzero()[:, 0].tolist() == [3, 5] and round(float(h_D[3] ** 2)) == 2
