"""Ansible Vault: ours opens Ansible's and Ansible opens ours; references are resolved late and nothing leaks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import Peer
from ultraplan import vault
from ultraplan.inventory import as_list, load_inventory, references_in
from ultraplan.language.errors import SourceError
from ultraplan.secrets import SecretError, Secrets, marker

Write = Callable[[Mapping[str, str]], Path]

# Made by `ansible-vault encrypt` 2.19 with the password "correct horse"; the text is "blåbær: 1\n".
GOLDEN = """$ANSIBLE_VAULT;1.1;AES256
66386636636539346239326539666262396333613264353262363136323365373761363933373537
3430336532303433343339303663373661643436663031320a656233316663393835636632666532
33653562386630636163626130623264383562343934303836353933303661366662613931366137
3964633135326462310a363833313637653032643637623136343330343765666638616436306533
3931
"""
PASSWORD = b"correct horse"
VALUE = "s3cr3t-välue"


def sealed(text: str, indent: int = 6) -> str:
    """``text`` as a YAML block after `!vault |`."""
    lines = vault.encrypt(text, PASSWORD).splitlines()
    return "!vault |\n" + "\n".join(" " * indent + line for line in lines)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment that names a password file."""
    file = tmp_path / "vault.pass"
    file.write_bytes(PASSWORD + b"\n")
    return {"ULTRAPLAN_VAULT_PASSWORD_FILE": str(file), "PATH": "/usr/bin:/bin"}


def test_what_ansible_encrypted_is_opened() -> None:
    assert vault.decrypt(GOLDEN, PASSWORD) == "blåbær: 1\n"


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=200), st.binary(min_size=1, max_size=40), st.none() | st.just("prod"))
def test_what_is_encrypted_is_opened_again(text: str, password: bytes, label: str | None) -> None:
    document = vault.encrypt(text, password, label=label)
    assert vault.is_encrypted(document)
    assert vault.decrypt(document, password) == text
    assert all(len(line) <= 80 for line in document.splitlines())


@pytest.mark.parametrize("label", [None, "prod"])
@pytest.mark.parametrize("text", ["", "x", "16 bytes of text", VALUE * 100, "a: 1\n"])
def test_ansible_opens_ours_and_we_open_ansibles(text: str, label: str | None, ansible: Peer) -> None:
    assert ansible.ask("decrypt", text=vault.encrypt(text, PASSWORD, label=label), password=PASSWORD.decode()) == text
    theirs = ansible.ask("encrypt", text=text, password=PASSWORD.decode(), label=label)
    assert vault.decrypt(theirs, PASSWORD) == text


def test_only_a_given_salt_makes_a_document_reproducible() -> None:
    salt = bytes(range(32))
    assert vault.encrypt(VALUE, PASSWORD, salt=salt) == vault.encrypt(VALUE, PASSWORD, salt=salt)
    assert vault.encrypt(VALUE, PASSWORD) != vault.encrypt(VALUE, PASSWORD)


def damaged(line: int, change: Callable[[str], str]) -> str:
    """`GOLDEN` with one line changed."""
    lines = GOLDEN.splitlines()
    lines[line] = change(lines[line])
    return "\n".join(lines)


@pytest.mark.parametrize(("text", "why"), [
    ("", "not vault data"),
    ("$ANSIBLE_VAULT", "not vault data"),
    ("$ANSIBLE_VAULT;1.0;AES256\n00", "unknown vault version"),
    ("$ANSIBLE_VAULT;1.1;AES\n00", "unknown vault cipher"),
    ("$ANSIBLE_VAULT;1.1;AES256\nzz", "is damaged"),
    ("$ANSIBLE_VAULT;1.1;AES256\n3030", "is damaged"),
    (damaged(-1, lambda line: line[:-2]), "damaged"),
    (damaged(-1, lambda line: line[:-1] + ("0" if line[-1] != "0" else "1")), "damaged"),
    (damaged(1, lambda line: "31" + line[2:] if line[:2] != "31" else "32" + line[2:]), "not the one"),
])
def test_damaged_documents_are_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(SecretError, match=why):
        vault.decrypt(text, PASSWORD)


def test_another_password_is_refused() -> None:
    with pytest.raises(SecretError, match="not the one it was encrypted with"):
        vault.decrypt(GOLDEN, b"wrong horse")


def test_empty_passwords_and_labels_with_blanks_are_no_use() -> None:
    with pytest.raises(ValueError, match="empty"):
        vault.encrypt("x", b"")
    with pytest.raises(ValueError, match="label"):
        vault.encrypt("x", b"y", label="a b")


def test_the_password_comes_from_a_file_or_from_the_output_of_a_script(tmp_path: Path, write: Write) -> None:
    folder = write({"plain": "  pass word \n", "script": "#!/bin/sh\necho from script\n", "empty": "\n",
                    "fails": "#!/bin/sh\necho hidden; exit 4\n"})

    def password(name: str, variable: str = "ANSIBLE_VAULT_PASSWORD_FILE") -> bytes:
        return vault.password_from({variable: str(folder / name), "PATH": "/usr/bin:/bin"})

    assert password("plain") == b"pass word"
    assert password("script", "ULTRAPLAN_VAULT_PASSWORD_FILE") == b"from script"
    for name, why in (("empty", "empty password"), ("fails", "exit code 4"), ("none", "No such file")):
        with pytest.raises(SecretError, match=why) as caught:
            password(name)
        assert "hidden" not in str(caught.value)
    with pytest.raises(SecretError, match="set ULTRAPLAN_VAULT_PASSWORD_FILE"):
        vault.password_from({})


def inventory_files() -> dict[str, str]:
    """An inventory with secrets of every kind."""
    whole = json.dumps({"db": {"password": VALUE, "port": 15432, "tls": True, "none": None}, "keys": [VALUE, "a.b#c%"]})
    return {
        "hosts.yml": "web:\n  hosts:\n    w1.example.com:\n     a.b: " + sealed(VALUE) + "\n  vars:\n"
                     "    given: {secret: env:TOKEN}\n    other: {secret: 'vault:sub/more.yml#x.y'}\n",
        "group_vars/web.yml": "nested:\n  - k: " + sealed(VALUE) + "\n",
        "host_vars/w1.example.com": vault.encrypt(whole, PASSWORD),
        "sub/more.yml": "x:\n  y: " + sealed(VALUE) + "\n",
        "group_vars/all.json": json.dumps({"j": {"__ansible_vault": vault.encrypt(VALUE, PASSWORD)}}),
    }


def test_no_secret_is_in_the_inventory_and_every_reference_is_resolved(write: Write, environ: dict[str, str]) -> None:
    folder = write(inventory_files())
    inventory = load_inventory([folder / "hosts.yml"], read_env=environ)
    assert VALUE not in repr(inventory) and "15432" not in repr(inventory) and "a.b#c" not in repr(inventory)
    assert VALUE not in json.dumps(as_list(inventory), ensure_ascii=False)
    variables = inventory.hosts["w1.example.com"].vars
    assert variables["db"]["tls"] is True and variables["db"]["none"] is None
    assert variables["given"] == {"secret": "env:TOKEN"}
    assert variables["a.b"] == marker(f"vault:{folder}/hosts.yml#web.hosts.w1%2Eexample%2Ecom.a%2Eb")
    references = references_in(inventory)
    secrets = Secrets(references, {"vault": vault.resolver(Path("/nowhere"), environ)})
    values = {reference.removeprefix(f"vault:{folder}/"): secrets.value(reference) for reference in references
              if reference != "env:TOKEN"}
    assert values == {
        "hosts.yml#web.hosts.w1%2Eexample%2Ecom.a%2Eb": VALUE,
        "group_vars/web.yml#nested.0.k": VALUE,
        "group_vars/all.json#j": VALUE,
        "host_vars/w1.example.com#db.password": VALUE,
        "host_vars/w1.example.com#db.port": "15432",
        "host_vars/w1.example.com#keys.0": VALUE,
        "host_vars/w1.example.com#keys.1": "a.b#c%",
        "sub/more.yml#x.y": VALUE,
    }
    assert "env:TOKEN" in references
    assert secrets.reveal(f"p={variables['a.b']}") == f"p={VALUE}"


def test_values_encrypted_in_place_need_no_password_to_load(write: Write) -> None:
    files = inventory_files()
    del files["host_vars/w1.example.com"]
    assert load_inventory([write(files) / "hosts.yml"], read_env={}).hosts["w1.example.com"].vars


def test_a_file_that_is_encrypted_as_a_whole_needs_the_password_to_load(write: Write) -> None:
    folder = write(inventory_files())
    with pytest.raises(SourceError, match=r"host_vars/w1.example.com:1:1: error: cannot decrypt it: no vault password"):
        load_inventory([folder / "hosts.yml"], read_env={})


def test_mistakes_in_an_encrypted_file_show_nothing_of_it(write: Write, environ: dict[str, str]) -> None:
    for text in (f"a: [{VALUE}\n", f"{VALUE}", f"- {VALUE}\n", f"a: !{VALUE} x\n", f"{VALUE}: 1\n{VALUE}: 2\n",
                 f"a: *{VALUE}\n"):
        folder = write({"hosts": "w1\n", "host_vars/w1": vault.encrypt(text, PASSWORD)})
        with pytest.raises(SourceError) as caught:
            load_inventory([folder / "hosts"], read_env=environ)
        assert VALUE not in str(caught.value) and VALUE not in repr(caught.value.diagnostics)


@pytest.mark.parametrize(("reference", "why"), [
    ("none.yml#a", "No such file"),
    ("plain.yml#b", "no key 'b'"),
    ("plain.yml#a", "not encrypted"),
    ("plain.yml#a.b", "nothing under 'b'"),
    ("broken.yml#a", "not valid YAML"),
    ("whole.yml#m", "not a single value"),
    ("plain.yml", "not vault data"),
])
def test_references_to_nothing_are_refused_by_name(reference: str, why: str, write: Write,
                                                   environ: dict[str, str]) -> None:
    folder = write({"plain.yml": f"a: {VALUE}\n", "broken.yml": f"a: [{VALUE}\n",
                    "whole.yml": vault.encrypt(f"m: {{a: {VALUE}}}", PASSWORD)})
    with pytest.raises(SecretError, match=why) as caught:
        vault.resolver(folder, environ)(reference)
    assert VALUE not in str(caught.value) and f"vault:{reference}" in str(caught.value)


def test_a_reference_without_a_key_is_the_whole_text(write: Write, environ: dict[str, str]) -> None:
    folder = write({"key.pem": vault.encrypt("-----BEGIN\nx\n", PASSWORD)})
    assert vault.resolver(folder, environ)("key.pem") == "-----BEGIN\nx\n"


def test_text_from_files_and_scripts_cannot_ask_for_a_secret(write: Write) -> None:
    asks = marker("env:HOME")
    answer = json.dumps({"g": {"hosts": ["w3"], "vars": {"x": asks}}})
    folder = write({"a": f"w1 x='{asks}'\n", "b.yml": f"web: {{hosts: {{w2: {{x: '{asks}'}}}}}}\n",
                    "c": f"#!/bin/sh\ncat <<'E'\n{answer}\nE\n"})
    assert references_in(load_inventory([folder / "a", folder / "b.yml", folder / "c"])) == frozenset()
