"""GPT-2: the next token of enough text teaches tasks that nobody set.

Paper    Radford, Wu, Child, Luan, Amodei, Sutskever, "Language Models are Unsupervised Multitask Learners", 2019.
         Section 2.3: pre-norm, a norm after the last block, scaled residual initialisation; sizes table 2.
Differs  Where the paper says nothing, dropout is GPT-1's, heads are 64 wide as in the released code, and positions
         start with a deviation of 0.02 here, as tokens do (0.01 in that code). Table 2 counts 117M, 345M, 762M and
         1542M parameters, but its own settings make 124M, 355M, 774M and 1558M. The authors name the weights that they
         released by these actual counts, which stand here as the paper's.
Shapes   As in GPT.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from manyviews.nets.gpt import BESIDE, GPT, SPEAKS_OF, sizes
from manyviews.nets.gpt import NAMES as GPT_NAMES
from manyviews.nets.names import Names
from manyviews.nets.net import Net


def config(net: GPT) -> dict[str, Any]:
    """transformers' `GPT2Config` of a net; "gelu_new" is the tanh approximation."""
    kind = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    plain = {
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": True,
    }
    return sizes(net) | kind | plain | {"activation_function": "gelu_new"}


# Their `GPT2LMHeadModel` names its tensors as their GPT does, but for the embeddings and the last norm.
NAMES = {
    "transformers": Names(
        {
            **GPT_NAMES["transformers"].table,
            "tokens.weight": "transformer.wte.weight",
            "positions.weight": "transformer.wpe.weight",
            "norm.*": "transformer.ln_f.*",
        },
        ignore=BESIDE,
        base="transformer.",
        also={"lm_head.weight": "wte.weight"},
        config=config,
        speaks_of=SPEAKS_OF,
    )
}
# Section 2.3: a norm before each sub-layer and one after the last block, residual layers that start smaller by the root
# of their number, 50,257 tokens, a context of 1,024. Section 2.2: tokens are made of bytes.
gpt2 = partial(
    GPT, vocabulary=50_257, length=1024, norm="pre", scaled=True
)  # 256 bytes, 50,000 merges, end of text

NODROP = {"nodrop": {"dropout": 0.0}}
# Table 2: depth, width; millions of parameters as counted since.
SIZES = {"": (12, 768, 124), "_medium": (24, 1024, 355), "_large": (36, 1280, 774), "_xl": (48, 1600, 1558)}
NETS = {
    f"gpt2{size}": Net(
        make=partial(gpt2, depth=depth, width=width, heads=width // 64), paper="Radford et al. 2019, table 2",
        sees="tokens", size=1024, parameters=millions,
        known_as={"transformers": f"openai-community/gpt2{size.replace('_', '-')}"},
    )
    for size, (depth, width, millions) in SIZES.items()
} | {
    "small_gpt": Net(
        make=partial(gpt2, width=128, depth=4, heads=4), paper="ours, for the embedded world", sees="tokens", size=128,
        variants=NODROP,
    ),
    "char_gpt": Net(
        make=partial(gpt2, width=384, depth=6, heads=6), paper="ours, for characters", sees="tokens", size=256,
        variants=NODROP | {"4x256": {"depth": 4, "width": 256, "heads": 4}, "dropout20": {"dropout": 0.2}},
    ),
}  # fmt: skip
