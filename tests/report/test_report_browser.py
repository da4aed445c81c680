from __future__ import annotations

from pathlib import Path

import pytest
from headless_browser import CHROMIUM, Page

from calmstorm.report import write_report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

FIRST_BAR = "getComputedStyle(document.querySelector('#chart-funnel .bars .point path')).fill"
GROUND = "getComputedStyle(document.body).backgroundColor"


def test_page_draws_all_charts_without_a_complaint_or_a_request(run_path: Path) -> None:
    write_report(run_path)
    with Page() as page:
        page.open(run_path / "report.html")
        assert page.value("document.documentElement.dataset.charts") == "drawn"
        assert page.value("[...document.querySelectorAll('.chart')].every((c) => c.querySelector('svg'))")
        assert page.console == []
        assert [url for url in page.requests if not url.startswith("data:")] == [
            (run_path / "report.html").resolve().as_uri()
        ]


def test_theme_follows_the_system_and_the_button_recolours_charts(run_path: Path) -> None:
    write_report(run_path)
    with Page(dark=True) as page:
        page.open(run_path / "report.html")
        dark = page.value(GROUND), page.value(FIRST_BAR)
        page.value("document.getElementById('theme').click()")
        light = page.value(GROUND), page.value(FIRST_BAR)
        assert light[0] == "rgb(251, 251, 249)"
        assert dark[0] == "rgb(19, 23, 26)"
        assert dark[1] != light[1]
        assert page.value("document.getElementById('theme').textContent") == "Dark theme"
        assert page.console == []


def test_nothing_hostile_runs_in_a_real_browser(hostile_path: Path) -> None:
    write_report(hostile_path)
    with Page() as page:
        page.open(hostile_path / "report.html")
        page.value("document.querySelectorAll('details').forEach((each) => { each.open = true })")
        assert page.value("typeof window.pwned") == "undefined"
        assert page.value("document.querySelectorAll('.chart a, .chart img, .chart script, main img').length") == 0
        assert page.value("document.documentElement.dataset.charts") == "drawn"
        assert page.console == []
        assert len([url for url in page.requests if not url.startswith("data:")]) == 1


def test_injected_script_is_stopped_by_the_policy_should_escaping_ever_fail(run_path: Path, tmp_path: Path) -> None:
    write_report(run_path)
    html = (run_path / "report.html").read_text(encoding="utf-8")
    attack = "<script>window.pwned = 1</script><img src='http://127.0.0.1:9/x' onerror='window.pwned = 1'>"
    broken = tmp_path / "broken.html"
    broken.write_text(html.replace("<main>", "<main>" + attack), encoding="utf-8")
    with Page() as page:
        page.open(broken)
        assert page.value("typeof window.pwned") == "undefined"
        assert len([text for text in page.console if "Content Security Policy" in text]) >= 2


def test_page_is_no_wider_than_a_phone(run_path: Path) -> None:
    write_report(run_path)
    with Page(width=390, height=844, mobile=True) as page:
        page.open(run_path / "report.html")
        assert page.value("document.documentElement.scrollWidth") == 390
