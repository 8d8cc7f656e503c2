"""What ranks do in tests: functions at module level, so that another process finds them."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.functional import scaled_dot_product_attention

from executor import runtime
from executor.evaluate import HeldOut
from executor.parallel import mesh
from executor.parallel.own import local
from executor.parallel.ring import context_positions, ring_attend
from executor.parallel.trainer import ParallelTrainer
from executor.parallel.world import world
from executor.train import Step, Trainer
from planner.recipe import Job
from tests.executor import runs

CPU = torch.device("cpu")
Leg = tuple[list[Step], HeldOut, Path]


def legs(corpus: Path, folder: Path, jobs: Sequence[Job], num_steps: int) -> list[Leg]:
    """Train `num_steps` under each job in turn, each from the checkpoint of the one before; save after each."""
    runtime.prepare(jobs[0].recipe)
    here = world(os.environ)
    ranks = mesh.join(here, CPU)
    done: list[Leg] = []
    for number, job in enumerate(jobs):
        trainer = ParallelTrainer(job, runs.batches(corpus, job), device=CPU, world=here, ranks=ranks)
        if done:
            trainer.load(done[-1][2])
        steps = [trainer.step() for _ in range(num_steps)]
        done.append((steps, trainer.evaluate(), trainer.save(folder / str(number), job_digest="")))
    mesh.leave()
    return done


def alone(corpus: Path, job: Job) -> Trainer:
    runtime.prepare(job.recipe)
    return Trainer(job.shape, job.recipe, runs.batches(corpus, job), device=CPU)


def ring_errors(shapes: Sequence[tuple[int, int, int, int, int]]) -> list[float]:
    """Return, for each (batch, heads, groups, length, head size), the largest error of ring attention and its gradients
    against a float64 reference on one process."""
    mesh.join(world(os.environ), CPU)
    torch.set_num_threads(1)
    group = dist.group.WORLD
    positions = context_positions(0, rank=0, size=1)
    errors = []
    for seed, (batch, heads, groups, length, size) in enumerate(shapes):
        generator = torch.Generator().manual_seed(seed)
        whole = [torch.randn(batch, n, length, size, generator=generator) for n in (heads, groups, groups, heads)]
        exact = [x.double().requires_grad_() for x in whole[:3]]
        out = scaled_dot_product_attention(*exact, is_causal=True, enable_gqa=True)
        out.backward(whole[3].double())
        positions = context_positions(length, rank=group.rank(), size=group.size())
        q, k, v, grad = (x[:, :, positions].clone() for x in whole)
        mine = [x.requires_grad_() for x in (q, k, v)]
        part = ring_attend(*mine, group=group, sight=None)
        part.backward(grad)
        found = [part, *(x.grad for x in mine)]
        expected = [out, *(x.grad for x in exact)]
        pairs = zip(found, expected, strict=True)
        errors.append(max(float((a - b[:, :, positions]).abs().max()) for a, b in pairs))
    mesh.leave()
    return errors


def saved_bytes(corpus: Path, job: Job) -> int:
    """Return the bytes that one micro-batch's forward pass keeps for the backward pass, gathered weights included."""
    runtime.prepare(job.recipe)
    here = world(os.environ)
    ranks = mesh.join(here, CPU)
    trainer = ParallelTrainer(job, runs.batches(corpus, job), device=CPU, world=here, ranks=ranks)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = local(tensor).untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        trainer.step()
    mesh.leave()
    return sum(kept.values())


def resumed_everywhere(corpus: Path, job: Job, folder: Path, num_steps: int) -> tuple[list[Step], list[list[Step]]]:
    """Return the steps of a whole run, and those of runs that go on from each of its steps to the end."""
    runtime.prepare(job.recipe)
    here = world(os.environ)
    ranks = mesh.join(here, CPU)

    def trainer() -> ParallelTrainer:
        return ParallelTrainer(job, runs.batches(corpus, job), device=CPU, world=here, ranks=ranks)

    whole, steps, paths = trainer(), [], []
    for at in range(num_steps):
        paths.append(whole.save(folder / str(at), job_digest=""))
        steps.append(whole.step())
    resumed = []
    for at, path in enumerate(paths):
        again = trainer()
        again.load(path)
        resumed.append([again.step() for _ in range(num_steps - at)])
    mesh.leave()
    return steps, resumed
