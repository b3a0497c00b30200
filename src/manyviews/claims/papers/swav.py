"""SwAV (Caron et al. 2020, arXiv:2006.09882)."""

from manyviews.claims import Arm, Claim, Collapse, Healthy, Order, Scale

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=128, budget="2ep")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")

CLAIMS = {
    "swav-equipartition": Claim(
        sentence="Where codes need not be even over the prototypes, SwAV collapses.",
        source="section 3.1",
        arms={"even codes": Arm("swav"), "any codes": Arm("swav", sinkhorn=False)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="knn",
        predicts=(Healthy("even codes"), Collapse("any codes")),
        paper="No figure: the constraint of equal parts is what prevents every image from having the same code.",
    ),
    "swav-multicrop": Claim(
        sentence="More views in the form of small crops help.",
        source="figure 3",
        arms={
            "two crops and four small ones": Arm("swav", local_crops=4, local_area=(0.1, 0.3)),
            "two crops": Arm("swav"),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("two crops and four small ones", "two crops"),
        paper="ImageNet, ResNet-50: 70.1% with two crops, 74.6% with six small ones beside them (400 epochs).",
        remark="At as many images, not at the same time: small crops cost.",
    ),
}
