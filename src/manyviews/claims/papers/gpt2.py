"""GPT-2 (Radford et al. 2019)."""

import torch
from torch import Tensor, nn

from manyviews.claims import Claim, Equal, Found, Order
from manyviews.nets.gpt2 import gpt2

WIDTH, TOKENS, WORDS, SEEDS = 64, 32, 100, 5
SHALLOW, DEEP = 6, 48


def _stream(depth: int, scaled: bool, seed: int) -> float:
    """The size of the residual stream after the last block, over that before the first, as the net starts."""
    seen: list[Tensor] = []
    torch.manual_seed(seed)
    net = gpt2(vocabulary=WORDS, width=WIDTH, depth=depth, heads=4, length=TOKENS, scaled=scaled, dropout=0.0)

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].detach())

    net.blocks[0].register_forward_pre_hook(keep)
    net.norm.register_forward_pre_hook(keep)
    net(torch.randint(WORDS, (4, TOKENS)))
    first, last = seen
    return float(last.std() / first.std())


def streams() -> Found:
    with torch.random.fork_rng(devices=[]):
        return Found(
            {
                f"{name}, {depth} blocks": [_stream(depth, scaled, seed) for seed in range(SEEDS)]
                for name, scaled in (("plain", False), ("scaled", True))
                for depth in (SHALLOW, DEEP)
            }
        )


CLAIMS = {
    "gpt2-residual": Claim(
        sentence="Dividing the initial weights into the residual stream by the root of the depth keeps the stream from growing with depth.",
        source="section 2.3",
        exact=streams,
        predicts=(
            Order(f"plain, {DEEP} blocks", f"plain, {SHALLOW} blocks", margin=0.5),
            Equal(f"scaled, {DEEP} blocks", f"scaled, {SHALLOW} blocks", within=0.2),
        ),
        unit="deviation of the stream after the last block, relative",
        paper="No figure: at the start the weights of residual layers are divided by the root of the number of these layers.",
    ),
}
