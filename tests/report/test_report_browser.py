from __future__ import annotations

from pathlib import Path

import pytest

from calmstorm.report import write_reports
from tests.report.headless_browser import CHROMIUM, FONTS, Page, only_font

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

FIRST_BAR = "getComputedStyle(document.querySelector('#chart-funnel .bars .point path')).fill"
GROUND = "getComputedStyle(document.body).backgroundColor"


def test_page_draws_all_charts_without_a_complaint_or_a_request(run_path: Path) -> None:
    write_reports([run_path], run_path)
    with Page() as page:
        page.open(run_path / "report.html")
        assert page.value("document.documentElement.dataset.charts") == "drawn"
        assert page.value("[...document.querySelectorAll('.chart')].every((c) => c.querySelector('svg'))")
        assert page.console == []
        assert [url for url in page.requests if not url.startswith("data:")] == [
            (run_path / "report.html").resolve().as_uri()
        ]


def test_theme_follows_the_system_and_the_button_recolours_charts(run_path: Path) -> None:
    write_reports([run_path], run_path)
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
    write_reports([hostile_path], hostile_path)
    with Page() as page:
        page.open(hostile_path / "report.html")
        page.value("document.querySelectorAll('details').forEach((details) => { details.open = true })")
        assert page.value("typeof window.pwned") == "undefined"
        assert page.value("document.querySelectorAll('.chart a, .chart img, .chart script, main img').length") == 0
        assert page.value("document.documentElement.dataset.charts") == "drawn"
        assert page.console == []
        assert len([url for url in page.requests if not url.startswith("data:")]) == 1


def test_injected_script_is_stopped_by_the_policy_should_escaping_ever_fail(run_path: Path, tmp_path: Path) -> None:
    write_reports([run_path], run_path)
    html = (run_path / "report.html").read_text(encoding="utf-8")
    attack = "<script>window.pwned = 1</script><img src='http://127.0.0.1:9/x' onerror='window.pwned = 1'>"
    broken = tmp_path / "broken.html"
    broken.write_text(html.replace("<main>", "<main>" + attack), encoding="utf-8")
    with Page() as page:
        page.open(broken)
        assert page.value("typeof window.pwned") == "undefined"
        assert len([text for text in page.console if "Content Security Policy" in text]) >= 2


@pytest.fixture(scope="module")
def benchmark_report(evaluation_paths: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("several")
    write_reports(evaluation_paths, out)
    return out / "report.html"


OVERLAPS = """[...document.querySelectorAll('.chart')].flatMap((chart) =>
  ['.ytick', '.y2tick', '.xtick'].flatMap((kind) => {
    const boxes = [...chart.querySelectorAll(kind + ' text')].map((t) => [t, t.getBoundingClientRect()]);
    return boxes.filter(([, b], i) => boxes.some(([, o], j) => j > i && b.top < o.bottom - 2 && o.top < b.bottom - 2
      && b.left < o.right && o.left < b.right)).map(([t]) => t.textContent);
  }))"""
"""Labels of an axis that stand on one another."""
CUT = """[...document.querySelectorAll('.chart svg.main-svg')].flatMap((svg) => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter((t) => {
    const box = t.getBoundingClientRect();
    return box.width > 0 && (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1);
  }).map((t) => t.textContent);
})"""
"""Texts that reach beyond their chart."""
COVERED = """[...document.querySelectorAll('.chart')].flatMap((chart) => {
  const left = chart.querySelector('svg.main-svg').getBoundingClientRect().left + chart._fullLayout._size.l;
  return [...chart.querySelectorAll('.ytick text, .y2tick text')].filter((t) => {
    const box = t.getBoundingClientRect();
    return box.left < left + chart._fullLayout._size.w - 3 && left + 3 < box.right;
  }).map((t) => t.textContent);
})"""
"""Names and values that stand where bars and marks are drawn."""
PLOT_WIDTHS = "[...document.querySelectorAll('.chart')].map((chart) => chart._fullLayout._size.w)"


@pytest.fixture(scope="module", params=FONTS)
def fontconfig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A name of a font, and a file under which a browser knows no other."""
    config = only_font(request.param, tmp_path_factory.mktemp("fonts"))
    if config is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param, config


@pytest.fixture(scope="module")
def pages(
    benchmark_report: Path, controlled_path: Path, hostile_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """Reports on evaluations, on a run with all experiments and on a hostile run, and a problem's page of each kind."""
    arms, hostile = tmp_path_factory.mktemp("arms"), tmp_path_factory.mktemp("hostile-report")
    write_reports([controlled_path], arms)
    write_reports([hostile_path], hostile)
    problems = [min((folder / "report_files" / "problems").glob("*.html")) for folder in (arms, hostile)]
    return [benchmark_report, arms / "report.html", hostile / "report.html", *problems]


@pytest.mark.parametrize(("width", "dark"), [(1366, False), (390, True)])
def test_layout_holds_for_any_font(pages: list[Path], fontconfig: tuple[str, Path], width: int, dark: bool) -> None:
    font, config = fontconfig
    with Page(width=width, height=844, dark=dark, mobile=width < 600, fontconfig=config) as page:
        for path in pages:
            page.open(path)
            page.value("document.querySelectorAll('details').forEach((details) => { details.open = true })")
            assert font in page.fonts()
            assert page.value("document.documentElement.scrollWidth") == width, path.name
            assert page.value(CUT) == []
            assert page.value(OVERLAPS) == []
            assert page.value(COVERED) == []
            assert min(page.value(PLOT_WIDTHS), default=100) >= 100
            assert page.console == []


@pytest.mark.parametrize(("width", "dark"), [(1366, False), (390, True)])
def test_report_on_five_benchmarks_is_drawn_in_both_themes_on_a_desk_and_on_a_phone(
    benchmark_report: Path, width: int, dark: bool
) -> None:
    with Page(width=width, height=844, dark=dark, mobile=width < 600) as page:
        page.open(benchmark_report)
        assert page.value("document.documentElement.dataset.charts") == "drawn"
        assert page.value("[...document.querySelectorAll('.chart')].every((c) => c.querySelector('svg'))")
        assert page.value("document.querySelectorAll('.chart').length") == 14
        grounds = {page.value(GROUND)}
        page.value("document.getElementById('theme').click()")
        assert grounds | {page.value(GROUND)} == {"rgb(19, 23, 26)", "rgb(251, 251, 249)"}
        assert page.console == []
        assert [url for url in page.requests if not url.startswith("data:")] == [benchmark_report.as_uri()]


def test_a_problem_is_reached_from_the_report_down_to_its_trajectory(benchmark_report: Path) -> None:
    with Page() as page:
        page.open(benchmark_report)
        rows = "[...document.querySelectorAll('#problem-list tbody tr[data-solved]')].filter((r) => !r.hidden)"
        assert page.value(f"{rows}.length") == 40
        page.value(
            "(() => { const s = document.querySelector('#list-tools select'); s.value = 'sometimes';"
            " s.dispatchEvent(new Event('change')); const i = document.querySelector('#list-tools input');"
            " i.value = 'optmath-3'; i.dispatchEvent(new Event('input')); })()"
        )
        assert page.value(f"{rows}.length") <= 1
        page.click("#problem-list a[href*=optmath-3]")
        page.wait("document.readyState === 'complete' && document.title.startsWith('optmath-3')")
        assert page.value("document.querySelectorAll('details.example').length") == 12
        assert page.value("document.querySelectorAll('.passage.code').length") > 0
        assert page.value(
            "getComputedStyle(document.querySelector('.passage.code .said')).borderLeftColor"
        ) != page.value("getComputedStyle(document.querySelector('.passage.text .said')).borderLeftColor")
        page.click(".brand a")
        page.wait("document.title.includes('3 runs') && !!document.documentElement.dataset.charts")
        assert page.console == []
        assert all(url.startswith(("file:", "data:")) for url in page.requests)


@pytest.mark.parametrize(("width", "dark"), [(1366, True), (390, False)])
def test_hostile_pages_of_problems_are_inert(hostile_path: Path, width: int, dark: bool) -> None:
    write_reports([hostile_path], hostile_path)
    path = min((hostile_path / "report_files" / "problems").glob("*.html"))
    with Page(width=width, height=844, dark=dark, mobile=width < 600) as page:
        page.open(path)
        page.value("document.querySelectorAll('details').forEach((details) => { details.open = true })")
        assert page.value("typeof window.pwned") == "undefined"
        assert page.value("document.querySelectorAll('main img, main script, main iframe').length") == 0
        before = page.value(GROUND)
        page.value("document.getElementById('theme').click()")
        assert page.value(GROUND) != before
        assert page.console == []
        assert [url for url in page.requests if not url.startswith("data:")] == [path.resolve().as_uri()]
