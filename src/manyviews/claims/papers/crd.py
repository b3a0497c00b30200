"""CRD (Tian et al. 2020, arXiv:1910.10699)."""

from manyviews.claims import Arm, Claim, Order, Scale

LAPTOP = Scale(data="world", net="cifar_resnet8", size=16, batch=64, budget="24k items", labels=0.1)
GPU = Scale(data="cifar10", net="cifar_resnet8", size=32, batch=64, budget="50ep")
TEACHER = Arm("supervised", net="cifar_resnet14", labels=1.0)
TEACHER_OF_FEW = Arm("supervised", net="cifar_resnet14")  # of the labels that its students have
FEW = "On the laptop teacher and students see a tenth of the images, twenty times, because what the banks hold of an image is noise until it has been seen."

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
