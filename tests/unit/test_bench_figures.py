"""The bench's arithmetic on made-up runs: rates, ratios, aims, tables, the plot. No figure of a machine."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.bench import kernel
from tests.bench.aims import AIMS, AIO_PIKA, FASTSTREAM, OURS, OURS_POSTGRESQL, Aim
from tests.bench.api_process import ApiProcess
from tests.bench.contenders import CONTENDERS, chosen as chosen_contenders
from tests.bench.figures import Use, percentile, rate_of, ratios, values
from tests.bench.page import BEGIN, END, with_figures
from tests.bench.plot import COLUMN, NUMBER, plot
from tests.bench.regimes import chosen as chosen_regimes
from tests.bench.tables import as_markdown, as_tables, found_for
from tests.bench.traffic import event

SVG = "{http://www.w3.org/2000/svg}"


def run_of(contender: str, regime: str = "0 ms", *, repetition: int = 0, **figures: float) -> dict[str, Any]:
    """Make up a run as the bench stores it."""
    return {
        "contender": contender,
        "regime": regime,
        "repetition": repetition,
        "in_flight": 1000 if regime == "3000 ms" else 64,
        "is_ours": contender.startswith("askrelay"),
        **figures,
    }


def aim_of(regime: str, figure: str, ours: str = OURS) -> Aim:
    return next(aim for aim in AIMS if (aim.regime, aim.figure, aim.ours) == (regime, figure, ours))


def drawn_widths(svg: str, kind: str) -> list[float]:
    boxes = ET.fromstring(svg).iter(f"{SVG}rect")
    return [float(box.attrib["width"]) for box in boxes if box.attrib["class"].strip() == kind]


def test_a_rate_counts_whole_waves_of_an_api_that_answers_in_waves() -> None:
    # A thousand in flight for 3 s each: nothing, then a thousand at once, three times over.
    seen = [(0.0, 0), (3.0, 1000), (6.0, 2000), (9.0, 3000)]
    assert rate_of(seen, after=1000) == pytest.approx(1000 / 3)


def test_a_rate_of_fewer_questions_than_were_in_flight_counts_them_all() -> None:
    assert rate_of([(0.0, 0), (2.0, 50)], after=64) == 25


@pytest.mark.parametrize(("share", "value"), [(0.5, 51), (0.99, 100), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile(range(1, 101), share) == value


def test_use_is_told_per_question_in_milliseconds() -> None:
    use = Use(seconds=10, worker_s=2, broker_s=1, database_s=0.5, api_s=0.1, foreign_cores=0.3)
    told = use.per_question(4000)
    assert (told["cpu_ms"], told["broker_ms"], told["database_ms"]) == (0.5, 0.25, 0.125)
    assert told["foreign_cores"] == 0.3


def test_ratios_are_taken_within_a_repetition() -> None:
    # The machine was three times slower in the second repetition; the ratio of the medians would be 0.83.
    assert ratios({0: 1.0, 1: 3.0, 2: 5.0}, {0: 2.0, 1: 6.0, 3: 1.0}) == [0.5, 0.5]


def test_values_leave_out_what_another_regime_or_contender_did() -> None:
    runs = [
        run_of(OURS, cpu_ms=1),
        run_of(OURS, "50 ms", cpu_ms=2),
        run_of(AIO_PIKA, cpu_ms=3),
        run_of(OURS, repetition=1, per_s=4),
    ]
    assert values(runs, regime="0 ms", contender=OURS, figure="cpu_ms") == {0: 1}


def test_an_aim_against_a_peer_is_the_ratio_to_it() -> None:
    runs = [
        run_of(OURS, cpu_ms=0.4),
        run_of(AIO_PIKA, cpu_ms=0.8),
        run_of(OURS_POSTGRESQL, cpu_ms=0.6),
        run_of(OURS, per_s=3000),
        run_of(FASTSTREAM, per_s=1000),
    ]
    assert found_for(aim_of("0 ms", "cpu_ms"), runs) == [0.5]
    assert found_for(aim_of("0 ms", "cpu_ms", OURS_POSTGRESQL), runs) == [pytest.approx(0.75)]
    assert found_for(aim_of("0 ms", "per_s"), runs) == [3]


def test_an_aim_about_a_thousand_in_flight_says_nothing_about_fewer() -> None:
    run = run_of(OURS, "3000 ms", per_s=331)
    assert found_for(aim_of("3000 ms", "per_s"), [run]) == [331]
    assert found_for(aim_of("3000 ms", "per_s"), [{**run, "in_flight": 300}]) == []


@pytest.mark.parametrize(
    ("regime", "figure", "value", "verdict"),
    [
        ("0 ms", "cpu_ms", 0.3, "beyond"),
        ("0 ms", "cpu_ms", 0.6, "reached"),
        ("0 ms", "cpu_ms", 0.61, "not reached"),
        ("0 ms", "per_s", 3.0, "beyond"),
        ("0 ms", "per_s", 2.0, "reached"),
        ("0 ms", "per_s", 1.99, "not reached"),
    ],
)
def test_an_aim_is_reached_at_its_bound(regime: str, figure: str, value: float, verdict: str) -> None:
    assert aim_of(regime, figure).verdict(value) == verdict


def test_the_tables_show_medians_ratios_doorbells_and_aims() -> None:
    runs = [
        run_of(name, repetition=repetition, cpu_ms=cpu_ms * (1 + repetition), per_s=1000, doorbells=0.02)
        for name, cpu_ms in ((AIO_PIKA, 1.0), (OURS, 0.25))
        for repetition in range(3)
    ]
    runs += [run_of(OURS, "doorbells 10/s", doorbells=1.0), run_of(OURS, "start", start_s=0.65)]
    runs += [run_of(OURS, "latency", added_p50_ms=4.0, added_p99_ms=12.0, added_max_ms=20.0, cpu_ms=1.0)]
    page = as_markdown(runs)
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("|")]
    assert [OURS, "64", "1000", "0.50 (0.25-0.75)", "0.25", "-"] in [row[1:7] for row in rows]
    assert page.index(OURS) < page.index(AIO_PIKA)
    assert "| 10/s | 1.000 |\n| a full queue | 0.020 |" in page
    assert "<= 0.6 x | <= 0.3 x | 0.25 x (0.25-0.25) | beyond" in page
    assert "12.0 ms | reached" in page
    assert len(as_tables(runs)) == page.count("**") / 2 == 5


def test_the_plot_draws_bars_as_long_as_their_figures() -> None:
    runs = [
        run_of(AIO_PIKA, cpu_ms=1.0),
        run_of(OURS, cpu_ms=0.25),
        run_of(OURS_POSTGRESQL, cpu_ms=0.5, database_ms=0.1),
        *(run_of(name, per_s=1000) for name in (AIO_PIKA, OURS, OURS_POSTGRESQL)),
    ]
    svg = plot(runs)
    longest = COLUMN - NUMBER
    assert drawn_widths(svg, "bar ours")[:2] == [round(longest * 0.25, 1), round(longest * 0.5, 1)]
    assert drawn_widths(svg, "bar")[0] == longest
    assert drawn_widths(svg, "database ours") == [round(longest * 0.1, 1)]
    texts = [each.text for each in ET.fromstring(svg).iter(f"{SVG}text")]
    # The database's share is part of the number that is shown.
    assert {"0.25 ms", "0.60 ms", "1.00 ms", OURS, AIO_PIKA} <= set(texts)


def test_the_plot_draws_the_span_of_several_repetitions() -> None:
    runs = [
        run_of(AIO_PIKA, repetition=repetition, cpu_ms=1.0 + repetition, per_s=1000)
        for repetition in range(3)
    ]
    lines = list(ET.fromstring(plot(runs)).iter(f"{SVG}line"))
    spans = [float(line.attrib["x2"]) - float(line.attrib["x1"]) for line in lines]
    assert spans[0] == pytest.approx((COLUMN - NUMBER) * 2 / 3, abs=0.2)


def test_figures_are_written_between_the_marks_of_a_page_again_and_again() -> None:
    machine = {
        "day": "2026-11-21",
        "cores": 2,
        "processor": "made up",
        "python": "3.11",
        "rabbitmq": "4.1",
        "peers": {"aio-pika": "10.2"},
    }
    record = {"machine": machine, "runs": [run_of(OURS, cpu_ms=0.25, per_s=1000)]}
    page = f"# Speed\n\n{BEGIN}\n\nold\n\n{END}\n\n## More\n"
    written = with_figures(page, record)
    assert written.startswith("# Speed\n")
    assert written.endswith("## More\n")
    assert "old" not in written
    assert "0.25" in written
    assert "aio-pika 10.2" in written
    assert with_figures(written, record) == written
    with pytest.raises(ValueError, match="the page has no"):
        with_figures("# Speed\n", record)


def test_every_regime_has_a_backlog_of_whole_waves_or_of_its_time() -> None:
    for is_quick in (False, True):
        backlog = chosen_regimes("0 ms", is_quick=is_quick)[0]
        assert backlog.questions(in_flight=64, expected_per_s=1000) == 64 + 1000 * backlog.backlog_s
        waves = chosen_regimes("3000", is_quick=is_quick)[0]
        assert waves.questions(in_flight=waves.in_flight, expected_per_s=1) % waves.in_flight == 0


def test_contenders_and_regimes_are_chosen_by_parts_of_their_names() -> None:
    assert [each.name for each in chosen_contenders("sqlite, Aio-pika")] == [OURS, AIO_PIKA]
    assert chosen_contenders("") == list(CONTENDERS)
    assert [each.name for each in chosen_regimes("0,start", is_quick=False)] == ["0 ms", "start"]


def test_one_question_in_four_is_of_a_new_contact_and_each_text_is_its_own() -> None:
    events = [event(number, run="a", known=100) for number in range(400)]
    contacts = [each["data"]["contact_id"] for each in events]
    assert sum(contact.startswith("NEW_") for contact in contacts) == 100
    assert len({each["data"]["question"] for each in events}) == 400


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda each: each.name)
def test_every_wrapping_carries_the_whole_event(contender: Any) -> None:
    asked = event(0, run="a", known=1)
    match json.loads(contender.wrap(asked).body):
        case [[carried], *_] | {"args": [carried]} | carried:
            assert carried == asked


def test_cpu_time_counts_descendants_that_have_ended() -> None:
    burning = "import time\nwhile time.process_time() < 0.3: pass"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burning!r}]); "
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used, peak = kernel.cpu_s(process.pid), kernel.peak_mb(process.pid)
        process.communicate()
    # Two ticks less than what was burnt, for rounding.
    assert used >= 0.28
    assert peak > 1


def test_the_api_of_the_bench_echoes_the_question_and_notices_a_repeat() -> None:
    with ApiProcess() as api:
        api.set_latency(0)
        created = _post(f"{api.url}/projects/123/conversations", {"name": "x"})
        url = f"{api.url}/projects/123/conversations/{created['session_id']}/messages?external_id=EXT%2F1"
        first, again = (_post(url, {"prompt": "May I?"}) for _ in range(2))
        counts = api.counts()
    assert first["user_query"] == "May I?"
    assert first["metadata"]["external_id"] == "EXT/1"
    assert again["id"] > first["id"] > created["id"]
    assert (counts.posts, counts.creates, counts.repeats, counts.refused) == (2, 1, 1, 0)


def _post(url: str, body: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        data = json.load(answer)["data"]
    assert isinstance(data, dict)
    return data
