"""Numbers that no tensor's shape tells: heads, and what norms add to the variance. Against other libraries, and the papers."""

from typing import Any

import pytest
import torch
import transformers
from torch import nn

from manyviews.nets import catalogue, make

# Heads of attention, as the papers have them in the tables named.
PAPERS = {
    "gpt": 12,  # Radford et al. 2018, section 4.1
    "gpt2": 12, "gpt2_medium": 16, "gpt2_large": 20, "gpt2_xl": 25,  # 64 wide in the released code
    "gpt3_125m": 12, "gpt3_350m": 16, "gpt3_760m": 16, "gpt3_1.3b": 16, "gpt3_2.7b": 32, "gpt3_6.7b": 32,
    "gpt3_13b": 40, "gpt3_175b": 96,  # Brown et al. 2020, table 2.1; of 1.3B see the file
    "bert_tiny": 2, "bert_mini": 4, "bert_small": 8, "bert_medium": 8,  # Turc et al. 2019, table 1
    "bert_base": 12, "bert_large": 16,  # Devlin et al. 2019, section 3
    "vit_ti16": 3, "vit_s16": 6,  # Steiner et al. 2021, table 2
    "vit_b16": 12, "vit_l16": 16, "vit_h14": 16,  # Dosovitskiy et al. 2021, table 1
}  # fmt: skip
TIMM = [
    (name, net.known_as["timm"])
    for name, (net, _) in catalogue().items()
    if name.startswith("vit_") and "timm" in net.known_as
]
DEFAULTS = {
    "gpt": (transformers.OpenAIGPTModel, "n_head"),
    "gpt2": (transformers.GPT2Model, "n_head"),
    "bert_base": (transformers.BertModel, "num_attention_heads"),
}


def on_meta(name: str) -> Any:
    with torch.device("meta"):
        return make(name, in_channels=3, size=224) if name.startswith("vit_") else make(name)


def heads(net: Any) -> set[int]:
    return {block.attention.heads for block in net.blocks}


def eps(net: nn.Module) -> set[float]:
    return {module.eps for module in net.modules() if isinstance(module, nn.LayerNorm)}


def test_every_size_of_a_paper_is_listed():
    families = ("gpt", "gpt2", "gpt3", "bert")
    named = {name for name in catalogue() if name.split("_")[0] in families}
    assert named == {name for name in PAPERS if not name.startswith("vit_")}


@pytest.mark.parametrize("name", PAPERS)
def test_heads_are_the_papers(name: str):
    assert heads(on_meta(name)) == {PAPERS[name]}


@pytest.mark.parametrize(("name", "there"), TIMM)
def test_heads_and_norms_of_vit_are_timms(name: str, there: str):
    import timm

    ours = on_meta(name)
    with torch.device("meta"):
        theirs: Any = timm.create_model(there, num_classes=0)
    assert heads(ours) == {block.attn.num_heads for block in theirs.blocks}
    assert eps(ours) == eps(theirs) == {1e-6}


@pytest.mark.parametrize("name", DEFAULTS)
def test_heads_and_norms_of_readers_are_transformers(name: str):
    model, option = DEFAULTS[name]
    ours, config = on_meta(name), model.config_class()
    with torch.device("meta"):
        theirs = model(config)
    assert heads(ours) == {getattr(config, option)}
    assert eps(ours) == eps(theirs)


@pytest.mark.parametrize("name", [name for name in PAPERS if not name.startswith("vit_")])
def test_norms_of_every_size_are_those_of_its_family(name: str):
    assert eps(on_meta(name)) == ({1e-12} if name.startswith("bert") else {1e-5})
