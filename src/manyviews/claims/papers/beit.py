"""BEiT (Bao et al. 2022, arXiv:2106.08254)."""

from manyviews.claims import Arm, Claim, Order, Scale

LAPTOP = Scale(
    data="world", net="small_vit/4x64/sincos2d/average", size=24, batch=64, budget="1000steps", lr=2e-3
)
GPU = Scale(data="cifar10", net="vit_ti4/average", size=32, batch=512, budget="100ep")
# As long as it takes to use its codes, whatever is learned from them; it is not what the arms differ in.
TOKENISER = Arm("dvae", net="small_dvae", batch=64, lr=2e-3, codes=128, budget="3ep")
UNTRAINED = Arm("dvae", net="small_dvae", batch=64, lr=1e-9, codes=128, budget="1steps")
TOKENS = Arm("beit", tokeniser=TOKENISER)

CLAIMS = {
    "beit-tokens": Claim(
        sentence="Visual tokens are a better target than pixels.",
        source="section 3.3, table 4",
        arms={"tokens": TOKENS, "pixels": Arm("beit", targets="pixels")},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("tokens", "pixels"),
        paper="ImageNet, fine-tuned: 82.9% with tokens, 81.0% with pixels (300 epochs).",
        remark="Judged by a linear probe here; the paper fine-tunes.",
    ),
    "beit-tokeniser": Claim(
        sentence="The tokens of a trained tokeniser are a better target than those of an untrained one.",
        source="section 2.1; the control is ours",
        arms={"learned": TOKENS, "untrained": Arm("beit", tokeniser=UNTRAINED)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("learned", "untrained"),
        paper="No figure: the paper takes a tokeniser that was trained on 250 million images.",
    ),
}
