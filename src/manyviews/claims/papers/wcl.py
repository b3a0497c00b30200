"""WCL (Zheng et al. 2021, arXiv:2110.04770)."""

from manyviews.claims import Arm, Claim, Order, Scale

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=256, budget="2ep")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")

CLAIMS = {
    "wcl-weak": Claim(
        sentence="Weak labels from nearest neighbours, on a head of their own, improve SimCLR.",
        source="section 4, linear evaluation on ImageNet",
        arms={"WCL": Arm("wcl"), "SimCLR's loss alone": Arm("wcl", weak=0.0)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("WCL", "SimCLR's loss alone"),
        paper="ImageNet, ResNet-50, linear probe: 68.1% after 100 epochs, 70.3% after 200.",
    ),
}
