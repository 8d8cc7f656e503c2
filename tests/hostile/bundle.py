"""A plan with everything a plan can hold, its approval, its record and its events: where the texts are planted."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from data.canonical import Json
from data.corpus.manifest import Manifest
from executor.events import (
    AnyEvent,
    Checkpointed,
    Ended,
    Gated,
    Intervened,
    Ready,
    Started,
    Stepped,
    Warned,
)
from planner.approval import Approval
from planner.devices import Sources
from planner.economics.values import ServedCost
from planner.ledger import Entry
from planner.plan import Plan, as_json, seal
from planner.post import PostTraining
from planner.recipe import CorpusRef
from planner.recommend import recommend
from planner.record import GateResult, Intervention, RunRecord
from planner.request import make_request
from planner.resolve import resolve
from planner.safety import Safety
from planner.suites import Suites
from tests.hostile.fields import TextField, example, plant, text_fields
from tests.hostile.strings import STRINGS
from tests.samples import sample_approval, sample_record

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SCOPE: dict[str, Json] = {
    "experiments_multiplier": 2.2,
    "staff_person_months": 3.0,
    "usd_per_person_month": 9000.0,
    "data_usd": 5000.0,
    "post_training": {"sft_tokens": 10_000_000},
    "evaluation_usd": 1000.0,
    "other": [{"name": "audit", "usd": 5.0, "note": "n"}],
    "own": {"utilisation": 0.7},
    "risk": [{"name": "the licence does not hold", "probability": 0.05, "usd": 40_000.0, "response": "r"}],
}
OWN = frozenset({"schema", "id", "digest", "plan_id", "plan_digest", "kind"})
"""Names a value gives itself: the loader compares them with the content, so text in them never gets in."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """One plan and all that belongs to it. `planted`: the texts that stand in it, by field."""

    plan: Plan
    approval: Approval
    record: RunRecord
    events: tuple[AnyEvent, ...]
    manifest: Manifest
    entry: Entry
    planted: Mapping[str, str]


EVENTS = (Started, Ready, Stepped, Gated, Checkpointed, Intervened, Warned, Ended)
_KINDS: tuple[tuple[str, type[BaseModel]], ...] = (
    *(("plan", Plan), ("approval", Approval), ("record", RunRecord)),
    *(("manifest", Manifest), ("entry", Entry)),
)


def all_fields() -> tuple[tuple[str, TextField], ...]:
    """Every text field of every kind of value, by the name of the kind."""
    found = [(name, field) for name, kind in _KINDS for field in text_fields(kind) if _is_outside(name, field)]
    for kind in EVENTS:
        name = f"event {kind.model_fields['kind'].default}"
        found += [(name, field) for field in text_fields(kind) if _is_outside(name, field)]
    return tuple(found)


def _is_outside(name: str, field: TextField) -> bool:
    # The plan inside an approval or a record is covered as the plan.
    return field.path[-1] not in OWN and not (name == "approval" and "plan" in field.path)


def bundle(texts: Sequence[str] = (), *, shift: int = 0) -> Bundle:
    """The values with the text `shift + i` of `texts` in their field `i`, where the schema lets it be."""
    documents = {name: json.loads(text) for name, text in _documents().items()}
    planted: dict[str, str] = {}
    for place, (name, field) in enumerate(all_fields()):
        text = texts[(place + shift) % len(texts)] if texts else ""
        if texts and _is_utf8(text) and field.takes(text) and plant(documents[name], field.path, text):
            planted[f"{name}.{field.name}"] = text
    plan = seal(Plan.model_validate(documents["plan"]))
    for name in ("record", "entry"):
        documents[name] |= {"plan_id": plan.id, "plan_digest": plan.digest}
    statement = {"plan_id": plan.id, "plan_digest": plan.digest, "plan": as_json(plan)}
    documents["approval"]["statement"] |= statement
    return Bundle(
        plan=plan,
        approval=Approval.model_validate(documents["approval"]),
        record=RunRecord.model_validate(documents["record"]),
        events=tuple(kind.model_validate(documents[f"event {kind.model_fields['kind'].default}"]) for kind in EVENTS),
        manifest=Manifest.model_validate(documents["manifest"]),
        entry=Entry.model_validate(documents["entry"]),
        planted=planted,
    )


def _is_utf8(text: str) -> bool:
    # Text that is not cannot be written to any of our files (data.canonical); a test of its own says so.
    return text.encode(errors="replace").decode() == text


@cache
def places() -> Mapping[str, int]:
    """In how many places of the values each text field stands."""
    documents = {name: json.loads(text) for name, text in _documents().items()}
    return {f"{name}.{field.name}": plant(documents[name], field.path, "x") for name, field in all_fields()}


def shifts() -> Iterator[int]:
    """Every shift: after all of them each field has held each text."""
    yield from range(len(STRINGS))


@cache
def _documents() -> Mapping[str, str]:
    """A valid document of each kind, as JSON text, because they are changed."""
    plan = _whole_plan()
    record = as_json(sample_record(plan))
    gate = example(GateResult)
    assert isinstance(gate, dict)
    record |= {"gates": [gate | {"gate": as_json(plan.gates[0])}], "interventions": [example(Intervention)]}
    record |= {"safety": example(Safety), "suites": example(Suites)}
    approval = as_json(sample_approval(plan))
    statement = approval["statement"]
    assert isinstance(statement, dict)
    statement["waived"] = ["rule"]
    documents: dict[str, Json] = {"plan": as_json(plan), "approval": approval, "record": record}
    documents |= {"manifest": example(Manifest), "entry": example(Entry)}
    documents |= {f"event {kind.model_fields['kind'].default}": example(kind) for kind in EVENTS}
    documents["event end"] |= {"state": "stopped", "exit_code": 0}  # type: ignore[operator]
    return {name: json.dumps(document) for name, document in documents.items()}


def _whole_plan() -> Plan:
    """A plan of the planner, with what it leaves out put in."""
    folder = Path("nowhere")
    sources = Sources(folder / "prices.csv", folder / "hardware.toml", folder / "calibration.json")
    asked = {"hardware": "h100-sxm", "num_devices": 64, "law": "epoch-2024", "budget_usd": 250_000.0, "scope": SCOPE}
    request = make_request(asked)
    document = as_json(recommend(request, resolve(request, sources, now=NOW)))
    document["post"] = example(PostTraining) | {"method": "full", "lora_rank": 0, "preferences": None}  # type: ignore[operator]
    data, alternatives = document["data"], document["alternatives"]
    assert isinstance(data, dict)
    assert isinstance(alternatives, list)
    data["corpus"] = example(CorpusRef)
    document["warnings"] = ["w"]
    alternatives[0] |= {"served": example(ServedCost)}  # type: ignore[operator]
    return seal(Plan.model_validate(document))
