"""What a layout asks that this executor does not do, said before anything starts."""

from collections.abc import Iterator

from planner.recipe import Job


def obstacle(job: Job) -> str:
    """Return why the job's layout cannot run, or nothing."""
    return next(_obstacles(job), "")


def _obstacles(job: Job) -> Iterator[str]:
    layout, shape, recipe = job.layout, job.shape, job.recipe
    if recipe.precision == "fp8" and (layout.num_devices > 1 or job.post is not None):
        yield "FP8 on several devices or after pretraining"
    if recipe.is_compiled and shape.moe is not None and recipe.precision == "fp32":
        yield "compiled experts in fp32, whose grouped product torch (2.13) compiles for bf16 only"
    if job.rates.num_devices != layout.num_devices:
        yield f"the plan pays for {job.rates.num_devices} devices and lays out {layout.num_devices}"
    if layout.offload != "none":
        yield f"{layout.offload} in the host's memory"
    if layout.schedule != "1f1b":
        yield f"the pipeline schedule {layout.schedule}"
    if layout.num_devices == 1:
        return
    if layout.ep > 1:
        num_experts = 0 if shape.moe is None else shape.moe.num_experts
        if num_experts % layout.ep or not num_experts:
            yield f"{num_experts} experts spread over {layout.ep} ranks"
    if layout.num_model_chunks > 1:
        yield f"{layout.num_model_chunks} model chunks a pipeline stage (interleaving)"
    if layout.pp > shape.num_layers:
        yield f"{layout.pp} pipeline stages of {shape.num_layers} layers"
    if job.post is not None:
        yield "post-training on several devices"
    if layout.pp > 1 and any(it.sequences % (layout.dp * recipe.micro_batch_sequences) for it in recipe.batch_warmup):
        yield "a batch warm-up that does not divide into whole micro-batches of the pipeline"
    yield from _tensor_obstacles(job)
    yield from _context_obstacles(job)


def _tensor_obstacles(job: Job) -> Iterator[str]:
    layout, shape = job.layout, job.shape
    if layout.tp == 1:
        return
    if shape.moe is not None and layout.ep == 1 and shape.moe.expert_ffn_width % layout.tp:
        yield f"experts of {shape.moe.expert_ffn_width} on {layout.tp} tensor ranks (whole ones over ranks run: ep=2)"
    if shape.moe is not None and shape.moe.shared_ffn_width % layout.tp:
        yield f"a shared feed-forward of {shape.moe.shared_ffn_width} on {layout.tp} tensor ranks"
    if not layout.is_sequence_parallel:
        yield "tensor parallelism without sequence parallelism"
    if shape.num_kv_heads % layout.tp or shape.num_heads % layout.tp:
        yield f"{shape.num_heads} heads over {shape.num_kv_heads} on {layout.tp} tensor ranks"
    if shape.ffn_width % layout.tp:
        yield f"a feed-forward of {shape.ffn_width} on {layout.tp} tensor ranks"
    if job.recipe.seq_len // layout.cp % layout.tp:
        yield f"sequences of {job.recipe.seq_len // layout.cp} on {layout.tp} tensor ranks"
    if shape.width % (layout.dp * layout.cp):
        yield f"a width of {shape.width} sharded {layout.dp * layout.cp} ways beside tensor parallelism"


def _context_obstacles(job: Job) -> Iterator[str]:
    layout, shape = job.layout, job.shape
    if layout.cp == 1:
        return
    if shape.attention.kind != "full":
        yield f"{shape.attention.kind} attention over a context-parallel group"
    if job.recipe.masks_documents:
        yield "document masks over a context-parallel group"
    if job.recipe.seq_len % (2 * layout.cp):
        yield f"sequences of {job.recipe.seq_len} in {2 * layout.cp} chunks"
