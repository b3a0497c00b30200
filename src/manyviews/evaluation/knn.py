"""Nearest neighbours in an embedding: the quickest honest look at what an encoder is worth.

Shapes   N rows of the bank, M queries, m of them at a time, D embedding, C classes, k neighbours.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from manyviews.errors import Diverged, ManyviewsError

CELLS = 2**26  # similarities held at once, by all threads: 256 MiB
FEWEST = 64  # queries that a thread compares at once: fewer waste the matrix product
COLUMNS = 2048  # of the bank in one matrix product, which is quicker than the whole bank at once
FANOUT = 4  # how many similarities, and then how many winners, meet in one match
ROUNDS = 2


@torch.no_grad()
def neighbours(
    bank_ND: Tensor, query_MD: Tensor, k: int, *, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """The k rows of the bank with the largest cosine to each query: similarity and index, ``[M, k]``, nearest first.

    Exact, float32, on the tensors' device. Rows may have any length. With fewer than ``k`` rows in the bank all of
    them are returned. Which of several equally near rows comes first, or is left out, is not defined. Each thread
    compares ``chunk`` queries at once (at most 256), which takes about ``6 * chunk * N`` bytes: both are chosen to keep memory
    near half a gigabyte.

    Raises ``ManyviewsError`` for an empty bank, ``k`` below 1, dimensions that differ or embeddings that are not finite.
    """
    _check(bank_ND, query_MD, k)
    bank_ND, query_MD = _unit(bank_ND), _unit(query_MD)
    rows, cores = bank_ND.shape[0], torch.get_num_threads()
    threads = min(cores, max(1, CELLS // (FEWEST * rows)))
    chunk = chunk or min(256, max(FEWEST, CELLS // (rows * threads)))
    if bank_ND.device.type != "cpu" or threads == 1 or query_MD.shape[0] <= chunk:
        return _search(bank_ND, query_MD, min(k, rows), chunk)
    # A thread for each share of the queries, rather than all threads inside each product: nobody waits for anybody,
    # which counts where cores are shared with other programs.
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            shares = query_MD.chunk(threads)
            found = list(pool.map(lambda share_mD: _search(bank_ND, share_mD, min(k, rows), chunk), shares))
    finally:
        torch.set_num_threads(cores)  # what a thread sets for itself is also the default of threads to come
    similarities, indices = zip(*found, strict=True)
    return torch.cat(similarities), torch.cat(indices)


@torch.no_grad()
def knn(
    bank_ND: Tensor,
    labels_N: Tensor,
    query_MD: Tensor,
    *,
    classes: int,
    k: int = 200,
    temperature: float = 0.1,
) -> Tensor:
    """Each class's share of the votes of a query's k nearest neighbours, ``[M, C]``, rows sum to 1.

    A neighbour's vote weighs exp(cosine / temperature): instance discrimination (Wu et al., CVPR 2018, section 3.4;
    the temperature is that of its code for CIFAR-10 and of MoCo's demo, 0.07 on ImageNet). ``labels_N`` are int64 in
    ``[0, classes)``. Raises ``ManyviewsError`` where they are not, and as ``neighbours`` does.
    """
    if temperature <= 0:
        raise ManyviewsError(
            f"kNN's temperature divides the cosine and must be above zero, but it is {temperature}."
        )
    if labels_N.shape != bank_ND.shape[:1]:
        raise ManyviewsError(
            f"kNN needs one label per row of the bank, but got {len(labels_N)} for {len(bank_ND)} rows."
        )
    if len(labels_N) and not 0 <= int(labels_N.min()) <= int(labels_N.max()) < classes:
        raise ManyviewsError(
            f"kNN's labels must lie in 0 to {classes - 1}, but they reach from {int(labels_N.min())} to "
            f"{int(labels_N.max())}; give every class a number below the number of classes."
        )
    similarity_Mk, index_Mk = neighbours(bank_ND, query_MD, k)
    vote_Mk = (similarity_Mk / temperature).softmax(1)
    scores_MC = vote_Mk.new_zeros(query_MD.shape[0], classes)
    return scores_MC.scatter_add_(1, labels_N.to(index_Mk.device)[index_Mk], vote_Mk)


def knn_accuracy(
    bank_ND: Tensor,
    labels_N: Tensor,
    query_MD: Tensor,
    truth_M: Tensor,
    *,
    classes: int,
    k: int = 200,
    temperature: float = 0.1,
) -> float:
    """The share of queries, in [0, 1], whose own class wins the vote of ``knn``; raises as ``knn`` does."""
    if truth_M.shape != query_MD.shape[:1] or len(truth_M) == 0:
        raise ManyviewsError(
            f"kNN accuracy needs at least one query and one label for each, but got {len(query_MD)} queries and "
            f"{len(truth_M)} labels."
        )
    scores_MC = knn(bank_ND, labels_N, query_MD, classes=classes, k=k, temperature=temperature)
    return (scores_MC.argmax(1) == truth_M.to(scores_MC.device)).double().mean().item()


def _check(bank_ND: Tensor, query_MD: Tensor, k: int) -> None:
    if k < 1:
        raise ManyviewsError(f"kNN needs at least one neighbour, but k is {k}.")
    if bank_ND.dim() != 2 or query_MD.dim() != 2 or bank_ND.shape[1] != query_MD.shape[1]:
        raise ManyviewsError(
            f"kNN compares [rows, dimensions] of one width, but the bank is {list(bank_ND.shape)} and the queries "
            f"are {list(query_MD.shape)}."
        )
    if bank_ND.shape[0] == 0:
        raise ManyviewsError("kNN has nothing to compare with: the bank of labelled embeddings is empty.")


def _unit(x_ND: Tensor) -> Tensor:
    norm_N1 = torch.linalg.vector_norm(x_ND, dim=1, keepdim=True, dtype=torch.float32)
    if not norm_N1.isfinite().all():
        raise Diverged("Some embeddings are not finite (NaN or infinite): the encoder has diverged.")
    return x_ND.float() / norm_N1.clamp(min=1e-12)


def _search(bank_ND: Tensor, query_MD: Tensor, k: int, chunk: int) -> tuple[Tensor, Tensor]:
    rows, match = bank_ND.shape[0], FANOUT**ROUNDS
    buffer = bank_ND.new_empty(min(chunk, query_MD.shape[0]), -(-rows // match) * match)
    # Columns beyond the bank fill up the last matches and win none.
    buffer[:, rows:] = float("-inf")
    found = []
    for query_mD in query_MD.split(chunk):
        s_mN = buffer[: query_mD.shape[0]]
        for j in range(0, rows, COLUMNS):
            torch.mm(query_mD, bank_ND[j : j + COLUMNS].T, out=s_mN[:, j : min(j + COLUMNS, rows)])
        found.append(_largest(s_mN, k))
    similarities, indices = zip(*found, strict=True)
    return torch.cat(similarities), torch.cat(indices)


def _largest(s_mN: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of every row, sorted, and where they are. N is a multiple of FANOUT ** ROUNDS.

    A tournament, since selecting among all N costs a third of the matrix product: each round keeps the winner of every
    match. The k largest all sit in the k matches with the best winners, so going back down the rounds, the k best
    of k * FANOUT candidates are enough, and the result is exact.
    """
    rounds = [s_mN]
    while len(rounds) <= ROUNDS and rounds[-1].shape[1] // FANOUT >= k:
        rounds.append(
            rounds[-1].unflatten(1, (FANOUT, -1)).amax(1)
        )  # strided matches reduce in whole vectors
    best = _some_largest(rounds.pop(), k)
    for players in reversed(rounds):
        matches = players.shape[1] // FANOUT
        first = torch.arange(0, players.shape[1], matches, device=players.device)
        candidates = (best[:, None] + first[:, None]).flatten(1)
        best = candidates.gather(1, _some_largest(players.gather(1, candidates), k))
    similarity, order = s_mN.gather(1, best).sort(1, descending=True)
    return similarity, best.gather(1, order)


def _some_largest(x: Tensor, k: int) -> Tensor:
    """Positions of the k largest of every row, in no order."""
    if x.device.type != "cpu":
        return x.topk(k, dim=1, sorted=False).indices
    # NumPy partitions with SIMD, ten times faster than torch's topk on a CPU.
    at = np.argpartition(x.numpy(), x.shape[1] - k, axis=1)[:, x.shape[1] - k :]
    return torch.from_numpy(np.ascontiguousarray(at))
