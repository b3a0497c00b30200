"""DenseCL (Wang et al. 2021, arXiv:2011.09157)."""

from manyviews.claims import Arm, Claim, Gap, Order, Scale
from manyviews.runs import Run
from manyviews.worth import evaluate

LAPTOP = Scale(data="world", net="small_resnet", size=32, batch=64, budget="300steps")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")
DENSE_GPU = Scale(
    data="world", net="resnet18", size=32, batch=256, budget="50ep"
)  # which has a class of every pixel
EPOCHS = 4  # of the linear classifier of pixels


def linear_miou(run: Run) -> float:
    """Mean intersection over union of a linear classifier of every pixel."""
    how = {"segment-linear": {"epochs": EPOCHS}}
    found = evaluate(run, protocol=("segment-linear",), options=how, seed=run.recipe.seed)
    return float(found["figures"]["segment-linear"]["miou"])


ARMS = {"dense and global": Arm("densecl"), "global alone": Arm("densecl", dense=0.0)}

CLAIMS = {
    "densecl-dense": Claim(
        sentence="A loss on every place of the feature map makes the map better for dense tasks.",
        source="section 4, segmentation on VOC",
        arms=ARMS,
        laptop=LAPTOP,
        gpu=DENSE_GPU,
        measure=linear_miou,
        predicts=Order("dense and global", "global alone"),
        unit="mIoU of a linear classifier of every pixel",
        remark="On the laptop the encoder is trained for 1.6 passes, and its map is judged by a linear classifier trained for four. In a trial with two passes of the recipe the order was reversed.",
        paper="VOC segmentation after 200 epochs on ImageNet: DenseCL 69.4 mIoU, MoCo v2 67.5.",
    ),
    "densecl-classes": Claim(
        sentence="The dense loss costs little where whole images are classified.",
        source="ablation of the loss weight",
        arms=ARMS,
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Gap("dense and global", "global alone", low=-0.03),
        remark="So early in training both arms are near an untrained encoder, which also bounds what can be lost.",
        paper="The dense loss has a weight of 0.5, at which transfer to dense tasks improves and classification loses little.",
    ),
}
