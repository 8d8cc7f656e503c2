"""Whom this machine trusts: allowed signers, revoked keys, the policy, and the keys that sign here.

All of it lies in `ISOPLAN_HOME`, outside the working folder, and is read each time it is asked for.
"""

from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from data.durable import write_atomic
from data.errors import NotApprovedError
from executor.paths import home
from planner.approval import NAMESPACE
from planner.policy import Policy, StartSigning, load_policy
from planner.receipt import NAMESPACE as START_NAMESPACE
from planner.receipt import Trust
from planner.signers import allow_signer, signers_of
from planner.sshsig import load_key, make_key, public_line


def allowed_signers_path() -> Path:
    """Return the file that says which keys may sign what, in OpenSSH's allowed-signers format."""
    return home() / "allowed_signers"


def read_allowed_signers() -> str:
    """Return that file's text; no file allows no one."""
    return _text(allowed_signers_path())


def read_revoked_keys() -> str:
    """Return the revoked public keys, one a line; no file revokes none."""
    return _text(home() / "revoked_keys")


def read_policy() -> Policy | None:
    """Return the organisation's limits on consent; None where there is no `policy.toml`."""
    path = home() / "policy.toml"
    return load_policy(path) if path.exists() else None


def read_trust() -> Trust:
    """Return whose signatures count on the ledger's starts."""
    policy = read_policy()
    return Trust(read_allowed_signers(), read_revoked_keys(), policy.starts if policy else None)


def signing_key(name: str, key_path: Path | None) -> Ed25519PrivateKey:
    """Return the approver's key; the first approver on a machine gets one made and allowed.

    Later names and keys are added to the allowed-signers file by a person, not by asking to approve.
    """
    path = key_path or home() / "keys" / "id_ed25519"
    key = load_key(path) if path.exists() or key_path else make_key(path)
    if not allowed_signers_path().exists():
        line = allow_signer("", name=name, key=key, namespace=NAMESPACE)
        write_atomic(allowed_signers_path(), line.encode(), mode=0o600)
    return key


def start_key_path() -> Path:
    """Return where this machine's key for receipts of starts lies, where a policy asks for one."""
    return home() / "keys" / "start_ed25519"


def start_signer(policy: StartSigning | None, *, now: datetime) -> tuple[str, Ed25519PrivateKey] | None:
    """Return the name and key that sign starts on this machine; None where the policy names nobody.

    Raises:
        NotApprovedError: the policy names signers, and this machine holds no key of theirs.
    """
    if policy is None:
        return None
    path = start_key_path()
    key = load_key(path) if path.exists() else None
    names = () if key is None else _names_of(key, now=now)
    name = next((name for name in policy.signed_by if name.replace(" ", "_") in names), None)
    if key is None or name is None:
        raise NotApprovedError(
            f"the policy has starts signed by {' or '.join(policy.signed_by)}, and this machine has no key of theirs",
            expected=f'{path}, and a line for it in {allowed_signers_path()} with namespaces="{START_NAMESPACE}"',
            next_step=f"ssh-keygen -t ed25519 -N '' -f {path}",
        )
    return name, key


def _names_of(key: Ed25519PrivateKey, *, now: datetime) -> tuple[str, ...]:
    return signers_of(public_line(key), read_allowed_signers(), namespace=START_NAMESPACE, now=now)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
