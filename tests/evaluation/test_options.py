"""Options of protocols: those that are not there and values of another kind are said before anything is computed."""

from typing import Any

import pytest

from manyviews.errors import ManyviewsError
from manyviews.evaluation.finetune import finetune
from manyviews.evaluation.linear import probe_lbfgs
from manyviews.evaluation.options import check_options


@pytest.mark.parametrize(
    "chosen",
    [{"lr": 1e-4}, {"lr": 1}, {"epochs": 3}, {"optimiser": "sgd"}, {"watch": True}, {"schedule": "step"}],
)
def test_options_of_the_right_kind_pass(chosen: dict[str, Any]) -> None:
    check_options("finetune", finetune, chosen)


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"rate": 1}, 'has no option "rate"; it has epochs, lr'),
        ({"head": None}, 'has no option "head"'),
        ({"classes": 3}, 'has no option "classes"'),
        ({"lr": "fast"}, "is 'fast'; it is a number"),
        ({"lr": True}, "a number"),
        ({"epochs": 2.5}, "a whole number"),
        ({"watch": 1}, "true or false"),
        ({"optimiser": "adam"}, "one of adamw, sgd"),
        ({"view": "large"}, "nothing that text can say"),
        ({"schedule": 1}, "one of"),
    ],
)
def test_others_are_refused(chosen: dict[str, Any], says: str) -> None:
    with pytest.raises(ManyviewsError, match=says):
        check_options("finetune", finetune, chosen)


def test_text_is_what_some_options_are() -> None:
    check_options("linear", probe_lbfgs, {"device": "cpu"})
    with pytest.raises(ManyviewsError, match="is 3; it is text"):
        check_options("linear", probe_lbfgs, {"device": 3})
