"""From names to facts: the device, its price, the law, the text, and what stands around a run of them.

The edge of the planner: with `planner.devices` it reads files, and nothing else that plans does. `run` resolves the
same names again later and compares, so a changed price, calibration or corpus is found before anything starts.
"""

import math
from calendar import monthrange
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

from data.canonical import digest
from data.catalog.corpora import PublicCorpus, corpus, corpus_names
from data.catalog.prices import price
from data.code_version import code_version
from data.corpus.manifest import FILE_NAME, load_manifest
from data.errors import UserError
from data.source import Source
from planner.belief import LawBelief
from planner.cluster import Cluster
from planner.devices import Device, Sources, resolve_device
from planner.facts import DataFacts, Facts, Overheads
from planner.goodput import CLUSTER_RESTART_SECONDS, FAILURES_PER_NODE_DAY
from planner.law.registry import MOE_LAW, law
from planner.law.result import load_fit
from planner.model import ModelShape
from planner.offload import HOST_LINK_FRACTION
from planner.plan import PlannedPrice, as_json
from planner.public_models import model_shape
from planner.recipe import CorpusRef, Rates
from planner.request import Request
from planner.shapes import DEFAULT_VOCAB

VALID_FOR = timedelta(days=7)

DEFAULT_SEQ_LEN = 2_048
LOCAL_SEQ_LEN = 256
HYPERSCALER_PUE = 1.1
"""Epoch AI's training-cost method: 1.1 at hyperscalers, 1.25 elsewhere."""

CLUSTER_CHECKPOINT_BYTES_PER_S_PER_NODE = 1.2e9
"""BLOOM wrote 2.3 TB in 40 s from 48 nodes: 57.5 GB/s (Le Scao et al. 2022)."""

LOCAL_CHECKPOINT_BYTES_PER_S = 2e8
LOCAL_COPY_BYTES_PER_S = 3e8
"""What a save takes from training that uses every core: its work, 46 ms of CPU for 13.4 MB, not its waits for the disk
(benchmarks/saving.md). With a core to spare it is the copy alone, 1e9."""

UNKNOWN_HOST_LINK_BYTES_PER_S = 31.5e9
"""Assumption where the catalog knows no host: PCIe 4 x16."""

CLUSTER_STARTUP_SECONDS = 600.0
SINGLE_NODE_STARTUP_SECONDS = 180.0
DEVICE_STARTUP_SECONDS = 25.0
"""One accelerator: 11 s to a loaded model and 11 s for the first step, compiled, on an H200 (benchmarks/gpu.md)."""

LOCAL_STARTUP_SECONDS = 8.0
LOCAL_WATTS_PER_THREAD = 10.0
"""Assumption where the machine does not say: an EPYC 7763 draws 280 W for 64 cores, and a server doubles that."""

STORAGE_USD_PER_BYTE_MONTH = 0.023e-9
"""AWS S3 Standard, first 50 TB, us-east-1: https://aws.amazon.com/s3/pricing/."""


def resolve(request: Request, sources: Sources, *, now: datetime) -> Facts:
    """Everything a recommendation needs.

    Raises:
        UserError: a name or a file that does not exist or does not hold what it should.
    """
    device = resolve_device(
        request.hardware,
        sources,
        precision=request.precision,
        profile=request.profile,
        num_devices=request.num_devices,
    )
    data, corpus_vocab = resolve_data(request)
    paid = resolve_price(request, sources, device, now=now)
    cluster = Cluster(hardware=device.hardware, num_devices=request.num_devices)
    if device.is_local and request.num_devices != 1:
        raise UserError(f"{request.num_devices} local devices", expected="1: this machine", next_step="--num-devices 1")
    model = _model(request, vocab_size=request.vocab_size or corpus_vocab)
    vocab = model.vocab_size if model else request.vocab_size or corpus_vocab
    overheads = _overheads(device, cluster)
    return Facts(
        cluster=cluster,
        profile=device.profile,
        hardware=device.planned(request.num_devices),
        price=paid,
        rates=_rates(device, paid, request.num_devices),
        law=_law(request, unique_tokens=data.unique_tokens),
        data=data,
        overheads=overheads,
        vocab_size=vocab or DEFAULT_VOCAB,
        seq_len=request.seq_len or (LOCAL_SEQ_LEN if device.hardware.kind == "cpu" else DEFAULT_SEQ_LEN),
        precision=device.precision,
        num_threads=device.num_threads,
        now=now,
        valid_until=now + VALID_FOR,
        code_version=code_version(),
        assumptions=_assumptions(device, overheads, data, vocab=vocab, model=request.model),
        optimiser=request.optimiser,
        model=model,
    )


def _model(request: Request, *, vocab_size: int | None) -> ModelShape | None:
    """The shape that the request names, with the vocabulary of its text; None where it names none."""
    if request.model is None:
        return None
    shape = model_shape(request.model)
    if shape.moe is not None:
        raise UserError(
            f"{request.model} is a mixture of experts, of whose loss no law here knows enough",
            expected="a dense model, or --moe for experts that a law was fitted on",
            next_step=f"its time and memory: isoplan estimate --model {request.model}",
        )
    return shape if vocab_size is None else shape.model_copy(update={"vocab_size": vocab_size})


def resolve_price(request: Request, sources: Sources, device: Device, *, now: datetime) -> PlannedPrice:
    """The user's stated price, else the row of the price books."""
    if request.price_usd_per_device_hour is not None:
        return PlannedPrice(
            key="stated",
            usd_per_device_hour=request.price_usd_per_device_hour,
            as_of=now.date(),
            source=Source(url="stated with the request", accessed=now.date()),
        )
    row = price(device.hardware.name, provider=request.provider, tier=request.tier, overlay=sources.prices)
    return PlannedPrice(key=row.key, usd_per_device_hour=row.usd_per_device_hour, as_of=row.as_of, source=row.source)


def resolve_law(name: str, *, unique_tokens: int | None) -> LawBelief:
    """A fit, given by path, or a published law, given by name."""
    path = Path(name)
    if path.suffix == ".json" or path.is_file():
        fit = load_fit(path)
        return LawBelief(
            by=fit,
            name=path.stem,
            digest=digest(as_json(fit)),
            source=Source(url=str(path), accessed=date.fromtimestamp(path.stat().st_mtime), note=fit.reason),
            unique_tokens=unique_tokens,
        )
    published = law(name)
    return LawBelief(
        by=published,
        name=published.name,
        digest=_published_digest(published.name),
        source=published.source,
        unique_tokens=unique_tokens,
    )


@cache
def _published_digest(name: str) -> str:
    return digest(as_json(law(name)))


def _law(request: Request, *, unique_tokens: int | None) -> LawBelief:
    found = resolve_law(request.law, unique_tokens=unique_tokens)
    if request.moe and not found.by.law.prices_experts:
        raise UserError(
            f"law {found.name} says nothing of experts",
            expected="one that reads their number",
            next_step=f"--moe --law {MOE_LAW}, or fit your own with isoplan fit --law joint-moe --experts-col COLUMN",
        )
    return found


def resolve_data(request: Request) -> tuple[DataFacts, int | None]:
    """What is known of the text, and its vocabulary where it is tokenised."""
    if request.corpus is None:
        return DataFacts(None, request.unique_tokens, None, None, "no corpus named"), None
    folder = Path(request.corpus)
    if request.corpus in corpus_names() and not (folder / FILE_NAME).is_file():
        return _public_data(corpus(request.corpus), request.unique_tokens), None
    manifest = load_manifest(folder)
    reference = CorpusRef(
        path=str(folder.resolve()),
        digest=manifest.digest,
        unique_tokens=manifest.unique_tokens,
        bytes_per_token=manifest.bytes_per_token,
    )
    names = ", ".join(source.label for source in manifest.sources)
    facts = DataFacts(
        corpus=reference,
        unique_tokens=request.unique_tokens or manifest.unique_tokens,
        heldout_tokens=manifest.heldout.num_tokens,
        knowledge_cutoff=date.fromisoformat(manifest.cutoff.latest) if manifest.cutoff.latest else None,
        summary=names,
    )
    return facts, manifest.vocab_size


def _public_data(public: PublicCorpus, unique_tokens: int | None) -> DataFacts:
    """What the catalog says of a corpus that is not here: enough to plan with, not to run."""
    return DataFacts(
        corpus=None,
        unique_tokens=unique_tokens or public.num_tokens,
        heldout_tokens=None,
        knowledge_cutoff=_last_day(public.knowledge_cutoff) if public.knowledge_cutoff else None,
        summary=f"{public.title}, not downloaded; licence: {public.licence or 'not stated'}",
    )


def _last_day(stated: str) -> date:
    """The last day of a stated year, month or day, such as `2024` or `2024-04`."""
    year, month, day = (*map(int, stated.split("-")), 0, 0)[:3]
    month = month or 12
    return date(year, month, day or monthrange(year, month)[1])


def _rates(device: Device, paid: PlannedPrice, num_devices: int) -> Rates:
    return Rates(
        num_devices=num_devices,
        usd_per_device_hour=paid.usd_per_device_hour,
        device_watts=device.hardware.average_watts or LOCAL_WATTS_PER_THREAD * device.num_threads,
        pue=1.0 if device.is_local else HYPERSCALER_PUE,
    )


def _overheads(device: Device, cluster: Cluster) -> Overheads:
    if device.is_local:
        return Overheads(
            startup_seconds=device.startup_seconds or LOCAL_STARTUP_SECONDS,
            checkpoint_bytes_per_s=LOCAL_CHECKPOINT_BYTES_PER_S,
            copy_bytes_per_s=LOCAL_COPY_BYTES_PER_S,
            restart_seconds=device.startup_seconds or LOCAL_STARTUP_SECONDS,
            failures_per_node_day=0.0,
            storage_usd_per_byte_month=0.0,
            is_measured=device.startup_seconds is not None,
        )
    num_nodes = math.ceil(cluster.num_devices / cluster.devices_per_node)
    host = device.hardware.host
    link_bytes_per_s = host.link_bytes_per_s if host else UNKNOWN_HOST_LINK_BYTES_PER_S
    node_seconds = SINGLE_NODE_STARTUP_SECONDS if cluster.num_devices > 1 else DEVICE_STARTUP_SECONDS
    return Overheads(
        startup_seconds=CLUSTER_STARTUP_SECONDS if num_nodes > 1 else node_seconds,
        checkpoint_bytes_per_s=CLUSTER_CHECKPOINT_BYTES_PER_S_PER_NODE * num_nodes,
        copy_bytes_per_s=link_bytes_per_s * HOST_LINK_FRACTION * cluster.num_devices,
        restart_seconds=CLUSTER_RESTART_SECONDS,
        failures_per_node_day=FAILURES_PER_NODE_DAY,
        storage_usd_per_byte_month=STORAGE_USD_PER_BYTE_MONTH,
        is_measured=False,
    )


def _assumptions(
    device: Device, overheads: Overheads, data: DataFacts, *, vocab: int | None, model: str | None
) -> tuple[str, ...]:
    found = [] if model is None else [f"the model is {model} as it is: no other size or shape was looked at"]
    if data.corpus is None:
        found.append("no corpus: the plan cannot run; text is assumed to be like the law's")
    if data.unique_tokens is None:
        found.append("unique tokens unknown: repetition is not priced (--unique-tokens)")
    if vocab is None:
        found.append(f"vocabulary of {DEFAULT_VOCAB} assumed (--vocab-size)")
    if device.hardware.average_watts == 0:
        found.append(f"energy: {LOCAL_WATTS_PER_THREAD:g} W a thread assumed, not measured")
    if not overheads.is_measured:
        found.append(f"start-up of {overheads.startup_seconds:g} s assumed, not measured")
    return tuple(found)
