"""CRD (Tian et al. 2020, arXiv:1910.10699)."""

from typing import cast

import torch
from torch import Tensor, nn

from manyviews.claims import Arm, Claim, Order, Scale
from manyviews.data import open_data
from manyviews.nets.classifier import Classifier
from manyviews.nets.encoder import judging
from manyviews.nets.teacher import load_teacher
from manyviews.runs import Run
from manyviews.views import plain

LAPTOP = Scale(data="world", net="cifar_resnet8", size=16, batch=64, budget="24k items", labels=0.1)
GPU = Scale(data="cifar10", net="cifar_resnet8", size=32, batch=64, budget="50ep")
TEACHER = Arm("supervised", net="cifar_resnet14", labels=1.0)
TEACHER_OF_FEW = Arm("supervised", net="cifar_resnet14")  # of the labels that its students have
FEW = "On the laptop teacher and students see a tenth of the images, twenty times, because what the banks hold of an image is noise until it has been seen."


def _correlations(net: nn.Module, x_N3HW: Tensor) -> Tensor:
    """How the scores of each pair of classes go together over images: ``[K, K]``, in [-1, 1]."""
    with judging(net):
        logits_NK = torch.cat([net(x_B3HW) for x_B3HW in x_N3HW.split(256)])
    return torch.corrcoef(logits_NK.double().T)


def unlike_its_teacher(run: Run) -> float:
    """The mean distance between the student's correlations of classes and the teacher's, on the test images."""
    root = run.settings["data"]["root"]
    test = open_data(run.recipe.data, split="test", root=root, size=run.size)
    x_N3HW = plain(torch.stack([test.read(item) for item in range(len(test))]), run.size)
    teacher = load_teacher(run.settings["config"]["teacher"])
    head = cast(Classifier, run.classifier).head
    of_both = (
        _correlations(nn.Sequential(encoder, last).cpu(), x_N3HW)
        for encoder, last in ((run.encoder, head), (teacher.encoder, teacher.head))
    )
    student_KK, teacher_KK = of_both
    return float((student_KK - teacher_KK).abs().mean())


CLAIMS = {
    "crd-contrast": Claim(
        sentence="A student learns more from a contrast with its teacher's representation than from the teacher's softened class scores.",
        source="section 4.1, table 1",
        arms={
            "contrast": Arm("crd", teacher=TEACHER_OF_FEW),
            "softened classes": Arm("crd", teacher=TEACHER_OF_FEW, beta=0.0, gamma=0.1, alpha=0.9),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="single",
        predicts=Order("contrast", "softened classes"),
        paper="CIFAR-100, ResNet-56 to ResNet-20: 71.2% by contrast, 70.7% by softened classes, 69.1% from the labels alone.",
        remark=FEW,
    ),
    "crd-correlations": Claim(
        sentence="A contrast hands over best which classes the teacher's scores hold to be alike.",
        source="section 4.1, figure 2",
        arms={
            "contrast": Arm("crd", teacher=TEACHER_OF_FEW),
            "softened classes": Arm("crd", teacher=TEACHER_OF_FEW, beta=0.0, gamma=0.1, alpha=0.9),
            "labels alone": Arm("crd", teacher=TEACHER_OF_FEW, beta=0.0),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure=unlike_its_teacher,
        best="low",
        predicts=Order("contrast", ("softened classes", "labels alone")),
        unit="distance to the teacher's correlations of classes",
        paper="Figure 2, CIFAR-100, WRN-40-2 to WRN-40-1: of vanilla students and those of attention transfer, KD and CRD, CRD's have the correlations nearest the teacher's.",
        remark=FEW
        + " Softened classes are trained on the very scores that are compared, and come nearest to them here under each seed.",
    ),
    "crd-teacher": Claim(
        sentence="A student with a teacher learns more than one with the labels alone.",
        source="section 4.1, table 1",
        arms={
            "contrast": Arm("crd", teacher=TEACHER),
            "labels alone": Arm("crd", teacher=TEACHER, beta=0.0),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="single",
        predicts=Order("contrast", "labels alone"),
        paper="CIFAR-100, ResNet-56 to ResNet-20: 71.2% by contrast, 69.1% from the labels alone.",
        remark="On the laptop students see a tenth of the images, twenty times, because what the banks hold of an image is noise until it has been seen; "
        "their teacher has seen all images. In the paper both see the same ones. The contrast's term of the loss is many times that of the labels and still falls "
        "fast when training ends, whereas training with labels alone has nearly converged; after 240 passes, as in the paper, both may have. Until then, we think, a net "
        "as small as this one learns less about the classes the more it has to learn besides them.",
    ),
}
