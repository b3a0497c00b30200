"""SimSiam (Chen & He 2021, arXiv:2011.10566)."""

from manyviews.claims import Arm, Claim, Collapse, Healthy, Scale

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=64, budget="2ep")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")

CLAIMS = {
    "simsiam-stop-gradient": Claim(
        sentence="Without its stop-gradient, SimSiam collapses.",
        source="section 4.1, figure 2",
        arms={"with": Arm("simsiam"), "without": Arm("simsiam", stop_gradient=False)},
        laptop=LAPTOP,
        gpu=GPU,
        predicts=(Healthy("with"), Collapse("without")),
        paper="ImageNet, ResNet-50, 100 epochs: 67.7% with the stop-gradient, 0.1% without.",
    ),
    "simsiam-predictor": Claim(
        sentence="Without its predictor, SimSiam collapses.",
        source="section 4.2, table 1",
        arms={"with": Arm("simsiam"), "without": Arm("simsiam", predictor=False)},
        laptop=LAPTOP,
        gpu=GPU,
        predicts=(Healthy("with"), Collapse("without")),
        paper="ImageNet, ResNet-50, 100 epochs: 67.7% with the predictor (68.1% where its rate does not decay), 0.1% without.",
    ),
}
