"""SimCLR v2 (Chen et al. 2020, arXiv:2006.10029)."""

from manyviews.claims import Arm, Claim, GainsMore, Order, Scale

LAPTOP = Scale(data="world", size=16, batch=128, budget="3ep")
GPU = Scale(data="cifar10", size=32, batch=512, budget="50ep")
LARGE, SMALL = "cifar_resnet8/4x", "cifar_resnet8"

CLAIMS = {
    "simclrv2-few-labels": Claim(
        sentence="The fewer the labels, the more a larger net gains.",
        source="section 3.2, figure 1 and table 1",
        arms={
            f"{size}, {share} of the labels": Arm("simclrv2", net=net, measure=measure)
            for share, measure in (("1%", "linear-1%"), ("all", "linear"))
            for size, net in (("large", LARGE), ("small", SMALL))
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear probe",
        predicts=(
            Order("large, 1% of the labels", "small, 1% of the labels"),
            GainsMore(
                ("large, 1% of the labels", "small, 1% of the labels"),
                ("large, all of the labels", "small, all of the labels"),
            ),
        ),
        paper="ImageNet, fine-tuned: from ResNet-50 to ResNet-152 (3x, SK), accuracy rises from 57.9% to 74.9% with 1% of the labels, and from 76.3% to 83.1% with all.",
        remark="Judged by linear probes here; the paper fine-tunes. Our larger net is four times as wide but no deeper, because in the few passes of a laptop a deeper one learns slowly.",
    ),
}
