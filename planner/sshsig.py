"""OpenSSH signatures (SSHSIG), as `ssh-keygen -Y sign` makes them, with Ed25519 keys.

People already have these keys; `ssh-keygen -Y verify` checks our approvals without us.
Format: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig
"""

import base64
import hashlib
import struct
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from data.durable import write_atomic
from data.errors import NotApprovedError, UserError

MAGIC = b"SSHSIG"
VERSION = 1
HASH = b"sha512"
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


def make_key(path: Path) -> Ed25519PrivateKey:
    """Create an unencrypted OpenSSH Ed25519 key that only its owner may read."""
    key = Ed25519PrivateKey.generate()
    write_atomic(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), mode=0o600)
    return key


def load_key(path: Path) -> Ed25519PrivateKey:
    """Read an OpenSSH private key.

    Raises:
        UserError: unreadable, encrypted, or not Ed25519.
    """
    try:
        key = load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot use the key {path}: {error}", expected="an unencrypted OpenSSH private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(
            f"{path} is not an Ed25519 key", expected="ssh-ed25519", next_step="ssh-keygen -t ed25519 -f KEY"
        )
    return key


def public_line(key: Ed25519PrivateKey) -> str:
    """Return the public half as OpenSSH writes it: `ssh-ed25519 AAAA...`."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def fingerprint(public: str) -> str:
    """Return `SHA256:...` of a public key line, as `ssh-keygen -l` prints it."""
    blob = base64.b64decode(public.split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def sign(message: bytes, key: Ed25519PrivateKey, *, namespace: str) -> str:
    """Return the armoured signature of `message` under `namespace`."""
    blob = base64.b64decode(public_line(key).split()[1])
    signature = _string(b"ssh-ed25519") + _string(key.sign(_to_sign(message, namespace)))
    body = MAGIC + struct.pack(">I", VERSION) + _string(blob) + _string(namespace.encode()) + _string(b"")
    body += _string(HASH) + _string(signature)
    return armoured(body)


def verify(message: bytes, text: str, *, namespace: str) -> str:
    """Check a signature and return the public key line that made it; whether that key may approve is not asked here.

    Raises:
        NotApprovedError: malformed, another namespace, or the message is not what was signed.
    """
    try:
        blob, signed_namespace, hash_name, signature = _parse(text)
        public = load_ssh_public_key(b"ssh-ed25519 " + base64.b64encode(blob))
        if not isinstance(public, Ed25519PublicKey):
            raise ValueError("not an Ed25519 key")
        if signed_namespace != namespace.encode() or hash_name != HASH:
            raise ValueError(f"signed for {signed_namespace!r}, not {namespace!r}")
        public.verify(signature, _to_sign(message, namespace))
    except (ValueError, struct.error, InvalidSignature) as error:
        reason = str(error) or "the content is not what was signed"
        raise NotApprovedError(f"the signature does not hold: {reason}") from error
    return "ssh-ed25519 " + base64.b64encode(blob).decode()


def armoured(signature: bytes) -> str:
    """Return the text that `ssh-keygen` keeps a signature in."""
    text = base64.b64encode(signature).decode()
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return "\n".join([BEGIN, *lines, END]) + "\n"


def unarmoured(text: str) -> bytes:
    """Return the signature in such a text.

    Raises:
        ValueError: there is none.
    """
    lines = text.strip().splitlines()
    if len(lines) < 3 or lines[0] != BEGIN or lines[-1] != END:
        raise ValueError("no SSH signature")
    return base64.b64decode("".join(lines[1:-1]), validate=True)


def _to_sign(message: bytes, namespace: str) -> bytes:
    hashed = hashlib.sha512(message).digest()
    return MAGIC + _string(namespace.encode()) + _string(b"") + _string(HASH) + _string(hashed)


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _parse(text: str) -> tuple[bytes, bytes, bytes, bytes]:
    body = unarmoured(text)
    if body[:6] != MAGIC or struct.unpack(">I", body[6:10])[0] != VERSION:
        raise ValueError("not version 1 of an SSH signature")
    fields: list[bytes] = []
    rest = body[10:]
    for _ in range(5):
        field, rest = _take(rest)
        fields.append(field)
    kind, rest_of_signature = _take(fields[4])
    raw, tail = _take(rest_of_signature)
    if rest or tail or kind != b"ssh-ed25519":
        raise ValueError("trailing bytes or another kind of key")
    key_kind, key_rest = _take(fields[0])
    if key_kind != b"ssh-ed25519" or len(_take(key_rest)[0]) != 32:
        raise ValueError("not an Ed25519 public key")
    return fields[0], fields[1], fields[3], raw


def _take(data: bytes) -> tuple[bytes, bytes]:
    length = struct.unpack(">I", data[:4])[0]
    if length > len(data) - 4:
        raise ValueError("a field is longer than the signature")
    return data[4 : 4 + length], data[4 + length :]
