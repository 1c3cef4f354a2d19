"""Settings: all problems at once, in words; secrets by file or credential; the README's table is the code's."""

import re
from datetime import time
from pathlib import Path

import pytest

from clawkakad.config import Access, ModelKind, Settings, load_place, load_settings, names
from clawkakad.errors import ConfigError

ROOT = Path(__file__).parent.parent
GOOD = {
    "WHATSAPP_APP_SECRET": "app-one, app-two",
    "WHATSAPP_ACCESS_TOKEN": "token-one",
    "WHATSAPP_VERIFICATION_TOKEN": "verify-one",
    "WHATSAPP_SENDER_PHONE_NUMBER_ID": "100000000000001",
    "CLAWKAKA_ALLOW": "+49 151 23456789, 1 (555) 010-0123, US.10000000000000000001",
}
NO_HOST = "must be an IP address or a host name alone, such as 127.0.0.1, ::1 or localhost; the port goes into PORT"


def problems_of(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_settings(environ)
    return str(raised.value).splitlines()


def test_a_good_environment_is_read() -> None:
    settings = load_settings(GOOD)

    assert [s.get_secret_value() for s in settings.app_secrets] == ["app-one", "app-two"]
    assert settings.allow == ("4915123456789", "15550100123", "US.10000000000000000001")
    assert settings.access is Access.LISTED
    assert settings.active_hours == (time(8), time(22))
    assert settings.model_kind is ModelKind.OFFLINE


def test_all_problems_are_told_at_once_and_none_shows_a_value() -> None:
    problems = problems_of(
        {
            "WHATSAPP_APP_SECRET": "changeme",
            "WHATSAPP_SENDER_PHONE_NUMBER_ID": "+49-not-an-id",
            "PORT": "seventy",
            "CLAWKAKA_ALLOW": "call-me",
            "CLAWKAKA_ACTIVE_HOURS": "9 to 5",
            "CLAWKAKA_ALOW": "+4915123456789",
        }
    )

    told = {line.split(":")[0] for line in problems}
    assert told == {
        "WHATSAPP_APP_SECRET",
        "WHATSAPP_ACCESS_TOKEN",
        "WHATSAPP_VERIFICATION_TOKEN",
        "WHATSAPP_SENDER_PHONE_NUMBER_ID",
        "PORT",
        "CLAWKAKA_ALLOW",
        "CLAWKAKA_ACTIVE_HOURS",
        "CLAWKAKA_ALOW",
    }
    assert "changeme" not in "\n".join(problems)


def test_a_contradiction_is_told_beside_what_is_missing_or_wrong() -> None:
    problems = problems_of(
        {
            "MODEL_BASE_URL": "http://127.0.0.1:11434/v1",
            "PORT": "seventy",
            "CLAWKAKA_STATE_DIR": "state",
            "CLAWKAKA_SANDBOX_DISK_MB": "63",
            "CLAWKAKA_RUNTIME_DIR": "/" + "x" * 90,
        }
    )

    told = {line.split(":")[0] for line in problems}
    assert {"WHATSAPP_APP_SECRET", "PORT"} < told
    assert {"MODEL", "CLAWKAKA_ALLOW", "CLAWKAKA_STATE_DIR", "CLAWKAKA_SANDBOX_DISK_MB", "CLAWKAKA_RUNTIME_DIR"} < told


@pytest.mark.parametrize("wrong", [{"CLAWKAKA_ACCESS": "opne"}, {"MODEL_BASE_URL": "ftp://x"}])
def test_what_is_wrong_itself_contradicts_nothing(wrong: dict[str, str]) -> None:
    alone = {name: value for name, value in GOOD.items() if name != "CLAWKAKA_ALLOW"} | {"CLAWKAKA_ACCESS": "open"}

    assert [line.split(":")[0] for line in problems_of(alone | wrong)] == list(wrong)


def test_nobody_let_in_is_a_problem_unless_access_is_open() -> None:
    closed = {name: value for name, value in GOOD.items() if name != "CLAWKAKA_ALLOW"}

    assert "CLAWKAKA_ALLOW" in problems_of(closed)[0]
    assert load_settings({**closed, "CLAWKAKA_ACCESS": "open"}).access is Access.OPEN


def test_a_disk_quota_is_none_or_has_room_for_a_sandbox() -> None:
    assert problems_of({**GOOD, "CLAWKAKA_SANDBOX_DISK_MB": "63"})[0].startswith("CLAWKAKA_SANDBOX_DISK_MB")
    for enough in ("0", "64"):
        assert load_settings({**GOOD, "CLAWKAKA_SANDBOX_DISK_MB": enough}).sandbox_disk_mb == int(enough)


def test_a_runtime_directory_too_long_for_sockets_is_a_problem() -> None:
    assert problems_of({**GOOD, "CLAWKAKA_RUNTIME_DIR": "/" + "x" * 90})[0].startswith("CLAWKAKA_RUNTIME_DIR")


def test_a_secret_may_be_a_file_or_a_credential(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    (tmp_path / "WHATSAPP_VERIFICATION_TOKEN").write_text("from-credential\n")
    environ = {k: v for k, v in GOOD.items() if k not in ("WHATSAPP_ACCESS_TOKEN", "WHATSAPP_VERIFICATION_TOKEN")}
    environ |= {"WHATSAPP_ACCESS_TOKEN_FILE": str(tmp_path / "token"), "CREDENTIALS_DIRECTORY": str(tmp_path)}

    settings = load_settings(environ)

    assert settings.access_token.get_secret_value() == "from-file"
    assert settings.verification_token.get_secret_value() == "from-credential"


def test_a_secret_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    problems = problems_of({**GOOD, "WHATSAPP_ACCESS_TOKEN": "", "WHATSAPP_ACCESS_TOKEN_FILE": str(tmp_path / "no")})

    assert problems == [f"WHATSAPP_ACCESS_TOKEN: its file cannot be read: {tmp_path / 'no'}: No such file or directory"]


def test_a_list_whose_file_is_not_there_is_told_once(tmp_path: Path) -> None:
    problems = problems_of({**GOOD, "CLAWKAKA_ALLOW": "", "CLAWKAKA_ALLOW_FILE": str(tmp_path)})

    assert problems == [f"CLAWKAKA_ALLOW: its file cannot be read: {tmp_path}: Is a directory"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WHATSAPP_API_VERSION", "25", "must look like v25.0"),
        ("DOCKER_HOST", "tcp://x", "must begin with unix:// or http://, such as unix:///var/run/docker.sock"),
        ("CLAWKAKA_LOG", "xml", "must be 'auto', 'human' or 'json'"),
        ("CLAWKAKA_LOG_LEVEL", "LOUD", "must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("CLAWKAKA_ACCESS", "all", "must be 'listed' or 'open'"),
        ("CLAWKAKA_HOST", "http://0.0.0.0", NO_HOST),
        ("PORT", "seventy", "must be a whole number"),
        ("PORT", "70000", "must be 65535 or less"),
        ("CLAWKAKA_SANDBOX_MEMORY_MB", "1000", "must be 1024 or more"),
        ("CLAWKAKA_SANDBOX_CPUS", "0", "must be more than 0"),
        ("CLAWKAKA_BURST_S", "a while", "must be a number"),
        ("CLAWKAKA_SLEEP_AFTER_HOURS", "inf", "must be a number"),
        ("CLAWKAKA_SANDBOX_CPUS", "1e999", "must be a number"),
        ("WHATSAPP_APP_SECRET", ",", "names nothing"),
        ("WHATSAPP_APP_SECRET", "a1b2\nc3d4", "holds a line break, or another sign that cannot be seen"),
        ("WHATSAPP_ACCESS_TOKEN", "EAAB # of\nOctober", "holds a line break, or another sign that cannot be seen"),
        ("OPENROUTER_API_KEY", "\ufeffsk-or-1", "holds a line break, or another sign that cannot be seen"),
    ],
)
def test_what_to_write_is_said_in_words(name: str, value: str, words: str) -> None:
    assert problems_of({**GOOD, name: value}) == [f"{name}: {words}"]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "localhost", "my_pa-1.example.org", "pa."],
)
def test_the_webhook_listens_on_an_address_or_a_host_name(host: str) -> None:
    assert load_settings({**GOOD, "CLAWKAKA_HOST": host}).host == host


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0:3001",
        "localhost:3001",
        "[::1]",
        "[::1]:3001",
        "0.0.0.0/0",
        "127.0.0.1 ::1",
        "127.0.0.1,::1",
        "fe80::1%eth0 /",
        "300.0.0.1",
        "127.0.0",
        "::1::",
        "*",
        "-pa.example.org",
        "pa..example.org",
        "x" * 64,
        ".".join(["x" * 60] * 5),
    ],
)
def test_what_is_no_host_is_told_with_the_other_problems(host: str) -> None:
    assert problems_of({**GOOD, "CLAWKAKA_HOST": host, "PORT": "seventy"}) == [
        f"CLAWKAKA_HOST: {NO_HOST}",
        "PORT: must be a whole number",
    ]


@pytest.mark.parametrize("value", ["-1", "?!", "1e9", "nan", "inf", "0.5"])
def test_no_setting_answers_in_the_words_of_a_library(value: str) -> None:
    problems = "\n".join(problems_of(dict.fromkeys(names(), value)))

    assert not re.search("Input|String|Value|pattern", problems), problems


def test_secrets_do_not_show_in_the_settings_text() -> None:
    text = repr(load_settings(GOOD))

    assert all(word not in text for word in ("app-one", "token-one", "verify-one"))


def test_places_need_no_whatsapp() -> None:
    assert load_place({"CLAWKAKA_STATE_DIR": "/x"}).state_dir == Path("/x")


def test_the_table_of_the_readme_is_the_settings() -> None:
    table = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*?) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)

    assert {name: words for name, _, words in table} == names()
    for name, default, _ in table:
        field = next(f for f in Settings.model_fields.values() if f.alias == name)
        assert default == ("**required**" if field.is_required() else shown(field.default)), name


def shown(value: object) -> str:
    if value is None or value == ():
        return "–"
    if isinstance(value, tuple):
        return "`" + "-".join(part.strftime("%H:%M") for part in value) + "`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
