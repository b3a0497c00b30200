"""GPT (Radford et al. 2018)."""

from manyviews.claims import Arm, Claim, Order, Scale
from manyviews.claims.papers import bert
from manyviews.prompting import prompt
from manyviews.runs import Run

TOLD = Scale(data="world-captions", net="small_gpt", size=128, batch=8, lr=2e-3, seeds=6)
TOLD_GPU = Scale(data="world-captions", net="small_gpt", size=128, batch=128)


def told(run: Run) -> float:
    """The share of creatures that it names where a caption that does not name them goes on, as captions do: "The ..."."""
    asked = prompt(run, "world-riddles", "{text}\nThe {label}", shots=(0,), items=1000)
    return float(asked["shots"]["0"]["accuracy"])


CLAIMS = {
    "gpt-pretraining": Claim(
        sentence="Fine-tuning a net that has learned to predict the next token is better than training from scratch.",
        source="section 5, table 5",
        arms={
            "pre-trained": bert.LEFT_TO_RIGHT,
            "from scratch": Arm("gpt", net="small_gpt", budget="1step", lr=1e-9),
        },
        laptop=bert.LAPTOP,
        gpu=bert.GPU,
        measure=bert.answers,
        predicts=Order("pre-trained", "from scratch"),
        unit=bert.UNIT,
        paper="Mean of eight tasks: 74.7 with pre-training, 59.9 without.",
        remark=f"We test one task: {bert.QUESTIONS} questions about captions. Four in five have an answer, which is part of the caption.",
    ),
    "gpt-zero-shot": Claim(
        sentence="What GPT can do without fine-tuning improves steadily with pre-training.",
        source="section 5, figure 2 right",
        arms={f"{steps} steps": Arm("gpt", budget=f"{steps}steps") for steps in (60, 240, 960)},
        laptop=TOLD,
        gpu=TOLD_GPU,
        measure=told,
        predicts=Order("960 steps", "240 steps", "60 steps"),
        unit="accuracy without fine-tuning",
        paper="A figure of four tasks, whose scores all rise with the number of updates.",
    ),
}
