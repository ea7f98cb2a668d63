"""Reading the settings: defaults, files, refusals, and that nothing secret gets out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.core.errors import SettingsError
from worker.settings import SETTINGS, Settings, load_settings, make_state_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.authority import Authority

BASE = {"HOME": "/home/somebody", "DATABASE_URL": "postgresql://localhost/askrelay"}
API = frozenset({"api"})
LEDGER = frozenset({"ledger"})


def problems(environ: dict[str, str], **more: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, **more)
    return caught.value.detail.splitlines()


def only_problem(environ: dict[str, str], **more: object) -> str:
    found = problems(BASE | environ, **more)
    assert len(found) == 1, found
    return found[0]


def test_settings_have_the_defaults_of_the_design() -> None:
    settings = load_settings(BASE)
    assert settings.rabbitmq_url == "amqp://guest:guest@127.0.0.1:5672/"
    assert settings.customgpt_api_url == "https://app.customgpt.ai/api/v1"
    assert (settings.concurrency, settings.requests_per_minute, settings.requests_at_once) == (100, 60, 5)
    assert (settings.lease_s, settings.send_grace_s, settings.request_timeout_s) == (30, 2, 120)
    assert (settings.settle_s, settings.list_lag_s, settings.grace_s) == (300, 30, 25)
    assert (settings.keep_days, settings.dedup_days, settings.max_attempts) == (30, 365, 12)
    assert (settings.on_unknown, settings.after_failure) == ("repost", "continue")
    assert (settings.answer_within_s, settings.contact_daily_limit) == (None, None)
    assert settings.declare is True
    assert settings.warnings == ()


def test_settings_constructed_in_code_do_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKRELAY_CONCURRENCY", "7")
    monkeypatch.setenv("CONCURRENCY", "7")
    assert Settings(database_url="sqlite:////tmp/a.db").concurrency == 100


def test_user_without_a_home_is_asked_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "os.path.expanduser", lambda path: path
    )  # as it is for a uid that passwd does not have
    assert problems({}) == ["DATABASE_URL is not set, and this user has no home folder: set DATABASE_URL"]


def test_settings_cannot_be_changed() -> None:
    settings = load_settings(BASE)
    with pytest.raises(ValueError, match="frozen"):
        settings.concurrency = 3


def test_empty_variable_counts_as_not_set() -> None:
    settings = load_settings(BASE | {"ASKRELAY_CONCURRENCY": "", "ASKRELAY_LOG_KEY_FILE": ""})
    assert settings.concurrency == 100
    assert settings.origin_of("concurrency").kind == "default"


def test_file_variable_gives_the_content_without_its_last_line_end(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("amqps://relay:secret@broker:5671/crm\n")
    settings = load_settings(BASE | {"RABBITMQ_URL_FILE": str(file)})
    assert settings.rabbitmq_url == "amqps://relay:secret@broker:5671/crm"
    assert str(settings.origin_of("rabbitmq_url")) == "RABBITMQ_URL_FILE"


def test_file_keeps_every_character_but_its_last_line_end(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text(" a, b \r\n")
    assert load_settings(BASE | {"NO_PROXY_FILE": str(file)}).no_proxy == " a, b "


def test_file_that_cannot_be_read_is_named_with_its_variable(tmp_path: Path) -> None:
    said = only_problem({"CUSTOMGPT_API_KEY_FILE": str(tmp_path / "missing")})
    assert said.startswith("CUSTOMGPT_API_KEY_FILE names ")
    assert "missing" in said
    assert "No such file" in said


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    assert "which is empty" in only_problem({"CUSTOMGPT_API_KEY_FILE": str(tmp_path / "key")})


def test_value_and_file_together_are_refused(tmp_path: Path) -> None:
    said = only_problem({"ASKRELAY_CONCURRENCY": "3", "ASKRELAY_CONCURRENCY_FILE": str(tmp_path)})
    assert said == "ASKRELAY_CONCURRENCY and ASKRELAY_CONCURRENCY_FILE are both set: keep one of them"


def test_first_name_of_the_broker_wins_over_the_platforms() -> None:
    platform = {"CLOUDAMQP_URL": "amqps://platform/x"}
    assert load_settings(BASE | platform).rabbitmq_url == "amqps://platform/x"
    own = platform | {"RABBITMQ_URL": "amqp://own/x"}
    assert load_settings(BASE | own).rabbitmq_url == "amqp://own/x"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ASKRELAY_CONCURRENCY", "0", "a whole number from 1 to 10000 (turns)"),
        ("ASKRELAY_CONCURRENCY", "many", "a whole number from 1 to 10000 (turns)"),
        ("ASKRELAY_LEASE_S", "nan", "a number from 0.5 to 3600 (seconds)"),
        ("ASKRELAY_GRACE_S", "inf", "a number from 0 to 3600 (seconds)"),
        ("ASKRELAY_DECLARE", "perhaps", "true or false"),
        ("ASKRELAY_ON_UNKNOWN", "hodl", "did you mean hold?"),
        ("ASKRELAY_AFTER_FAILURE", "stop", "one of continue, block"),
        ("ASKRELAY_LOG_LEVEL", "verbose", "one of debug, info, warning, error"),
        ("ASKRELAY_ANSWER_WITHIN_S", "0", "(seconds, or off)"),
        ("ASKRELAY_HEALTH_PORT", "70000", "from 0 to 65535"),
        ("ASKRELAY_QUESTION_QUEUE", "amq.mine", "brokers keep for themselves"),
        ("ASKRELAY_QUESTION_QUEUE", "q" * 256, "1 to 255 bytes"),
        ("ASKRELAY_DOORBELL_QUEUE", "1st", "start with a letter"),
        ("ASKRELAY_ASKED_KEY", "contact.#", "without the wildcards"),
        ("CUSTOMGPT_PROJECT_ID", "-1", "a whole number from 1 to 9223372036854775807"),
        ("CUSTOMGPT_PROJECT_ID", "9" * 20, "a whole number from 1 to 9223372036854775807"),
        ("CUSTOMGPT_API_URL", "https://a..b/api/v1", "a host whose parts between the dots"),
        ("ASKRELAY_HEALTH_HOST", "a..b", "a host whose parts between the dots"),
        ("RABBITMQ_URL", "amqp://a..b/", "a host whose parts between the dots"),
        ("CUSTOMGPT_API_URL", "http://app.customgpt.ai/api/v1", "must be https://"),
        ("CUSTOMGPT_API_URL", "ftp://localhost", "must look like https://"),
        ("RABBITMQ_URL", "http://localhost", "must look like amqp://"),
        ("RABBITMQ_URL", "amqp://guest@localhost/", "must have a password after its user"),
        ("RABBITMQ_URL", "amqp://localhost/?foo=1", "no query parameters but pika's own"),
        ("RABBITMQ_URL", "amqp://localhost/?heartbeat=abc", "value that pika takes"),
        ("RABBITMQ_URL", "amqp://localhost/?heartbeat=1&heartbeat=2", "each once"),
        ("RABBITMQ_URL", "amqps://localhost/?ssl_options=x", "value that pika takes"),
        ("DATABASE_URL", "mysql://localhost/x", "postgresql:// or sqlite:///"),
        ("DATABASE_URL", "sqlite://", "must name a file"),
        ("DATABASE_URL", "sqlite:///:memory:", "must name a file"),
    ],
)
def test_wrong_value_is_told_with_what_it_must_be(name: str, value: object, says: str) -> None:
    said = only_problem({name: value})
    assert said.startswith(name)
    assert says in said


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ASKRELAY_CONCURENCY", "ASKRELAY_CONCURRENCY"),
        ("ASKRELAY_SETTLE_SECONDS", "ASKRELAY_SETTLE_S"),
        ("askrelay_lease_s", "ASKRELAY_LEASE_S"),
        ("ASKRELAY_LOG_KEYFILE", "ASKRELAY_LOG_KEY_FILE"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest_right_one(name: str, nearest: str) -> None:
    assert only_problem({name: "1"}) == f"{name} is not a setting: did you mean {nearest}?"


def test_test_switches_are_no_settings() -> None:
    assert "ASKRELAY_TEST_CRASH is not a setting" in only_problem({"ASKRELAY_TEST_CRASH": "1"})


def test_names_that_kubernetes_makes_for_our_service_are_ignored() -> None:
    made = {
        "ASKRELAY_SERVICE_HOST": "10.0.0.1",
        "ASKRELAY_SERVICE_PORT_HTTP": "80",
        "ASKRELAY_PORT": "tcp://10.0.0.1:80",
        "ASKRELAY_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert load_settings(BASE | made).health_port == 8088


def test_names_that_kubernetes_makes_for_another_service_are_explained() -> None:
    said = problems(BASE | {"ASKRELAY_HEALTH_PORT": "tcp://10.0.0.1:80", "ASKRELAY_HEALTH_SERVICE_HOST": "x"})
    assert len(said) == 2
    assert all("enableServiceLinks: false" in line for line in said)


def test_all_problems_are_told_at_once() -> None:
    said = problems(
        BASE
        | {
            "ASKRELAY_CONCURRENCY": "x",
            "ASKRELAY_LESE_S": "3",
            "ASKRELAY_SETTLE_S": "100",
            "RABBITMQ_URL": "nothing",
        },
        needs=API,
    )
    assert [line.split()[0] for line in said] == [
        "ASKRELAY_LESE_S",
        "RABBITMQ_URL",
        "ASKRELAY_CONCURRENCY",
        "ASKRELAY_SETTLE_S",
        "CUSTOMGPT_API_KEY",
        "CUSTOMGPT_PROJECT_ID",
    ]


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"ASKRELAY_SETTLE_S": "239"}, "at least 240, twice ASKRELAY_REQUEST_TIMEOUT_S"),
        ({"ASKRELAY_LIST_LAG_S": "301"}, "not be more than ASKRELAY_SETTLE_S"),
        ({"ASKRELAY_DEDUP_DAYS": "29"}, "not be less than ASKRELAY_KEEP_DAYS"),
        ({"ASKRELAY_REJECTED_QUEUE": "askrelay.questions"}, "are the same"),
        ({"ASKRELAY_REJECTED_QUEUE": "askrelay.doorbell.XQ"}, "are the same"),
        ({"ASKRELAY_ANSWERED_KEY": "contact.question.asked"}, "are the same"),
        ({"ASKRELAY_FAILED_KEY": "contact.question.asked"}, "are the same"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str], says: str) -> None:
    assert says in only_problem(environ)


def test_failed_replies_may_share_the_key_of_answers() -> None:
    assert load_settings(BASE | {"ASKRELAY_FAILED_KEY": "contact.question.answered"}).failed_key


def test_contradiction_with_a_value_that_is_wrong_itself_is_not_told_twice() -> None:
    said = only_problem(
        {"ASKRELAY_REQUEST_TIMEOUT_S": "soon", "ASKRELAY_SETTLE_S": "100", "ASKRELAY_LIST_LAG_S": "9"}
    )
    assert said.startswith("ASKRELAY_REQUEST_TIMEOUT_S")


#: Addresses with TLS, and the setting that names whom to trust there.
TRUST = [
    ("RABBITMQ_CA_FILE", {"RABBITMQ_URL": "amqps://broker"}),
    ("CUSTOMGPT_CA_FILE", {"CUSTOMGPT_API_URL": "https://api.example/api/v1"}),
]


@pytest.mark.parametrize(("name", "url"), TRUST)
def test_ca_file_is_taken_where_there_is_tls(name: str, url: dict[str, str], authority: Authority) -> None:
    settings = load_settings(BASE | url | {name: str(authority.ca_file)})
    assert getattr(settings, name.lower()) == authority.ca_file


@pytest.mark.parametrize(
    ("name", "plain", "wanted"),
    [
        ("RABBITMQ_CA_FILE", {}, "amqps://"),
        ("CUSTOMGPT_CA_FILE", {"CUSTOMGPT_API_URL": "http://127.0.0.1:8899/api/v1"}, "https://"),
    ],
)
def test_ca_file_without_tls_is_refused(
    name: str, plain: dict[str, str], wanted: str, authority: Authority
) -> None:
    assert wanted in only_problem(plain | {name: str(authority.ca_file)})


@pytest.mark.parametrize(("name", "url"), TRUST)
def test_ca_file_that_is_missing_or_no_certificate_is_refused(
    name: str, url: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    assert "cannot be read" in only_problem(url | {name: str(file)})
    file.write_text("x")
    assert f"{name} names {file}, which holds no certificate" in only_problem(url | {name: str(file)})


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_spoken_to_through_psycopg_3(scheme: str) -> None:
    settings = load_settings(BASE | {"DATABASE_URL": f"{scheme}://u:p@h:5432/d?sslmode=require"})
    assert settings.database_url == "postgresql+psycopg://u:p@h:5432/d?sslmode=require"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8899/api/v1/", "http://localhost:1", "http://[::1]:80"])
def test_plain_http_to_this_machine_is_allowed(url: str) -> None:
    assert load_settings(BASE | {"CUSTOMGPT_API_URL": url}).customgpt_api_url == url.rstrip("/")


def test_proxy_without_a_scheme_is_taken_as_http() -> None:
    assert load_settings(BASE | {"https_proxy": "proxy:3128"}).https_proxy == "http://proxy:3128"


def test_off_switches_a_limit_off() -> None:
    settings = load_settings(
        BASE | {"ASKRELAY_ANSWER_WITHIN_S": "OFF", "ASKRELAY_CONTACT_DAILY_LIMIT": "off"}
    )
    assert (settings.answer_within_s, settings.contact_daily_limit) == (None, None)


def test_ledger_defaults_to_a_file_in_the_state_folder_with_a_warning() -> None:
    settings = load_settings({"HOME": "/home/somebody"}, needs=LEDGER)
    assert settings.database_url == "sqlite:////home/somebody/.local/state/askrelay/askrelay.db"
    assert [name for name, _ in settings.warnings] == ["DATABASE_URL"]
    chosen = load_settings({"HOME": "/home/somebody", "XDG_STATE_HOME": "/state"})
    assert chosen.database_url == "sqlite:////state/askrelay/askrelay.db"


def test_state_folder_is_made_for_the_default_ledger_only_and_for_nobody_else(tmp_path: Path) -> None:
    make_state_folder(load_settings({"XDG_STATE_HOME": str(tmp_path / "state")}))
    folder = tmp_path / "state" / "askrelay"
    assert folder.stat().st_mode & 0o777 == 0o700
    make_state_folder(load_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/mine/a.db"}))
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("platform", ["KUBERNETES_SERVICE_HOST", "DYNO"])
def test_default_ledger_is_refused_where_the_disk_goes_with_the_process(platform: str) -> None:
    environ = {"HOME": "/home/somebody", platform: "x"}
    assert "must name a PostgreSQL database" in problems(environ, needs=LEDGER)[0]
    assert load_settings(environ).database_url.startswith("sqlite:")


def test_sqlite_on_a_volume_of_a_pod_is_allowed_and_on_a_dyno_refused() -> None:
    file = {"DATABASE_URL": "sqlite:////data/a.db"}
    assert load_settings(file | {"KUBERNETES_SERVICE_HOST": "x"}, needs=LEDGER)
    assert problems(file | {"DYNO": "worker.1"}, needs=LEDGER)


def test_missing_key_and_project_are_told_only_to_commands_that_need_them() -> None:
    said = problems(BASE | {"CUSTOMGPT_APIKEY": "x"}, needs=API)
    assert said[0].startswith("CUSTOMGPT_API_KEY is not set (but CUSTOMGPT_APIKEY is)")
    assert said[1].startswith("CUSTOMGPT_PROJECT_ID is not set: ")
    assert load_settings(BASE).customgpt_api_key is None


def test_secrets_never_stand_in_messages_or_representations(tmp_path: Path) -> None:
    canary = "canary-s3cret"
    (tmp_path / "number").write_text(canary)
    said = "\n".join(
        problems(
            BASE
            | {
                "CUSTOMGPT_API_KEY": f"{canary} x",
                "ASKRELAY_LOG_KEY": canary,
                "RABBITMQ_URL": f"amqp+x://user:{canary}/p@ss@host/vhost",
                "DATABASE_URL": f"mysql://user:{canary}@host/db?password={canary}",
                "ASKRELAY_CONCURRENCY_FILE": str(tmp_path / "number"),
            }
        )
    )
    assert len(said.splitlines()) == 5
    assert canary not in said
    settings = load_settings(
        BASE
        | {
            "CUSTOMGPT_API_KEY": canary,
            "ASKRELAY_LOG_KEY": canary * 2,
            "RABBITMQ_URL": f"amqp://user:{canary}@host/vhost",
            "DATABASE_URL": f"postgresql://user:{canary}@host/db",
            "HTTPS_PROXY": f"http://user:{canary}@proxy",
        }
    )
    assert canary not in repr(settings)
    assert canary not in str(settings)


def test_every_setting_is_declared_with_a_name_and_a_sentence() -> None:
    assert len(SETTINGS) == len({setting.name for setting in SETTINGS})
    internal = {"customgpt_api_key_file", "inkeep_api_key_file"}
    assert {setting.field for setting in SETTINGS} == set(Settings.model_fields) - internal
    for setting in SETTINGS:
        assert setting.about.endswith("."), setting.name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ASKRELAY_LANG", "english language"),
        ("ASKRELAY_CUSTOM_PERSONA", "  "),
        ("ASKRELAY_CUSTOM_CONTEXT", " "),
        ("ASKRELAY_CHATBOT_MODEL", "gpt 4"),
        ("ASKRELAY_RESPONSE_SOURCE", "everything"),
        ("ASKRELAY_EVENT_OPTIONS", "custom_persona,custom_contest"),
    ],
)
def test_option_that_is_not_right_stops_the_start(name: str, value: str) -> None:
    assert name in only_problem({name: value})


def test_names_of_event_options_are_a_list_and_a_near_miss_is_named() -> None:
    loaded = load_settings(
        BASE | {"ASKRELAY_EVENT_OPTIONS": " Custom_Persona, chatbot_model,custom_persona "}
    )
    assert loaded.allowed_event_options == {"custom_persona", "chatbot_model"}
    assert load_settings(BASE).allowed_event_options == frozenset()
    assert "did you mean custom_context?" in only_problem({"ASKRELAY_EVENT_OPTIONS": "custom_contest"})


@pytest.mark.parametrize("chooser", [{"ASKRELAY_API": "chat_completions"}, {"ASKRELAY_EVENT_OPTIONS": "api"}])
def test_option_that_chat_completions_do_not_take_is_refused_where_they_may_be_asked(
    chooser: dict[str, str],
) -> None:
    load_settings(BASE | chooser)
    said = only_problem(chooser | {"ASKRELAY_CUSTOM_PERSONA": "A pirate."})
    assert "ASKRELAY_CUSTOM_PERSONA is set but" in said
