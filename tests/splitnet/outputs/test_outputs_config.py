"""Settings of reports: one definition, in three places, and no password in any message."""

from __future__ import annotations

import argparse

import pytest

from edge_client.config import RunConfig
from splitnet.config_check import check_config, template
from splitnet.configuration import add_configurable, read_configured
from splitnet.errors import ConfigError
from splitnet.outputs.outputs_config import Broker, OutputsConfig

SECTIONS = {"run": RunConfig, "outputs": OutputsConfig}
FILE = """
[run]
source = "0"
server = "node:1"

[outputs]
classes = ["person", "car"]

[outputs.mqtt]
url = "mqtts://broker"
topic = "home/cameras"

[outputs.webhook]
url = "https://hooks.example/yard"
"""


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "edge.toml"
    found.write_text(FILE)
    return found


def read(path, *arguments: str, environ: dict[str, str] | None = None) -> RunConfig:
    parser = argparse.ArgumentParser()
    add_configurable(parser, RunConfig)
    parsed = parser.parse_args(["--config", str(path), *arguments])
    found: RunConfig = read_configured("run", SECTIONS, parsed, environ or {})
    return found


def test_tables_inside_outputs_are_settings_of_the_command(path):
    config = read(path)
    assert (config.mqtt_url, config.mqtt_topic) == ("mqtts://broker", "home/cameras")
    assert (config.webhook_url, config.classes) == ("https://hooks.example/yard", ["person", "car"])
    assert config.reports


def test_variables_and_the_command_line_win(path):
    environ = {"SLIMSPLIT_MQTT_TOPIC": "from/variable", "SLIMSPLIT_MQTT_URL": "mqtt://other"}
    config = read(path, "--mqtt-url", "mqtt://third", environ=environ)
    assert (config.mqtt_topic, config.mqtt_url) == ("from/variable", "mqtt://third")


def test_check_names_the_line_and_the_nearest_setting(path):
    path.write_text(FILE.replace("topic =", "topik ="))
    checked = check_config(path, SECTIONS, {})
    assert checked.problems == [f"{path}, line 11: [outputs.mqtt] has no setting 'topik'; did you mean topic?"]


def test_check_shows_no_password(path):
    path.write_text(FILE.replace("mqtts://broker", "mqtts://me:hunter22@broker"))
    checked = check_config(path, SECTIONS, {})
    assert checked.problems == []
    assert "hunter22" not in checked.to_text() + str(checked.to_json())


def test_the_template_has_a_table_for_each_receiver():
    text = template(SECTIONS)
    assert "\n[outputs.mqtt]\n" in text and "\n# url =" in text and "\n[outputs.webhook]\n" in text
    assert "mqtt_url" not in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mqtt_url": "broker"}, "--mqtt-url is an address such as mqtt://HOST:1883"),
        ({"mqtt_url": "http://broker"}, "--mqtt-url"),
        ({"mqtt_url": "mqtt://broker:99999"}, "--mqtt-url"),
        ({"mqtt_url": "mqtt://broker/topic"}, "the topic is --mqtt-topic"),
        ({"mqtt_url": "mqtt://broker", "mqtt_topic": "a/#"}, "without \\+ and #"),
        ({"mqtt_url": "mqtt://broker", "mqtt_discovery": "+"}, "without"),
        ({"mqtt_user": "me"}, "need --mqtt-url"),
        ({"mqtt_frames": True}, "need --mqtt-url"),
        ({"webhook_url": "ftp://x"}, "--webhook-url is an address"),
        ({"webhook_url": "https://"}, "--webhook-url is an address"),
        ({"webhook_url": "https://x/a b"}, "--webhook-url is an address"),
        ({"zones": ["drive"]}, "a zone is"),
        ({"zones": ["a 0:0 1:0 1:1", "a 0:0 1:0 0:1"]}, "the same name"),
        ({"zones": [f"z{n} 0:0 1:0 1:1" for n in range(33)]}, "32 at most"),
        ({"gone_s": 0.0}, "--gone-s"),
        ({"appear_s": -1.0}, "--appear-s"),
        ({"appear_score": 1.5}, "--appear-score"),
        ({"webhook_timeout_s": 0.0}, "--webhook-timeout-s"),
        ({"report_as": "a\nb"}, "--report-as"),
        ({"report_as": "x" * 129}, "--report-as"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        OutputsConfig(**settings)


def test_a_broker_is_read_with_its_port_and_user(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    assert OutputsConfig(mqtt_url="mqtt://b").broker() == Broker("b", 1883, "", "", False)
    assert OutputsConfig(mqtt_url="mqtts://u%40x:p%3Aw@b:1").broker() == Broker("b", 1, "u@x", "p:w", True)
    config = OutputsConfig(mqtt_url="mqtts://b", mqtt_user="u", mqtt_password_file=secret)
    assert config.broker() == Broker("b", 8883, "u", "open sesame", True)
    assert "sesame" not in repr(config.broker())


def test_a_password_file_that_is_not_there_is_told():
    with pytest.raises(ConfigError, match="--mqtt-password-file /nowhere cannot be read"):
        OutputsConfig(mqtt_url="mqtt://b", mqtt_user="u", mqtt_password_file="/nowhere")
