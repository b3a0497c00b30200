"""GPT-3: a large enough GPT learns a task from a few examples in its text, with no step of training.

Paper    Brown et al., "Language Models are Few-Shot Learners", NeurIPS 2020 (arXiv:2005.14165). Section 2.1, table 2.1.
Differs  Every second block is locally banded, in the paper and here, as in the Sparse Transformer (Child et al. 2019,
         arXiv:1904.10509). The paper says neither how wide the band is nor which blocks have it; here it is 128 tokens
         wide, the Sparse Transformer's stride, in the second, fourth, ... block, and the first block is dense. Table
         2.1 gives the 1.3B net 24 heads of 128, which match neither its width of 2048 nor its count of parameters; here
         it has 16, which match both. The table gives the 13B net 40 heads of 128 in a width of 5140; here it is built
         so, with projections from 5140 to 5120 and back. The paper says nothing of dropout; there is none here.
Shapes   As in GPT.
"""

from __future__ import annotations

from functools import partial

from manyviews.nets.gpt2 import gpt2
from manyviews.nets.net import Net

gpt3 = partial(gpt2, length=2048, band=128, dropout=0.0)

# millions of parameters, depth, width, heads, width of a head (table 2.1)
SIZES = {
    "125m": (125, 12, 768, 12, 64),
    "350m": (350, 24, 1024, 16, 64),
    "760m": (760, 24, 1536, 16, 96),
    "1.3b": (1_300, 24, 2048, 16, 128),
    "2.7b": (2_700, 32, 2560, 32, 80),
    "6.7b": (6_700, 32, 4096, 32, 128),
    "13b": (13_000, 40, 5140, 40, 128),
    "175b": (175_000, 96, 12_288, 96, 128),
}
NETS = {
    f"gpt3_{size}": Net(
        make=partial(gpt3, depth=depth, width=width, heads=heads, head_width=head_width),
        paper="Brown et al. 2020, table 2.1", sees="tokens", size=2048, parameters=millions,
    )
    for size, (millions, depth, width, heads, head_width) in SIZES.items()
}  # fmt: skip
