"""The claim about memory, on a gap so short that a step or a hundred are enough to see it."""

from dataclasses import replace
from pathlib import Path

from manyviews.claims.cache import Cache, trainer
from manyviews.claims.claim import Arm, Scale, everything
from manyviews.claims.engine import run
from manyviews.claims.papers.lstm import RNNS
from manyviews.claims.predictions import Order

CLAIM = everything()["lstm-memory"]


def test_what_learned_remembers_and_what_did_not_does_not(tmp_path: Path) -> None:
    small = replace(
        CLAIM,
        arms={
            "LSTM": Arm("char_rnn", net="char_lstm", lr=1e-2),
            "RNN": Arm("char_rnn", net="char_rnn", budget="1step"),
        },
        laptop=Scale(data="recall-1", after="?", size=6, truncate=6, batch=32, budget="60steps"),
        predicts=Order("LSTM", "RNN", margin=0.2),
    )
    cache = Cache(tmp_path, trainer(quiet=True))
    result = run("lstm-memory", small, "laptop", cache, seeds=1)
    assert result is not None and result["figures"]["LSTM"] == [1.0]
    assert 0 <= result["figures"]["RNN"][0] < 0.4  # a net that learned nothing may say no letter at all
    again = run("lstm-memory", small, "laptop", cache, seeds=1)
    assert again is not None and again["figures"] == result["figures"]


def test_a_plain_net_may_choose_among_rates_and_the_first_letter_lies_within_reach() -> None:
    assert CLAIM.laptop is not None and len(RNNS) == 3 and set(RNNS) < set(CLAIM.arms)
    same = CLAIM.laptop.same
    gap = int(same["data"].removeprefix("recall-"))
    assert same["truncate"] >= same["size"] == gap + 5 and CLAIM.laptop.seeds >= 3
