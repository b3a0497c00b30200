"""ViT against torchvision's, timm's and transformers', and against the paper's own numbers."""

import io
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import build, catalogue, make
from manyviews.nets.encoder import judging
from manyviews.nets.names import from_theirs, to_theirs
from manyviews.nets.norms import StandardisedConv2d, standardise
from manyviews.nets.vit import NAMES, NETS, ViT, resnet50_stage

SIZE, P, D, DEPTH, H = 32, 8, 24, 2, 3


def small(**options) -> ViT:
    return ViT(P, D, DEPTH, H, **{"size": SIZE, **options}).eval()


def images(batch: int = 2, size: int = SIZE, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(0))


def stir(net: nn.Module) -> nn.Module:
    """Move every tensor away from where it starts, so that one in the wrong place shows."""
    generator = torch.Generator().manual_seed(1)
    for tensor in net.parameters():
        tensor.data += 0.2 * torch.randn(tensor.shape, generator=generator)
    return net


# --- the same network elsewhere ----------------------------------------------------------------------


class Theirs:
    """A small ViT of another library: its embedding, its weights out and in."""

    def __init__(self, library: str, pool: str = "class"):
        self.library = library
        if library == "torchvision":
            from torchvision.models import VisionTransformer

            self.net: nn.Module = VisionTransformer(SIZE, P, DEPTH, H, D, 4 * D)
            self.net.heads = nn.Identity()
        elif library == "timm":
            from timm.models import VisionTransformer

            average = (
                {"global_pool": "avg", "class_token": False, "fc_norm": False} if pool == "average" else {}
            )
            self.net = VisionTransformer(
                SIZE, P, embed_dim=D, depth=DEPTH, num_heads=H, num_classes=0, **average
            )
        else:
            from transformers import ViTConfig, ViTModel

            sizes = {"hidden_size": D, "num_hidden_layers": DEPTH, "num_attention_heads": H, "patch_size": P}
            config = ViTConfig(intermediate_size=4 * D, image_size=SIZE, layer_norm_eps=1e-6, **sizes)
            self.net = ViTModel(config)
        stir(self.net.eval())

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.net(x)
        return y.last_hidden_state[:, 0] if self.library == "transformers" else y

    def weights(self, folder: Path) -> dict[str, Tensor]:
        if self.library != "transformers":
            return self.net.state_dict()
        from safetensors.torch import load_file

        with redirect_stderr(io.StringIO()):
            self.net.save_pretrained(folder)
        return load_file(folder / "model.safetensors")

    def load(self, weights: dict[str, Tensor], folder: Path) -> None:
        if self.library != "transformers":
            self.net.load_state_dict(weights)
            return
        from safetensors.torch import save_file

        self.net.config.save_pretrained(folder)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        with redirect_stderr(io.StringIO()):
            self.net = type(self.net).from_pretrained(folder, add_pooling_layer=False).eval()


LIBRARIES = [("torchvision", "class"), ("timm", "class"), ("timm", "average"), ("transformers", "class")]


@pytest.mark.against("torchvision", "vit")
@pytest.mark.against("timm", "vit")
@pytest.mark.against("transformers", "vit")
@pytest.mark.parametrize(("library", "pool"), LIBRARIES)
def test_their_weights_give_their_embeddings(library: str, pool, tmp_path: Path):
    theirs, ours = Theirs(library, pool), small(pool=pool)
    ours.load_state_dict(from_theirs(NAMES[library], theirs.weights(tmp_path), ours.state_dict()))
    with torch.no_grad():
        torch.testing.assert_close(ours(images()), theirs(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.against("torchvision", "vit")
@pytest.mark.against("timm", "vit")
@pytest.mark.against("transformers", "vit")
@pytest.mark.parametrize(("library", "pool"), LIBRARIES)
def test_our_weights_give_our_embeddings_there(library: str, pool, tmp_path: Path):
    theirs, ours = Theirs(library, pool), stir(small(pool=pool))
    theirs.load(to_theirs(NAMES[library], ours.state_dict()), tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images()), ours(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.against("timm", "vit")
def test_a_step_of_training_is_timms():
    theirs, ours = Theirs("timm"), small()
    ours.load_state_dict(from_theirs(NAMES["timm"], theirs.net.state_dict(), ours.state_dict()))
    for net in (ours, theirs.net):
        net.train()(images()).square().mean().backward()
    gradients = {name: tensor.grad for name, tensor in theirs.net.named_parameters()}
    wanted = from_theirs(NAMES["timm"], gradients, ours.state_dict())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-3, atol=1e-6)


KNOWN = [(library, name) for name, net in NETS.items() for library in net.known_as]


@pytest.mark.against("torchvision", "vit")
@pytest.mark.against("timm", "vit")
@pytest.mark.against("transformers", "vit")
@pytest.mark.parametrize(("library", "name"), KNOWN)
def test_names_and_shapes_of_every_size_are_theirs(library: str, name: str):
    known_as = NETS[name].known_as[library]
    library, *variant = library.split("/")
    with torch.device("meta"):
        ours = make("/".join([name, *variant]), size=224)
        if library == "timm":
            import timm

            theirs = timm.create_model(known_as, num_classes=0)
        elif library == "torchvision":
            from torchvision import models

            theirs = models.get_model(known_as)
        else:
            from transformers import ViTConfig, ViTModel

            width, depth, heads = ours.width, len(ours.blocks), ours.blocks[0].attention.heads
            sizes = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
            theirs = ViTModel(
                ViTConfig(intermediate_size=4 * width, patch_size=ours.patch_size, **sizes),
                add_pooling_layer=False,
            )
    count = sum(p.numel() for p in ours.parameters())
    if library == "transformers":  # whose names in memory are not those of its files: see the parity above
        assert count == sum(p.numel() for p in theirs.parameters())
        return
    named = to_theirs(NAMES[library], ours.state_dict())
    wanted = {key: t.shape for key, t in theirs.state_dict().items() if not key.startswith("heads.")}
    assert {key: tensor.shape for key, tensor in named.items()} == wanted


def test_weights_of_another_size_list_what_does_not_fit():
    theirs = Theirs("timm").net.state_dict()
    with pytest.raises(ManyviewsError) as error:
        from_theirs(NAMES["timm"], theirs, small(size=64).state_dict())
    assert "1 misshapen: positions.0.weight [17, 24], not [65, 24]" in str(error.value)


# --- the paper's numbers -----------------------------------------------------------------------------

STATED = {name: net for name, net in NETS.items() if net.parameters}


def test_all_three_sizes_of_table_1_are_counted():
    assert sorted(net.parameters for net in STATED.values()) == [86, 307, 632]


@pytest.mark.parametrize("name", STATED)
def test_parameters_are_those_of_table_1(name: str):
    with torch.device("meta"):
        net = make(name, size=224)
    millions = (sum(p.numel() for p in net.parameters()) + (net.width + 1) * 1000) / 1e6
    assert millions == pytest.approx(NETS[name].parameters, abs=0.6)


def test_eq_1_to_4_written_plainly():
    net, x = stir(small()), images(1)
    heads, d = H, D // H
    with torch.no_grad():
        rows = [x[0, :, i : i + P, j : j + P].flatten() for i in range(0, SIZE, P) for j in range(0, SIZE, P)]
        z = torch.stack(rows) @ net.patch.weight.flatten(1).T + net.patch.bias
        z = torch.cat([net.class_token[None], z]) + net.positions[0].weight
        for block in net.blocks:
            qkv = block.attention.qkv(block.norm1(z))
            q, k, v = (part.unflatten(1, (heads, d)).transpose(0, 1) for part in qkv.chunk(3, dim=1))
            msa = ((q @ k.mT / d**0.5).softmax(2) @ v).transpose(0, 1).flatten(1)
            z = block.attention.out(msa) + z
            z = block.mlp.down(nn.functional.gelu(block.mlp.up(block.norm2(z)))) + z
        y = net.norm(z[0])
        torch.testing.assert_close(net(x)[0], y, rtol=1e-5, atol=1e-5)


# --- its variants ------------------------------------------------------------------------------------

EVERY = ["", *NETS["small_vit"].variants]


@pytest.mark.parametrize("variant", EVERY)
@pytest.mark.parametrize("channels", [1, 3])
def test_embedding_grid_and_tokens_agree(variant: str, channels: int):
    net = build(f"small_vit/{variant}" if variant else "small_vit", in_channels=channels)
    x = images(channels=channels)
    with judging(net):
        h, grid, tokens = net(x), net.grid(x), net.tokens(x)
    assert h.shape == (2, net.width) and grid.shape == (2, net.width, 8, 8)
    if variant == "average":
        assert tokens.shape == (2, 64, net.width)
        torch.testing.assert_close(h, grid.mean(dim=(2, 3)))
    else:
        assert tokens.shape == (2, 65, net.width)
        assert torch.equal(h, tokens[:, 0])
    assert torch.equal(grid[:, :, 2, 3], tokens[:, -64 + 2 * 8 + 3])


@pytest.mark.parametrize("variant", EVERY)
def test_every_parameter_is_trained(variant: str):
    depth = {} if "depth" in NETS["small_vit"].variants.get(variant, {}) else {"depth": 2}
    net = stir(make(f"small_vit/{variant}" if variant else "small_vit", size=16, **depth))
    net(images(size=16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


def test_dropout_is_of_training_alone():
    net, x = build("small_vit/dropout10"), images(size=32)
    assert not torch.equal(net(x), net(x))
    with judging(net):
        plain = build("small_vit")
        plain.load_state_dict(net.state_dict())
        assert torch.equal(net(x), plain.eval()(x))


@pytest.mark.parametrize("positions", ["1d", "2d", "sincos2d", "relative", "none"])
def test_only_without_positions_the_order_of_patches_does_not_matter(positions):
    net = stir(small(positions=positions))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        patches = net.patches(images())
        one, other = net.encode(patches, (4, 4))[:, 0], net.encode(patches[:, order], (4, 4))[:, 0]
    assert torch.allclose(one, other, atol=1e-4) == (positions == "none")


def test_positions_are_added_once_or_before_every_block():
    shapes = {
        added: [len(table.weight) for table in small(added=added).positions]
        for added in ("stem", "layers", "layers_shared")
    }
    assert shapes == {"stem": [17], "layers": [17] * DEPTH, "layers_shared": [17]}
    own, shared, stem = small(added="layers"), small(added="layers_shared"), small()
    with torch.no_grad():
        shared.load_state_dict(stem.state_dict())
        assert not torch.allclose(shared(images()), stem(images()), atol=1e-4)
        weights = {name: t for name, t in stem.state_dict().items() if not name.startswith("positions")}
        weights |= {f"positions.{i}.weight": stem.positions[0].weight for i in range(DEPTH)}
        own.load_state_dict(weights)
        torch.testing.assert_close(own(images()), shared(images()))


def test_only_the_patches_that_are_kept_are_read():
    net, x = stir(small()), images()
    keep = torch.tensor([[3, 0, 7], [15, 2, 9]])
    other = x.clone()
    other[0, :, :8, 8:16] += 1  # patch 1 of the first image, which is not kept
    with torch.no_grad():
        part = net.encode(net.patches(x), (4, 4), keep)
        assert part.shape == (2, 4, D)
        torch.testing.assert_close(net.encode(net.patches(other), (4, 4), keep), part)
        every = torch.arange(16).expand(2, 16)
        torch.testing.assert_close(net.encode(net.patches(x), (4, 4), every), net.tokens(x))
        # Positions belong to patches, not to places among those kept.
        turned = net.encode(net.patches(x), (4, 4), keep.flip(1))
        torch.testing.assert_close(turned[:, 1:].flip(1), part[:, 1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", ["class", "average"])
@pytest.mark.parametrize("positions", ["1d", "2d", "sincos2d", "none"])
def test_another_resolution_interpolates_and_resized_keeps_that(pool, positions):
    net = stir(small(pool=pool, positions=positions))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    larger = net.resized(48)
    with torch.no_grad():
        torch.testing.assert_close(larger(images(size=48)), net(images(size=48)), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert {name: t.shape for name, t in larger.state_dict().items()} == {
        name: t.shape for name, t in small(size=48, pool=pool, positions=positions).state_dict().items()
    }


@pytest.mark.against("timm", "vit")
def test_timm_at_another_resolution_agrees():
    from timm.models import VisionTransformer

    sizes = {"embed_dim": D, "depth": DEPTH, "num_heads": H, "num_classes": 0}
    theirs = stir(VisionTransformer(SIZE, P, dynamic_img_size=True, **sizes)).eval()
    ours = small()
    ours.load_state_dict(from_theirs(NAMES["timm"], theirs.state_dict(), ours.state_dict()))
    with torch.no_grad():
        x = images(size=48)[:, :, :24]  # not square either
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_a_resized_encoder_says_what_it_is():
    larger = build("small_vit").resized(48)
    assert larger.built is not None and larger.built.size == 48
    twin = build(larger.built.name, in_channels=3, size=larger.built.size)
    twin.load_state_dict(larger.state_dict())


def test_dropout_is_where_the_paper_has_it():
    net = small(dropout=0.3)
    assert torch.equal(net(images()), net(images()))
    net.train()
    assert not torch.equal(net(images()), net(images()))
    assert all(block.attention.dropout == 0 for block in net.blocks)
    net.dropout = 1.0  # nothing is left of patches and positions: every token is the same
    for block in net.blocks:
        block.dropout = block.mlp.inner_dropout = 0.0
    tokens = net.tokens(images())
    torch.testing.assert_close(tokens, tokens[:1, :1].expand_as(tokens))


# --- hybrids -----------------------------------------------------------------------------------------


def test_the_hybrid_reads_a_map_of_14_by_14_and_has_resnet_50s_blocks():
    with torch.device("meta"):
        net = make("vit_b_r50", size=224)
        assert net.backbone.grid(torch.zeros(1, 3, 224, 224)).shape == (1, 1024, 14, 14)
        assert net.tokens(torch.zeros(1, 3, 224, 224)).shape == (1, 197, 768)
    blocks = [len(net.backbone.get_submodule(stage)) for stage in net.backbone.stages]
    assert sum(blocks) == 16 and len(blocks) == 3
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.against("timm", "vit")
def test_standardised_weights_are_timms():
    from timm.layers import StdConv2d

    ours = standardise(nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False)))
    theirs = StdConv2d(3, 5, 3, stride=2, padding=1, eps=1e-10)
    theirs.load_state_dict(ours[0].state_dict())
    torch.testing.assert_close(ours(images()), theirs(images()), rtol=1e-4, atol=1e-5)


def test_every_convolution_of_a_hybrids_stages_is_standardised():
    with torch.device("meta"):
        convolutions = [m for m in resnet50_stage(3).modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 1 + 16 * 3 + 3
    assert all(isinstance(module, StandardisedConv2d) for module in convolutions)


# --- what cannot be ----------------------------------------------------------------------------------


def test_sizes_that_patches_do_not_divide_are_refused():
    with pytest.raises(ManyviewsError, match="Patches of 16 pixels do not divide images of 30 x 30"):
        build("vit_ti16", size=30)
    with pytest.raises(ManyviewsError, match="do not divide images of 8 x 8"):
        build("vit_ti16", size=8)
    for call in (small(), small().grid, small().patches):
        with pytest.raises(ManyviewsError, match="Patches of 8 pixels do not divide images of 36 x 36"):
            call(images(size=36))


def test_relative_positions_know_one_grid_alone():
    net = small(positions="relative")
    with pytest.raises(ManyviewsError, match="4 x 4 grid"):
        net(images(size=48))
    with pytest.raises(ManyviewsError, match="4 x 4 grid"):
        net.encode(net.patches(images()), (4, 4), torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ManyviewsError, match="cannot be resized"):
        net.resized(48)


@pytest.mark.parametrize("variant", ["none/layers", "relative/layers_shared"])
def test_positions_that_are_not_added_are_added_nowhere(variant: str):
    with pytest.raises(ManyviewsError, match="are not added to tokens: leave out"):
        build(f"small_vit/{variant}")


def test_positions_are_chosen_once():
    with pytest.raises(ManyviewsError, match="says twice"):
        build("small_vit/2d/none")
    with pytest.raises(ManyviewsError, match=r"did you mean.*vit_b16"):
        build("vit_b_16")
    assert {"vit_b16", "vit_h14"} <= set(catalogue())
