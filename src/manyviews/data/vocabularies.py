"""Vocabularies made from texts, with the parts of the tokenizers library, so that each can be saved as a tokenizer.json.

The same texts make the same vocabulary, bit for bit, in whatever order they come and on however many threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from manyviews.errors import ManyviewsError

if TYPE_CHECKING:
    import tokenizers  # imported where it is used

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # from 0 on
OFTEN = 2  # a pair that is met less often becomes no token


def chars(texts: Sequence[str], vocabulary: int, lower: bool) -> tokenizers.Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    normalizer = normalizers.Lowercase() if lower else None
    alphabet: set[str] = set()
    for text in texts:
        alphabet.update(text if normalizer is None else normalizer.normalize_str(text))
    tokens = [*SPECIALS, *sorted(alphabet)]
    require_room(vocabulary, len(tokens), f"the {len(alphabet):,} characters of the texts")
    made = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=SPECIALS[1]))
    if normalizer is not None:
        made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    made.add_special_tokens(list(SPECIALS))
    return made


def bpe(texts: Sequence[str], vocabulary: int, lower: bool) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    require_room(vocabulary, len(SPECIALS) + len(alphabet), f"the {len(alphabet)} bytes")
    made = Tokenizer(models.BPE())
    if lower:
        made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=OFTEN,
        special_tokens=list(SPECIALS),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return made


def wordpiece(texts: Sequence[str], vocabulary: int, lower: bool) -> tokenizers.Tokenizer:
    """The library numbers pieces behind ## in the order of a hash map, and settles ties by their numbers.

    So a first pass, too small for any merge, finds the alphabet, and a second one is given it in order.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    def plain(model: models.WordPiece) -> Tokenizer:
        made = Tokenizer(model)
        made.normalizer = normalizers.BertNormalizer(lowercase=lower, strip_accents=False)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        return made

    def learned(first: list[str], size: int) -> dict[str, int]:
        made = plain(models.WordPiece(unk_token=SPECIALS[1]))
        trainer = trainers.WordPieceTrainer(
            vocab_size=size, min_frequency=OFTEN, special_tokens=first, show_progress=False
        )
        made.train_from_iterator(texts, trainer)
        return made.get_vocab()

    alphabet = sorted(
        learned(list(SPECIALS), 0).keys() - set(SPECIALS), key=lambda piece: (len(piece), piece)
    )
    least = len(SPECIALS) + len(alphabet)
    require_room(vocabulary, least, f"the {len(alphabet):,} characters that begin or continue a word")
    pieces = learned([*SPECIALS, *alphabet], vocabulary)
    made = plain(models.WordPiece(pieces, unk_token=SPECIALS[1]))
    made.add_special_tokens(list(SPECIALS))
    return made


KINDS = {"chars": chars, "bpe": bpe, "wordpiece": wordpiece}


def require_room(vocabulary: int, least: int, alphabet: str) -> None:
    if vocabulary < least:
        raise ManyviewsError(
            f"A vocabulary of {vocabulary:,} has no room for {len(SPECIALS)} special tokens and {alphabet}: "
            f"choose at least {least:,}."
        )
