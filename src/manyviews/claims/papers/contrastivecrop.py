"""ContrastiveCrop (Peng et al. 2022, arXiv:2202.03278)."""

from manyviews.claims import Arm, Claim, Order, Scale

LAPTOP = Scale(data="world", net="small_resnet", size=32, batch=64, budget="3ep")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")

CLAIMS = {
    "contrastivecrop-box": Claim(
        sentence="Crops from the region that the net responds to, seldom from its centre, are better than crops from anywhere.",
        source="section 4, linear classification",
        arms={"contrastive": Arm("simclr", crops="contrastive", crop_alpha=0.1), "random": Arm("simclr")},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("contrastive", "random"),
        paper="CIFAR-10, ResNet-18, 500 epochs, SimCLR: 89.6% with random crops, 90.1% with contrastive ones.",
        remark="The centres of crops are drawn from Beta(0.1, 0.1) within the box, as in the paper for small data sets.",
    ),
}
