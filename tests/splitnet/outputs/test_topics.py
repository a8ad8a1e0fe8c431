"""No name can break out of its topic, and no two names share one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitnet.errors import ConfigError
from splitnet.outputs.topics import Topics, check_base, id_of, level, name_of

TOPICS = Topics("home", "yard/+")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yard", "yard"),
        ("yard/+/#", "yard%2F%2B%2F%23"),
        ("$SYS", "%24SYS"),
        ("traffic light", "traffic%20light"),
        ("Höfe", "H%C3%B6fe"),
        ("100%", "100%25"),
        ("a\x00b", "a%00b"),
        ("", "%"),
    ],
)
def test_a_name_is_one_level(name, expected):
    assert level(name) == expected
    assert name_of(expected) == name


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_a_level_is_plain_and_leads_back_to_its_name(name):
    assert name_of(level(name)) == name
    assert not set(level(name)) & set("/+#$\x00 ")


def test_topics():
    assert TOPICS.availability == "home/yard%2F%2B/availability"
    assert TOPICS.events("a b") == "home/a%20b/events"
    assert TOPICS.count("yard", "", "car") == "home/yard/count/car"
    assert TOPICS.count("yard", "drive", "traffic light") == "home/yard/zone/drive/count/traffic%20light"


@pytest.mark.parametrize(
    ("topic", "place"),
    [
        ("home/yard/count/traffic%20light", ("", "traffic light")),
        ("home/yard/zone/drive/count/car", ("drive", "car")),
        ("home/yard/events", None),
        ("other/count/car", ("", "car")),
        ("home", None),
    ],
)
def test_the_topic_of_a_count_leads_back_to_its_place(topic, place):
    assert TOPICS.place_of(topic) == place


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "$SYS", "/a", "a/", "a\n", "x" * 201])
def test_what_others_cannot_begin_with_is_refused(topic):
    with pytest.raises(ConfigError, match="--mqtt-topic"):
        check_base(topic)


def test_ids_are_plain_and_tell_names_apart():
    assert id_of("slimsplit", "yard-1") == "slimsplit_yard-1"
    assert id_of("a b") != id_of("a+b")
    assert id_of("a b").startswith("a_b_")
