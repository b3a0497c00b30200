"""MoCo v2 (Chen et al. 2020, arXiv:2003.04297)."""

from manyviews.claims import Arm, Claim, Healthy, Order, Scale
from manyviews.claims.papers import moco

ALIKE = {"momentum": 0.99, "temperature": 0.2}
LAPTOP = Scale(**{**moco.LAPTOP.same, "budget": "600steps", "queue": 1024, **ALIKE})
GPU = Scale(**{**moco.GPU.same, "queue": 4096, **ALIKE})
V1 = Arm("moco")
V2 = Arm("mocov2", blur=0.5)
HEAD = Arm("mocov2", aug_plus=False)
VIEWS = Arm("mocov2", blur=0.5, mlp=False)
SHORT = "On the laptop we train for 600 steps on a small data set; in the paper the arms differ by a few points after 200 epochs. The temperature is the same in all arms."

CLAIMS = {
    "mocov2-changes": Claim(
        sentence="SimCLR's head and stronger views together improve MoCo.",
        source="section 3, table 1",
        arms={"MoCo v2": V2, "MoCo": V1},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("MoCo v2", "MoCo"),
        paper="ImageNet, ResNet-50, 200 epochs: 60.6% with neither, 66.2% with the head, 63.4% with the views, 67.3% with both.",
    ),
    "mocov2-head": Claim(
        sentence="A projector of two layers improves MoCo by itself.",
        source="section 3, table 1, row a",
        arms={"MLP": HEAD, "linear": V1},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=(Healthy("MLP"), Order("MLP", "linear")),
        paper="ImageNet, ResNet-50, 200 epochs: 60.6% with the linear layer, 66.2% with two layers (at a temperature of 0.2).",
        remark=SHORT,
    ),
    "mocov2-views": Claim(
        sentence="Blur and weaker changes of the hue improve MoCo by themselves.",
        source="section 3, table 1, row b",
        arms={"aug+": VIEWS, "MoCo's": V1},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("aug+", "MoCo's"),
        paper="ImageNet, ResNet-50, 200 epochs: 60.6% with MoCo's views, 63.4% with aug+.",
        remark=SHORT + " In aug+ one view in five also keeps its colours.",
    ),
    "mocov2-cosine": Claim(
        sentence="A cosine schedule of the learning rate is better than a schedule of steps.",
        source="section 3, table 1",
        arms={
            "cosine": V2,
            "steps": Arm("mocov2", blur=0.5, schedule="step"),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("cosine", "steps"),
        paper="ImageNet, ResNet-50, 200 epochs: 67.3% with steps, 67.5% with a cosine.",
    ),
}
