"""DINO (Caron et al. 2021, arXiv:2104.14294)."""

from manyviews.claims import Arm, Claim, Collapse, Healthy, Scale

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=64, budget="300steps")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=256, budget="50ep")

CLAIMS = {
    "dino-collapse": Claim(
        sentence="A teacher that is only centred, or only sharpened, collapses; one that is both does not.",
        source="section 5.3, figure 7",
        arms={
            "both": Arm("dino", head_norm=False),
            "sharpened only": Arm("dino", head_norm=False, centring=False),
            "centred only": Arm("dino", head_norm=False, sharpen=False),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="knn",
        predicts=(Healthy("both"), Collapse("sharpened only"), Collapse("centred only")),
        paper="ImageNet, ViT-S/16, figure 7: the teacher's entropy goes to 0 without centring, to log K without sharpening.",
        remark="As in the paper, no arm has batch norm in its head. Our recipes for small ResNets do have it, and with it neither ablation ended in collapse on a small problem.",
    ),
}
