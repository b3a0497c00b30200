"""BERT: predict hidden words from what stands on both sides of them, and whether one passage follows another.

Paper    Devlin, Chang, Lee, Toutanova, NAACL 2019 (arXiv:1810.04805): masked words and next sentence section 3.1, their
         details and the settings appendix A.1 and A.2. Training without the next sentence, on packed windows whose
         masks are drawn at each step, is from RoBERTa (Liu et al. 2019, arXiv:1907.11692, sections 4.1 and 4.2,
         FULL-SENTENCES).
Differs  Here each span A is stored both with the B that follows it and with a B from another document, and each step
         draws which of the two is read. The authors write their items in advance, half of them with each kind of B, in
         ten copies that have their own cuts and masks; `static` reproduces the masks of such copies, not the cuts.
         Without the next sentence, a document longer than a window continues in further windows that do not begin with
         [CLS] here. All steps have one length here; in the paper sequences have 128 tokens until the last tenth of the
         steps. Adam corrects its bias here, not in the authors' code. The recipes for small nets hide 40% of the
         tokens, which teaches a small net faster (Wettig et al. 2023, arXiv:2202.08005).
Shapes   B sequences, T tokens, D width, V vocabulary, N tokens that are hidden and predicted.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews import distributed
from manyviews.data import Reading
from manyviews.errors import ManyviewsError
from manyviews.method import Anatomy, Batch, EmbedAll, Kind, Method, NetFactory, Out, Spec
from manyviews.nets.bert import BERT, Pretraining
from manyviews.nets.reader import Reader
from manyviews.objectives import linear_cross_entropy
from manyviews.recipe import Recipe
from manyviews.rng import Dice
from manyviews.views import Text, Texts


@dataclass(frozen=True, kw_only=True)
class Config:
    tokens: str = "wordpiece"  # tokeniser: wordpiece (section 3), bpe, chars, or the path of a tokenizer.json
    vocabulary: int = 30_000  # V, largest vocabulary of a tokeniser that is made from the texts (section 3)
    next_sentence: bool = True  # True: read pairs of spans, and predict whether B follows A (section 3.1)
    masking: Literal["dynamic", "static"] = "dynamic"  # masks drawn at each step, or fixed by item and copy
    copies: int = 10  # copies with static masks; epoch e has copy e modulo this (the authors' dupe_factor)
    share: float = 0.15  # share of a sequence's tokens that are predicted (section 3.1)
    masked: float = 0.8  # share of the predicted tokens that are read as [MASK] (appendix A.1)
    random: float = 0.1  # share of predicted tokens read as any token, the rest as themselves (appendix A.1)
    most: int = 77  # most tokens predicted in a sequence (0.15 of 512, as the authors' 20 is of 128)


SERVES = {"copies": ("masking", ("static",))}

ANATOMY = Anatomy(
    pretext="a hidden token; the next sentence",
    positives="the token that is hidden; the passage that follows",
    negatives="the other tokens of the vocabulary; a passage of another document",
    target="none: what is written",
    objective="cross entropy",
)


class BERTPretraining(Method):
    sees: ClassVar[Kind] = "texts"
    salt: Tensor
    copy: Tensor

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        check(config)
        words = spec.vocabulary
        if words.mask is None:
            raise ManyviewsError(
                "This tokeniser has no mask token, which hidden words are read as: take wordpiece, or another --tokens."
            )
        self.encoder = net(in_channels=len(words))
        if not isinstance(self.encoder, Reader) or not isinstance(self.encoder.net, BERT):
            raise ManyviewsError(
                "A hidden word is told from both of its sides: take small_bert or a bert_base as --net."
            )
        self.tasks = Pretraining(self.encoder.net)
        if not config.next_sentence:  # then nothing reads C
            self.tasks.next.requires_grad_(False)
            self.encoder.net.pooler.requires_grad_(False)
        self.mask, self.never = words.mask, [words.padding, words.start, words.end]
        self.register_buffer("salt", torch.randint(2**31, ()))  # so that another seed has other static masks
        self.register_buffer("copy", torch.zeros((), dtype=torch.long))

    @classmethod
    def reading(cls, config: Config) -> Reading:
        pairs = config.next_sentence
        return Reading(config.tokens, config.vocabulary, packed=not pairs, pairs=pairs)

    def views(self) -> Texts:
        return Texts(Text(size=self.spec.size))

    def before_epoch(self, epoch: int, embed: EmbedAll) -> None:
        self.copy.fill_(epoch % self.config.copies)

    def loss(self, batch: Batch, progress: float) -> Out:
        assert isinstance(self.encoder, Reader)
        (x_BRT,) = batch.views
        u_B, u_BT3 = (u.to(x_BRT.device) for u in self.drawn(batch.index, x_BRT.shape[-1]))
        if self.config.next_sentence:
            token_BT, part_BT, elsewhere_B = either(x_BRT, u_B)
        else:  # what shares a window is one sequence, of one segment
            token_BT, part_BT, elsewhere_B = x_BRT[:, 0], (x_BRT[:, 1] > 0).long(), None
        longest = int((part_BT > 0).sum(1).max())  # the rest of the batch is padding
        token_BT, part_BT, u_BT3 = token_BT[:, :longest], part_BT[:, :longest], u_BT3[:, :longest]

        told_BT = self.told(token_BT, part_BT, u_BT3[..., 0])
        read_BT = hide(token_BT, told_BT, u_BT3[..., 1:], self.mask, len(self.spec.vocabulary), self.config)
        h_BTD = self.encoder.states(torch.stack([read_BT, part_BT], 1))
        h_ND = self.tasks.transformed(h_BTD[told_BT])
        W_VD = self.tasks.encoder.tokens.weight
        words = linear_cross_entropy(h_ND, W_VD, token_BT[told_BT], self.tasks.bias)
        log = {"perplexity": words.detach().exp()}
        if elsewhere_B is None:
            return Out(words, log)
        logits_B2 = self.tasks.next(self.tasks.encoder.pool(h_BTD))
        log["next"] = (logits_B2.argmax(1) == elsewhere_B).float().mean()
        return Out(words + F.cross_entropy(logits_B2, elsewhere_B), log)  # appendix A.2: their sum

    def told(self, token_BT: Tensor, part_BT: Tensor, u_BT: Tensor) -> Tensor:
        """Which tokens are told: so many of each sequence, those of least `u_BT`, and none that begins, ends or
        fills it (section 3.1, task 1)."""
        there_BT = part_BT > 0
        may_BT = there_BT.clone()
        for special in self.never:
            if special is not None:
                may_BT &= token_BT != special
        wanted_B1 = (self.config.share * there_BT.sum(1, keepdim=True)).round().clamp(1, self.config.most)
        rank_BT = u_BT.masked_fill(~may_BT, 1.0).argsort(dim=1, stable=True).argsort(dim=1)
        return (rank_BT < wanted_B1) & may_BT

    def drawn(self, index_B: Tensor, T: int) -> tuple[Tensor, Tensor]:
        """Uniform numbers `[B]` and `[B, T, 3]`, of every step or of an item and its copy."""
        count = 1 + 3 * T
        if self.config.masking == "dynamic":
            u = distributed.rand(len(index_B), count)
        else:
            dice = Dice(index_B.cpu().numpy(), "bert", int(self.salt), int(self.copy))
            u = torch.from_numpy(dice.uniform("hidden", count=count))
        return u[:, 0], u[:, 1:].unflatten(1, (T, 3))


def either(x_B4T: Tensor, u_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A with the B that follows it or with one from elsewhere, each half of the time: tokens, parts, and which it is (section
    3.1, task 2)."""
    if x_B4T.shape[1] != 4:
        raise ManyviewsError(
            "The next sentence is learned from pairs of spans, and these texts hold one a row: give texts, not rows of "
            "tokens, or say --no-next-sentence."
        )
    elsewhere_B = (u_B >= 0.5).long()
    x_B2T = torch.where(elsewhere_B[:, None, None] == 1, x_B4T[:, 2:], x_B4T[:, :2])
    return x_B2T[:, 0], x_B2T[:, 1], elsewhere_B


def hide(
    token_BT: Tensor, told_BT: Tensor, u_BT2: Tensor, mask: int, vocabulary: int, config: Config
) -> Tensor:
    """What is read where a token is told: mostly [MASK], sometimes any token, else the token itself (appendix A.1)."""
    which_BT, any_BT = u_BT2[..., 0], (u_BT2[..., 1] * vocabulary).long()
    read_BT = torch.where(told_BT & (which_BT < config.masked), mask, token_BT)
    other_BT = told_BT & (which_BT >= config.masked) & (which_BT < config.masked + config.random)
    return torch.where(other_BT, any_BT, read_BT)


def check(config: Config) -> None:
    """Refuse shares that cannot be."""
    if not 0 < config.share < 1:
        raise ManyviewsError(f"--share is {config.share}; the share that is hidden lies between 0 and 1.")
    if config.masked < 0 or config.random < 0 or config.masked + config.random > 1:
        raise ManyviewsError(
            f"--masked is {config.masked} and --random {config.random}; they are shares, together at most 1."
        )
    if config.most < 1 or config.copies < 1:
        raise ManyviewsError(f"--most is {config.most} and --copies {config.copies}; each is at least 1.")


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="bookscorpus-wikipedia", net="bert_base", size=512, batch=256, budget="1000000steps", optimiser="adamw",
            lr=1e-4, weight_decay=0.01, eps=1e-6, schedule="linear", warmup=0.01, clip=1.0,
        ),
    ),
    "sst2": (
        Config(vocabulary=8_000, next_sentence=False, share=0.4),
        Recipe(
            data="sst2", net="small_bert", size=64, batch=64, budget="20ep", optimiser="adamw", lr=1e-3,
            weight_decay=0.01, schedule="linear", warmup=0.05, clip=1.0,
        ),
    ),
    "world": (
        Config(vocabulary=1_000, share=0.4),
        Recipe(
            data="world-captions", net="small_bert", size=64, batch=64, budget="8ep", optimiser="adamw", lr=1e-3,
            weight_decay=0.01, schedule="linear", warmup=0.05, clip=1.0,
        ),
    ),
}  # fmt: skip
