import shutil
import subprocess

import pytest

from data.errors import NotApprovedError, UserError
from planner.sshsig import load_key, make_key, public_line, sign, verify

NAMESPACE = "isoplan-approval@v1"


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path / "id")


def test_a_signature_names_the_key_that_made_it(key):
    assert verify(b"plan", sign(b"plan", key, namespace=NAMESPACE), namespace=NAMESPACE) == public_line(key)


@pytest.mark.parametrize("change", ["message", "namespace", "signature"])
def test_any_change_breaks_the_signature(key, change):
    armoured = sign(b"plan", key, namespace=NAMESPACE)
    if change == "signature":
        body = armoured.splitlines()
        body[3] = ("B" if body[3][0] == "A" else "A") + body[3][1:]
        armoured = "\n".join(body)

    with pytest.raises(NotApprovedError, match="does not hold"):
        verify(
            b"plan!" if change == "message" else b"plan",
            armoured,
            namespace="other" if change == "namespace" else NAMESPACE,
        )


def test_every_single_bit_flip_of_the_signature_is_refused(key):
    import base64

    armoured = sign(b"plan", key, namespace=NAMESPACE)
    lines = armoured.splitlines()
    body = base64.b64decode("".join(lines[1:-1]))
    for bit in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[bit // 8] ^= 1 << bit % 8
        text = "\n".join([lines[0], base64.b64encode(bytes(flipped)).decode(), lines[-1]])
        with pytest.raises(NotApprovedError):
            verify(b"plan", text, namespace=NAMESPACE)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH's ssh-keygen")
def test_openssh_accepts_our_signatures_and_we_accept_its(key, tmp_path):
    (tmp_path / "message").write_bytes(b"plan")
    (tmp_path / "ours.sig").write_text(sign(b"plan", key, namespace=NAMESPACE))
    (tmp_path / "allowed").write_text(f'ana namespaces="{NAMESPACE}" {public_line(key)}\n')

    check = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "ana", "-n", NAMESPACE, "-s", "ours.sig"]
    subprocess.run(check, cwd=tmp_path, input=b"plan", check=True, capture_output=True)
    make = ["ssh-keygen", "-Y", "sign", "-f", "id", "-n", NAMESPACE, "message"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    theirs = (tmp_path / "message.sig").read_text()

    assert verify(b"plan", theirs, namespace=NAMESPACE) == public_line(key)


def test_a_key_that_is_none_is_refused(tmp_path):
    (tmp_path / "id").write_text("not a key")

    with pytest.raises(UserError, match="cannot use the key"):
        load_key(tmp_path / "id")
