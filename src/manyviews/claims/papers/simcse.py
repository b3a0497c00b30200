"""SimCSE (Gao et al. 2021, arXiv:2104.08821)."""

from manyviews.claims import Arm, Claim, Order, Scale

LAPTOP = Scale(data="world-riddles", size=64, batch=32, budget="120steps")
GPU = Scale(data="world-riddles", size=64, batch=64, budget="10ep")
# Dropout says something only of a net that knows the words already.
START = Arm("bert", net="small_bert", next_sentence=False, budget="450steps")

CLAIMS = {
    "simcse-dropout": Claim(
        sentence="With hardly any dropout between the two readings of a sentence, much less is learned.",
        source="section 3, table 3",
        arms={
            "0.1": Arm("simcse", start=START, positive="dropout", dropout=0.1),
            "0.01": Arm("simcse", start=START, positive="dropout", dropout=0.01),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="knn",
        predicts=Order("0.1", "0.01"),
        paper="STS-B (development), BERT-base: 82.5 with a dropout of 0.1, 72.6 with 0.01, 71.1 without.",
    ),
}
