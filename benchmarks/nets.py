"""Networks against the implementations that the field trusts: a training step on the CPU, and tokens written one by one.

A step is forward, backward and AdamW. Both sides have as many parameters and see the same batch; how they are timed,
`duel` says.

    python benchmarks/nets.py
    python benchmarks/nets.py --only gpt2 bert --seconds 120 --json
"""

import argparse
import json
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from duel import Duel, Step, fight, told
from torch import Tensor, nn

from manyviews import nets
from manyviews.nets.bert import BERT, Pretraining
from manyviews.nets.generation import generate
from manyviews.nets.gpt import GPT
from manyviews.nets.gpt2 import NAMES, gpt2
from manyviews.nets.names import to_theirs

# The last matrix has about the share of the work that it has in GPT-2's smallest net.
VOCABULARY, WIDTH, DEPTH, HEADS, BATCH, TOKENS = 8192, 384, 6, 6, 4, 128


def training(net: nn.Module, loss: Callable[[nn.Module], Tensor]) -> Step:
    """One step on one batch."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    net.train()

    def step() -> None:
        optimiser.zero_grad()
        loss(net).backward()
        optimiser.step()

    return step


def same(ours: nn.Module, theirs: nn.Module) -> None:
    counts = [sum(p.numel() for p in net.parameters()) for net in (ours, theirs)]
    assert counts[0] == counts[1], f"not the same net: {counts} parameters"


def classifier(name: str, size: int) -> nn.Module:
    encoder = nets.build(name, size=size)
    return nn.Sequential(encoder, nn.Linear(encoder.width, 1000))


def images(ours: nn.Module, theirs: nn.Module, batch: int, size: int) -> Duel:
    same(ours, theirs)
    x, y = torch.randn(batch, 3, size, size), torch.randint(1000, (batch,))
    steps = [training(net, lambda net: F.cross_entropy(net(x), y)) for net in (ours, theirs)]
    return Duel(*steps, f"{batch} images of {size} pixels")


def resnet18() -> Duel:
    from torchvision.models import resnet18

    return images(classifier("resnet18/imagenet", 96), resnet18(), 8, 96)


def vit() -> Duel:
    import timm

    return images(classifier("vit_ti16", 224), timm.create_model("vit_tiny_patch16_224"), 4, 224)


def gpts(depth: int = DEPTH, width: int = WIDTH, heads: int = HEADS, length: int = TOKENS) -> tuple[GPT, Any]:
    """GPT-2 small enough for two cores, ours and theirs, of the same weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    ours = gpt2(vocabulary=VOCABULARY, depth=depth, width=width, heads=heads, length=length)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_layer=depth, n_embd=width, n_head=heads, n_positions=length,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    theirs = GPT2LMHeadModel(config)
    theirs.load_state_dict(to_theirs(NAMES["transformers"], ours.state_dict()), strict=False)
    same(ours, theirs)
    return ours, theirs


def gpt2_steps(compile_ours: bool = False, compile_theirs: bool = False) -> Duel:
    ours, theirs = gpts()
    text = torch.randint(VOCABULARY, (BATCH, TOKENS + 1))
    x, y = text[:, :-1].contiguous(), text[:, 1:].flatten()

    def our_loss(net: nn.Module) -> Tensor:
        return F.cross_entropy(net(x).flatten(0, 1), y)

    def their_loss(net: nn.Module) -> Tensor:
        return F.cross_entropy(net(x).logits.flatten(0, 1), y)

    if compile_ours:
        ours = torch.compile(ours)
    if compile_theirs:
        theirs = torch.compile(theirs)
    return Duel(
        training(ours, our_loss),
        training(theirs, their_loss),
        f"{DEPTH} x {WIDTH}, {BATCH} x {TOKENS} tokens",
    )


def bert(tell_all: bool = False) -> Duel:
    """Theirs tells the word of every token, whatever the loss asks for; ours only the hidden ones, unless it is to `tell_all`."""
    from transformers import BertConfig, BertForPreTraining

    ours = Pretraining(BERT(VOCABULARY, WIDTH, DEPTH, HEADS, length=TOKENS))
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH, max_position_embeddings=TOKENS,
    )  # fmt: skip
    theirs = BertForPreTraining(config)
    same(ours, theirs)
    tokens, follows = torch.randint(1, VOCABULARY, (BATCH, TOKENS)), torch.randint(2, (BATCH,))
    segments = (torch.arange(TOKENS) > TOKENS // 2).long().repeat(BATCH, 1)
    padding = torch.arange(TOKENS) < torch.randint(TOKENS // 2, TOKENS, (BATCH, 1))
    hidden = (torch.rand(BATCH, TOKENS) < 0.15) & padding
    labels = tokens.masked_fill(~hidden, -100)
    asked, answers = (None, labels.flatten()) if tell_all else (hidden, tokens[hidden])

    def our_loss(net: nn.Module) -> Tensor:
        words, next_B2 = net(tokens, segments, padding, asked)
        return F.cross_entropy(words.flatten(0, -2), answers) + F.cross_entropy(next_B2, follows)

    def their_loss(net: nn.Module) -> Tensor:
        return net(
            tokens, attention_mask=padding.long(), token_type_ids=segments, labels=labels,
            next_sentence_label=follows,
        ).loss  # fmt: skip

    return Duel(
        training(ours, our_loss),
        training(theirs, their_loss),
        f"{DEPTH} x {WIDTH}, {BATCH} x {TOKENS} tokens",
    )


def generation(depth: int, width: int, heads: int, tokens: int = 64) -> Duel:
    ours, theirs = gpts(depth, width, heads)
    theirs.eval()
    prompt = torch.randint(VOCABULARY, (1, 16))

    def us() -> Tensor:
        return generate(ours, prompt, tokens, temperature=0)

    def them() -> Tensor:
        return theirs.generate(
            prompt,
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
            attention_mask=torch.ones_like(prompt),
        )

    assert torch.equal(us(), them()), "the same weights, but other tokens"
    return Duel(us, them, f"{depth} x {width}, {tokens} tokens, batch 1", tokens)


DUELS: dict[str, Callable[[], Duel]] = {
    "resnet18": resnet18,  # torchvision
    "vit": vit,  # timm
    "gpt2": gpt2_steps,  # transformers, all that follow
    "gpt2-theirs-compiled": lambda: gpt2_steps(compile_theirs=True),
    "gpt2-both-compiled": lambda: gpt2_steps(compile_ours=True, compile_theirs=True),
    "bert": bert,  # ours tells the hidden words, theirs all
    "bert-all": lambda: bert(tell_all=True),  # both tell all: equal work
    "generation": lambda: generation(DEPTH, WIDTH, HEADS),
    "generation-small": lambda: generation(4, 128, 4),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(DUELS), default=list(DUELS), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=40, help="at most, for the turns of one pair")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    warnings.filterwarnings("ignore")  # of the peers
    torch.manual_seed(0)
    found: dict[str, dict[str, object]] = {}
    if not args.json:
        print(f"{torch.get_num_threads()} threads; a ratio above 1 is theirs taking longer")
    for name in args.only:
        found[name] = result = fight(DUELS[name](), args.seconds)
        if not args.json:
            print(told(name, result))
    if args.json:
        print(json.dumps({"threads": torch.get_num_threads(), **found}))


if __name__ == "__main__":
    main()
