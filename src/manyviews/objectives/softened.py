"""What a teacher makes of an item, softened by a temperature, as the target of a student.

Shapes   B items, K classes.
"""

from torch import Tensor
from torch.nn import functional as F

from manyviews.errors import ManyviewsError
from manyviews.objectives.contrast import precise


def softened_kl(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over rows, of class scores (Hinton, Vinyals, Dean 2015).

    T^2 keeps the gradient's length about the same whatever T is (section 2). Only the student gets a gradient.
    """
    if not temperature > 0:
        raise ManyviewsError(
            f"A temperature divides the class scores and must be above zero, not {temperature}."
        )
    log_q_BK = F.log_softmax(precise(student_BK) / temperature, dim=1)
    log_p_BK = F.log_softmax(precise(teacher_BK.detach()) / temperature, dim=1)
    return temperature**2 * (log_p_BK.exp() * (log_p_BK - log_q_BK)).sum(1).mean()
