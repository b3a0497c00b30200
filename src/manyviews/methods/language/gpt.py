"""GPT: predict the next token of any text, and learn the language on the way.

Paper    Radford, Narasimhan, Salimans, Sutskever 2018 (GPT-1), eq. 1 and section 4.1; Radford et al. 2019 (GPT-2),
         section 2.2 for byte-level pieces; Brown et al., NeurIPS 2020 (GPT-3, arXiv:2005.14165), appendix B. The three
         differ in the net.
Differs  Here a window holds whole documents, as many as fit; each document begins with a start token, and a token sees
         only its own document. The papers cut windows from one stream of all documents, which see each other there.
         Tokens are pieces of bytes here (characters in the recipe `tinyshakespeare`); GPT-1's are pieces of lower-cased
         characters. The learning rate ends at 0 here, at a tenth of its peak in GPT-3, and the batch does not grow here
         as GPT-3's does. The recipe `gpt3` reads WebText alone, which is a part of GPT-3's mix, and its learning rate
         falls until the end, in the paper for 260 of the 300 billion tokens.
Shapes   B windows, T tokens, D width, V vocabulary, N tokens that are predicted.
"""

from dataclasses import dataclass
from typing import ClassVar

from manyviews.data import Reading
from manyviews.method import Anatomy, Batch, Kind, Method, NetFactory, Out, Spec
from manyviews.nets.reader import Reader
from manyviews.nets.writer import require_writer, samples
from manyviews.objectives import linear_cross_entropy
from manyviews.recipe import Recipe
from manyviews.views import Text, Texts


@dataclass(frozen=True, kw_only=True)
class Config:
    tokens: str = "bpe"  # tokeniser: bpe (4.1), wordpiece, chars, or the path of a tokenizer.json
    vocabulary: int = 40_261  # V, if made from texts (4.1: 40,000 merges; plus 256 bytes, 5 special tokens)


ANATOMY = Anatomy(
    pretext="the next token",
    positives="the token that follows",
    negatives="the other tokens of the vocabulary",
    target="none: what is written",
    objective="cross entropy",
)


class GPT(Method):
    sees: ClassVar[Kind] = "texts"

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder = net(in_channels=len(spec.vocabulary))
        self.net = require_writer(self.encoder)

    @classmethod
    def reading(cls, config: Config) -> Reading:
        return Reading(config.tokens, config.vocabulary, packed=True)

    def views(self) -> Texts:
        return Texts(Text(size=self.spec.size))

    def loss(self, batch: Batch, progress: float) -> Out:
        assert isinstance(self.encoder, Reader)
        (x_B2T,) = batch.views
        token_BT, document_BT = x_B2T.unbind(1)
        h_BTD = self.encoder.states(x_B2T)
        follows_BT = (document_BT[:, 1:] == document_BT[:, :-1]) & (document_BT[:, 1:] > 0)
        h_ND, u_N = h_BTD[:, :-1][follows_BT], token_BT[:, 1:][follows_BT]
        W_VD, b_V = self.net.last()
        loss = linear_cross_entropy(h_ND, W_VD, u_N, b_V)  # - log P(u_i | u_1 ... u_i-1), eq. 1 and 2
        return Out(loss, log={"perplexity": loss.detach().exp()})

    def writes(self) -> list[str]:
        return samples(self.net, self.spec.vocabulary, self.spec.size)


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="bookscorpus", net="gpt", size=512, batch=64, budget="100ep",
            optimiser="adamw", lr=2.5e-4, weight_decay=0.01, warmup=0.0006,  # 2,000 of about 3.5 million updates
        ),
    ),
    "gpt3": (
        Config(vocabulary=50_261),
        Recipe(
            data="webtext", net="gpt3_125m", size=2048, batch=256, budget="146M items", optimiser="adamw", lr=6e-4,
            beta2=0.95, weight_decay=0.1, warmup=0.00125, clip=1.0,
        ),
    ),
    "tinyshakespeare": (
        Config(tokens="chars", vocabulary=100),
        Recipe(
            data="tinyshakespeare", net="small_gpt/nodrop", size=128, batch=32, budget="15m", optimiser="adamw", lr=3e-3,
            beta2=0.99, weight_decay=0.1, warmup=0.02, clip=1.0,
        ),
    ),
    "world": (
        Config(vocabulary=1_000),
        Recipe(
            data="world-captions", net="small_gpt", size=128, batch=32, budget="8ep",
            optimiser="adamw", lr=1e-3, weight_decay=0.1, warmup=0.05, clip=1.0,
        ),
    ),
}  # fmt: skip
