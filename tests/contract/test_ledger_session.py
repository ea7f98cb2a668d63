"""What a PostgreSQL session is set to, and that a pooler in session mode lets it be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from tests.contract.ledger_cases import address
from worker.adapters.ledger.database import Database
from worker.adapters.ledger.figures import FigureReader
from worker.core.pace import Pace

SETTINGS = {
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
    "synchronous_commit": "on",
}


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = Database(address(postgres_url))
    yield database
    database.close()


def shown(database: Database) -> dict[str, str]:
    with database.transaction() as transaction:
        return {name: transaction.scalar(sa.text(f"show {name}")) for name in SETTINGS}


def test_settings_are_there_and_outlast_a_transaction_that_is_taken_back(database: Database) -> None:
    assert shown(database) == SETTINGS
    with pytest.raises(ZeroDivisionError), database.transaction():
        raise ZeroDivisionError
    assert shown(database) == SETTINGS
    database.disconnect()
    assert shown(database) == SETTINGS


def test_no_option_is_in_the_connection_for_poolers_refuse_them(database: Database) -> None:
    with database.transaction() as transaction:
        assert transaction.connection.connection.driver_connection.info.options == ""


def test_options_of_the_address_stay(postgres_url: str) -> None:
    database = Database(address(f"{postgres_url}?options=-c%20work_mem%3D7MB"))
    with database.transaction() as transaction:
        assert transaction.scalar(sa.text("show work_mem")) == "7MB"
        assert transaction.scalar(sa.text("show lock_timeout")) == "2s"
    database.close()


def test_figures_are_read_only_and_in_time(postgres_url: str) -> None:
    reader = FigureReader(address(postgres_url), gate_key="k", pace=Pace(0, 0))
    with reader._engine.connect() as connection:
        assert connection.exec_driver_sql("show default_transaction_read_only").scalar() == "on"
        assert connection.exec_driver_sql("show statement_timeout").scalar() not in {"0", None}
        driver = connection.connection.driver_connection
        assert driver is not None
        assert (driver.autocommit, driver.info.options) == (True, "")
