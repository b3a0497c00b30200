"""GPT (Radford et al. 2018)."""

from manyviews.claims import Arm, Claim, Order, Scale
from manyviews.runs import Run
from manyviews.use import evaluate

LAPTOP = Scale(data="world-riddles", net="small_gpt", size=64, batch=32, budget="300steps")
GPU = Scale(data="world-riddles", net="small_gpt", size=64, batch=128, budget="20ep")
HOW = {"finetune-10%": {"embedding": "last", "epochs": 10, "batch": 32}}


def tuned(run: Run) -> float:
    """The accuracy after fine-tuning on a tenth of the labels."""
    return float(evaluate(run, protocol=("finetune-10%",), options=HOW)["figures"]["finetune-10%"]["top1"])


CLAIMS = {
    "gpt-pretraining": Claim(
        sentence="Telling the next token first makes fine-tuning better than it is from scratch.",
        source="section 5, table 5",
        arms={"pre-trained": Arm("gpt"), "from scratch": Arm("gpt", budget="1step", lr=1e-9)},
        laptop=LAPTOP,
        gpu=GPU,
        measure=tuned,
        predicts=Order("pre-trained", "from scratch"),
        unit="accuracy, fine-tuned on a tenth of the labels",
        paper="Mean of nine tasks: 74.7 with pre-training, 59.9 without.",
    ),
}
