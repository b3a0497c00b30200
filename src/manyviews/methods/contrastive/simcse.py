"""SimCSE: read a sentence twice; what dropout leaves of it each time are its two views.

Paper    Gao, Yao, Chen, EMNLP 2021 (arXiv:2104.08821). Dropout as the view section 3 and eq. 4, other views table 1,
         pairs and hard negatives section 4 and eq. 5, alignment and uniformity eq. 2 and 3, pooling section 6.3,
         settings appendix A.
Differs  Deletion and cropping remove tokens here, words in the paper, and nothing is replaced (table 1: synonyms, MLM).
         The second loss, on masked words (appendix), and the weights of hard negatives (section 6.3) are left out here.
         The weights of the last step are kept here; the authors keep those that do best on STS-B, which has labels. The
         recipe `world` uses crops, since it starts from random weights, where dropout as the view teaches little; the
         paper's way is `--positive dropout`, started with `--init-from` from a run of BERT.
Shapes   B items of N sentences, R = 2 N rows, T tokens, D width.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyviews.data import Reading
from manyviews.errors import ManyviewsError
from manyviews.method import Anatomy, Batch, Kind, Method, NetFactory, Out, Spec
from manyviews.nets.bert import BERT, initialise
from manyviews.nets.dropout import set_dropout
from manyviews.nets.encoder import called, hold_unread
from manyviews.nets.first import First
from manyviews.nets.reader import Reader
from manyviews.objectives import in_batch
from manyviews.recipe import Recipe
from manyviews.views import Text, Texts


@dataclass(frozen=True, kw_only=True)
class Config:
    tokens: str = "wordpiece"  # tokeniser: wordpiece (as BERT), bpe, chars, or the path of a tokenizer.json
    vocabulary: int = 30_000  # largest vocabulary of a tokeniser that is made from the texts
    sentences: bool = False  # True: items are sentences of the documents (section 3); False: whole documents
    positive: Literal["dropout", "delete", "crop", "pair", "triple"] = "dropout"  # h+ (table 1, section 4)
    share: float = 0.1  # share of the tokens that delete and crop remove; 0: one token (table 1)
    dropout: float = 0.1  # p, the net's dropout in training, in place of its own (table 3)
    temperature: float = 0.05  # tau, divides the cosine (eq. 1)
    pool: Literal["cls", "mlp", "mean"] = "cls"  # cls: [CLS], MLP only in training; mlp: always; mean (6.3)


SERVES = {"share": ("positive", ("delete", "crop"))}

ANATOMY = Anatomy(
    pretext="instance discrimination",
    positives="the sentence again, under other dropout",
    negatives="the rest of the batch",
    target="the same network",
    objective="InfoNCE",
)
TEXTS = {"pair": 2, "triple": 3}  # of an item: a sentence, one that follows from it, one that contradicts it
WITHIN = {"cls": "first({})", "mlp": "pooler({})", "mean": "{}"}  # what embeds a text when learning is over


class SimCSE(Method):
    sees: ClassVar[Kind] = "texts"

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        check(config)
        words = spec.vocabulary
        self.keep = tuple(token for token in (words.start, words.end) if token is not None)
        self.encoder = net(in_channels=len(words), within=WITHIN[config.pool])
        if isinstance(self.encoder, Reader) and isinstance(self.encoder.net, BERT):
            self.encoder.net.pooler.apply(initialise)  # drawn anew, as in the authors' code
        hold_unread(self.encoder, self.read(torch.ones(1, 2, spec.size, dtype=torch.long)))
        set_dropout(self.encoder, config.dropout)
        if config.positive == "dropout" and reads_alike(self.encoder, spec.size):
            raise ManyviewsError(
                f"With --dropout {config.dropout} in {called(self.encoder)} nothing is dropped, and the two views of a "
                "sentence would be the same: take a --dropout such as 0.1, a net that has it, or --positive delete."
            )

    @classmethod
    def reading(cls, config: Config) -> Reading:
        check(config)
        count = TEXTS.get(config.positive, 1)
        return Reading(config.tokens, config.vocabulary, texts=count, sentences=config.sentences)

    def views(self) -> Texts:
        how, x = self.config.positive, Text(size=self.spec.size)
        if how in TEXTS:
            return Texts(x)
        if how == "dropout":
            return Texts(x, x)
        return Texts(x, Text(size=self.spec.size, keep=self.keep, **{how: self.config.share}))

    def loss(self, batch: Batch, progress: float) -> Out:
        x_BRT = torch.cat(batch.views, 1)  # [x, x+] or [x, x+, x-], each with its parts
        x_NB2T = x_BRT.unflatten(1, (-1, 2)).transpose(0, 1)
        h_NBD = self.read(x_NB2T.flatten(0, 1)).unflatten(0, x_NB2T.shape[:2])  # every sentence in one pass
        h_BD, positive_BD, *hard = h_NBD
        loss = in_batch(h_BD, positive_BD, self.config.temperature, *hard)  # eq. 4; eq. 5
        return Out(loss, log=looks(h_BD.detach(), positive_BD.detach()), z=h_BD)

    def read(self, x_M2T: Tensor) -> Tensor:
        """What the loss compares, `[M, D]`: [CLS] through its layer, or the mean."""
        longest = int((x_M2T[:, 1] > 0).sum(1).max())  # the rest of the batch is padding
        x_M2T = x_M2T[..., : max(1, longest)]
        if not isinstance(self.encoder, First):
            return self.encoder(x_M2T)
        return self.encoder.pool(self.encoder.states(x_M2T))


def looks(h_BD: Tensor, positive_BD: Tensor) -> dict[str, Tensor]:
    """Alignment (eq. 2) and uniformity (eq. 3), under dropout as the loss sees them: lower is better."""
    h_BD, positive_BD = F.normalize(h_BD.float()), F.normalize(positive_BD.float())
    align = (h_BD - positive_BD).square().sum(1).mean()
    if len(h_BD) == 1:
        return {"align": align}
    return {"align": align, "uniform": F.pdist(h_BD).square().mul(-2).exp().mean().log()}


@torch.no_grad()
def reads_alike(encoder: nn.Module, size: int) -> bool:
    """Whether a text becomes the same twice while `encoder` trains; what is drawn otherwise stays as it was."""
    x_12T = torch.ones(1, 2, size, dtype=torch.long)
    with torch.random.fork_rng(devices=[]):
        return bool(torch.equal(encoder(x_12T), encoder(x_12T)))


def check(config: Config) -> None:
    """Refuse settings that cannot be, or that contradict each other."""
    if not 0 <= config.dropout < 1:
        raise ManyviewsError(f"--dropout is {config.dropout}; it is a share, at least 0 and below 1.")
    if not 0 <= config.share < 1:
        raise ManyviewsError(f"--share is {config.share}; what is taken away is at least 0 and below 1.")
    if config.sentences and config.positive in TEXTS:
        raise ManyviewsError(
            f"--positive {config.positive} learns from texts that belong together as they are: leave out --sentences."
        )


RECIPES = {
    "paper": (
        Config(sentences=True),
        Recipe(
            # With --tokens, the tokenizer.json that these weights were trained with.
            data="wikipedia", net="bert_base", pretrained="transformers", size=32, batch=64, budget="1M items",
            optimiser="adamw", lr=3e-5, weight_decay=0.0, schedule="linear", clip=1.0,
        ),
    ),
    "nli": (
        Config(positive="triple", pool="mlp"),
        Recipe(
            # With --tokens as above, and --data, texts in threes.
            data="nli", net="bert_base", pretrained="transformers", size=32, batch=512, budget="3ep",
            optimiser="adamw", lr=5e-5, weight_decay=0.0, schedule="linear", clip=1.0,
        ),
    ),
    "sst2": (
        Config(vocabulary=8_000, pool="mean"),
        Recipe(
            data="sst2", net="small_bert", size=64, batch=64, budget="3ep", optimiser="adamw", lr=5e-4,
            weight_decay=0.01, schedule="linear", warmup=0.05, clip=1.0,
        ),
    ),
    "world": (
        Config(vocabulary=1_000, pool="mean", positive="crop", share=0.5),  # from nothing, dropout says too little
        Recipe(
            data="world-riddles", net="small_bert", size=64, batch=32, budget="4ep", optimiser="adamw", lr=1e-3,
            weight_decay=0.01, schedule="linear", warmup=0.05, clip=1.0,
        ),
    ),
}  # fmt: skip
