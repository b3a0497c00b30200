"""Every network's page is whole: its figure, its equations, its parity, its counts."""

import importlib
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

from manyviews.nets import catalogue
from manyviews.nets.counting import network

ROOT = Path(__file__).parents[1]


def module(name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT / "docs"))
    return importlib.import_module(name)


pages, figure = module("net_pages"), module("net_figure")
FILES = pages.files()
WITH_NETS = sorted({file.__name__.rpartition(".")[2] for _, file in catalogue().values()})


def page(name: str) -> str:
    return pages.page(FILES[name])


@pytest.mark.parametrize("name", WITH_NETS)
def test_every_file_of_networks_has_a_whole_page(name: str):
    made = page(name)
    for heading in ("## Architecture", "## Counts", "## From the paper to the line", "## The file"):
        assert f"\n{heading}\n" in made
    assert re.search(r"\*\*Papers?\*\*", made) and "**Shapes**" in made
    for net, (_, file) in catalogue().items():
        assert (f"`{net}`" in made) == (file.__name__ == f"manyviews.nets.{name}")
    drawings = re.findall(r"<svg.*?</svg>", made, re.DOTALL)
    assert drawings
    for drawing in drawings:
        fits(ElementTree.fromstring(drawing))


def test_a_part_that_networks_share_leads_to_where_it_is_drawn():
    made = page("recurrent")
    assert "](char.md)" in made and "## Architecture" not in made
    cited = made.partition("## From the paper to the line")[2]
    assert all(f"`{cell}" in cited for cell in ("RNNCell", "GRUCell", "LSTMCell"))


def fits(svg: ElementTree.Element) -> None:
    """Nothing that is drawn lies outside; every box has its words."""
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    for element in svg.iter():
        if "x" in element.attrib:
            assert 0 <= float(element.attrib["x"]) <= width and 0 <= float(element.attrib["y"]) <= height
        if element.tag.endswith("rect"):
            assert float(element.attrib["x"]) + float(element.attrib["width"]) <= width
            assert float(element.attrib["y"]) + float(element.attrib["height"]) <= height
    assert any(element.tag.endswith("text") for element in svg.iter())


@pytest.mark.parametrize("name", FILES)
def test_every_citation_leads_to_its_line(name: str):
    lines = FILES[name].read_text().splitlines()
    listing = pages.listing(FILES[name])
    for cited in pages.citations(FILES[name]):
        first = cited.places.split(", ")[0].split()[0]
        assert first.lower() in lines[cited.line - 1].lower() and cited.said
        assert f'id="line-{cited.line}"' in listing


def test_equations_are_found_where_they_are(tmp_path: Path):
    file = tmp_path / "net.py"
    file.write_text(
        '"""Title: idea.\n\nPaper  Somebody, section 9.\n"""\n\n'
        'class Net:\n    """A net (3.2).\n\n    Args:\n        width: see table 4 and figure 1.\n        depth: free.\n    """\n\n'
        "    def forward(self):\n        # As eq. 7 has it,\n        # and section 2.1 explains.\n        x = 1  # equations 3 and 4\n"
    )
    found = [(c.line, c.places, c.where, c.said) for c in pages.citations(file)]
    assert found == [
        (7, "3.2", "Net", "A net (3.2)."),
        (10, "table 4, figure 1", "Net", "width: see table 4 and figure 1."),
        (15, "eq. 7, section 2.1", "Net.forward", "As eq. 7 has it, and section 2.1 explains."),
        (17, "equations 3 and 4", "Net.forward", "equations 3 and 4"),
    ]


@pytest.mark.parametrize("name", WITH_NETS)
def test_every_file_of_networks_is_tested(name: str):
    assert pages.test_files(FILES[name])


LIBRARIES = {"torchvision", "timm", "transformers", "torch.nn", "autograd"}


def compared(name: str) -> dict[str, tuple[str, ...]]:
    """The tests that compare a file's networks, and what with."""
    return {test.name: test.against for test in pages.comparisons(FILES[name])}


def test_parity_is_what_tests_say_that_they_compare():
    found = compared("resnet")
    assert found["test_names_and_shapes_are_those_of_torchvision_and_timm"] == ("torchvision", "timm")
    assert found["test_timms_resnet_goes_both_ways"] == ("timm",)
    assert "test_describe_leaves_the_net_as_it_was" not in found
    assert compared("vit")["test_a_step_of_training_is_timms"] == ("timm",)
    assert compared("gpt2") and not compared("gpt3")  # transformers has no sparse attention
    assert "transformers" not in page("gpt3").partition("## The file")[0].partition("## Parity")[2]
    assert compared("by_hand")["test_a_sequence_and_its_gradients_are_autograds"] == ("autograd",)
    assert all(test.net in FILES and LIBRARIES.issuperset(test.against) for test in pages.marked())


@pytest.mark.parametrize("name", WITH_NETS)
def test_no_library_is_said_to_have_a_net_that_is_not_compared(name: str):
    nets = [net for net, file in catalogue().values() if file.__name__.endswith(f".{name}")]
    said = {key.partition("/")[0] for net in nets for key in net.known_as}
    assert said <= set().union(*compared(name).values())


def test_the_index_leads_to_every_page():
    made = pages.index()
    assert all(f"]({name}.md)" in made and f"\n{name}\n" in made for name in FILES)
    assert all(f"`{net}`" in made for net in catalogue())


def test_nets_that_differ_in_depth_and_width_share_a_drawing():
    shapes = {
        name: figure.skeleton(network(name).part)
        for name in ("resnet18", "resnet34", "resnet50", "resnet152")
    }
    assert shapes["resnet18"] == shapes["resnet34"] != shapes["resnet50"] == shapes["resnet152"]


def test_a_residual_block_is_drawn_with_its_shortcut():
    net = network("resnet50", flow=True)
    (_, first), (_, second) = list(figure.blocks(net.part))[:2]
    for block, side in ((first, ["downsample"]), (second, [])):
        items, takes, out = figure.items(block)
        names = [item.part.name for item in items if isinstance(item, figure.Row)]
        assert names == ["conv1", "conv2", "conv3", *side, "relu"]
        joint = next(i for i, item in enumerate(items) if isinstance(item, figure.Join))
        assert items[joint].plus and set(takes[joint]) == ({2, 3} if side else {-1, 2})
        assert out == joint + 1 == len(items) - 1


def test_repeated_blocks_are_folded():
    drawing = figure.figure(network("vit_b16", flow=True))
    assert (
        drawing.count("× 12<") == 1 and drawing.count(">Block<") == 2
    )  # a row, and the title of its own drawing
