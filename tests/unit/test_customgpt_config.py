"""Which way to the API."""

from __future__ import annotations

import pytest

from worker.adapters.customgpt import CustomGptConfig

PROXY = "http://user:secret@proxy.example:3128"


@pytest.mark.parametrize(
    "no_proxy", ["", "other.example", "customgpt.ai.example", "gpt.ai", "app.customgpt.ai.example, ,"]
)
def test_https_goes_by_the_proxy(no_proxy: str) -> None:
    config = CustomGptConfig("https://app.customgpt.ai/api/v1", proxy_url=PROXY, no_proxy=no_proxy)
    assert config.proxy_in_use() == PROXY


@pytest.mark.parametrize("no_proxy", ["*", "customgpt.ai", ".customgpt.ai", "x, APP.customgpt.ai", "ai"])
def test_hosts_named_by_no_proxy_are_reached_directly(no_proxy: str) -> None:
    config = CustomGptConfig("https://app.customgpt.ai/api/v1", proxy_url=PROXY, no_proxy=no_proxy)
    assert config.proxy_in_use() is None


def test_plain_http_and_no_proxy_at_all_go_directly() -> None:
    assert CustomGptConfig("http://127.0.0.1:8899/api/v1", proxy_url=PROXY).proxy_in_use() is None
    assert CustomGptConfig("https://app.customgpt.ai/api/v1").proxy_in_use() is None


def test_password_of_the_proxy_is_not_shown() -> None:
    assert "secret" not in repr(CustomGptConfig("https://x.example", proxy_url=PROXY))
