"""MAE (He et al. 2022, arXiv:2111.06377)."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from manyviews import plan
from manyviews.claims import Arm, Claim, Found, Gap, Order, Scale
from manyviews.method import Batch, Spec, find
from manyviews.runs import net_factory

LAPTOP = Scale(
    data="world", net="small_vit/4x64/sincos2d/average", size=24, batch=64, budget="1500steps", lr=2e-3
)
GPU = Scale(data="cifar10", net="vit_ti4/sincos2d/average", size=32, batch=512, budget="100ep")
LARGE = "vit_l16/sincos2d"  # the net of table 1


def _flops(mask_in_encoder: bool) -> float:
    """Floating-point operations of one forward pass at the paper's settings; nothing is computed."""
    paper = find("mae")
    config, recipe = plan.changed(
        paper, *plan.base(paper, "imagenet", "paper"), {"net": LARGE, "mask_in_encoder": mask_in_encoder}
    )
    spec = Spec(items=1, size=recipe.size, classes=None)
    with torch.device("meta"):
        method = paper.method(config, net_factory(recipe.net, recipe.size), spec)  # pyright: ignore[reportCallIssue]
    image = torch.zeros(1, 3, recipe.size, recipe.size, device="meta")
    with FlopCounterMode(display=False) as counter:
        method.loss(Batch([image], torch.zeros(1, dtype=torch.long)), 0.0)
    return float(counter.get_total_flops())


def cost() -> Found:
    """What training costs, in times of what it costs where the encoder sees no mask tokens."""
    return Found({"all patches": [_flops(True) / _flops(False)], "visible ones": [1.0]})


CLAIMS = {
    "mae-cost": Claim(
        sentence="An encoder that sees no mask tokens makes training several times cheaper.",
        source="section 4.1, table 1c",
        exact=cost,
        predicts=Gap("all patches", "visible ones", low=1.5, high=3.0),
        unit="operations of a step, ViT-L/16 with a decoder of 8 blocks, relative",
        paper="3.3 times the operations, and 2.8 times the time, with mask tokens in the encoder.",
    ),
    "mae-tokens": Claim(
        sentence="An encoder that sees no mask tokens learns a better representation.",
        source="section 4.1, table 1c",
        arms={"without": Arm("mae"), "with": Arm("mae", mask_in_encoder=True)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("without", "with"),
        paper="ImageNet, ViT-L, linear probe: 73.5% without mask tokens in the encoder, 59.6% with them.",
    ),
    "mae-ratio": Claim(
        sentence="Hiding most of an image (75%) teaches more than hiding little of it (15%).",
        source="section 4.1, figure 5",
        arms={
            "75%": Arm("mae"),
            "15%": Arm("mae", ratio=0.15),
            "untrained": Arm("mae", budget="1step", lr=1e-9),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=(Order("75%", "15%"), Order("75%", "untrained")),
        paper="ImageNet, ViT-L, linear probe: 54.6% at a ratio of 10%, 73.5% at 75%.",
    ),
    "mae-pixels": Claim(
        sentence="Pixels normalised within each patch are a better target than plain ones.",
        source="section 4.1, table 1d",
        arms={"normalised": Arm("mae"), "plain": Arm("mae", normalise=False)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("normalised", "plain"),
        paper="ImageNet, ViT-L, linear probe: 73.9% with normalised pixels, 73.5% with plain ones.",
    ),
}
