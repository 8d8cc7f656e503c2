"""What ranks do in tests: functions at module level, so that another process finds them."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.functional import scaled_dot_product_attention

from executor import runtime
from executor.evaluate import HeldOut
from executor.model.experts import Experts
from executor.optim.muon import Muon
from executor.parallel import mesh
from executor.parallel.own import is_routed, local
from executor.parallel.ring import context_positions, ring_attend
from executor.parallel.spread import spread_experts
from executor.parallel.trainer import ParallelTrainer
from executor.parallel.world import world
from executor.probes import Probes
from executor.train import Step, Trainer
from planner.cluster import Layout
from planner.health import ProbeScore
from planner.model import ModelShape
from planner.recipe import Job
from tests.executor import runs

CPU = torch.device("cpu")
ULP = 2.0**-24  # of a weight, relative
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


def ulp_spread(corpus: Path, job: Job, *, num_steps: int = 50) -> float:
    """Return how far one process's losses come to lie from its own if each weight starts one ulp up or down."""
    losses = []
    for direction in (0.0, 1.0, -1.0):
        trainer = alone(corpus, job)
        signs = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in trainer.snapshot(job_digest="").model.values():
                weight.mul_(1 + direction * ULP * torch.randn(weight.shape, generator=signs).sign())
        losses.append([trainer.step().loss for _ in range(num_steps)])
    plain, *others = losses
    assert plain not in others, "an ulp changes something"
    return max(abs(a - b) for other in others for a, b in zip(other, plain, strict=True))


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


def visit_errors(shape: ModelShape, favourite: int | None) -> list[float]:
    """Return the largest errors of outputs and gradients of a layer spread over all ranks, each with its own tokens,
    against the whole layer in this process. All tokens visit the `favourite` expert and the next, if any."""
    here = world(os.environ)
    mesh.join(here, CPU)
    grid = mesh.grid(Layout(dp=here.size, ep=here.size), here, CPU)
    whole, spread = Experts(shape), Experts(shape)
    generator = torch.Generator().manual_seed(0)
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5, generator=generator)
    if favourite is not None:
        whole.bias_E[favourite : favourite + 2] += 10
    spread.load_state_dict(whole.state_dict())
    spread_experts(spread, grid)
    each = len(whole.bias_E) // here.size
    mine = slice(grid.expert_rank * each, (grid.expert_rank + 1) * each)
    spread.routed.load_state_dict({name: it[mine] for name, it in whole.routed.state_dict().items()})
    token_PTW = torch.randn(here.size, 12, shape.width, generator=generator)
    own_TW = token_PTW[here.rank].clone().requires_grad_()
    token_PTW.requires_grad_()
    out, expected = spread(own_TW), whole(token_PTW)
    out.square().sum().backward()
    expected.square().sum().backward()
    assert token_PTW.grad is not None
    pairs = [(out, expected[here.rank]), (own_TW.grad, token_PTW.grad[here.rank])]
    pairs += [(it.grad, whole.routed.get_parameter(name).grad[mine]) for name, it in spread.routed.named_parameters()]
    mesh.leave()
    return [float((a - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in pairs]


def evidence(corpus: Path, jobs: Sequence[Job], num_steps: int) -> list[tuple[list[object], tuple[ProbeScore, ...]]]:
    """Return what each job's model finds of the answers to its probes after some steps, and how it scores."""
    runtime.prepare(jobs[0].recipe)
    here = world(os.environ)
    ranks = mesh.join(here, CPU)
    trainers = (ParallelTrainer(job, runs.batches(corpus, job), device=CPU, world=here, ranks=ranks) for job in jobs)
    found = [evidence_of(trainer, num_steps) for trainer in trainers]
    mesh.leave()
    return found


def evidence_of(trainer: Trainer, num_steps: int) -> tuple[list[object], tuple[ProbeScore, ...]]:
    for _ in range(num_steps):
        trainer.step()
    probes = Probes.of(trainer._heldout_text().token_NT1, num_items=trainer._recipe.probe_items)
    assert probes is not None
    found = trainer._evidence(probes)
    trainer.step()  # whatever was gathered or set to be asked is as before
    trainer.evaluate()
    return found.tolist(), trainer.probe()


def muon_rounds(corpus: Path, job: Job) -> list[tuple[int, ...]]:
    """Return the shape of the largest of each round's matrices."""
    here = world(os.environ)
    ranks = mesh.join(here, CPU)
    trainer = ParallelTrainer(job, runs.batches(corpus, job), device=CPU, world=here, ranks=ranks)
    (muon,) = (part for part in trainer._optimiser.parts if isinstance(part, Muon))
    found = [units[0].box.shape for units in muon._orthogonalise._rounds]
    mesh.leave()
    return found


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


def held_bytes(corpus: Path, jobs: Sequence[Job]) -> list[tuple[int, int, int]]:
    """Return, for each job, the bytes that this rank holds of routed experts, of all weights and of moments."""
    runtime.prepare(jobs[0].recipe)
    here = world(os.environ)
    ranks = mesh.join(here, CPU)
    found = []
    for job in jobs:
        trainer = ParallelTrainer(job, runs.batches(corpus, job), device=CPU, world=here, ranks=ranks)
        trainer.step()
        sizes = {name: tensor.nbytes for name, tensor in trainer._resting() if tensor.ndim}
        moments = sum(size for name, size in sizes.items() if "/" in name)
        routed = sum(size for name, size in sizes.items() if is_routed(name) and "/" not in name)
        found.append((routed, sum(sizes.values()) - moments, moments))
    mesh.leave()
    return found


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
