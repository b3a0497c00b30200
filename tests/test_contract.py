"""One test walks every method: what the contract promises holds for each file under ``methods/``."""

import dataclasses
import inspect
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from manyviews import nets, plan
from manyviews.cli.learning import Run as RunFlags
from manyviews.data import ItemSet
from manyviews.errors import ManyviewsError
from manyviews.evaluation import EncoderEmbedder, LabelFree
from manyviews.method import Batch, Method, Out, Spec, find, names
from manyviews.recipe import Budget, Recipe, record
from manyviews.runs import net_factory
from manyviews.training import checkpoint
from manyviews.training.finite import ill_weights
from manyviews.training.loop import Loop
from shrink import SIDE, colours, sees, shrunk, small_net, suited

ITEMS, CLASSES = 48, 4
EVERY = pytest.mark.parametrize("name", names())


def images(name: str) -> ItemSet:
    return suited(name, ITEMS, "pixels")


def small(name: str, **changes: object) -> tuple[object, Recipe]:
    """The method's own recipe for the world, at a size for tests."""
    config, recipe = plan.base(find(name), "world")
    return plan.changed(
        find(name),
        shrunk(config),
        recipe,
        {"size": SIDE[sees(name)], "batch": 16, "budget": "5steps", **changes},
    )


def build(name: str, **changes: object) -> tuple[Method, Recipe]:
    config, recipe = small(name, **changes)
    torch.manual_seed(0)
    labels = images(name).labels if find(name).method.supervised else None
    tokeniser = images(name).tokeniser
    spec = Spec(
        items=ITEMS,
        size=recipe.size,
        classes=CLASSES,
        colours=colours(images(name)),
        labels=labels,
        tokeniser=tokeniser,
    )
    return find(name).method(config, net_factory(small_net(name), recipe.size), spec), recipe


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [("simclr", {"optimiser": "adma"}, "--optimiser is 'adma'; it is one of gd, sgd"),
     ("beit", {"masking": "rnadom"}, "--masking is 'rnadom'; it is one of block, random"),
     ("simclr", {"schedule": "rsqrt", "warmup": 0.0}, "--schedule rsqrt falls from the end of the warm-up"),
     ("simclr", {"clip": 0.0}, "--clip is 0.0"), ("simclr", {"trust": 0.0}, "--trust is 0.0"),
     ("simclr", {"layer_decay": 0.0}, "--layer-decay is 0.0"), ("simclr", {"layer_decay": 1.1}, "--layer-decay is 1.1"),
     ("simclr", {"weight_decay": -1.0}, "--weight-decay is -1.0"), ("simclr", {"milestones": (0.5, 1.0)}, "--milestones are"),
     ("simclr", {"weight_decay": 0.0, "weight_decay_end": 0.1}, "--weight-decay-end changes a weight decay that is there"),
     ("simclr", {"temperature": 0.0}, "--temperature is 0.0; it divides"), ("swav", {"epsilon": -1.0}, "--epsilon is -1.0"),
     ("simclr", {"milestones": (0.5,)}, "--milestones is read only with --schedule step, and here it is --schedule cosine"),
     ("simclr", {"beta2": 0.9, "optimiser": "sgd"}, "--beta2 is read only with --optimiser adam or --optimiser adamw or"),
     ("simclr", {"crop_first": 0.1}, "--crop-first is read only with --crops contrastive"),
     ("instdisc", {"noise": 512}, "--noise is read only with --no-softmax, and here it is --softmax; leave it out"),
     ("cmc", {"bank_momentum": 0.9}, "--bank-momentum is read only with --contrast nce or --contrast softmax"),
     ("simclrv2", {"momentum": 0.9}, "--momentum is read only with --queue above 0, and here it is --queue 0"),
     ("bert", {"copies": 5}, "--copies is read only with --masking static"),
     ("swav", {"local_crops": 0, "local_area": (0.1, 0.3)}, "--local-area is read only with --local-crops above 0, and here it is"),
     ("swav", {"queue_from": 0.1}, "--queue-from is read only with --queue above 0"),
     ("wcl", {"neighbours": 2}, "--neighbours is read only with --local-crops above 0"),
     ("crd", {"kd_temperature": 2.0}, "--kd-temperature is read only with --alpha above 0"),
     ("dino", {"sharpen": False, "teacher_warmup": 0.2}, "--teacher-warmup is read only with --sharpen, and here it is --no-sharpen"),
     ("mocov2", {"mlp": False, "hidden": 64}, "--hidden is read only with --mlp"),
     ("simsiam", {"predictor": False, "bottleneck": 64}, "--bottleneck is read only with --predictor"),
     ("infomin", {"space": "lab", "grey": 0.5}, "--grey is read only with --space None, and here it is --space lab"),
     ("moco", {"momentum": 1.5}, "--momentum is 1.5; it is a share"), ("densecl", {"dense": 2.0}, "--dense is 2.0; it is a share"),
     ("igpt", {"ratio": 0.5}, "--ratio is read only with --objective masked, and here it is --objective next"),
     ("instdisc", {"flip": 0.5, "mirror": False}, "--flip is read only with --mirror, and here it is --no-mirror"),
     ("beit", {"block": 4, "masking": "random"}, "--block is read only with --masking block"),
     ("mae", {"min_area": 0.5, "augment": "none"}, "--min-area is read only with --augment crop or --augment jitter"),
     ("invaspread", {"min_area": 0.5, "augmentation": False}, "--min-area is read only with --augmentation, and here it is"),
     ("simcse", {"share": 0.3, "positive": "dropout"}, "--share is read only with --positive delete or --positive crop"),
     ("gpt", {"tokens": "tokenizer.json", "vocabulary": 9}, "--vocabulary is read only with --tokens chars or")],
)  # fmt: skip
def test_what_a_setting_cannot_be_is_refused_in_python_too(name: str, change: dict, says: str) -> None:
    with pytest.raises(ManyviewsError, match=says):
        plan.changed(find(name), *plan.base(find(name), "world"), change)


@EVERY
def test_what_is_read_only_beside_another_setting_names_settings(name: str) -> None:
    paper = find(name)
    fields = {field.name for kind in (paper.config, Recipe) for field in dataclasses.fields(kind)}
    assert paper.serves.keys() | {other for other, _ in paper.serves.values()} <= fields
    for other, words in paper.serves.values():
        kind = next(kind for kind in (paper.config, Recipe) if hasattr(kind, other))
        plan.check_words(dataclasses.replace(kind(), **{other: words[0]}) if words else kind())


def test_a_setting_beside_the_one_that_reads_it_is_taken() -> None:
    for name, change in (
        ("simclrv2", {"momentum": 0.9, "queue": 64}),
        ("instdisc", {"noise": 9, "softmax": False}),
    ):
        config, _ = plan.changed(find(name), *plan.base(find(name), "world"), change)
        assert dataclasses.asdict(config).items() >= change.items()


@pytest.mark.parametrize("items", [0, 1])
def test_one_item_is_no_batch(items: int) -> None:
    with pytest.raises(ManyviewsError, match="a batch has at least 2: give more data"):
        plan.check_data(Recipe(batch=2), items)


@pytest.mark.parametrize("text", ["1.000.000steps", "1..5h", "_5ep", "."])
def test_a_length_of_two_dots_is_none(text: str) -> None:
    with pytest.raises(ManyviewsError, match="is not a length with a unit"):
        Budget.parse(text)


@pytest.mark.parametrize(
    ("name", "meant"), [("momentum", "inertia"), ("learning_rate", "lr"), ("temprature", "temperature")]
)
def test_a_setting_that_is_called_otherwise_is_suggested(name: str, meant: str) -> None:
    with pytest.raises(ManyviewsError, match=f"knows no setting '{name}'; did you mean {meant}"):
        plan.changed(find("simclr"), *plan.base(find("simclr"), "world"), {name: 0.5})


@EVERY
def test_config_survives_json_and_refuses_what_it_does_not_know(name: str) -> None:
    for config, recipe in find(name).recipes.values():
        assert record(type(config), json.loads(json.dumps(dataclasses.asdict(config)))) == config
        assert record(Recipe, json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe
    with pytest.raises(ManyviewsError, match="knows no setting 'temprature'"):
        record(find(name).config, {"temprature": 1.0})


@EVERY
def test_recipes_can_be_asked_for(name: str) -> None:
    assert {"paper", plan.USUAL[sees(name)], "world"} <= set(find(name).recipes)
    for _, recipe in find(name).recipes.values():
        plan.check(recipe)
        assert nets.sees(recipe.net) == sees(name), recipe.net
        assert Budget.parse(recipe.budget).amount > 0


@EVERY
def test_every_flag_has_one_owner(name: str) -> None:
    owners = [{f.name for f in dataclasses.fields(kind)} for kind in (find(name).config, Recipe, RunFlags)]
    assert sum(map(len, owners)) == len(set.union(*owners))


@EVERY
def test_every_hyper_parameter_says_where_it_comes_from(name: str) -> None:
    config = find(name).config
    for field in dataclasses.fields(config):
        owner = next(kind for kind in config.__mro__ if field.name in vars(kind).get("__annotations__", {}))
        lines = inspect.getsource(owner).splitlines()
        (line,) = [line for line in lines if line.startswith(f"    {field.name}: ")]
        assert "  # " in line


@EVERY
def test_gradients_reach_all_that_is_trained_and_nothing_that_is_frozen(name: str) -> None:
    method, recipe = build(name)
    loop = Loop(method, images(name), recipe)
    drawn = next(loop._drawn())
    out = method.loss(loop._seen(drawn), 0.0)
    watched = {field.name for field in dataclasses.fields(LabelFree)}
    assert not out.log.keys() & watched, "the monitor logs figures of that name"
    out.loss.backward()
    for parameter, tensor in method.named_parameters():
        if tensor.requires_grad:
            assert tensor.grad is not None and torch.isfinite(tensor.grad).all(), parameter
        else:
            assert tensor.grad is None, parameter


@EVERY
def test_labels_reach_only_the_supervised(name: str) -> None:
    method, recipe = build(name)
    seen: list[Tensor | None] = []
    own = method.loss

    def spy(batch: Batch, progress: float) -> Out:
        seen.append(batch.label)
        return own(batch, progress)

    method.loss = spy  # pyright: ignore[reportAttributeAccessIssue]
    Loop(method, images(name), recipe).run()
    assert len(seen) == 5
    assert all((label is not None) == method.supervised for label in seen)


@EVERY
def test_stopped_and_resumed_equals_unbroken(name: str, tmp_path: Path) -> None:
    unbroken, recipe = build(name)
    Loop(unbroken, images(name), recipe).run()

    first, _ = build(name)
    loop = Loop(first, images(name), recipe)
    loop.interrupted = lambda: loop.step == 2
    assert loop.run() == "interrupted"
    checkpoint.save(tmp_path, loop.step, loop.state())

    second, _ = build(name, seed=0)
    torch.nn.utils.vector_to_parameters(
        torch.zeros(sum(p.numel() for p in second.parameters())), second.parameters()
    )
    loop = Loop(second, images(name), recipe)
    state, refused = checkpoint.newest(tmp_path)
    assert state is not None and not refused
    loop.restore(state)
    assert loop.run() == "finished"
    for (key, a), b in zip(unbroken.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


@EVERY
def test_embedding_changes_no_state(name: str) -> None:
    method, recipe = build(name)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    random = torch.random.get_rng_state()
    pixels = images(name).values
    assert pixels is not None
    first = EncoderEmbedder(method.encoder, recipe.size).embed(pixels)
    assert torch.equal(first, EncoderEmbedder(method.encoder, recipe.size).embed(pixels))
    assert torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(before[key], value) for key, value in method.state_dict().items())


@EVERY
def test_a_seed_repeats_a_run_and_another_seed_does_not(name: str) -> None:
    def trained(seed: int) -> Tensor:
        method, recipe = build(name, seed=seed)
        Loop(method, images(name), recipe).run()
        return torch.cat([p.detach().flatten() for p in method.encoder.parameters()])

    once = trained(0)
    assert torch.equal(once, trained(0))
    assert not torch.equal(once, trained(1))


@EVERY
def test_accumulation_sees_every_row_once(name: str) -> None:
    method, recipe = build(name, accumulate=2)
    rows: list[int] = []
    own = method.after_step

    def spy(out: Out, progress: float) -> None:
        carried = out.carry if isinstance(out.carry, tuple) else (out.carry,)
        rows.extend({16 if each is None else len(each) for each in carried})
        own(out, progress)

    method.after_step = spy  # pyright: ignore[reportAttributeAccessIssue]
    loop, seen = Loop(method, images(name), recipe), []
    compute = loop.compute

    def reading(batch: Batch, progress: float) -> Out:
        seen.append(batch.index)
        return compute(batch, progress)

    loop.compute = reading
    loop.run()
    assert rows == [16] * 5
    assert [len(torch.cat(two).unique()) for two in zip(seen[::2], seen[1::2], strict=True)] == [16] * 5


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    def trained(pieces: int) -> Tensor:
        method, recipe = build("gpt", accumulate=pieces, optimiser="sgd", lr=0.05)
        Loop(method, images("gpt"), recipe).run()
        return torch.cat([p.detach().flatten() for p in method.encoder.parameters()])

    start = torch.cat([p.detach().flatten() for p in build("gpt")[0].encoder.parameters()])
    whole, pieces = trained(1), trained(2)
    assert (whole - pieces).norm() < 0.02 * (
        whole - start
    ).norm()  # a piece may have more tokens than another


UNSAID: list[tuple[str, dict[str, object]]] = [
    (name, setting)
    for name in names()
    for setting in ({}, {"softmax": True}, {"contrast": "batch"})
    if setting.keys() <= vars(find(name).config()).keys()
]  # settings that the small configurations of these tests leave out


@pytest.mark.parametrize(("name", "setting"), UNSAID, ids=str)
def test_what_a_checkpoint_holds_is_finite_from_the_first_step_on(
    name: str, setting: dict[str, object]
) -> None:
    """Also of what a loss does not use: a run whose state is not finite is taken for one that has diverged."""
    method, recipe = build(name, **setting)
    assert ill_weights(method.state_dict(), 0) is None
    Loop(method, images(name), dataclasses.replace(recipe, budget="1steps")).run()
    assert ill_weights(method.state_dict(), 1) is None
