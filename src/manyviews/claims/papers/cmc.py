"""CMC (Tian, Krishnan & Isola 2020, arXiv:1906.05849)."""

from manyviews.claims import Arm, Claim, Equal, Order, Scale

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=128, budget="1ep", seeds=5)
GPU = Scale(data="world", net="resnet18", size=32, batch=256, budget="50ep")  # which has depth and masks

CLAIMS = {
    "cmc-views": Claim(
        sentence="The more views of a scene are contrasted, the better the encoder of one of them becomes.",
        source="section 4, more views, on NYU-Depth v2",
        arms={
            "image, depth and mask": Arm("cmc", modalities=("image", "depth", "mask")),
            "image and mask": Arm("cmc", modalities=("image", "mask")),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("image, depth and mask", "image and mask"),
        paper="NYU-Depth v2, segmentation by the encoder of L: it becomes steadily better as the views beside L grow from one to three.",
        remark="Judged by classification here; the paper segments. In both arms only the encoder of the image is judged, without those of the other senses. "
        "It fails here, we think, because depth mostly shows where a creature stands and how it is turned, which its class does not "
        "depend on, and because in one pass over the data the image's one embedding has to serve both other senses.",
    ),
    "cmc-graph": Claim(
        sentence="For the encoder of one view, contrasting all pairs of views is about as good as contrasting that view with each of the others.",
        source="section 4, table of the core view and the full graph",
        arms={
            "full graph": Arm("cmc", modalities=("image", "depth", "mask"), graph="full"),
            "core view": Arm("cmc", modalities=("image", "depth", "mask"), graph="core"),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Equal("full graph", "core view", within=0.03),
        paper="NYU-Depth v2, segmentation by the encoder of L: 34.4 mIoU by the full graph, 34.1 by the core view.",
        remark="The arms differ in one pair, depth and mask, which affects the encoder of the image only through the encoders of these two.",
    ),
}
