"""Hostile files: mutated plans, requests, catalogs, CSVs, manifests, ledgers and others. Only `UserError`, ever."""

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
from planner.ledger import parse_ledger
from planner.plan import as_json, parse_plan, plan_bytes
from planner.policy import load_policy
from planner.profile import Calibration
from planner.recipe import Job
from planner.request import make_request
from tests.chaos.consent import Stage
from tests.chaos.line import Line, Size
from tui.fitting import read_runs

_TOKENS = (
    *(b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"-Infinity", b"1" * 400, b"1e-400", b'"\\ud800"', b'""'),
    *(b"[]", b"{}", b"[[[[[[[[", b"{{", b'"a":1,"a":2', b"\xff\xfe", b"\0", b"\r\n", b",", b'"', b"=1+1", b"../../x"),
    *(b"9" * 30, b"[" * 2000, b'{"":' * 500, b"\\u0000", b"\xe2\x80\xae", b"1_000", b"0x10", b"inf", b"nan"),
)


@dataclass(frozen=True, slots=True)
class Reader:
    """Something that reads bytes from outside, and good bytes to start from."""

    name: str
    good: bytes
    read: Callable[[bytes], object]
    share: float


def hostile_files(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """Feed mutated bytes to every reader; anything but a clear refusal or a good value is bad."""
    chance, num = random.Random(size.seed), size.pick(1_000, 100_000)
    with tempfile.TemporaryDirectory() as name:
        for reader in readers(Path(name), is_full=size.is_full):
            tried, bad, troubles, refused = int(num * reader.share), 0, list[str](), 0
            for _ in range(tried):
                text = mutated(reader.good, chance)
                try:
                    reader.read(text)
                except UserError as error:
                    refused += 1
                    if len(str(error)) > 4000:
                        bad += 1
                        troubles.append(f"a message of {len(str(error))} characters")
                except BaseException as error:  # noqa: BLE001 - any other is what we look for
                    bad += 1
                    troubles.append(f"{type(error).__name__}: {str(error)[:120]}")
            note = "; ".join([f"{refused} refused", *dict.fromkeys(troubles)][:4])
            yield Line(f"hostile {reader.name}", tried, bad, note)


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


def readers(root: Path, *, is_full: bool) -> Iterator[Reader]:
    """Yield every reader of hostile bytes."""
    stage = Stage(root / "stage")
    plan, work = stage.plan, root / "work"
    work.mkdir()
    yield Reader("plans", plan_bytes(plan), lambda text: parse_plan(text, name="p.json"), 10.0 if is_full else 1.0)
    yield Reader("requests", canonical_bytes(as_json(plan.request)), _request, 1.0)
    yield Reader("ledgers", stage.workspace.ledger.read_bytes(), lambda text: parse_ledger(text, name="ledger"), 1.0)
    yield _file("approvals", stage.approval_path.read_bytes(), work / "p-1.approval.json", load_approval, 0.5)
    manifest = (stage.workspace.root / "corpus" / "manifest.json").read_bytes()
    yield _file("manifests", manifest, work / "manifest.json", lambda path: load_manifest(path.parent), 1.0)
    calibration = stage.workspace.calibration.read_bytes()
    yield _file("calibrations", calibration, work / "c.json", lambda path: read_value(path, Calibration), 0.5)
    yield _file("jobs", canonical_bytes(as_json(plan.job())), work / "j.json", lambda path: read_value(path, Job), 0.5)
    policy = b'[[rule]]\nname = "a"\nfield = "model.num_params"\nmax = 10\n[approval]\nmax_cap_usd = 5\n'
    yield _file("policies", policy, work / "policy.toml", load_policy, 0.5)
    yield Reader("events", _EVENT, lambda text: list(parse_lines(text)), 1.0)
    prices = b"hardware,usd_per_device_hour\nh100-sxm,2.5\nlocal-cpu,0.1\n"
    yield _file("price tables", prices, work / "prices.csv", lambda path: price_by_key("user/x/y", overlay=path), 0.5)
    device = b'[mine]\nkind = "gpu"\nmemory_gb = 80\ntflops_bf16 = 100\n'
    yield _file("hardware", device, work / "hardware.toml", lambda path: hardware("none", overlay=path), 0.5)
    yield _file("run tables", _RUNS, work / "runs.csv", read_runs, 1.0)


_RUNS = b"id,params,tokens,loss\n" + b"".join(b"r%d,%d000000,%d00000000,3.%d\n" % (n, n, n, 9 - n) for n in range(1, 8))
_EVENT = (
    b'{"spent":{"time":{"startup_seconds":1.0,"train_seconds":2.0,"eval_seconds":0.0,"checkpoint_seconds":0.0},'
    b'"cost_usd":0.1},"kind":"warning","message":"a"}\n'
)


def _request(text: bytes) -> object:
    document = parse_strict(text, name="request")
    if not isinstance(document, dict):
        raise UserError("a request is an object")
    return make_request(document)


def _file(name: str, good: bytes, path: Path, read: Callable[[Path], object], share: float) -> Reader:
    def read_bytes(text: bytes) -> object:
        path.write_bytes(text)
        return read(path)

    return Reader(name, good, read_bytes, share)
