"""SimCLR (Chen et al. 2020, arXiv:2002.05709)."""

from typing import Any

from torch import Tensor

from manyviews.claims import Arm, Claim, GainsMore, Order, Scale
from manyviews.data import open_data
from manyviews.evaluation import Embedder, evaluate
from manyviews.method import Method
from manyviews.runs import Run
from manyviews.training import checkpoint

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=64, budget="2ep")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")
OFF = {"crop": {"min_area": 1.0}, "colour": {"strength": 0.0, "grey": 0.0}, "blur": {"blur": 0.0}}
ON = {"crop": {"min_area": 0.2}, "colour": {"strength": 0.5, "grey": 0.2}, "blur": {"blur": 0.5}}


class _Head:
    """What comes out of the projector."""

    def __init__(self, under: Embedder, method: Method) -> None:
        self.under, self.size = under, under.size
        self.projector = method.get_submodule("projector").eval()

    def embed(self, image_BCHW_uint8: Tensor) -> Tensor:
        h_BD = self.under.embed(image_BCHW_uint8)
        device = next(self.projector.parameters()).device
        return self.projector(h_BD.to(device)).detach()


def after_the_head(run: Run) -> float:
    """The linear probe on g(h), the projector's output, as the last checkpoint has it."""
    state, _ = checkpoint.newest(run.path / "checkpoints")
    root = run.settings["data"]["root"]
    train, test = (
        open_data(run.recipe.data, split=split, root=root, size=run.size) for split in ("train", "test")
    )
    method = run.build(train)
    method.load_state_dict((state or {})["method"])
    head, seed = _Head(run.embedder, method), run.recipe.seed
    return evaluate(head, train, test, protocols=("linear",), seed=seed)["linear"]["top1"]


def _views(*names: str) -> Arm:
    """SimCLR with these augmentations and no others but the flip."""
    chosen: dict[str, Any] = {
        key: value for name in OFF for key, value in (ON if name in names else OFF)[name].items()
    }
    return Arm("simclr", **chosen)


def _batches(
    large: int, small: int, short: str, long: str, laptop: Scale | None = None, gpu: Scale | None = None
) -> Claim:
    return Claim(
        sentence="Larger batches help less when training is longer.",
        source="section 5.2, figure 9",
        arms={
            f"{batch}, {length}": Arm("simclr", batch=batch, budget=length, lr=2e-3 * (batch / 256) ** 0.5)
            for length in (short, long)
            for batch in (large, small)
        },
        measure="linear",
        predicts=(
            Order(f"{large}, {short}", f"{small}, {short}"),
            GainsMore((f"{large}, {short}", f"{small}, {short}"), (f"{large}, {long}", f"{small}, {long}")),
        ),
        paper="ImageNet, ResNet-50: batches of 256 to 8,192 differ widely after 100 epochs and little after 1,000.",
        remark="The learning rate goes with the root of the batch, as in the paper's appendix B.1, for AdamW in place of LARS.",
        laptop=laptop,
        gpu=gpu,
    )


CLAIMS = {
    "simclr-head": Claim(
        sentence="A nonlinear projection head is better than a linear one, and that is better than none.",
        source="section 4.2, figure 8",
        arms={
            "nonlinear": Arm("simclr", layers=2),
            "linear": Arm("simclr", layers=1),
            "none": Arm("simclr", layers=0),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("nonlinear", "linear", "none"),
        paper="ImageNet, ResNet-50: nonlinear is better than linear by 3 points, and than none by more than 10.",
    ),
    "simclr-before-head": Claim(
        sentence="The layer before the projection head is a better representation than the one after it.",
        source="section 4.2",
        arms={"h, before": Arm("simclr"), "g(h), after": Arm("simclr", measure=after_the_head)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("h, before", "g(h), after"),
        paper="ImageNet, ResNet-50: h is better than g(h) by more than 10 points.",
    ),
    "simclr-views": Claim(
        sentence="Of crop, colour and blur, crop and colour together are the best pair of augmentations.",
        source="section 3.1, figure 5",
        arms={
            "crop + colour": _views("crop", "colour"),
            "crop + blur": _views("crop", "blur"),
            "colour + blur": _views("colour", "blur"),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("crop + colour", ("crop + blur", "colour + blur")),
        paper="ImageNet, ResNet-50: of all pairs in figure 5, crop with colour stands out.",
        remark="We compare the three pairs of crop, colour and blur; the paper's figure has more. Both views are augmented here, only one of the two in the paper. "
        "All views are also flipped.",
    ),
    "simclr-batch": _batches(
        128, 32, "0.6ep", "2.4ep", laptop=Scale(data="world", net="small_resnet", size=24)
    ),
    "simclr-batch-longer": _batches(
        256,
        64,
        "10ep",
        "100ep",
        gpu=Scale(data="cifar10", net="resnet18", size=32, optimiser="adamw", weight_decay=1e-2),
    ),
}
