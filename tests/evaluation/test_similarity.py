"""Pairs that are said to be alike: SciPy's correlations, pairs read by themselves, and whole commands."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import manyviews
from commands import answer, refused
from manyviews.data import Reading, open_data
from manyviews.data.corpus import from_texts, hold_out, open_corpus
from manyviews.data.world.alike import world_similarity
from manyviews.data.world.latents import latents
from manyviews.errors import Diverged, ManyviewsError
from manyviews.evaluation import evaluate
from manyviews.evaluation.labelfree import alignment, uniformity
from manyviews.evaluation.similarity import by_text, similarity

PAIRS = [("a cat", "the cat"), ("a dog", "the moon is far"), ("red fish", "blue fish")]
SCORES = [4.5, 0.5, 3.0]
TABLE = "sentence1,sentence2,score\n" + "".join(
    f"{one},{other},{score}\n" for (one, other), score in zip(PAIRS, SCORES, strict=True)
)
USE = Reading("chars", joined=True)


class Letters(nn.Module):
    """How often each token stands in a text."""

    def forward(self, x_BRT: Tensor) -> Tensor:
        assert x_BRT.shape[1] == 2
        there_BT = x_BRT[:, 1] > 0
        return torch.stack([((x_BRT[:, 0] == token) & there_BT).sum(1) for token in range(40)], 1).float()


def test_figures_are_those_of_their_formulas() -> None:
    torch.manual_seed(1)
    a_ND, b_ND = torch.randn(40, 6), torch.randn(40, 6)
    score_N = torch.randint(0, 6, (40,)).float()  # with ties
    found = similarity(a_ND, b_ND, score_N)
    cosine_N = (a_ND * b_ND).sum(1) / (a_ND.norm(dim=1) * b_ND.norm(dim=1))
    assert found.spearman == pytest.approx(float(spearmanr(cosine_N, score_N).statistic), abs=1e-6)
    assert found.pearson == pytest.approx(
        float(torch.corrcoef(torch.stack([cosine_N, score_N]))[0, 1]), abs=1e-5
    )
    assert found.alignment == pytest.approx(alignment(a_ND[score_N > 4], b_ND[score_N > 4]), abs=1e-6)
    assert found.uniformity == pytest.approx(uniformity(torch.cat([a_ND, b_ND])), abs=1e-6)
    order_N = torch.arange(5.0)
    turned_N2 = torch.stack([(0.2 * order_N).cos(), (0.2 * order_N).sin()], 1)
    first_N2 = torch.tensor([[1.0, 0.0]]).expand(5, 2)
    assert similarity(first_N2, turned_N2, -order_N).spearman == pytest.approx(1.0)
    assert similarity(first_N2, turned_N2, order_N).spearman == pytest.approx(-1.0)


def test_what_tells_nothing_apart_orders_nothing() -> None:
    ones = torch.ones(4, 3)
    found = similarity(ones, ones, torch.arange(4.0))
    assert (found.spearman, found.pearson, found.alignment) == (0.0, 0.0, 0.0)
    with pytest.raises(ManyviewsError, match="two different scores"):
        similarity(ones, ones, torch.ones(4))
    with pytest.raises(Diverged, match="not finite"):
        similarity(ones * torch.nan, ones, torch.arange(4.0))
    assert similarity(ones, ones, torch.tensor([-3.0, -2.0, -1.0, -2.0])).alignment is not None


def test_both_texts_are_read_by_themselves() -> None:
    data = open_data((PAIRS, SCORES), size=24, reading=USE)
    assert data.pairs is not None and data.values is not None and data.values.shape[1] == 2
    one, other = by_text(data)
    assert [one.text(i) for i in range(3)] == [a for a, _ in PAIRS]
    assert [other.text(i) for i in range(3)] == [b for _, b in PAIRS]
    alone = open_data([a for a, _ in PAIRS], size=24, reading=Reading("chars", joined=True))
    assert torch.equal(one.values[:, 1], alone.values[:, 1])  # as many tokens as without the other text
    assert data.pairs.score_N.tolist() == SCORES
    some = data.subset([2, 0])
    assert some.pairs is not None and some.pairs.score_N.tolist() == [3.0, 4.5]
    assert by_text(some)[1].text(1) == "the cat"


def test_texts_that_are_cut_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    open_data((PAIRS, SCORES), size=12, reading=USE)
    said = capsys.readouterr().err
    assert said.count("are cut there") == 1 and "1 text(s)" in said  # of six, not pairs that are read as one


def test_the_test_set_is_judged_where_there_is_one() -> None:
    train = open_data((PAIRS, SCORES), size=24, reading=USE)
    test = open_data(([*PAIRS[::-1], ("x", "y")], [*SCORES, 1.0]), size=24, reading=USE)
    net = Letters()
    alone = evaluate(net, train, None, protocols=["sts"], size=24)["sts"]
    both = evaluate(net, train, test, protocols=["sts"], size=24)["sts"]
    assert (alone["n"], both["n"]) == (3, 4)
    h = [net(text.values) for text in by_text(train)]
    assert alone == similarity(*h, torch.tensor(SCORES)).as_dict()


def test_sets_that_say_nothing_of_it_are_refused() -> None:
    data = open_data(PAIRS, size=24, reading=USE)
    with pytest.raises(ManyviewsError, match='does not say how alike two texts are, which "sts" needs'):
        evaluate(Letters(), data, None, protocols=["sts"], size=24)


# -- tables and lists ------------------------------------------------------------------------------------------------


def test_a_table_says_it_in_a_column(tmp_path: Path) -> None:
    (path := tmp_path / "alike.csv").write_text(TABLE)
    corpus = open_corpus(path)
    assert corpus.texts == PAIRS and corpus.labels is None
    assert corpus.scores is not None and corpus.scores.tolist() == SCORES
    assert open_corpus(f"{path}#sentence1,sentence2").scores is None
    path.write_text(TABLE.replace("score", "grade"))
    assert open_corpus(path).scores is None
    chosen = open_corpus(f"{path}#sentence2,sentence1,score=grade")
    assert chosen.scores is not None and chosen.texts[0] == PAIRS[0][::-1]


def test_a_label_goes_before_a_score_unless_it_is_told(tmp_path: Path) -> None:
    (path := tmp_path / "both.csv").write_text("sentence1,sentence2,label,score\na,b,yes,1.5\nc,d,no,2.5\n")
    corpus = open_corpus(path)
    assert corpus.classes == ("no", "yes") and corpus.scores is None
    told = open_corpus(f"{path}#sentence1,sentence2,score=score")
    assert told.labels is None and told.scores is not None and told.scores.tolist() == [1.5, 2.5]
    (path := tmp_path / "floats.csv").write_text("sentence1,sentence2,label\na,b,1.5\nc,d,2.5\n")
    told = open_corpus(f"{path}#sentence1,sentence2,score=label")
    assert told.labels is None and told.scores is not None and told.scores.tolist() == [1.5, 2.5]
    (path := tmp_path / "one.csv").write_text("text,score\na,1.5\nc,2.5\n")
    assert open_corpus(path).scores is None  # of single texts there is nothing to be alike


@pytest.mark.parametrize(
    "chosen", ["sentence1,score=score", "sentence1,sentence2,label=label,score=score", "sentence1,score,score=score",
               "sentence1,sentence2,score=sentence2"],
)  # fmt: skip
def test_a_score_that_cannot_be_is_refused(tmp_path: Path, chosen: str) -> None:
    (path := tmp_path / "both.csv").write_text("sentence1,sentence2,label,score\na,b,yes,1.5\nc,d,no,2.5\n")
    with pytest.raises(ManyviewsError, match=r"choose two columns of texts of .* and one score"):
        open_corpus(f"{path}#{chosen}")
    assert open_corpus(f"{path}#sentence1,sentence2,label=,score=").scores is None


@pytest.mark.parametrize("bad", ["much", "", "nan", "inf"])
def test_a_score_that_is_none_is_one_sentence(tmp_path: Path, bad: str) -> None:
    (path := tmp_path / "alike.csv").write_text(TABLE.replace("4.5", bad))
    with pytest.raises(
        ManyviewsError, match=r"line 2: 'score' says how alike two texts are, by a number, not"
    ):
        open_corpus(path)


def test_scores_that_are_hidden_are_none(tmp_path: Path) -> None:
    (path := tmp_path / "alike.csv").write_text("sentence1,sentence2,score\na,b,\nc,d,\n")
    assert open_corpus(path).scores is None
    (path := tmp_path / "alike.jsonl").write_text(
        '{"sentence1": "a", "sentence2": "b", "score": 2}\n{"sentence1": "c", "sentence2": "d", "score": 0.5}\n'
    )
    scores = open_corpus(path).scores
    assert scores is not None and scores.tolist() == [2.0, 0.5]
    path.write_text('{"sentence1": "a", "sentence2": "b", "score": true}\n')
    with pytest.raises(ManyviewsError, match="by a number, not True"):
        open_corpus(path)


def test_lists_say_it_by_floats_and_integers_stay_labels() -> None:
    scored, labelled = from_texts((PAIRS, SCORES)), from_texts((PAIRS, [1, 0, 1]))
    assert scored.labels is None and scored.scores is not None and scored.scores.dtype == torch.float32
    assert labelled.scores is None and labelled.labels is not None
    assert from_texts((PAIRS, ["yes", "no", "yes"])).classes == ("no", "yes")
    turned = from_texts((PAIRS, np.array(SCORES)[::-1])).scores
    assert turned is not None and turned.tolist() == SCORES[::-1]
    with pytest.raises(ManyviewsError, match="3 pairs: say of each"):
        from_texts((PAIRS, [1.0, 2.0]))
    with pytest.raises(ManyviewsError, match="finite"):
        from_texts((PAIRS, [1.0, 2.0, float("nan")]))
    with pytest.raises(ManyviewsError, match="Labels are integers"):
        from_texts((["one", "two"], [1.0, 2.0]))


def test_scores_go_with_their_pairs() -> None:
    gaps = from_texts((PAIRS * 60 + [("", "empty")], SCORES * 60 + [9.0]))  # what is empty is left out
    assert gaps.scores is not None and len(gaps) == 180 and gaps.scores.tolist() == SCORES * 60
    for part in hold_out(gaps, 0.2):
        assert part.scores is not None
        assert all(
            score == SCORES[PAIRS.index(pair)]
            for pair, score in zip(part.texts, part.scores.tolist(), strict=True)
        )


# -- the world -------------------------------------------------------------------------------------------------------


def test_the_worlds_scores_are_what_creatures_have_in_common() -> None:
    corpus, more = world_similarity("test", items=100), world_similarity("test", items=120)
    assert corpus.scores is not None and more.scores is not None
    assert more.texts[:100] == corpus.texts and torch.equal(more.scores[:100], corpus.scores)
    counts = corpus.scores.unique(return_counts=True)
    assert counts[0].tolist() == [0.0, 1.25, 2.5, 3.75, 5.0]
    assert int(counts[1].min()) >= 12 and int(counts[1].max()) <= 30  # no score is rare
    z = latents("test", range(65 * 100))
    cues = torch.stack([z.species, z.marking, z.palette, z.habitat], 1).unflatten(0, (100, 65))
    shared = (cues[:, 1:] == cues[:, :1]).sum(2)
    assert ((shared == (corpus.scores * 4 / 5).long()[:, None]).any(1)).all()
    with pytest.raises(ManyviewsError, match="at least one"):
        world_similarity(items=0)


def test_words_in_common_tell_a_good_part_of_it() -> None:
    data = open_data(
        world_similarity("test", items=300), size=96, reading=Reading("wordpiece", 1000, joined=True)
    )

    class Words(Letters):
        def forward(self, x_BRT: Tensor) -> Tensor:
            there_BT = x_BRT[:, 1] > 0
            return torch.stack([((x_BRT[:, 0] == word) & there_BT).sum(1) for word in range(1000)], 1).float()

    assert evaluate(Words(), data, None, protocols=["sts"], size=96)["sts"]["spearman"] > 0.3


def test_whole_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, small_world: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--net", "small_bert", "--size", "16", "--batch", "8", "--budget", "2steps", "--baselines"]
    answer(capsys, "pretrain", "simcse", *small, "--out", "run")
    found = answer(capsys, "evaluate", "run", "--data", "world-similarity", "--protocol", "sts")["figures"][
        "sts"
    ]
    assert found["n"] == 64 and -1 <= found["spearman"] <= 1 and 0 <= found["alignment"] <= 4
    Path("alike.csv").write_text(TABLE)
    assert (
        answer(capsys, "evaluate", "run", "--data", "alike.csv", "--protocol", "sts")["figures"]["sts"]["n"]
        == 3
    )
    assert "does not say how alike" in refused(
        capsys, "evaluate", "run", "--data", "world", "--protocol", "sts"
    )
    hidden = TABLE.replace("4.5", "").replace("0.5", "").replace("3.0", "").splitlines()
    (folder := Path("splits.csv")).write_text(
        "\n".join([hidden[0] + ",split", *(f"{row},test" for row in hidden[1:])])
        + "\n" + "\n".join(f"{row},train" for row in TABLE.splitlines()[1:])
        + "\n" + "\n".join(f"{row},val" for row in TABLE.splitlines()[1:3])
    )  # fmt: skip
    judged = answer(capsys, "evaluate", "run", "--data", str(folder), "--protocol", "sts")["figures"]["sts"]
    assert judged["n"] == 2  # val stands in for a test split whose scores are hidden
    vectors = manyviews.embed("run", "alike.csv").h_ND
    assert len(vectors) == 3  # pairs are read as one there, as without scores
