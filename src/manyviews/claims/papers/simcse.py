"""SimCSE (Gao et al. 2021, arXiv:2104.08821)."""

from functools import cache

from manyviews.claims import Arm, Claim, Order, Scale
from manyviews.runs import Run
from manyviews.worth import evaluate

LAPTOP = Scale(data="world-captions", size=64, batch=32, budget="120steps")
GPU = Scale(data="world-captions", size=64, batch=64, budget="10ep")
# Dropout says something only of a net that knows the words already.
START = Arm("bert", net="small_bert", next_sentence=False, budget="450steps")
SIMCSE = Arm("simcse", start=START, positive="dropout", dropout=0.1)
PAIRS = "world-similarity"
UNIT = "Spearman's correlation of the cosine with how much two captions have in common"


@cache
def _compared(run: str) -> dict[str, float]:
    return evaluate(run, PAIRS, protocol=("sts",))["figures"]["sts"]


def spearman(run: Run) -> float:
    """How well the embedding orders pairs of captions."""
    return _compared(str(run.path))["spearman"]


def uniformity(run: Run) -> float:
    """How evenly captions lie on the sphere, of the same pairs; lower is more even."""
    return _compared(str(run.path))["uniformity"]


CLAIMS = {
    "simcse-dropout": Claim(
        sentence="With hardly any dropout between the two readings of a sentence, much less is learned.",
        source="section 3, table 3",
        arms={"0.1": SIMCSE, "0.01": Arm("simcse", start=START, positive="dropout", dropout=0.01)},
        laptop=LAPTOP,
        gpu=GPU,
        measure=spearman,
        predicts=Order("0.1", "0.01"),
        unit=UNIT,
        paper="STS-B (development), BERT-base: 82.5 with a dropout of 0.1, 72.6 with 0.01, 71.1 without.",
    ),
    "simcse-bert": Claim(
        sentence="Contrasting two readings of a sentence makes BERT's embeddings of sentences better.",
        source="section 6.2, table 5",
        arms={"SimCSE": SIMCSE, "BERT": START},
        laptop=LAPTOP,
        gpu=GPU,
        measure=spearman,
        predicts=Order("SimCSE", "BERT"),
        unit=UNIT,
        paper="Mean of seven STS tasks, BERT-base: 76.25 with SimCSE without labels, 56.70 with the average of BERT's first and last layer.",
        remark="BERT's embedding is the mean of its last layer here.",
    ),
    "simcse-uniformity": Claim(
        sentence="SimCSE spreads the embeddings of sentences, which BERT leaves in a narrow cone.",
        source="section 5 and 7, figure 3",
        arms={"SimCSE": SIMCSE, "BERT": START},
        laptop=LAPTOP,
        gpu=GPU,
        measure=uniformity,
        best="low",
        predicts=Order("SimCSE", "BERT"),
        unit="uniformity of captions: log of the mean Gaussian potential of pairs",
        paper="A figure: unsupervised SimCSE improves uniformity and keeps the alignment of the pre-trained net.",
    ),
}
