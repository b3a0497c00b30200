"""SimCSE (Gao et al. 2021, arXiv:2104.08821)."""

from manyviews.claims import Arm, Claim, Order, Scale

LAPTOP = Scale(data="world-riddles", size=64, batch=32, budget="150steps")
GPU = Scale(data="world-riddles", size=64, batch=64, budget="10ep")
START = Arm("bert", net="small_bert", data="world-riddles")

CLAIMS = {
    "simcse-dropout": Claim(
        sentence="Without dropout between the two readings of a sentence, nothing is learned.",
        source="section 3, table 3",
        arms={
            "dropout": Arm("simcse", start=START, positive="dropout", dropout=0.1),
            "none": Arm("simcse", start=START, positive="dropout", dropout=0.0),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="knn",
        predicts=Order("dropout", "none"),
        paper="STS-B, BERT-base: 82.5 with dropout of 0.1, 71.1 with none.",
    ),
}
