"""MoCo v3 (Chen, Xie & He 2021, arXiv:2104.02057)."""

from manyviews.claims import Arm, Claim, Healthy, Order, Scale

LAPTOP = Scale(
    data="world", recipe="world_vit", net="small_vit/4x64/sincos2d", size=16, batch=64, budget="600steps"
)
CIFAR10 = {
    "data": "cifar10", "net": "vit_ti4/sincos2d", "size": 32, "batch": 512, "budget": "50ep", "optimiser": "adamw",
    "weight_decay": 0.1,
}  # fmt: skip
GPU = Scale(**CIFAR10, lr=1e-3)
HIGH = 4e-3  # four times what suits both scales

CLAIMS = {
    "mocov3-patches": Claim(
        sentence="At a high learning rate, a patch projection frozen at its random start is better than a learned one.",
        source="section 4.2, random against learned patch projection",
        arms={"frozen": Arm("mocov3"), "learned": Arm("mocov3", freeze_patch=False)},
        laptop=Scale(**LAPTOP.same, lr=HIGH),
        gpu=Scale(**CIFAR10, lr=HIGH),
        measure="linear",
        predicts=Order("frozen", "learned"),
        paper="ImageNet, ViT-B/16, 100 epochs: 1.7 points more at the highest rate, 0.4 at the lowest; the dips in the curves disappear.",
        remark="The paper finds the instability in large nets with batches of 4,096; small ones need not show it. Where nothing is unstable, a "
        "projection that cannot learn only takes something away, and it takes more the fewer blocks follow it: four on the laptop.",
    ),
    "mocov3-predictor": Claim(
        sentence="A predictor on the queries helps a little, and nothing collapses without it.",
        source="section 6, ablation of the prediction head",
        arms={"with": Arm("mocov3"), "without": Arm("mocov3", predictor=False)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=(Order("with", "without"), Healthy("without")),
        paper="ImageNet, ViT-B/16, 300 epochs: 76.5% with, 75.5% without.",
        remark="On the laptop we train for a few passes. A predictor is one more part to learn before the encoder gets a useful gradient, which may cost more "
        "there than the predictor gives later. Without it nothing collapses here either.",
    ),
}
