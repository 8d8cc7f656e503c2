"""Ring attention: exact causal attention over sequences that no rank holds whole.

Each sequence is cut into 2n chunks for n ranks and rank r holds chunks r and 2n-1-r, so that the causal triangle falls
into equal parts (Llama 3's chunks, arXiv:2407.21783 section 3.3.2). Keys and
values travel round the ring; each rank attends to what arrives and merges by log-sum-exp (arXiv:2310.01889). Going
back, keys and values travel again and their gradients with them, home after n hops. The kernels are torch's flash
attention, whose backward, given the merged output and log-sum-exp, returns exactly one block's share.

Axes: B batch, H query heads, G key/value heads, T this rank's positions, D head size.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx
from typing_extensions import override

from executor.model.attention import Sight


def context_positions(seq_len: int, *, rank: int, size: int) -> Tensor:
    """Return the positions that `rank` of `size` holds (seq_len / size,): an early chunk and its mirror image."""
    chunks = torch.arange(seq_len).chunk(2 * size)
    return torch.cat((chunks[rank], chunks[2 * size - 1 - rank]))


@torch.compiler.disable  # a compiled block stops here and goes on after: exchanges are not for its compiler
def ring_attend(
    q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, *, group: dist.ProcessGroup, sight: Sight = None
) -> Tensor:
    """Return this rank's part of causal attention over the group's sequence, scaled by 1/sqrt(D).

    Attention that keeps inside documents is refused before a run starts.
    """
    assert sight is None, "refused by executor.parallel.support"
    out = _Ring.apply(q_BHTD, k_BGTD, v_BGTD, group)
    assert isinstance(out, Tensor)
    return out


class _Ring(torch.autograd.Function):
    @staticmethod
    @override
    def forward(  # pyrefly: ignore[bad-override] - torch types it (*args: Any)
        ctx: FunctionCtx, q: Tensor, k: Tensor, v: Tensor, group: dist.ProcessGroup
    ) -> Tensor:
        rank, size = group.rank(), group.size()
        out, lse = _attention(q, k, v, is_causal=True)
        out = out.float()
        passing = _Passing(torch.stack((k, v)), group)
        for hop in range(1, size):
            arrived = passing.next()
            rows, keys = _visible(q.shape[2], sender=(rank - hop) % size, rank=rank)
            key, value = arrived[:, :, :, keys].unbind()
            part, part_lse = _attention(q[:, :, rows], key, value, is_causal=False)
            _merge(out[:, :, rows], lse[:, :, rows], part, part_lse)
        out = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.group = group  # pyrefly: ignore[missing-attribute] - where torch keeps what is not a tensor
        return out

    @staticmethod
    @override
    def backward(ctx: BackwardCFunction, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        saved: tuple[Tensor, ...] = ctx.saved_tensors
        q, k, v, out, lse = saved
        group: dist.ProcessGroup = ctx.group  # pyrefly: ignore[missing-attribute] - see forward
        grad_out = grads[0].contiguous()
        rank, size = group.rank(), group.size()
        grad_q, *own = _attention_backward(grad_out, q, out, lse, k, v, is_causal=True)
        grad_q, grad_kv = grad_q.float(), torch.stack(own).float()
        passing = _Passing(torch.stack((k, v)), group)
        for hop in range(1, size):
            arrived = passing.next()
            rows, keys = _visible(q.shape[2], sender=(rank - hop) % size, rank=rank)
            key, value = arrived[:, :, :, keys].unbind()
            grad_seen, q_seen, out_seen, lse_seen = (x[:, :, rows] for x in (grad_out, q, out, lse))
            grad_q_part, *part = _attention_backward(grad_seen, q_seen, out_seen, lse_seen, key, value, is_causal=False)
            grad_q[:, :, rows] += grad_q_part
            grad_kv = _pass_on(grad_kv, group)
            grad_kv[:, :, :, keys] += torch.stack(part)
        grad_k, grad_v = _pass_on(grad_kv, group).to(k.dtype).unbind()
        return grad_q.to(q.dtype), grad_k, grad_v, None


class _Passing:
    """Keys and values on their way round the ring: the next ones arrive while the last ones are worked on."""

    def __init__(self, tensor: Tensor, group: dist.ProcessGroup) -> None:
        self._group, self._left = group, group.size() - 1
        self._start(tensor)

    def next(self) -> Tensor:
        """Return what the rank before held."""
        arrived = _arrived(self._requests, self._arriving)
        self._start(arrived)
        return arrived

    def _start(self, tensor: Tensor) -> None:
        if self._left:
            self._left -= 1
            self._requests, self._arriving = _send_on(tensor, self._group)


def _pass_on(tensor: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Send `tensor` to the next rank and return what the one before sent."""
    return _arrived(*_send_on(tensor, group))


def _send_on(tensor: Tensor, group: dist.ProcessGroup) -> tuple[list[dist.Work], Tensor]:
    rank, size = group.rank(), group.size()
    arriving = torch.empty_like(tensor)
    send = dist.P2POp(dist.isend, tensor, group=group, group_peer=(rank + 1) % size)
    receive = dist.P2POp(dist.irecv, arriving, group=group, group_peer=(rank - 1) % size)
    return dist.batch_isend_irecv([send, receive]), arriving


def _arrived(requests: list[dist.Work], arriving: Tensor) -> Tensor:
    for request in requests:
        request.wait()
    return arriving


def _visible(num_positions: int, *, sender: int, rank: int) -> tuple[slice, slice]:
    """Which queries of `rank` see which keys of `sender`: all see an earlier rank's first chunk; the second half sees
    all of a later rank's."""
    half = num_positions // 2
    if sender < rank:
        return slice(None), slice(None, half)
    return slice(half, None), slice(None)


def _merge(out: Tensor, lse: Tensor, part: Tensor, part_lse: Tensor) -> None:
    """Take a part of the same queries' attention in, in place: weights are the exponentials of the log-sum-exps."""
    merged = torch.logaddexp(lse, part_lse)
    out.mul_((lse - merged).exp()[..., None]).addcmul_(part.float(), (part_lse - merged).exp()[..., None])
    lse.copy_(merged)


def _attention(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool) -> tuple[Tensor, Tensor]:
    """Return flash attention and its log-sum-exp (B, H, T)."""
    if q.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, is_causal)
    k, v = _repeated(q, k), _repeated(q, v)
    out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, is_causal)
    return out, lse


def _attention_backward(
    grad_out: Tensor, q: Tensor, out: Tensor, lse: Tensor, k: Tensor, v: Tensor, *, is_causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of one block of keys and values, and its share of the queries'."""
    if q.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad_out, q, k, v, out, lse, 0.0, is_causal
        )
    num_groups, length = k.shape[1], (q.shape[2], k.shape[2])
    no_seed = torch.zeros((), dtype=torch.int64, device=q.device)
    grad_q, grad_k, grad_v = torch.ops.aten._scaled_dot_product_flash_attention_backward(
        grad_out, q, _repeated(q, k), _repeated(q, v), out, lse.contiguous(), None, None, *length, 0.0, is_causal,
        no_seed, no_seed,
    )  # fmt: skip
    return grad_q, _summed(grad_k, num_groups), _summed(grad_v, num_groups)


def _repeated(q: Tensor, x: Tensor) -> Tensor:
    """The accelerator's kernel takes as many key heads as query heads."""
    return x if x.shape[1] == q.shape[1] else x.repeat_interleave(q.shape[1] // x.shape[1], dim=1)


def _summed(grad: Tensor, num_groups: int) -> Tensor:
    return grad if grad.shape[1] == num_groups else grad.unflatten(1, (num_groups, -1)).sum(2)
