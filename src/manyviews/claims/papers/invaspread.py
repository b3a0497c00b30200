"""InvaSpread (Ye et al. 2019, arXiv:1904.03436)."""

from manyviews.claims import Arm, Claim, Order, Scale

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=128, budget="2ep")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=128, budget="50ep")

CLAIMS = {
    "invaspread-augmentation": Claim(
        sentence="Without augmentation there is nothing to be invariant to, and little is learned.",
        source="section 4, ablation without data augmentation",
        arms={"augmented": Arm("invaspread"), "plain": Arm("invaspread", augmentation=False)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="knn",
        predicts=Order("augmented", "plain"),
        paper="CIFAR-10, ResNet-18, kNN: 83.6% with all augmentations, about 37% with none.",
    ),
    "invaspread-spreading": Claim(
        sentence="Beside the term that makes embeddings invariant, a term that spreads different images apart helps.",
        source="section 3, the second sum of J",
        arms={"both": Arm("invaspread"), "invariant alone": Arm("invaspread", spreading=False)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="knn",
        predicts=Order("both", "invariant alone"),
        paper="CIFAR-10, kNN: 83.6% with both terms; we know of no figure in the paper without the second.",
        remark="The softmax of the first term already drives other images of the batch away from the twin.",
    ),
}
