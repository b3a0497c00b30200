"""Fine-tuning: the original stays as it was, layers learn at their rates, the last epoch counts."""

import pytest
import torch
from torch import nn

from manyviews import nets
from manyviews.data import ItemSet
from manyviews.data.loader import enough
from manyviews.errors import ManyviewsError
from manyviews.evaluation import finetune
from manyviews.evaluation.batches import usual_batch
from manyviews.evaluation.descent import descend, layers, parameter_groups
from manyviews.views import View, Views

SMALL = {"classes": 3, "size": 16, "batch": 40}


def test_learns_and_leaves_the_encoder_as_it_was(blobs, net):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    tuned = finetune(net, blobs(240, seed=0), blobs(90, seed=1), epochs=8, lr=1e-2, **SMALL)
    assert tuned.scores.top1 > 0.9
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert net.training and all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    tuned_state = tuned.classifier[0].state_dict()
    assert not any(torch.equal(before[name], tuned_state[name]) for name in before if name.endswith("weight"))
    assert not tuned.classifier.training


def test_few_images_are_seen_in_small_batches(blobs, net):
    assert [usual_batch(items) for items in (12_000, 1_200, 120, 10)] == [256, 150, 15, 8]
    few = {"classes": 3, "size": 16, "epochs": 2}
    assert finetune(net, blobs(30, seed=0), blobs(9, seed=1), **few).items == 2 * 3 * 8
    assert finetune(net, blobs(30, seed=0), blobs(9, seed=1), batch=30, **few).items == 2 * 30
    with pytest.raises(ManyviewsError, match="one image a step, not 2, 0"):
        finetune(net, blobs(30, seed=0), blobs(9, seed=1), batch=0, **few)


def test_a_frozen_encoder_is_thawed_in_the_copy_alone(blobs, net):
    net.requires_grad_(False)
    tuned = finetune(net, blobs(40, seed=0), blobs(9, seed=1), epochs=1, **SMALL)
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert not torch.equal(tuned.classifier[0].conv1.weight, net.conv1.weight)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_repeats_itself_dropout_included(blobs, net, optimiser):
    train, test = blobs(80, seed=0), blobs(30, seed=1)
    first = finetune(net, train, test, epochs=2, optimiser=optimiser, **SMALL)
    torch.randn(5)
    again = finetune(net, train, test, epochs=2, optimiser=optimiser, **SMALL)
    assert all(
        map(torch.equal, first.classifier.state_dict().values(), again.classifier.state_dict().values())
    )
    other = finetune(net, train, test, epochs=2, optimiser=optimiser, seed=1, **SMALL)
    assert not torch.equal(first.classifier[0].conv1.weight, other.classifier[0].conv1.weight)


def test_reports_the_last_epoch_and_not_the_best(blobs, net):
    train, test = blobs(120, seed=0, noise=90.0), blobs(90, seed=1, noise=90.0)
    tuned = finetune(
        net,
        train,
        test,
        epochs=8,
        lr=0.5,
        schedule="constant",
        warmup=0.0,
        watch=True,
        weight_decay=0.0,
        **SMALL,
    )
    assert tuned.history[-1] < max(tuned.history)  # far too high a rate: accuracy jumps about
    assert tuned.scores.top1 == tuned.history[-1]


def test_few_labels(blobs, net):
    tuned = finetune(net, blobs(300, seed=0), blobs(30, seed=1), epochs=1, label_fraction=0.1, **SMALL)
    assert tuned.labels == 30
    assert "classifier" not in tuned.as_dict() and tuned.as_dict()["labels"] == 30


def test_images_on_disk(blobs, streamed, net):
    tuned = finetune(
        net, streamed(blobs(240, seed=0)), streamed(blobs(60, seed=1)), epochs=6, lr=1e-2, **SMALL
    )
    assert tuned.scores.top1 > 0.8


def test_divergence_is_said(blobs, net):
    with torch.no_grad():
        net.conv1.weight.fill_(torch.inf)
    with pytest.raises(ManyviewsError, match="lower the learning rate"):
        finetune(net, blobs(40, seed=0), blobs(9, seed=1), epochs=1, **SMALL)


NETS = [
    "small_resnet",
    "cifar_resnet8",
    "resnet18",
    "torchvision/mobilenet_v3_small",
    "timm/vit_tiny_patch16_224",
]


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_is_in_exactly_one_layer(name):
    encoder = nets.build(name, size=224 if "vit" in name else 32)
    found = [id(parameter) for layer in layers(encoder) for parameter in layer]
    assert sorted(found) == sorted(id(parameter) for parameter in encoder.parameters())


def test_layers_follow_the_depth():
    names = {}
    encoder = nets.build("resnet18", size=32)
    for depth, layer in enumerate(layers(encoder)):
        names |= {id(parameter): depth for parameter in layer}
    depth_of = {name: names[id(parameter)] for name, parameter in encoder.named_parameters()}
    assert depth_of["conv1.weight"] == depth_of["bn1.weight"] == 0
    assert depth_of["layer1.0.conv1.weight"] == depth_of["layer1.0.conv2.weight"] == 1
    assert depth_of["layer4.1.conv2.weight"] == 8 == max(depth_of.values())


def test_a_transformer_has_a_layer_a_block_and_its_tokens_in_the_first():
    encoder = nets.build("timm/vit_tiny_patch16_224", size=224)
    found = layers(encoder)
    first = {id(parameter) for parameter in found[0]}
    assert len(found) == 1 + 12 + 1  # patches, blocks, the last norm
    assert id(encoder.model.cls_token) in first and id(encoder.model.pos_embed) in first


def test_an_encoder_may_name_its_layers():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first, self.token = nn.Linear(2, 2), nn.Linear(2, 2), nn.Parameter(torch.zeros(2))

        def layers(self):
            return [self.first, self.last]

    encoder = Named()
    (token, *first), last = layers(encoder)
    assert token is encoder.token and first[0] is encoder.first.weight and last[0] is encoder.last.weight


def test_rates_fall_with_depth_and_biases_are_not_decayed(net):
    head = nn.Linear(16, 3)
    groups = parameter_groups(net, head, lr=1.0, layer_decay=0.5, weight_decay=0.05)
    rate = {id(parameter): (g["peak"], g["weight_decay"]) for g in groups for parameter in g["params"]}
    assert rate[id(head.weight)] == (1.0, 0.05) and rate[id(head.bias)] == (1.0, 0.0)
    encoder = nets.build("cifar_resnet8", size=32)
    groups = parameter_groups(encoder, head, lr=1.0, layer_decay=0.5, weight_decay=0.05)
    rate = {id(parameter): (g["peak"], g["weight_decay"]) for g in groups for parameter in g["params"]}
    assert rate[id(encoder.conv1.weight)] == (0.5**4, 0.05)  # head, three blocks, stem
    assert rate[id(encoder.bn1.weight)] == (0.5**4, 0.0)
    assert len(rate) == len(list(encoder.parameters())) + 2


def test_layer_decay_zero_trains_the_head_alone(blobs, net):
    tuned = finetune(net, blobs(80, seed=0), blobs(9, seed=1), epochs=1, layer_decay=0.0, **SMALL)
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, tuned.classifier[0].get_parameter(name))


def test_images_on_disk_are_decoded_no_larger_than_the_crops_need(net) -> None:
    pixels, asked = torch.randint(0, 256, (24, 3, 40, 40), dtype=torch.uint8), list[int]()

    def near(item: int, side: int) -> torch.Tensor:
        asked.append(side)
        return pixels[item]

    names = [str(item) for item in range(24)]

    def read(item: int) -> torch.Tensor:
        pytest.fail("decoded whole")

    data = ItemSet("photos", names, torch.arange(24) % 3, ("a", "b", "c"), None, read, read_near=near)
    finetune(net, data, data, epochs=1, batch=12, classes=3, size=16)
    assert set(asked) == {enough(Views(View(size=16))), 18}  # to learn from, and to be judged


def test_each_group_descends_at_the_schedules_share_of_its_own_rate():
    layer, head, rates = nn.Linear(2, 2), nn.Linear(2, 1), []
    optimise, start = torch.optim.SGD(parameter_groups(layer, head, 1.0, 0.5, 0.0)), head.bias.item()
    for step in range(4):
        descend(optimise, head(layer(torch.ones(1, 2))).sum(), step, 4, "linear", 0.2, "A test")
        rates.append([group["lr"] for group in optimise.param_groups])
    shares = torch.tensor([1, 0.75, 0.5, 0.25])
    torch.testing.assert_close(torch.tensor(rates), shares[:, None] * torch.tensor([1, 1, 0.5, 0.5]))
    assert head.bias.item() - start == pytest.approx(-2.5)


def test_every_step_draws_its_own_dropout(blobs):
    drawn = []

    class Drawing(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 4)

        def forward(self, x):
            if self.training:
                drawn.append(float(torch.rand(())))
            return self.linear(x.mean((2, 3)))

    finetune(Drawing(), blobs(80, seed=0), blobs(9, seed=1), epochs=2, **SMALL)
    assert len(set(drawn)) == len(drawn) == 4
