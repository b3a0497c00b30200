"""Models of timm and torchvision, worn as encoders."""

import sys
import urllib.error

import pytest
import torch

from manyviews.errors import ManyviewsError
from manyviews.nets import build

POOLED = [
    "torchvision/resnet18",
    "torchvision/mobilenet_v2",
    "torchvision/shufflenet_v2_x0_5",
    "timm/resnet18",
]
OTHERS = [
    "torchvision/squeezenet1_1",
    "torchvision/mobilenet_v3_small",
    "timm/convnext_atto",
    "timm/swin_s3_tiny_224",
]


@pytest.mark.parametrize("name", POOLED + OTHERS)
@pytest.mark.parametrize("in_channels", [1, 3])
def test_a_hub_net_is_an_encoder(name: str, in_channels: int):
    net = build(name, in_channels=in_channels, size=64).eval()
    x = torch.randn(2, in_channels, 64, 64)
    with torch.no_grad():
        h, grid = net(x), net.grid(x)
    assert h.shape == (2, net.width) and grid.ndim == 4 and grid.shape[2] == grid.shape[3] < 64
    assert net.in_channels == in_channels
    if name in POOLED:
        torch.testing.assert_close(grid.mean(dim=(2, 3)), h, rtol=1e-4, atol=1e-5)


def test_a_transformers_patches_keep_their_places():
    net = build("timm/vit_tiny_patch16_224", size=64).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        tokens = net.model.get_submodule("patch_embed")(x)
        grid = net.grid(x)
        features = net.model.forward_features(net.as_there(x))
    assert net.width == 192 and grid.shape == (1, 192, 4, 4) and tokens.shape == (1, 16, 192)
    assert torch.equal(grid[0, :, 1, 2], features[0, 1 + 1 * 4 + 2])


def test_torchvisions_transformer_gives_its_patches():
    net = build("torchvision/vit_b_32", size=64).eval()
    assert net.grid(torch.randn(1, 3, 64, 64)).shape == (1, 768, 2, 2)


def test_dropout_of_the_classifier_does_not_touch_the_embedding():
    net = build("torchvision/mobilenet_v2", size=32)
    assert not [m for m in net.modules() if isinstance(m, torch.nn.Dropout)]


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("timm/resnet81", 32, "did you mean"),
        ("timm/hf-hub:someone/something", 32, "no model called"),
        ("torchvision/resnet17", 32, "resnet1"),
        ("torchvision/fcn_resnet50", 32, "no model called"),
        ("timm/vit_tiny_patch16_224", 40, "patches of 16"),
        ("torchvision/vit_b_32", 40, "40 pixels"),
        ("torchvision/alexnet", 16, "16 pixels"),
    ],
)
def test_nets_that_cannot_be_are_refused_in_a_sentence(name: str, size: int, words: str):
    with pytest.raises(ManyviewsError, match=words):
        build(name, size=size)


def test_a_missing_timm_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ManyviewsError, match=r'pip install "manyviews\[hub\]"'):
        build("timm/resnet18")


@pytest.fixture
def checkpoints(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_a_failed_download_is_a_sentence(checkpoints, monkeypatch: pytest.MonkeyPatch):
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(ManyviewsError, match=r"could not be loaded.*no network"):
        build("torchvision/resnet18", pretrained=True)
    with pytest.raises(ManyviewsError, match="3 channels"):
        build("torchvision/resnet18", pretrained=True, in_channels=1)


def test_pretrained_weights_are_loaded_and_a_pickle_that_acts_is_not(checkpoints):
    from torchvision import models

    file = checkpoints / models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    theirs = models.resnet18()
    torch.save(theirs.state_dict(), file)
    ours = build("torchvision/resnet18", pretrained=True, size=64)
    assert torch.equal(ours.get_parameter("model.conv1.weight"), theirs.conv1.weight)

    torch.save({"conv1.weight": Harm()}, file)
    with pytest.raises(ManyviewsError, match="could not be loaded"):
        build("torchvision/resnet18", pretrained=True, size=64)


def test_weights_of_a_net_with_heads_beside_are_had_and_made_again_without_them(checkpoints):
    """Its own input is turned from our normalisation into the one that its weights were learned with."""
    from torchvision import models

    theirs = models.googlenet(aux_logits=True, init_weights=False)
    torch.save(theirs.state_dict(), checkpoints / models.GoogLeNet_Weights.DEFAULT.url.rpartition("/")[2])
    ours, again = (
        build("torchvision/googlenet", pretrained=True, size=64),
        build("torchvision/googlenet", size=64),
    )
    again.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 64, 64)
    theirs.fc, theirs.dropout, theirs.transform_input = torch.nn.Identity(), torch.nn.Identity(), True  # pyright: ignore[reportAttributeAccessIssue]
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), again.eval()(x))
        torch.testing.assert_close(ours(x), theirs.eval()(x))


class Harm:
    def __reduce__(self):
        return pytest.fail, ("a stranger's pickle was run",)
