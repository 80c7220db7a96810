"""Nothing secret and nothing that steers a terminal is shown."""

from __future__ import annotations

import logging
import time

import pytest

from moenas.cli import main
from moenas.console import console, set_up_logging, table
from moenas.masking import (
    MOST,
    masked,
    masked_about,
    masked_address,
    masked_all,
    masked_variable,
    shown,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://me:s3cret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("mysql+pymysql://me:p@ss/w:rd@host/db", "mysql+pymysql://me:***@host/db"),
        ("redis://:s3cret@host", "redis://:***@host"),
        ("postgresql://me@corp:s3cret@host/db", "postgresql://me@corp:***@host/db"),
        ("postgresql://me:s3'c\"ret@host/db", "postgresql://me:***@host/db"),
        (f"at postgresql://me:{'s3cret' * 200}@host now", "at postgresql://me:***@host now"),
        ("http://:@host and http://me:@host", "http://:@host and http://me:@host"),
        (
            "x postgresql://me@host/db?password=s3cret&a=1",
            "x postgresql://me@host/db?password=***&a=1",
        ),
        ("https://host/a?access_token=s3cret", "https://host/a?access_token=***"),
        ("'postgresql:/me:s3cret@host/db' is no file", "'postgresql:/me:***@host/db' is no file"),
        ("sqlite:////home/me/study.db", "sqlite:////home/me/study.db"),
        ("http://127.0.0.1:8080/dashboard", "http://127.0.0.1:8080/dashboard"),
        ("mail me@host, at 10:30", "mail me@host, at 10:30"),
    ],
)
def test_passwords_in_urls(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://me:s3 c'r\net@host:5000/a", "http://me:***@host:5000/a"),
        ("postgresql://me/x:s3cret@host/db", "postgresql://me/x:***@host/db"),
        ("postgresql://h/db?sslpassword=s3 c;'ret&a=1", "postgresql://h/db?sslpassword=***&a=1"),
        ("postgresql://me:s3?pass=cret@h/db", "postgresql://me:***@h/db"),
        ("http://host:5000", "http://host:5000"),
        ("runs/me:x@y/study.log", "runs/me:x@y/study.log"),
    ],
)
def test_what_is_one_address_as_a_whole(address: str, expected: str) -> None:
    assert masked_address(address) == expected
    assert masked_variable("MLFLOW_TRACKING_URI", address) == expected


@pytest.mark.parametrize(
    ("password", "said", "hidden"),
    [
        ("pa@ss", "no host 'ss@nowhere', passed", "no host '***@nowhere', passed"),
        ("s3@cr:et", "invalid port 'et@host' of 's3'", "invalid port '***@host' of '***'"),
        ("s3%40cr", "refused s3@cr", "refused ***"),
        ("s3%40cr", "no host cr", "no host ***"),
        ("a@b/c@d", 'database "c@d@host" is not there', 'database "***@***@host" is not there'),
    ],
)  # fmt: skip
def test_parts_of_a_password_that_a_library_tells(password: str, said: str, hidden: str) -> None:
    assert masked_about(f"postgresql://me:{password}@host/db", said) == hidden


def test_what_steers_a_terminal_is_spelled_out() -> None:
    assert shown("a\x1b]0;owned\x07\x9b2J\r\nb\tc") == "a\\x1b]0;owned\\x07\\x9b2J\\r\nb\tc"
    assert shown("gnp.\u202eexe\udc80") == "gnp.\\u202eexe\\udc80"
    assert shown("Größe 人 👩🏽‍🔬") == "Größe 人 👩🏽‍🔬"


def test_long_texts_take_little_time_and_place() -> None:
    start = time.perf_counter()
    assert len(shown("://a:" * 1_000_000)) < 2 * MOST
    assert len(masked("://a:" * 20_000)) == 100_000
    assert masked("://" * 100_000 + "@") == "://:***@"
    assert masked("://a:" * 20_000 + "@") == "://a:***@"
    assert masked_address("a://" + ":@" * 50_000) == "a://:***@"
    assert len(masked_address("a://" + "?pass" * 20_000)) == 100_004
    assert time.perf_counter() - start < 2


def test_errors_logs_and_tables_show_text_alone(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "[/red]\x1b[2J://me:s3cret@host"
    assert main(["evaluate", hostile]) == 1
    logger = logging.getLogger("moenas")
    handlers, propagate = logger.handlers[:], logger.propagate
    try:
        set_up_logging()
        logger.warning("It is %s", hostile)
    finally:
        logger.handlers[:], logger.propagate = handlers, propagate
    console.print(table(hostile, (hostile,), [[hostile]]))
    err = capsys.readouterr().err
    assert "s3cret" not in err
    assert "\x1b[2J" not in err
    assert err.count("[/red]") >= 5


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("at https://me:pa$$w0rd@host:5000/api", "at https://me:***@host:5000/api"),
        ("postgresql+psycopg://u:p@db/x", "postgresql+psycopg://u:***@db/x"),
        ("GET /x?api_key=abc123&n=3", "GET /x?api_key=***&n=3"),
        ("HF_TOKEN=hf_abc and more", "HF_TOKEN=*** and more"),
        ("Authorization: Bearer eyJhbGciOi.J9", "Authorization: Bearer ***"),
        ('{"user": "me", "password": "s3 \\" cret"}', '{"user": "me", "password": ***}'),
        ("{'api_key': 's3cret', 'n': 3}", "{'api_key': ***, 'n': 3}"),
        ("password: s3cret\nuser: me", "password: ***\nuser: me"),
        ("password = 's3cret and", "password = *** and"),
        ("ran 'x --password s3cret --token=s3cret -v'", "ran 'x --password *** --token=*** -v'"),
        ("X-Api-Key: s3cret", "X-Api-Key: ***"),
        ("DB_PASS=s3cret OPENAI_APIKEY=s3cret", "DB_PASS=*** OPENAI_APIKEY=***"),
        ("https://host/a?X-Amz-Signature=s3cret", "https://host/a?X-Amz-Signature=***"),
    ],
)
def test_secrets(text: str, hidden: str) -> None:
    assert masked(text) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "tokens=96 of 128",
        "me@host",
        "token 5 of a basic building block",
        "a://b c@d",
        "tokens: 96, a token of 128, --tokens 5",
        "no operator has this signature: add(Tensor)",
    ],
)
def test_no_secrets(text: str) -> None:
    assert masked(text) == text


def test_values_of_secret_variables_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse")
    monkeypatch.setenv("SHORT_TOKEN", "in")
    assert masked_variable("SHORT_TOKEN", "in") == "***"
    assert masked_variable("MLFLOW_URI", "correct horse") == "***"
    found = masked_all({"a": ["it is correct horse in", 3], "b": None})
    assert found == {"a": ["it is *** in", 3], "b": None}
    assert masked_all({"password": "x", "n_tokens": 5}) == {"password": "***", "n_tokens": 5}


@pytest.mark.parametrize(
    "name", ["DB_PASS", "DBPASS", "PASS", "OPENAI_APIKEY", "MYSQL_PWD", "SSH_PASSPHRASE", "X_KEY"]
)
def test_names_of_secret_variables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "correct horse")
    assert masked("it is correct horse") == "it is ***"


def test_where_a_command_runs_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWD", "/home/someone")
    assert masked("in /home/someone/runs") == "in /home/someone/runs"
