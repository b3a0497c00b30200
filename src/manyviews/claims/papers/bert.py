"""BERT (Devlin et al. 2019, arXiv:1810.04805)."""

from manyviews.claims import Arm, Claim, Order, Scale
from manyviews.runs import Run
from manyviews.use import evaluate

ALIKE = {"weight_decay": 0.01, "schedule": "linear"}
LAPTOP = Scale(data="world-captions", size=64, batch=32, budget="200steps", tokens="wordpiece", **ALIKE)
GPU = Scale(data="world-captions", size=64, batch=128, budget="20ep", tokens="wordpiece", **ALIKE)
QUESTIONS = {"span": {"epochs": 1, "lr": 1e-3}}


def answers(run: Run) -> float:
    """F1 of the answers to the world's questions that have one, after a pass of fine-tuning over all of them."""
    figures = evaluate(run, "world-questions", protocol=("span",), options=QUESTIONS)["figures"]
    return float(figures["span"]["f1_answered"])


CLAIMS = {
    "bert-directions": Claim(
        sentence="An encoder that reads in both directions answers better than one that reads from left to right.",
        source="section 5.1, table 5",
        arms={
            "both directions": Arm("bert", net="small_bert", next_sentence=False),
            "left to right": Arm("gpt", net="small_gpt"),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure=answers,
        predicts=Order("both directions", "left to right"),
        unit="share of F1 on questions that have an answer, fine-tuned",
        paper="SQuAD 1.1, F1, both without the next sentence: 87.9 with hidden words, 77.8 from left to right.",
        remark="Both nets have four blocks of width 128, the same tokens and as many steps; norms lie as BERT and GPT-2 have them. "
        "The world's questions are easy: fine-tuned on all of them both answer nearly every one, and at that ceiling no difference shows.",
    ),
}  # fmt: skip
