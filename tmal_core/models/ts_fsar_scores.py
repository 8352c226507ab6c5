"""TS-FSAR's two formulas beside its matching: what the adapted CLIP teaches, and how three scores become one.

"Task-Specific Distance Correlation Matching for Few-Shot Action Recognition", AAAI 2026 (arXiv 2512.11340), as its code
computes them (github.com/yaozhang0417/TS-FSAR, commit 1a91053).
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import kl_div


def distillation_loss(
    student_logits: Float[Tensor, "n c"], teacher_logits: Float[Tensor, "n c"], temperature: float
) -> Float[Tensor, ""]:
    """temperature^2 / n times the sum of p log(p / q), p of the teacher and q of the student, both softened.

    The teacher learns too: no gradient is held back.
    """
    student, teacher = ((logits / temperature).log_softmax(-1) for logits in (student_logits, teacher_logits))
    return temperature**2 * kl_div(student, teacher, reduction="batchmean", log_target=True)


def log_fused(logits: Sequence[Float[Tensor, "*q n"]], powers: Sequence[float]) -> Float[Tensor, "*q n"]:
    """The log of the product of probabilities over the classes, each to its power; it sums to no one."""
    parts = [power * part.log_softmax(-1) for part, power in zip(logits, powers, strict=True) if power]
    return sum(parts[1:], parts[0])
