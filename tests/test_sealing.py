"""Secrets at rest: opened by whoever sealed them, for what they were sealed, under keys that change."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from app.core.errors import ConfigError
from app.core.sealing import CannotOpen, Keys, new_key

OLD, NEW = new_key(), new_key()


def test_what_is_sealed_is_opened_by_any_key_that_is_there() -> None:
    """The newest seals; the others open what they sealed before."""
    sealed = Keys([OLD]).seal("hubspot", "geheim")
    assert "geheim" not in sealed
    assert Keys([NEW, OLD]).open("hubspot", sealed) == "geheim"
    again = Keys([NEW, OLD]).seal("hubspot", "geheim")
    assert Keys([NEW]).open("hubspot", again) == "geheim"
    with pytest.raises(CannotOpen, match=f"sealed with key {Keys([OLD]).id}, and TANDEM_ENCRYPTION_KEYS has"):
        Keys([NEW]).open("hubspot", sealed, Keys([OLD]).id)


def test_a_secret_belongs_to_one_thing() -> None:
    """In another's place it opens nothing, and neither does a changed one."""
    keys = Keys([NEW])
    sealed = keys.seal("hubspot", "geheim")
    with pytest.raises(CannotOpen, match="the row was moved"):
        keys.open("mailchimp", sealed)
    with pytest.raises(CannotOpen):
        keys.open("hubspot", sealed[:-8] + "AAAAAAA=")


@pytest.mark.parametrize("text", [f"{NEW},{OLD}", f"{NEW}\n{OLD}\n", f" {NEW} , {OLD} "])
def test_keys_are_written_one_after_the_other(text: str) -> None:
    """Commas or white space between them, as suits a variable or a file; nobody shows them."""
    keys = Keys.of(SecretStr(text))
    assert keys.ids == (Keys([NEW]).id, Keys([OLD]).id)
    assert NEW not in repr(keys)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (None, "TANDEM_ENCRYPTION_KEYS is not set.*`tandem keys new` makes a key"),
        (SecretStr(" "), "is not set"),
        (SecretStr(f"{NEW},kurz"), "key 2 of 2 is no key; `tandem keys new` makes one"),
    ],
)
def test_without_a_key_one_is_told_how_to_make_it(setting: SecretStr | None, told: str) -> None:
    """And what is wrong is not repeated."""
    with pytest.raises(ConfigError, match=told) as caught:
        Keys.of(setting)
    assert "kurz" not in str(caught.value)
