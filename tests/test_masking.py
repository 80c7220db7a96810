"""Secrets are not written down, and what is none is."""

from __future__ import annotations

import pytest

from moenas.masking import mask, mask_all, mask_variable


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("at https://me:pa$$w0rd@host:5000/api", "at https://***@host:5000/api"),
        ("postgresql+psycopg://u:p@db/x", "postgresql+psycopg://***@db/x"),
        ("GET /x?api_key=abc123&n=3", "GET /x?api_key=***&n=3"),
        ("HF_TOKEN=hf_abc and more", "HF_TOKEN=*** and more"),
        ("Authorization: Bearer eyJhbGciOi.J9", "Authorization: Bearer ***"),
    ],
)
def test_secrets(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "tokens=96 of 128",
        "http://host:5000/a@b",
        "me@host",
        "token 5 of a basic building block",
        "a://b c@d",
    ],
)
def test_no_secrets(text: str) -> None:
    assert mask(text) == text


def test_values_of_secret_variables_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse")
    monkeypatch.setenv("SHORT_TOKEN", "in")
    assert mask_variable("SHORT_TOKEN", "in") == "***"
    assert mask_variable("MLFLOW_URI", "correct horse") == "***"
    found = mask_all({"a": ["it is correct horse in", 3], "b": None})
    assert found == {"a": ["it is *** in", 3], "b": None}
