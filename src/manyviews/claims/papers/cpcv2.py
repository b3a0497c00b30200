"""CPC v2 (Hénaff et al. 2020, arXiv:1905.09272)."""

from manyviews.claims import Arm, Claim, Order, Scale

LAPTOP = Scale(data="world", net="small_resnet", size=32, batch=32, budget="500steps", seeds=5)
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=256, budget="50ep")
SHORT = "On the laptop we train for 500 steps on a small data set; the paper's figure adds one change after another to a net of 161 layers."

CLAIMS = {
    "cpcv2-directions": Claim(
        sentence="Predicting in all four directions is better than predicting downwards alone.",
        source="section 4.1, figure 3",
        arms={"four": Arm("cpcv2"), "down": Arm("cpcv2", directions=("down",))},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("four", "down"),
        paper="ImageNet, linear probe: 2 points more with predictions upwards, 2.5 more with all four directions.",
        remark=SHORT,
    ),
    "cpcv2-layer-norm": Claim(
        sentence="Layer norm is better than batch norm, through which patches see each other.",
        source="section 4.1, figure 3",
        arms={"layer norm": Arm("cpcv2"), "batch norm": Arm("cpcv2", layer_norm=False)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("layer norm", "batch norm"),
        paper="ImageNet, linear probe: 2 points more with layer norm than without any normalisation; batch norm harms what large nets learn.",
        remark=f"{SHORT} By then both nets have come only a small part of the way from chance. A net with batch norm starts "
        "faster and spreads its features over more directions (their rank is in the runs' logs); what patches can copy from each other may pay off only "
        "later, when the task is nearly solved.",
    ),
}
