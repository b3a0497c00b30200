"""BERT (Devlin et al. 2019, arXiv:1810.04805)."""

from manyviews.claims import Arm, Claim, Order, Scale
from manyviews.data import open_data
from manyviews.evaluation import evaluate
from manyviews.runs import Run

ALIKE = {"weight_decay": 0.01, "schedule": "linear"}
LAPTOP = Scale(data="world-captions", size=64, batch=32, budget="400steps", tokens="wordpiece", **ALIKE)
GPU = Scale(data="world-captions", size=64, batch=128, budget="20ep", tokens="wordpiece", **ALIKE)
QUESTIONS = 600  # of the world's 12,000 that are learned
HOW = {"span": {"texts": QUESTIONS, "epochs": 3, "lr": 1e-3, "batch": 16}}
LEFT_TO_RIGHT = Arm("gpt", net="small_gpt")
UNIT = "share of F1 on questions that have an answer, fine-tuned on few"


def answers(run: Run) -> float:
    """F1 of the answers to the world's questions that have one, after three passes over some of them."""
    train, test = (
        open_data("world-questions", split=split, size=run.size, reading=run.apart)
        for split in ("train", "test")
    )
    found = evaluate(run.embedder, train, test, protocols=("span",), seed=run.recipe.seed, options=HOW)
    return float(found["span"]["f1_answered"])


CLAIMS = {
    "bert-directions": Claim(
        sentence="An encoder that reads in both directions answers better than one that reads from left to right.",
        source="section 5.1, table 5",
        arms={
            "both directions": Arm("bert", net="small_bert", next_sentence=False),
            "left to right": Arm("gpt", net="small_gpt1"),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure=answers,
        predicts=Order("both directions", "left to right"),
        unit=UNIT,
        paper="SQuAD 1.1, F1, both pre-trained without the next-sentence task: 87.9 with masked words, 77.8 from left to right, where a "
        "token's state knows nothing of what stands to its right.",
        remark="Both nets have four blocks of width 128 with their norms in the same places, read the same tokens and train for as many steps. "
        f"Both read the question first, as in the paper. They are fine-tuned on {QUESTIONS} questions, because on thousands both end above 99.5%. "
        "One question in five has no answer; this is predicted from the first token, which in a left-to-right net has seen no other. "
        "Within the same steps GPT predicts every token and BERT only two in five, and BERT starts late: on the laptop it predicts masked words little "
        "better than by how often each word occurs when GPT has nearly converged. As the question stands first, either net knows it when it reads "
        "the answer, so reading in one direction costs GPT less than in the paper.",
    ),
}  # fmt: skip
