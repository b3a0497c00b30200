"""BYOL (Grill et al. 2020, arXiv:2006.07733)."""

from manyviews.claims import Arm, Claim, Collapse, Healthy, Order, Scale

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=64, budget="3ep")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")
TABLE = "ImageNet, ResNet-50, 300 epochs: 72.5% with a momentum of 0.99, 68.4% with 0.9, 18.8% with 1 (a random net as the target), 0.3% with 0."
SHORT = "In so few steps a momentum of 0.9 counts as slow. "

CLAIMS = {
    "byol-predictor": Claim(
        sentence="Without its predictor, BYOL collapses.",
        source="section 5, table 5b",
        arms={"with": Arm("byol"), "without": Arm("byol", predictor=False)},
        laptop=LAPTOP,
        gpu=GPU,
        predicts=(Healthy("with"), Collapse("without")),
        paper="ImageNet, ResNet-50, 300 epochs: 72.5% with the predictor, 0.2% without.",
    ),
    "byol-negatives": Claim(
        sentence="BYOL learns an encoder without negatives and does not collapse.",
        source="section 3.1; section 4.1, table 1",
        arms={"BYOL": Arm("byol"), "untrained": Arm("byol", budget="1step", lr=1e-9)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=(Healthy("BYOL"), Order("BYOL", "untrained")),
        paper="ImageNet, ResNet-50: 74.3% by a linear probe.",
    ),
    "byol-target": Claim(
        sentence="A target that follows slowly teaches better than one that never moves.",
        source="section 5, table 5a",
        arms={"slow": Arm("byol"), "never": Arm("byol", momentum=1.0)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("slow", "never"),
        paper=TABLE,
        remark=SHORT
        + "A random net is worth predicting too, and a slow target starts as one: what it adds beyond that takes more passes over the data.",
    ),
    "byol-online": Claim(
        sentence="A target that follows slowly teaches better than the online net itself.",
        source="section 5, table 5a",
        arms={"slow": Arm("byol"), "online net": Arm("byol", momentum=0.0)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("slow", "online net"),
        paper=TABLE,
        remark=SHORT
        + "SimSiam later learned without a twin, with its predictor alone, so the online net need not fail as a target here as it does in the table.",
    ),
}
