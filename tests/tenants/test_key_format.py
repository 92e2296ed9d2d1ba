import string

from hypothesis import given
from hypothesis import strategies as st

from service.ids import random_name
from service.tenants import key_format

ALPHABET = string.ascii_letters + string.digits + "_-é\0"


def test_a_minted_key_parses_into_its_id_and_secret() -> None:
    name = random_name()
    text = key_format.mint(name)
    parsed = key_format.parse(text)
    assert parsed is not None
    assert parsed.id == name
    assert text.startswith(f"mw_{name}_{parsed.secret}")
    assert len(parsed.secret) == 43


def test_a_refresh_token_is_no_api_key_and_the_reverse() -> None:
    assert key_format.parse(key_format.mint(random_name(), key_format.REFRESH)) is None
    assert key_format.parse(key_format.mint(random_name()), key_format.REFRESH) is None


@given(st.integers(0, 79), st.sampled_from(ALPHABET))
def test_a_key_with_one_other_character_is_refused(position: int, character: str) -> None:
    text = key_format.mint(random_name())
    altered = text[:position] + character + text[position + 1 :]
    assert (key_format.parse(altered) is not None) == (altered == text)


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    assert key_format.parse(text) is None


def test_a_key_with_something_around_it_is_refused() -> None:
    text = key_format.mint(random_name())
    for other in (f"{text}\n", f" {text}", text + "0", text[:-1], ""):
        assert key_format.parse(other) is None


def test_a_parsed_key_does_not_show_its_secret() -> None:
    parsed = key_format.parse(key_format.mint(random_name()))
    assert parsed is not None
    assert parsed.secret not in repr(parsed)
