"""How torchvision, timm and transformers call ViT's tensors, and what its config says in transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from manyviews.nets.names import Names

if TYPE_CHECKING:
    from manyviews.nets.vit import ViT

_REST = {
    "torchvision": ("heads.",),
    "timm": ("head.",),
    "transformers": ("pooler.", "classifier.", "decoder.", "embeddings.mask_token"),
}
_TABLES = {
    "timm": {
        "class_token": "cls_token[0][0]",
        "positions.0.weight": "pos_embed[0]",
        "patch.*": "patch_embed.proj.*",
        "blocks.{}.norm1.*": "blocks.{}.norm1.*",
        "blocks.{}.attention.qkv.*": "blocks.{}.attn.qkv.*",
        "blocks.{}.attention.out.*": "blocks.{}.attn.proj.*",
        "blocks.{}.norm2.*": "blocks.{}.norm2.*",
        "blocks.{}.mlp.up.*": "blocks.{}.mlp.fc1.*",
        "blocks.{}.mlp.down.*": "blocks.{}.mlp.fc2.*",
        "norm.*": "norm.*",
    },
    "torchvision": {
        "class_token": "class_token[0][0]",
        "positions.0.weight": "encoder.pos_embedding[0]",
        "patch.*": "conv_proj.*",
        "blocks.{}.norm1.*": "encoder.layers.encoder_layer_{}.ln_1.*",
        "blocks.{}.attention.qkv.*": "encoder.layers.encoder_layer_{}.self_attention.in_proj_*",
        "blocks.{}.attention.out.*": "encoder.layers.encoder_layer_{}.self_attention.out_proj.*",
        "blocks.{}.norm2.*": "encoder.layers.encoder_layer_{}.ln_2.*",
        "blocks.{}.mlp.up.*": "encoder.layers.encoder_layer_{}.mlp.0.*",
        "blocks.{}.mlp.down.*": "encoder.layers.encoder_layer_{}.mlp.3.*",
        "norm.*": "encoder.ln.*",
    },
    "transformers": {  # as in its files; in memory, version 5 calls them otherwise
        "class_token": "embeddings.cls_token[0][0]",
        "positions.0.weight": "embeddings.position_embeddings[0]",
        "patch.*": "embeddings.patch_embeddings.projection.*",
        "blocks.{}.norm1.*": "encoder.layer.{}.layernorm_before.*",
        "blocks.{}.attention.qkv.*": "encoder.layer.{}.attention.attention.query.*"
        " + encoder.layer.{}.attention.attention.key.* + encoder.layer.{}.attention.attention.value.*",
        "blocks.{}.attention.out.*": "encoder.layer.{}.attention.output.dense.*",
        "blocks.{}.norm2.*": "encoder.layer.{}.layernorm_after.*",
        "blocks.{}.mlp.up.*": "encoder.layer.{}.intermediate.dense.*",
        "blocks.{}.mlp.down.*": "encoder.layer.{}.output.dense.*",
        "norm.*": "layernorm.*",
    },
}  # fmt: skip
# What version 5 of transformers calls them in memory.
_MEMORY = {
    f"layers.{{}}.{memory}.*": f"encoder.layer.{{}}.{file}.*"
    for memory, file in {
        "layernorm_before": "layernorm_before",
        "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense",
        "layernorm_after": "layernorm_after",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }.items()
}


def config(net: ViT) -> dict[str, Any]:
    """transformers' `ViTConfig` of a net for square images."""
    block: Any = net.blocks[0]
    return {
        "model_type": "vit",
        "architectures": ["ViTModel"],
        "image_size": net.cells[0] * net.patch_size,
        "patch_size": net.patch_size,
        "num_channels": net.in_channels,
        "hidden_size": net.width,
        "num_hidden_layers": len(net.blocks),
        "num_attention_heads": block.attention.heads,
        "intermediate_size": block.mlp.up.out_features,
        "hidden_act": "gelu",
        "hidden_dropout_prob": net.dropout,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": net.norm.eps,
        "qkv_bias": True,
    }


NAMES = {
    "torchvision": Names(_TABLES["torchvision"], _REST["torchvision"]),
    "timm": Names(_TABLES["timm"], _REST["timm"]),
    "transformers": Names(
        _TABLES["transformers"],
        _REST["transformers"],
        config=config,
        speaks_of=("patch", "width", "depth", "heads", "hidden"),
        call="add_pooling_layer=False",
        base="vit.",
        also=_MEMORY,
    ),
}
