"""Embedding a set: same rows however it is read, and nothing of the encoder or of torch changed."""

import copy

import pytest
import torch

from manyviews.data import Unreadable
from manyviews.errors import ManyviewsError
from manyviews.evaluation import EncoderEmbedder, RawPixels, embed_all
from manyviews.evaluation.features import Embedder, canvas
from manyviews.views import plain


def test_rows_are_the_encoder_in_evaluation_mode(blobs, net):
    data = blobs(21, seed=0)
    features = embed_all(EncoderEmbedder(net, 16), data, batch=8)
    with torch.no_grad():
        expected = copy.deepcopy(net).eval()(plain(data.values, 16))
    torch.testing.assert_close(features.h_ND, expected)
    assert features.h_ND.dtype == torch.float32
    assert torch.equal(features.labels, data.labels)
    assert not features.h_ND.requires_grad


def test_embedding_changes_no_state(blobs, net):
    net.bn2.eval()  # a part that was put to rest on purpose
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    embed_all(EncoderEmbedder(net, 16), blobs(9, seed=0))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert True in modes and False in modes
    assert torch.equal(torch.get_rng_state(), state)


def test_an_encoder_that_draws_leaves_the_global_generator_alone(blobs):
    class Noisy(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1) + torch.randn(len(x), 1)

    state = torch.get_rng_state()
    embed_all(EncoderEmbedder(Noisy(), 16), blobs(4, seed=0))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_encoder_that_raises_is_left_in_its_mode(blobs, net):
    net.conv2 = torch.nn.Conv2d(4, 8, 3)
    with pytest.raises(RuntimeError):
        EncoderEmbedder(net, 16).embed(blobs(2, seed=0).values)
    assert all(module.training for module in net.modules())


@pytest.mark.parametrize("size", [16, 12])
def test_images_on_disk_embed_as_those_in_memory(blobs, streamed, net, size):
    data = blobs(13, seed=1, size=16)
    resident = embed_all(EncoderEmbedder(net, size), data)
    read = embed_all(EncoderEmbedder(net, size), streamed(data), batch=4)
    torch.testing.assert_close(
        read.h_ND, resident.h_ND, atol=2e-2, rtol=0
    )  # resized pixels are rounded once more
    assert torch.equal(read.labels, resident.labels)


def test_images_of_different_shapes_are_embedded_together(blobs, streamed):
    data = blobs(3, seed=1)
    images = [torch.full((3, 20 + k, 30), 40 * k, dtype=torch.uint8) for k in range(3)]
    features = embed_all(RawPixels(8), streamed(data, lambda item: images[item]))
    assert features.h_ND.shape == (3, 3 * 8 * 8)
    torch.testing.assert_close(features.h_ND[2], plain(images[2][None], 8).flatten())


def test_canvas_is_the_picture_that_plain_would_cut():
    image = torch.randint(0, 256, (3, 40, 31), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    again = plain(canvas(image, 16)[None], 16)
    torch.testing.assert_close(again, plain(image[None], 16), atol=0.51 / 255 / 0.224, rtol=0)


def test_what_cannot_be_read_is_left_out_and_named(blobs, streamed):
    data = blobs(300, seed=2)

    def read(item):
        if item in (5, 17):
            raise Unreadable(f"{item}.jpg is cut short")
        return data.values[item]

    broken = streamed(data, read)
    features = embed_all(RawPixels(16), broken, batch=64)
    kept = [item for item in range(300) if item not in (5, 17)]
    assert features.index.tolist() == kept
    assert torch.equal(features.labels, data.labels[kept])
    torch.testing.assert_close(features.h_ND, embed_all(RawPixels(16), data.subset(kept)).h_ND)
    assert sorted(broken.skipped.files.values()) == ["17.jpg is cut short", "5.jpg is cut short"]


def test_too_much_that_cannot_be_read_stops(blobs, streamed):
    def read(item):
        raise Unreadable(f"{item}.jpg is cut short")

    with pytest.raises(ManyviewsError, match=r"cannot be read.*cut short"):
        embed_all(RawPixels(16), streamed(blobs(20, seed=0), read))


def test_an_empty_set_is_refused(blobs):
    with pytest.raises(ManyviewsError, match="holds no images"):
        embed_all(RawPixels(16), blobs(4, seed=0).subset([]))


def test_both_embedders_are_embedders(net):
    assert isinstance(RawPixels(8), Embedder) and isinstance(EncoderEmbedder(net, 8), Embedder)
