"""Who may sign what, and when: allowed-signers lines as OpenSSH reads them, and a list of revoked keys."""

import re
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import TypeAdapter, ValidationError

from data.errors import NotApprovedError, UserError
from data.values import Name
from planner.sshsig import fingerprint, public_line


def allow_signer(allowed_signers: str, *, name: str, key: Ed25519PrivateKey, namespace: str) -> str:
    """Return the allowed-signers text with one more line, for this purpose only.

    Raises:
        UserError: the name is not plain; in that file a comma, a star or a line break would allow others.
    """
    _check_name(name)
    return f'{allowed_signers}{_principal(name)} namespaces="{namespace}" {public_line(key)}\n'


def check_signer(
    public: str, *, name: str, allowed_signers: str, revoked_keys: str, namespace: str, now: datetime
) -> None:
    """Pass when a public key may sign as `name`.

    Raises:
        NotApprovedError: it is revoked, or no line allows it now.
    """
    if public in {" ".join(line.split()[:2]) for line in revoked_keys.splitlines()}:
        raise NotApprovedError(f"the key {fingerprint(public)} of '{name}' is revoked")
    if _principal(name) not in signers_of(public, allowed_signers, namespace=namespace, now=now):
        raise NotApprovedError(
            f"the key {fingerprint(public)} may not sign as '{name}'",
            expected=f"a line for that name and key in the allowed-signers file, for {namespace}",
        )


def signers_of(public: str, allowed_signers: str, *, namespace: str, now: datetime) -> tuple[str, ...]:
    """Return the names under which a public key may sign for `namespace` now, by OpenSSH's allowed-signers lines.

    Of its options `namespaces`, `valid-after` and `valid-before` are known; a line with any other allows nothing.
    """
    names: list[str] = []
    for line in allowed_signers.splitlines():
        match = _SIGNER.fullmatch(line.strip())
        if match and match["key"] == public and _allows(match["options"] or "", namespace, now):
            names.extend(match["names"].split(","))
    return tuple(names)


_OPTION = re.compile(r'([a-z-]+)="([^"]*)"')
_SIGNER = re.compile(
    r'(?P<names>[^#\s]\S*)\s+(?:(?P<options>[a-z-]+="[^"]*"(?:,[a-z-]+="[^"]*")*)\s+)?'
    r"(?P<key>ssh-ed25519 [A-Za-z0-9+/=]+)(?:\s.*)?"
)
_SIGNER_TIMES = ("%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S")


def _allows(options: str, namespace: str, now: datetime) -> bool:
    for option, value in _OPTION.findall(options):
        if option == "namespaces":
            is_met = namespace in value.split(",")
        elif option == "valid-after":
            is_met = (since := _signer_time(value)) is not None and now >= since
        elif option == "valid-before":
            is_met = (until := _signer_time(value)) is not None and now < until
        else:
            is_met = False
        if not is_met:
            return False
    return True


def _signer_time(text: str) -> datetime | None:
    """Read OpenSSH's YYYYMMDD[HHMM[SS]]; taken as UTC with or without its Z, so that every machine agrees."""
    for form in _SIGNER_TIMES:
        try:
            return datetime.strptime(text.removesuffix("Z"), form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def _check_name(name: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise UserError(f"cannot approve as '{name}': {error.errors()[0]['msg']}") from error


_NAME = TypeAdapter[str](Name)


def _principal(name: str) -> str:
    # OpenSSH's names have no spaces.
    return name.replace(" ", "_")
