"""DenseCL (Wang et al. 2021, arXiv:2011.09157)."""

from manyviews.claims import Arm, Claim, Gap, Order, Scale

LAPTOP = Scale(data="world", net="small_resnet", size=32, batch=64, budget="300steps", seeds=5)
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")
DENSE_GPU = Scale(
    data="world", net="resnet18", size=32, batch=256, budget="50ep"
)  # which has a class of every pixel
ARMS = {"dense and global": Arm("densecl"), "global alone": Arm("densecl", dense=0.0)}

CLAIMS = {
    "densecl-dense": Claim(
        sentence="A loss on the places of the map makes the map better for dense tasks.",
        source="section 4, segmentation on VOC",
        arms=ARMS,
        laptop=LAPTOP,
        gpu=DENSE_GPU,
        measure="segment-linear.miou",
        predicts=Order("dense and global", "global alone"),
        unit="mIoU of a linear classifier of every pixel",
        remark="On a laptop after 1.6 passes. In a trial of two passes of the recipe the order was the other way.",
        paper="VOC segmentation: 69.4 mIoU, MoCo v2 67.5 (ImageNet, 200 epochs).",
    ),
    "densecl-classes": Claim(
        sentence="That costs little where whole images are classified.",
        source="ablation of the loss weight",
        arms=ARMS,
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Gap("dense and global", "global alone", low=-0.03),
        remark="So early in training both arms are near an untrained encoder, which also bounds what can be lost.",
        paper="The weight of the dense loss is 0.5, at which dense transfer gains and classification loses little.",
    ),
}
