"""Translation: a sentence and its counterpart in another language are two views of the same meaning.

Paper    Vaswani et al., NeurIPS 2017 (arXiv:1706.03762): training section 5, warm-up eq. 3, label smoothing section
         5.4.
Differs  Batches are counted in pairs here, in tokens in the paper. No checkpoints are averaged here; the paper averages
         the last ones. The recipes for small nets keep Adam's usual epsilon, not the paper's. A sentence's embedding is
         the mean of the encoder's outputs over its tokens.
Shapes   B pairs, S tokens of a source, T of a target, D width, V tokens that both languages share, N tokens that are
         predicted.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from manyviews.data import Reading
from manyviews.errors import ManyviewsError
from manyviews.method import Anatomy, Batch, Kind, Method, NetFactory, Out, Spec
from manyviews.nets.reader import Reader
from manyviews.nets.transformer import Transformer
from manyviews.objectives import linear_cross_entropy
from manyviews.recipe import Recipe
from manyviews.views import Text, Texts


@dataclass(frozen=True, kw_only=True)
class Config:
    tokens: str = "bpe"  # tokeniser: bpe (section 5.1), wordpiece, chars, or the path of a tokenizer.json
    vocabulary: int = 37_000  # V, size of the vocabulary that both languages share (section 5.1)
    smoothing: float = 0.1  # epsilon_ls, share of the labels that is spread over all tokens (section 5.4)


ANATOMY = Anatomy(
    pretext="translation",
    positives="the sentence in the other language",
    negatives="the other tokens of the vocabulary",
    target="none: what is written",
    objective="cross entropy, labels smoothed",
)


class Translation(Method):
    sees: ClassVar[Kind] = "texts"

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        if not 0 <= config.smoothing < 1:
            raise ManyviewsError(f"--smoothing is {config.smoothing}; it is a share, at least 0 and below 1.")
        self.encoder = net(in_channels=len(spec.vocabulary))
        if not isinstance(self.encoder, Reader) or not isinstance(self.encoder.net, Transformer):
            raise ManyviewsError(
                "Translation needs a net that reads one sequence and writes another: take transformer_base or "
                "small_transformer as --net."
            )
        self.net = self.encoder.net

    @classmethod
    def reading(cls, config: Config) -> Reading:
        return Reading(config.tokens, config.vocabulary, texts=2)

    def views(self) -> Texts:
        return Texts(Text(size=self.spec.size))

    def loss(self, batch: Batch, progress: float) -> Out:
        (x_B4T,) = batch.views
        source_BS, there_BS = filled(x_B4T[:, :2])
        target_BT, part_BT = filled(x_B4T[:, 2:])
        memory_BSD = self.net.hidden(source_BS, there_BS)  # z = (z_1, ..., z_n) (section 3)
        h_BTD = self.net.answer(target_BT[:, :-1], memory_BSD, there_BS > 0)  # y_1 ... y_t-1 and z (3.1) ...
        told_BT = part_BT[:, 1:] > 0
        y_N = target_BT[:, 1:][told_BT]  # ... tell y_t
        # One matrix embeds and tells (section 3.4); a share of each label is spread over all tokens (section 5.4).
        loss = linear_cross_entropy(
            h_BTD[told_BT], self.net.tokens.weight, y_N, smoothing=self.config.smoothing
        )
        return Out(loss)


def filled(x_B2T: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens and parts as far as the longest text of the batch goes."""
    longest = max(2, int((x_B2T[:, 1] > 0).sum(1).max()))
    token_BT, part_BT = x_B2T[..., :longest].unbind(1)
    return token_BT, part_BT


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            # With --data, the pairs as parallel files or a table. Adam by section 5.3; eq. 3 is "rsqrt" at this peak.
            data="wmt14-en-de", net="transformer_base", size=256, batch=900, budget="100000steps", optimiser="adam",
            lr=7e-4, beta2=0.98, eps=1e-9, weight_decay=0.0, schedule="rsqrt", warmup=0.04,
        ),
    ),
    "multi30k-en-de": (
        Config(vocabulary=10_000),
        Recipe(
            data="multi30k-en-de", net="small_transformer/3x256", size=48, batch=128, budget="60m", optimiser="adam",
            lr=1e-3, beta2=0.98, weight_decay=0.0, schedule="rsqrt", warmup=0.05,
        ),
    ),
    "world": (
        Config(vocabulary=1_000),
        Recipe(
            data="world-translation", net="small_transformer", size=48, batch=64, budget="8ep", optimiser="adam",
            lr=2e-3, beta2=0.98, weight_decay=0.0, schedule="rsqrt", warmup=0.1,
        ),
    ),
}  # fmt: skip
