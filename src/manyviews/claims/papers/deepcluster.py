"""DeepCluster (Caron et al. 2018, arXiv:1807.05520)."""

from manyviews.claims import Arm, Claim, Order, Scale

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=32, budget="4ep")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=256, budget="50ep")

CLAIMS = {
    "deepcluster-clusters": Claim(
        sentence="Several times as many clusters as there are classes are better than as many.",
        source="section 4.1, figure 2c",
        arms={"50": Arm("deepcluster", clusters=50), "10": Arm("deepcluster", clusters=10)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("50", "10"),
        paper="ImageNet with its 1,000 classes: 10,000 clusters are best, better than 1,000.",
        remark="Both sets have ten classes. With each clustering the classifier begins anew, and a short pass cannot teach it many more clusters.",
    ),
    "deepcluster-uniform": Claim(
        sentence="Clusters that all weigh the same keep a few large ones from taking everything.",
        source="section 3.3, trivial parametrization",
        arms={
            "the same weight": Arm("deepcluster"),
            "as many as they have": Arm("deepcluster", uniform=False),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("the same weight", "as many as they have"),
        paper="No figure: where most images belong to few clusters, the net would tell the same of every image.",
    ),
}
