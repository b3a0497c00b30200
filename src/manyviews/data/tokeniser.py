"""Tokenisers: texts become numbers, and numbers texts again.

chars       each character of the training texts is a token, as in char-rnn (Karpathy 2015)
bpe         pairs of bytes merged into pieces, as in GPT-2 (Radford et al. 2019, section 2.2): no text is unknown, and every
            one comes back exactly
wordpiece   pieces of words, those that continue a word behind ##, as in BERT (Devlin et al. 2019, section 3); which pieces there are
            is learned by merging the most frequent pairs, for BERT's own learner is not public

Names of special tokens that stand in a text are text like any other, unless they are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from manyviews.data.vocabularies import KINDS, SPECIALS
from manyviews.errors import ManyviewsError, nearest
from manyviews.files import write_text

if TYPE_CHECKING:
    import tokenizers  # imported where it is used

FILE = "tokenizer.json"
AT_ONCE = 2**20  # characters that are encoded at a time: the library holds many times as much

USUAL = {
    "padding": ("[PAD]", "<pad>", "<|pad|>", "<|padding|>"),
    "unknown": ("[UNK]", "<unk>", "<|unk|>"),
    "start": (
        "[CLS]", "<s>", "[BOS]", "<bos>", "<|bos|>", "<|begin_of_text|>", "<|startoftext|>", "<|endoftext|>",
    ),
    "end": ("[SEP]", "</s>", "[EOS]", "<eos>", "<|eos|>", "<|end_of_text|>", "<|endoftext|>"),
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
}  # fmt: skip
"""What special tokens are called by those who publish tokenisers; the first that is there counts."""


class Tokeniser:
    """A vocabulary, and how texts are taken apart into its tokens.

    Args:
        tokenizer: of the tokenizers library; it belongs to this object from now on. Where it has no padding token, one
            is put at the end of its vocabulary.
    """

    padding: int  # fills up what is shorter
    unknown: int | None  # stands for what is in no token
    start: int | None  # comes first
    end: int | None  # comes last, or between two texts
    mask: int | None  # stands for what is hidden

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if getattr(tokenizer.model, "dropout", None):
            tokenizer.model.dropout = None  # pyright: ignore[reportAttributeAccessIssue]  # chance without a seed
        padding = _first(tokenizer, USUAL["padding"])
        if padding is None:
            tokenizer.add_special_tokens([SPECIALS[0]])
            padding = tokenizer.token_to_id(SPECIALS[0])
        assert padding is not None
        self.padding = padding
        self.unknown, self.start, self.end, self.mask = (
            _first(tokenizer, USUAL[role]) for role in ("unknown", "start", "end", "mask")
        )
        added = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        named = (self.padding, self.unknown, self.start, self.end, self.mask)
        self.specials = frozenset(added | {number for number in named if number is not None})
        self._tokenizer = tokenizer
        self._size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def __len__(self) -> int:
        """Tokens of the vocabulary: rows of an embedding."""
        return self._size

    def __repr__(self) -> str:
        return f"Tokeniser({type(self._tokenizer.model).__name__}, {len(self):,} tokens)"

    def __reduce__(self) -> tuple[Callable[[str], Tokeniser], tuple[str]]:
        return Tokeniser.from_json, (self.to_json(),)

    # -- there and back ------------------------------------------------------------------------------------------

    def encode(self, texts: Sequence[str], *, specials: bool = False) -> list[list[int]]:
        """The tokens of each text, without any that begin or end it.

        ``specials``: whether the name of a special token in a text means that token ("The [MASK] sat."), for prompts.
        Raises ``ManyviewsError`` for a text that cannot be written as UTF-8.
        """
        return [found.ids for found in self._encoded(texts, specials)]

    def arrays(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The same as int32 arrays, a tenth of the memory: of texts to learn from."""
        return [np.array(found.ids, np.int32) for found in self._encoded(texts, specials=False)]

    def _encoded(self, texts: Sequence[str], specials: bool) -> Iterator[tokenizers.Encoding]:
        _require_unicode(texts)
        self._tokenizer.encode_special_tokens = not specials
        for some in _portions(texts):
            yield from self._tokenizer.encode_batch_fast(some, add_special_tokens=False)

    def places(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Where in its text each token of ``encode`` stands: its first character, and the one behind its last."""
        self._tokenizer.encode_special_tokens = True
        found: list[list[tuple[int, int]]] = []
        for some in _portions(texts):
            found += [one.offsets for one in self._tokenizer.encode_batch(some, add_special_tokens=False)]
        return found

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """The text of some tokens; special ones are left out."""
        return self._tokenizer.decode(
            [number for number in self._numbers(ids) if number not in self.specials],
            skip_special_tokens=False,
        )

    def tokens(self, ids: Sequence[int] | Tensor) -> list[str]:
        """Each token by itself, for people to look at; a token that is a part of a character as the library writes it."""
        return [self._shown(number) for number in self._numbers(ids)]

    def _shown(self, number: int) -> str:
        from tokenizers import decoders

        name = self._tokenizer.id_to_token(number)
        if name is None:
            raise ManyviewsError(f"No token has the number {number}: the vocabulary has a hole there.")
        if number in self.specials or not isinstance(self._tokenizer.decoder, decoders.ByteLevel):
            return name
        text = self._tokenizer.decode([number])
        return name if "\N{REPLACEMENT CHARACTER}" in text else text

    def _numbers(self, ids: Sequence[int] | Tensor) -> list[int]:
        numbers: list[int] = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        wrong = next((number for number in numbers if not 0 <= number < len(self)), None)
        if wrong is not None:
            raise ManyviewsError(f"No token has the number {wrong}: the vocabulary has 0 to {len(self) - 1}.")
        return numbers

    # -- as a file -----------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """All of it, as a tokenizer.json holds it."""
        return self._tokenizer.to_str()

    @staticmethod
    def from_json(text: str, name: str = "This text") -> Tokeniser:
        """What ``to_json`` gave, or any tokenizer.json; ``name`` is what an error calls it.

        Raises:
            ManyviewsError: it is not one, or not a whole one.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the library has no narrower one
            raise ManyviewsError(
                f"{name} is no whole {FILE} ({error}): copy it again, or create it anew."
            ) from error
        return Tokeniser(tokenizer)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as a tokenizer.json, whole or not at all, at ``path`` or in the folder ``path``; returns where."""
        path = _file(path)
        write_text(path, self.to_json())
        return path

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Tokeniser:
        """From a tokenizer.json, or a folder that holds one.

        Raises:
            ManyviewsError: there is none, or it is cut short or damaged.
        """
        path = _file(path)
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError as error:
            raise ManyviewsError(
                f"There is no tokeniser {path}: name a {FILE}, a folder that holds one, or one of {', '.join(KINDS)}, "
                "which are made from the texts."
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise ManyviewsError(f"{path} cannot be read as a {FILE}: {error}.") from error
        return Tokeniser.from_json(text, str(path))

    # -- made from texts -----------------------------------------------------------------------------------------

    @staticmethod
    def train(kind: str, texts: Sequence[str], vocabulary: int, *, lower: bool | None = None) -> Tokeniser:
        """A tokeniser made from texts: of characters, by bpe, or by wordpiece.

        Args:
            vocabulary: the most tokens, special ones among them; there are fewer where the texts do not have so many.
            lower: whether capitals are written small, and so lost. Unless told only by wordpiece. Accents stay, unlike
                in the vocabulary of uncased BERT: in many a script they are the vowels.

        Raises:
            ManyviewsError: no such kind, no texts, one that is not UTF-8, or a vocabulary without room for the alphabet.
        """
        if kind not in KINDS:
            hint = nearest(kind, KINDS, f"there are {', '.join(KINDS)}.")
            raise ManyviewsError(f"There is no kind of tokeniser '{kind}'; {hint}")
        if not any(text.strip() for text in texts):
            raise ManyviewsError("There are no texts to make a tokeniser from, or all of them are empty.")
        _require_unicode(texts)
        return Tokeniser(KINDS[kind](texts, vocabulary, kind == "wordpiece" if lower is None else lower))


def require_size(tokeniser: Tokeniser, rows: int, what: str) -> None:
    """Raise a ``ManyviewsError`` unless weights of ``rows`` tokens can be of this tokeniser; ``what`` is their name."""
    if rows == len(tokeniser):
        return
    remedy = "use the tokenizer.json that lies beside the weights."
    if rows == tokeniser.padding == len(tokeniser) - 1:
        remedy = "the last is the padding that it lacked: give the embedding one more row."
    raise ManyviewsError(
        f"The vocabulary does not match the weights: {what} has {rows:,} tokens and the tokeniser {len(tokeniser):,}; {remedy}"
    )


def _require_unicode(texts: Sequence[str]) -> None:
    for place, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ManyviewsError(
                f"Text {place + 1:,} holds half a character at {error.start + 1:,}, a lone surrogate: read it as UTF-8."
            ) from error


def _portions(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts in their order, as many at a time as have `AT_ONCE` characters, or one that has more."""
    some, characters = list[str](), 0
    for text in texts:
        if some and characters + len(text) > AT_ONCE:
            yield some
            some, characters = [], 0
        some.append(text)
        characters += len(text)
    if some:
        yield some


def _first(tokenizer: tokenizers.Tokenizer, names: Sequence[str]) -> int | None:
    numbers = (tokenizer.token_to_id(name) for name in names)
    return next((number for number in numbers if number is not None), None)


def _file(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return path / FILE if path.is_dir() else path
