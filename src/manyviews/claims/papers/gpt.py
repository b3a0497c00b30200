"""GPT (Radford et al. 2018)."""

from manyviews.claims import Arm, Claim, Order, Scale
from manyviews.prompting import prompt
from manyviews.runs import Run
from manyviews.worth import evaluate

LAPTOP = Scale(data="world-riddles", net="small_gpt", size=64, batch=32, budget="300steps")
GPU = Scale(data="world-riddles", net="small_gpt", size=64, batch=128, budget="20ep")
TOLD = Scale(data="world-captions", net="small_gpt", size=128, batch=8, lr=2e-3)
TOLD_GPU = Scale(data="world-captions", net="small_gpt", size=128, batch=128)
HOW = {"finetune-10%": {"embedding": "last", "epochs": 5, "batch": 32}}


def tuned(run: Run) -> float:
    """The accuracy after fine-tuning on a tenth of the labels."""
    told = evaluate(run, protocol=("finetune-10%",), options=HOW, seed=run.recipe.seed)
    return float(told["figures"]["finetune-10%"]["top1"])


def told(run: Run) -> float:
    """The share of creatures that it names where a caption that does not name them goes on, as captions do: "The ..."."""
    asked = prompt(run, "world-riddles", "{text}\nThe {label}", shots=(0,), items=1000)
    return float(asked["shots"]["0"]["accuracy"])


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
        paper="Mean of eight tasks: 74.7 with pre-training, 59.9 without.",
    ),
    "gpt-zero-shot": Claim(
        sentence="What it can do without fine-tuning rises steadily with pre-training.",
        source="section 5, figure 2 right",
        arms={f"{steps} steps": Arm("gpt", budget=f"{steps}steps") for steps in (40, 120, 360)},
        laptop=TOLD,
        gpu=TOLD_GPU,
        measure=told,
        predicts=Order("360 steps", "120 steps", "40 steps"),
        unit="accuracy without fine-tuning",
        paper="A figure of four tasks, all of which rise with the updates.",
    ),
}
