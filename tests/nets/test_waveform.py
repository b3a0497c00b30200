"""CPC's nets for sounds: a latent every 160 samples, contexts that see only what came, embeddings of any length."""

import pytest
import torch
from torch import nn

from manyviews import nets
from manyviews.errors import ManyviewsError
from manyviews.nets.interop import load_encoder, save_encoder
from manyviews.nets.waveform import AHEAD, HOP, Contexts, Waveform
from manyviews.rng import generator


def sound(batch: int, samples: int) -> torch.Tensor:
    return torch.randn(batch, 1, samples, generator=generator("sound"))


def context_net(size: int = 1600) -> Contexts:
    torch.manual_seed(0)
    net = nets.build("gru(small_waveform, 24)", size=size)
    assert isinstance(net, Contexts)
    return net.eval()


@pytest.mark.parametrize("samples", [160, 320, 1600, 4096, 8000, 20_480])
def test_there_is_a_latent_every_160_samples(samples: int) -> None:
    net = Waveform(8)
    assert net.latents(sound(1, samples)).shape == (1, samples // HOP, 8)
    assert net.grid(sound(1, samples)).shape == (1, 8, 1, samples // HOP)


def test_it_is_the_papers_encoder() -> None:
    """Section 3.1: strides 5, 4, 2, 2, 2; filter sizes 10, 8, 4, 4, 4; 512 hidden units with ReLU."""
    net = nets.build("waveform", size=20_480)
    layers = [module for module in net.modules() if isinstance(module, nn.Conv1d)]
    assert [layer.stride[0] for layer in layers] == [5, 4, 2, 2, 2]
    assert [layer.kernel_size[0] for layer in layers] == [10, 8, 4, 4, 4]
    assert {layer.out_channels for layer in layers} == {512} and net.in_channels == 1
    assert sum(isinstance(module, nn.ReLU) for module in net.modules()) == 5
    assert nets.build("gru(waveform)", size=20_480).width == 256


def test_a_context_sees_nothing_of_what_comes() -> None:
    net, x = context_net(), sound(2, 1600)
    z = net.latents(x)
    c = net.contexts(z)
    later = z.clone()
    later[:, 6:] = 0
    assert torch.equal(net.contexts(later)[:, :6], c[:, :6]) and not torch.equal(
        net.contexts(later)[:, 6:], c[:, 6:]
    )


def test_a_latent_sees_as_far_as_is_said() -> None:
    x = sound(1, 3200).requires_grad_()
    Waveform(8).latents(x)[0, 8].sum().backward()
    assert x.grad is not None
    seen = x.grad[0, 0].nonzero().flatten()
    assert (int(seen[0]), int(seen[-1])) == (8 * HOP - 153, 8 * HOP + AHEAD - 1)


def test_a_signal_does_not_fade_through_five_layers() -> None:
    torch.manual_seed(0)
    z = Waveform(64).latents(sound(8, 4096)).detach()
    assert 0.3 < float(z.square().mean().sqrt()) < 3


def test_zeros_after_a_sound_only_fill_the_batch() -> None:
    net = context_net()
    x = sound(2, 1600)
    longer = torch.zeros(2, 1, 4000)
    longer[:, :, :1600] = x
    torch.testing.assert_close(net(longer), net(x))
    torch.testing.assert_close(net(x), net.contexts(net.latents(x))[:, :9].mean(1))
    torch.testing.assert_close(net(x[..., :200]), net.contexts(net.latents(x[..., :200]))[:, 0])
    assert torch.isfinite(net(torch.zeros(1, 1, 1600))).all()


def test_saved_and_loaded_it_is_the_same_net(tmp_path) -> None:
    net = context_net()
    save_encoder(tmp_path, net, {})
    again, _ = load_encoder(tmp_path)
    assert again.built == net.built and torch.equal(again(sound(2, 1600)), net(sound(2, 1600)))


def test_names_say_what_a_net_is_given() -> None:
    assert nets.sees("gru(small_waveform, 24)") == nets.sees("waveform") == "sounds"
    assert nets.sees("resnet18/plain") == nets.sees("timm/resnet18") == "images"
    assert "waveform" not in nets.names()  # they are those of images


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ManyviewsError, match="Windows of 100 samples hold no latent"):
        nets.build("small_waveform", size=100)
    with pytest.raises(ManyviewsError, match="A sound of 159 samples is too short"):
        Waveform(8).latents(sound(1, 159))
    with pytest.raises(ManyviewsError, match="cifar_resnet8 has none; take waveform or small_waveform"):
        nets.build("gru(cifar_resnet8, 24)")
    with pytest.raises(ManyviewsError, match="needs the number of its units"):
        nets.build("gru(small_waveform, 24, 3)", size=1600)
