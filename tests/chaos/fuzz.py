"""Hostile files: mutated plans, requests, catalogs, CSVs, manifests, ledgers and others. Only `UserError`, ever."""

import csv
import io
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data.canonical import canonical_bytes, parse_strict
from data.catalog.hardware import hardware
from data.catalog.prices import price_by_key
from data.corpus.manifest import load_manifest
from data.errors import UserError
from executor.events import parse_lines
from executor.value_files import read_value
from planner.approval import load_approval
from planner.cards import model_card
from planner.economics.cost_table import cost_table
from planner.estimate import estimated_row
from planner.ledger import parse_ledger
from planner.plan import Plan, as_json, content_digest, parse_plan, plan_bytes, seal
from planner.policy import load_policy
from planner.profile import Calibration
from planner.recipe import Job
from planner.recommend import recommend
from planner.report.build import build_report
from planner.report.csv import render_csv
from planner.report.html import render_html
from planner.request import Request, make_request
from planner.resolve import resolve
from tests.chaos.consent import Stage
from tests.chaos.line import Line, Size
from tui.fitting import read_runs

_TOKENS = (
    *(b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"-Infinity", b"1" * 400, b"1e-400", b'"\\ud800"', b'""'),
    *(b"[]", b"{}", b"[[[[[[[[", b"{{", b'"a":1,"a":2', b"\xff\xfe", b"\0", b"\r\n", b",", b'"', b"=1+1", b"../../x"),
    *(b"9" * 30, b"[" * 2000, b'{"":' * 500, b"\\u0000", b"\xe2\x80\xae", b"1_000", b"0x10", b"inf", b"nan"),
)


_CODES = frozenset({2, 3, 4, 5})
MAX_MESSAGE = 4000


def hostile_files(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """Feed mutated bytes to every reader; anything but a clear refusal or a good value is bad."""
    chance, num = random.Random(size.seed), size.pick(1_000, 100_000)
    with tempfile.TemporaryDirectory() as name:
        for reader in readers(Path(name), is_full=size.is_full):
            reader.read(reader.good)  # or every change of it would be refused for that
            tried, bad, troubles, refused = int(num * reader.share), 0, list[str](), 0
            for _ in range(tried):
                text = reader.change(reader.good, chance)
                try:
                    reader.read(text)
                except UserError as error:
                    refused += 1
                    if trouble := _trouble(error):
                        bad += 1
                        troubles.append(trouble)
                except BaseException as error:  # noqa: BLE001 - any other is what we look for
                    bad += 1
                    troubles.append(f"{type(error).__name__}: {str(error)[:120]}")
            note = "; ".join([f"{refused} refused", *dict.fromkeys(troubles)][:4])
            yield Line(f"hostile {reader.name}", tried, bad, note)


def _trouble(error: UserError) -> str:
    """What is wrong with a refusal: a code that is not documented for input, or a message nobody would read."""
    if error.exit_code not in _CODES:
        return f"exit {error.exit_code}: {str(error)[:120]}"
    return f"a message of {len(str(error))} characters" if len(str(error)) > MAX_MESSAGE else ""


def mutated(good: bytes, chance: random.Random) -> bytes:
    """Return `good` with one to four changes: bytes, spans, tokens, numbers."""
    text = good
    for _ in range(chance.choice((1, 1, 2, 4))):
        text = chance.choice(_CHANGES)(text, chance)
    return text


def _flip(text: bytes, chance: random.Random) -> bytes:
    if not text:
        return b"\0"
    place = chance.randrange(len(text))
    return text[:place] + bytes([chance.randrange(256)]) + text[place + 1 :]


def _insert(text: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(text) + 1)
    return text[:place] + chance.choice(_TOKENS) + text[place:]


def _remove(text: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(text) + 1)
    return text[:place] + text[place + chance.choice((1, 2, 10, 200)) :]


def _repeat(text: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(text) + 1)
    return text[:place] + text[place : place + 60] * 2 + text[place + 60 :]


def _replace_value(text: bytes, chance: random.Random) -> bytes:
    """Put a token where a JSON value, a CSV cell or a TOML value stands."""
    starts = [place for place, byte in enumerate(text) if byte in b":,=["]
    if not starts:
        return text
    place = chance.choice(starts) + 1
    end = place
    while end < len(text) and text[end] not in b",}]\n":
        end += 1
    return text[:place] + chance.choice(_TOKENS) + text[end:]


_CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_flip, _insert, _remove, _repeat),
    *(_replace_value, _replace_value, _replace_value),
)


def other_values(good: bytes, chance: random.Random) -> bytes:
    """Return a JSON document with one to three of its values replaced, so that it may still be one of its kind."""
    document = json.loads(good)
    for _ in range(chance.choice((1, 1, 2, 3))):
        where, path = document, list[str | int]()
        while isinstance(where, dict | list) and where:
            key = chance.choice([*where] if isinstance(where, dict) else range(len(where)))
            path.append(key)
            where = where[key]
        holder = document
        for key in path[:-1]:
            holder = holder[key]
        is_number = isinstance(where, int | float) and not isinstance(where, bool)
        holder[path[-1]] = chance.choice(_FIGURES if is_number else _VALUES)
    return json.dumps(document).encode()


_FIGURES = (0, 0.0, 1, 2, -1, 3, 1e-300, 1e300, 1e18, 10**18, 10**30, 0.5, 2**31, 2**63, -1e300, 1e-9)
_VALUES = (None, True, "", "x", [], {}, [None], "2026-01-01", "n" * 200, "../x", "=1", "local", *_FIGURES)


@dataclass(frozen=True, slots=True)
class Reader:
    """Something that reads bytes from outside, and good bytes to start from."""

    name: str
    good: bytes
    read: Callable[[bytes], object]
    share: float
    change: Callable[[bytes, random.Random], bytes] = mutated


def readers(root: Path, *, is_full: bool) -> Iterator[Reader]:
    """Yield every reader of hostile bytes."""
    stage = Stage(root / "stage")
    plan, work = stage.plan, root / "work"
    work.mkdir()
    yield Reader("requests", canonical_bytes(as_json(plan.request)), _request, 1.0)
    yield Reader("ledgers", stage.workspace.ledger.read_bytes(), lambda text: parse_ledger(text, name="ledger"), 1.0)
    yield _file("approvals", stage.approval_path.read_bytes(), work / stage.approval_path.name, load_approval, 0.2)
    manifest = (stage.workspace.root / "corpus" / "manifest.json").read_bytes()
    yield _file("manifests", manifest, work / "manifest.json", lambda path: load_manifest(path.parent), 1.0)
    calibration = stage.workspace.calibration.read_bytes()
    yield _file("calibrations", calibration, work / "c.json", lambda path: read_value(path, Calibration), 0.5)
    yield _file("jobs", canonical_bytes(as_json(plan.job())), work / "j.json", lambda path: read_value(path, Job), 0.5)
    policy = b'[[rule]]\nname = "a"\nfield = "model.num_params"\nmax = 10\n[approval]\nmax_cap_usd = 5\n'
    yield _file("policies", policy, work / "policy.toml", load_policy, 0.5)
    yield Reader("events", _EVENT, lambda text: list(parse_lines(text)), 1.0)
    prices = (
        b"hardware,usd_per_device_hour,tier,provider_class,as_of,accessed,note\n"
        b"h100-sxm,2.5,spot,specialist,2026-01-01,2026-01-02,n\nlocal-cpu,0.1,,,,,\n"
    )
    yield _file("price tables", prices, work / "prices.csv", _price, 1.0)
    device = b'[mine]\nbase = "h100-sxm"\nmemory_gib = 96\nbf16_tflops = 100\nreleased = "2026"\n'
    yield _file("hardware", device, work / "hardware.toml", lambda path: hardware("mine", overlay=path), 1.0)
    yield _file("run tables", _RUNS, work / "runs.csv", read_runs, 1.0)
    yield Reader("tables of costs", _COSTS, _cost_rows, 0.1)
    yield Reader("tables of configurations", _CONFIGURATIONS, _estimate_rows, 0.02)
    yield Reader("plans sealed again, in a review", plan_bytes(plan), _review, 0.1, other_values)
    yield Reader("requests, to a plan", canonical_bytes(as_json(plan.request)), _recommend(stage), 0.005, other_values)
    yield Reader(
        "plans", plan_bytes(_short(plan)), lambda text: parse_plan(text, name="p.json"), 9.5 if is_full else 0.5
    )
    yield Reader("plans, whole", plan_bytes(plan), lambda text: parse_plan(text, name="p.json"), 0.5)


_RUNS = b"run,N,D,loss\n" + b"".join(b"r%d,%d000000,%d00000000,3.%d\n" % (n, n, n, 9 - n) for n in range(1, 8))
_EVENT = (
    b'{"spent":{"time":{"startup_seconds":1.0,"train_seconds":2.0,"eval_seconds":0.0,"checkpoint_seconds":0.0},'
    b'"cost_usd":0.1},"kind":"warning","message":"a"}\n'
)


_COSTS = (
    b"case,model,params,tokens,compute_flop,hardware,n_devices,device_hours,wall_days,price_basis,year,scope\n"
    b"a,b,7e9,2e12,,h100-sxm,64,1000,,2.5 USD per GPU-hour,2024,final run\nb,c,,,1e24,tpu-v4,,,30,,2022,\n"
)
_CONFIGURATIONS = (
    b"id,layers,hidden,heads,kv_heads,ffn,vocab,seq_len,global_batch,micro_batch,hardware,n_devices,TP,PP,DP,precision\n"
    b"a,32,4096,32,32,11008,32000,4096,64,1,h100,8,1,1,8,bf16\n"
)


def _price(path: Path) -> object:
    return price_by_key("user/local-cpu/on-demand/any", overlay=path)


def _cost_rows(text: bytes) -> object:
    return cost_table(text.decode(errors="replace"), name="costs.csv")


def _estimate_rows(text: bytes) -> object:
    reader = csv.DictReader(io.StringIO(text.decode(errors="replace"), newline=""))
    return [estimated_row(row) for row in reader]


def _review(text: bytes) -> object:
    """Read a plan whose author sealed what they liked: every figure may be anything that a plan can state."""
    document = parse_strict(text, name="p.json")
    if not isinstance(document, dict):
        raise UserError("a plan is an object")
    digest = content_digest(document)
    plan = parse_plan(canonical_bytes({**document, "id": f"p-{digest[:6]}", "digest": digest}), name="p.json")
    report = build_report(plan)
    return render_html(report), render_csv(plan), model_card(plan)


def _recommend(stage: Stage) -> Callable[[bytes], object]:
    def answer(text: bytes) -> object:
        request = _request(text)
        return recommend(request, resolve(request, stage.workspace.sources(), now=stage.now))

    return answer


def _short(plan: Plan) -> Plan:
    """The plan without most of its lists and its budget: one of each kind of value is enough to change."""
    document = as_json(plan) | {"economics": None, "governance": None, "sizes": []}
    for name in ("cost_lines", "gates", "alternatives"):
        document[name] = document[name][:1]  # type: ignore[index]
    document["predicted"]["trajectory"] = document["predicted"]["trajectory"][:1]  # type: ignore[index,call-overload]
    return seal(Plan.model_validate(document))


def _request(text: bytes) -> Request:
    document = parse_strict(text, name="request")
    if not isinstance(document, dict):
        raise UserError("a request is an object")
    return make_request(document)


def _file(name: str, good: bytes, path: Path, read: Callable[[Path], object], share: float) -> Reader:
    def read_bytes(text: bytes) -> object:
        path.write_bytes(text)
        return read(path)

    return Reader(name, good, read_bytes, share)
