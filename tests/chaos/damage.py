"""Damaged files: bits flipped, pages zeroed, ends cut or grown, swapped or lost. Refused by name, or recovered."""

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data.corpus.manifest import verify
from data.errors import UserError
from executor import checkpoint, ledger_head
from planner.approval import check_approval, check_plan_bytes, load_approval
from planner.plan import load_plan
from tests.chaos.consent import Stage
from tests.chaos.line import Line, Size
from tests.chaos.protocols import isoplan_save

_PAGE_BYTES = 4096

Damage = Callable[[bytes, random.Random], bytes | None]
"""Returns other bytes, or None for no file at all."""


def _flip(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]


def _zero(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(0, len(content), _PAGE_BYTES)
    page = content[start : start + _PAGE_BYTES]
    return content[:start] + bytes(len(page)) + content[start + _PAGE_BYTES :]


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def _grow(content: bytes, chance: random.Random) -> bytes:
    return content + chance.choice((b"\0", b"\n", b" ", content[:100], chance.randbytes(7)))


def _lose(content: bytes, chance: random.Random) -> None:
    return None


DAMAGES: tuple[Damage, ...] = (_flip, _flip, _flip, _flip, _zero, _cut, _grow, _lose)


@dataclass(frozen=True, slots=True)
class Target:
    """Files that belong together. `read` raises UserError where they are not as they were."""

    name: str
    folder: Path
    files: tuple[Path, ...]
    read: Callable[[], object]
    swaps: bool = True


def damaged_files(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """Damage checkpoints, shards, plans, approvals and ledgers, one file at a time."""
    chance = random.Random(size.seed)
    with tempfile.TemporaryDirectory() as name:
        for target, share in _targets(Path(name)):
            num = int(size.pick(1200, 12000) * share)
            bad, troubles = _damage(target, num, chance)
            yield Line(f"damaged: {target.name}", num, bad, "; ".join(troubles[:3]))
        yield _fallback(Path(name) / "fallback", size.pick(40, 400), chance)


def _targets(root: Path) -> Iterator[tuple[Target, float]]:
    stage = Stage(root / "stage")
    folder = root / "checkpoints"
    folder.mkdir()
    isoplan_save(folder, 7)
    sealed = folder / "step-00000007"

    def read_sealed() -> None:
        if problem := checkpoint.flaw(sealed):
            raise UserError(problem)

    corpus = stage.workspace.root / "corpus"
    yield Target("checkpoints", sealed, _files(sealed), read_sealed), 0.3
    yield Target("token shards and their manifest", corpus, _files(corpus), lambda: stage_corpus(stage)), 0.25
    yield Target("plans", stage.workspace.plans, (stage.plan_path,), lambda: load_plan(stage.plan_path)), 0.15
    yield Target("plans at the door", stage.workspace.plans, (stage.plan_path,), lambda: read_approved(stage)), 0.05
    yield Target("approvals", stage.workspace.plans, (stage.approval_path,), lambda: read_approval(stage)), 0.15
    yield Target("ledgers", stage.workspace.root, (stage.workspace.ledger,), lambda: read_ledger(stage)), 0.1


def stage_corpus(stage: Stage) -> None:
    """Verify the corpus, and that it is the plan's."""
    found = verify(stage.workspace.root / "corpus")
    if found.digest != stage.corpus.digest:
        raise UserError("manifest.json is of another corpus")


def read_approved(stage: Stage) -> None:
    """Compare the plan's bytes with the approved ones."""
    text = stage.plan_path.read_bytes() if stage.plan_path.exists() else b""
    check_plan_bytes(text, stage.approval, name=stage.plan_path.name)


def read_approval(stage: Stage) -> None:
    """Read and check the approval."""
    from executor.trust import read_allowed_signers

    approval = load_approval(stage.approval_path)
    check_approval(approval, allowed_signers=read_allowed_signers(), now=stage.now)


def read_ledger(stage: Stage) -> None:
    """Read the ledger as the door does."""
    entries = ledger_head.read(stage.workspace)
    if not any(entry.nonce == stage.approval.statement.nonce for entry in entries):
        raise UserError("the approval is not in ledger.jsonl")


def _damage(target: Target, num: int, chance: random.Random) -> tuple[int, list[str]]:
    target.read()
    whole = {path: path.read_bytes() for path in target.files}
    bad, troubles = 0, list[str]()
    for _ in range(num):
        path, damage, content = _draw(target, whole, chance)
        trouble = _trouble(target, path, content)
        is_recovered = trouble == "accepted" and path.exists() and path.read_bytes() == whole[path]
        if trouble and not is_recovered:
            bad += 1
            troubles.append(f"{path.name} {damage.__name__}: {trouble}")
        path.write_bytes(whole[path])
    return bad, troubles


def _draw(target: Target, whole: dict[Path, bytes], chance: random.Random) -> tuple[Path, Damage, bytes | None]:
    """Draw a file and other content for it: zeroing a page of zeros, or a swap for the same bytes, is drawn again."""
    while True:
        path = chance.choice([path for path in target.files if whole[path]])
        damage = chance.choice(DAMAGES)
        content = damage(whole[path], chance)
        if target.swaps and len(target.files) > 1 and chance.random() < 0.1:
            content = whole[chance.choice([other for other in target.files if other != path])]
        if content != whole[path]:
            return path, damage, content


def _trouble(target: Target, path: Path, content: bytes | None) -> str:
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    try:
        target.read()
    except UserError as error:
        is_named = any(other.name.split(".")[0] in str(error) for other in (path, *target.files))
        return "" if is_named else f"not named: {error}"
    except Exception as error:  # noqa: BLE001 - any other is what we look for
        return f"{type(error).__name__}: {error}"
    return "accepted"


def _fallback(folder: Path, num: int, chance: random.Random) -> Line:
    """Damage the newest of two checkpoints: the older one is used, and the damage told."""
    bad, troubles = 0, list[str]()
    for _ in range(num):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for step in (1, 2):
            isoplan_save(folder, step)
        path = chance.choice(_files(folder / "step-00000002"))
        content = chance.choice(DAMAGES)(path.read_bytes(), chance)
        path.unlink() if content is None else path.write_bytes(content)
        told: list[str] = []
        found = checkpoint.newest(folder, warn=told.append)
        if found is None or found.name != "step-00000001" or not told or "step-00000002" not in told[0]:
            bad += 1
            troubles.append(f"{path.name}: {found}")
    return Line("damaged newest checkpoint: the one before it is used", num, bad, "; ".join(troubles[:3]))


def _files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.rglob("*") if path.is_file()))
