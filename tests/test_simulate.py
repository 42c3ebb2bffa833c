"""`trunkline simulate`: scenarios and decision logs, through the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.__main__ import main
from gateway.telemetry.decisions import Candidate, Decision, Tried
from tests.gateway_process import gateway_process
from tests.needs import ROOT
from tests.serving import plain_http

ROUTES = """\
providers:
  one: {module: fake}
  two: {module: fake}
  far: {module: openai_compatible, base_url: "http://127.0.0.1:9/v1", key: $A_KEY_THAT_IS_NOT_SET}
policies:
  written: {order: priority}
routes:
  chat: {kind: llm, targets: [one/ok, two/ok]}
  away: {kind: llm, targets: [one/ok, far/m]}
  say:  {kind: tts, targets: [one/ok, two/ok]}
  hear: {kind: stt, targets: [one/ok, two/ok]}
  talk: {kind: s2s, targets: [one/ok, two/ok]}
  find: {kind: embed, targets: [one/ok, two/ok]}
"""
PLAIN = "slow: 0%, spread: 0.2"
Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Simulates a file's text; gives the JSON that is printed, or the text with `text=True`."""
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES)

    def simulated(written: str, *more: str, text: bool = False) -> Any:
        path = tmp_path / "given"
        path.write_text(written)
        flags = () if text else ("--json",)
        assert main(["simulate", "--config", str(config), *flags, str(path), *more]) == 0
        told = capsys.readouterr().out
        return told if text else json.loads(told)

    return simulated


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What is said of a file that is no good."""
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES)

    def told(written: str, *more: str) -> str:
        path = tmp_path / "given"
        path.write_text(written)
        assert main(["simulate", str(path), "--config", str(config), *more]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err.replace(f"{tmp_path}/", "").strip()

    return told


def scenario(one: str, two: str, route: str = "chat", rate: str = "4", duration: str = "2m") -> str:
    return f"""\
duration: {duration}
routes:
  {route}:
    rate: {rate}
    targets:
      one/ok: {one}
      two/ok: {two}
"""


def log(decisions: Sequence[Decision]) -> str:
    rows = [asdict(each) | {"outcome": "ok", "hedged": False} for each in reversed(decisions)]
    return json.dumps({"object": "list", "data": rows})


def decision(number: int, *tried: Tried, chosen: str | None, route: str = "chat") -> Decision:
    candidates = (Candidate("one/ok", 0.1, 0.2), Candidate("two/ok", 0.2, 0.2))
    return Decision(f"d{number}", 1000.0 + number / 2, route, "llm", "ttft", candidates, list(tried), chosen, True)


def spoke(target: str, ttft: float) -> Tried:
    return Tried(target, "first", 0.0, "ok", ttft, ttft + 1.0)


def row(route: Any, target: str) -> Any:
    return next(each for each in route["targets"] if each["target"] == target)


# scenarios


def test_traffic_goes_where_it_speaks_first_and_follows_when_that_changes(run: Run) -> None:
    steady = run(scenario(f"{{ttft: 200ms, {PLAIN}}}", f"{{ttft: 600ms, {PLAIN}}}"))["routes"][0]
    assert row(steady, "one/ok")["share"] > 0.9
    assert 0.15 < steady["wait"]["p50"] < 0.25
    assert steady["failed"] == 0
    changed = run(scenario(f"[{{ttft: 200ms, {PLAIN}}}, {{at: 60s, ttft: 2s}}]", f"{{ttft: 600ms, {PLAIN}}}"))
    assert 0.4 < row(changed["routes"][0], "two/ok")["share"] < 0.6


def test_a_later_regime_is_as_the_first_in_what_it_does_not_say(run: Run) -> None:
    down = f"[{{ttft: 200ms, {PLAIN}}}, {{at: 40s, errors: 100%}}, {{at: 60s}}]"
    route = run(scenario(down, f"{{ttft: 600ms, {PLAIN}}}"))["routes"][0]
    one = row(route, "one/ok")
    assert one["failures"] >= 3
    assert one["ejections"] >= 1
    assert one["ejected_for"] > 4
    assert one["share"] > 0.6, "it came back"
    assert route["failed"] == 0
    assert one["ttft"]["p95"] < 0.4, "as quick as before"


def test_an_order_or_a_policy_can_be_tried_in_place_of_the_files(run: Run) -> None:
    written = scenario(f"{{ttft: 600ms, {PLAIN}}}", f"{{ttft: 200ms, {PLAIN}}}")
    assert row(run(written)["routes"][0], "two/ok")["share"] > 0.9
    for flags in (("--order", "priority"), ("--policy", "written")):
        route = run(written, *flags)["routes"][0]
        assert route["order"] == "priority"
        assert row(route, "one/ok")["share"] == 1.0


def test_the_same_seed_gives_the_same_figures_and_another_gives_others(run: Run) -> None:
    written = scenario("{ttft: 300ms}", "{ttft: 300ms}", duration="30s")
    assert run(written) == run(written)
    assert run(written)["routes"][0]["wait"] != run(written, "--seed", "7")["routes"][0]["wait"]


def test_limits_knees_silence_and_answers_that_die_are_played(run: Run) -> None:
    one = row(run(scenario(f"{{ttft: 200ms, limit: 30, {PLAIN}}}", "{ttft: 600ms}"))["routes"][0], "one/ok")
    assert one["rate_limited"] > 0
    assert one["served"] <= 30 * 3
    assert one["failures"] == one["ejections"] == 0, "a 429 is no ill health"
    crowded = run(
        scenario(f"{{ttft: 200ms, knee: 2, {PLAIN}}}", f"{{ttft: 210ms, {PLAIN}}}", rate="20", duration="45s")
    )["routes"][0]
    assert row(crowded, "two/ok")["share"] > row(crowded, "one/ok")["share"]
    silent = run(scenario(f"{{ttft: 200ms, silent: 100%, {PLAIN}}}", f"{{ttft: 300ms, {PLAIN}}}"))["routes"][0]
    assert row(silent, "one/ok")["served"] == 0
    assert row(silent, "two/ok")["share"] == 1.0
    assert set(row(silent, "one/ok")["outcomes"]) <= {"timeout", "lost"}
    cut = run(scenario(f"{{ttft: 200ms, cut: 20%, {PLAIN}}}", f"{{ttft: 600ms, {PLAIN}}}"), "--policy", "written")
    assert row(cut["routes"][0], "one/ok")["outcomes"]["cut"] > 30
    assert cut["routes"][0]["failed"] == 0, "the other goes on with it"


@pytest.mark.parametrize("route", ["say", "hear", "talk", "find"])
def test_every_kind_is_simulated(run: Run, route: str) -> None:
    written = scenario(f"{{ttft: 200ms, errors: 10%, {PLAIN}}}", f"{{ttft: 700ms, {PLAIN}}}", route, duration="2m")
    found = run(written)["routes"][0]
    assert found["route"] == route
    assert found["failed"] == 0
    assert row(found, "one/ok")["share"] > 0.6
    assert 0.15 < row(found, "one/ok")["ttft"]["p50"] < 0.25
    assert row(found, "one/ok")["outcomes"]["unavailable"] > 0


def test_a_target_that_sleeps_takes_part_with_a_note_and_one_that_is_not_named_does_not(run: Run) -> None:
    written = "duration: 1m\nroutes: {away: {rate: 2, targets: {far/m: {ttft: 300ms}}}}\n"
    route = run(written)["routes"][0]
    assert row(route, "far/m")["share"] == 1.0
    assert "one/ok is left out: the scenario does not name it" in route["notes"]
    asleep = "far/m is asleep here (A_KEY_THAT_IS_NOT_SET is not set): it takes part because the scenario names it"
    assert asleep in route["notes"]
    assert asleep in run(written, text=True)


def test_rates_change_over_time_and_one_route_can_be_played_alone(run: Run) -> None:
    written = """\
duration: 2m
routes:
  chat: {rate: [{rate: 1}, {at: 1m, rate: 9}], targets: {one/ok: {}, two/ok: {}}}
  say: {rate: 1, targets: {one/ok: }}
"""
    whole = run(written)
    assert [each["route"] for each in whole["routes"]] == ["chat", "say"]
    assert 500 < whole["routes"][0]["requests"] < 700
    assert [each["route"] for each in run(written, "--route", "say")["routes"]] == ["say"]


def test_the_table_tells_each_target_and_what_callers_waited(run: Run) -> None:
    told = run(scenario("{ttft: 200ms}", "{ttft: 600ms}"), text=True)
    head = next(line for line in told.splitlines() if line.startswith("  target"))
    assert head.split() == ["target", "share", "attempts", "hedges", "p50", "p95", "p99", "failed", "429", "ejected"]
    assert all(any(line.startswith(f"  {name}") for line in told.splitlines()) for name in ("one/ok", "two/ok"))
    assert "0 of " in told
    assert "requests failed" in told


def test_the_example_in_the_repository_is_played_with_the_shipped_routes(capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(ROOT / "loadtests" / "scenario.yaml"), "--config", str(ROOT / "routes.yaml")]
    assert main(["simulate", *given]) == 0
    assert "groq/llama-3.3-70b-versatile" in capsys.readouterr().out


def test_a_bad_scenario_is_told_with_its_lines(refused: Callable[..., str]) -> None:
    good = scenario("{ttft: 200ms}", "{ttft: 600ms}")
    told = refused(good.replace("ttft: 200ms", "ttfb: 200ms").replace("rate: 4", "rate: often"))
    assert "given:6: routes.chat.targets.one/ok" in told
    assert "ttfb: unknown key" in told
    assert "given:4: routes.chat.rate" in told
    assert refused(good.replace("600ms", "600")).startswith("given:7: ")
    assert "given:3: routes.chats: routes.yaml has no such route" in refused(good.replace("chat:", "chats:"))
    assert "given:7: routes.chat.targets.two/oh: is no target of route chat" in refused(
        good.replace("two/ok", "two/oh")
    )
    assert "given:6: routes.chat.targets.one/ok[1]: `at` must be later" in refused(
        scenario("[{at: 2s}, {at: 1s}]", "{}")
    )
    assert "at most 200000" in refused(scenario("{}", "{}", rate="1000", duration="1h"))
    assert "given:1: : " not in refused("routes: [")
    assert "given:1: " in refused("routes: [")
    assert "no request comes" in refused(scenario("{}", "{}", rate="0"))
    assert "it has nothing of route say" in refused(good, "--route", "say")
    assert "no policy is named 'quick'" in refused(good, "--policy", "quick")
    assert "there is no route 'none'" in refused(good, "--route", "none")


# decision logs


def test_a_log_played_with_the_policy_that_made_it_is_what_was_recorded(run: Run) -> None:
    decisions = [decision(n, spoke("one/ok", 0.3 + n % 7 / 10), chosen="one/ok") for n in range(100)]
    route = run(log(decisions), "--order", "priority")["routes"][0]
    assert route["recorded"]["requests"] == route["requests"] == 100
    assert route["wait"] == pytest.approx(route["recorded"]["wait"], abs=1e-3)
    assert row(route, "one/ok")["evidence"] == 100
    assert "two/ok was never asked in this log: ASSUMED to be like the route's others" in route["notes"]


def test_another_order_is_compared_with_what_the_log_did(run: Run) -> None:
    """Two is three times as quick, and the log, which asked as written, shows it now and then."""
    decisions = []
    for n in range(200):
        if n % 5:
            tried, chosen = [spoke("one/ok", 0.9)], "one/ok"
        else:
            failed = Tried("one/ok", "first", 0.0, "unavailable", None, 0.1, "Unavailable 503")
            tried, chosen = [failed, Tried("two/ok", "fallback", 0.1, "ok", 0.3, 1.0)], "two/ok"
        decisions.append(decision(n, *tried, chosen=chosen))
    played = run(log(decisions), "--order", "ttft")
    route = played["routes"][0]
    assert route["wait"]["mean"] < 0.6 * route["recorded"]["wait"]["mean"]
    assert row(route["recorded"], "two/ok")["share"] == 0.2
    assert row(route, "two/ok")["share"] > 0.8
    told = run(log(decisions), "--order", "ttft", text=True)
    assert "recorded  simulated" in told
    assert "known from 40 attempts" in told
    assert "waits of targets that a request did not ask are drawn from what the log shows of them" in told


def test_a_race_that_was_lost_counts_as_a_wait_that_was_longer(run: Run) -> None:
    """One always lost at 0.4 s, and was never heard."""
    decisions = []
    for n in range(60):
        lost = Tried("one/ok", "first", 0.0, "lost", None, 0.4)
        decisions.append(decision(n, lost, Tried("two/ok", "hedge", 0.1, "ok", 0.3, 1.0), chosen="two/ok"))
    one = row(run(log(decisions), "--order", "priority")["routes"][0], "one/ok")
    assert one["share"] == 1.0
    assert one["ttft"]["p50"] > 0.4


def test_what_was_refused_is_refused_whoever_is_asked(run: Run) -> None:
    refusals = [decision(n, Tried("two/ok", "first", 0.0, "refused", None, 0.1), chosen=None) for n in range(0, 40, 4)]
    served = [decision(n, spoke("two/ok", 0.3), chosen="two/ok") for n in range(40) if n % 4]
    route = run(log(refusals + served), "--order", "priority")["routes"][0]
    assert route["endings"] == {"ok": 30, "refused": 10}
    assert row(route, "one/ok")["attempts"] == 40
    assert row(route, "one/ok")["failures"] == 0


def test_probes_are_no_requests_and_a_shadow_s_refusal_refuses_nobody(run: Run) -> None:
    refused = Tried("two/ok", "shadow", 0.0, "refused", None, 0.1)
    served = [decision(n, spoke("one/ok", 0.3), refused, chosen="one/ok") for n in range(30)]
    probes = [replace(decision(n, spoke("one/ok", 0.3), chosen=None), order="probe") for n in range(30, 40)]
    assert run(log(served + probes))["routes"][0]["endings"] == {"ok": 30}


def test_logs_saved_one_after_the_other_are_one(run: Run, tmp_path: Path) -> None:
    decisions = [decision(n, spoke("one/ok", 0.3), chosen="one/ok") for n in range(30)]
    (tmp_path / "more.json").write_text(log(decisions[:20]))
    assert run(log(decisions[10:]), str(tmp_path / "more.json"))["routes"][0]["requests"] == 30


def test_requests_under_way_and_strangers_are_left_out_and_told(run: Run) -> None:
    decisions = [decision(n, spoke("one/ok", 0.3), chosen="one/ok") for n in range(10)]
    decisions += [decision(20, spoke("old/m", 0.3), chosen="old/m"), decision(21, chosen=None)]
    decisions += [decision(22, spoke("one/ok", 0.3), chosen="one/ok", route="gone")]
    told = run(log(decisions))
    assert told["routes"][0]["requests"] == 11
    assert any(note.startswith("old/m is no target of the file") for note in told["routes"][0]["notes"])
    assert any(note.startswith("1 requests of the log were not over or asked nobody") for note in told["notes"])


def test_a_bad_log_is_told_with_its_line_or_its_path(refused: Callable[..., str]) -> None:
    good = log([decision(1, spoke("one/ok", 0.3), chosen="one/ok")])
    assert refused('{"object": "list",\n "data": [}').startswith("given:2: not JSON: ")
    assert "given: data[0].tried[0].ttft: " in refused(good.replace('"ttft": 0.3', '"ttft": "soon"'))
    assert "given: data[0].at: not a time" in refused(good.replace('"at": 1000.5', '"at": 1e300'))
    assert "given: data[0].kind: " in refused(good.replace('"kind": "llm"', '"kind": "what"'))
    assert "a request that failed" in refused('{"error": {"message": "no"}}')
    assert "given: not a decision log" in refused('{"object": "list"}')
    assert "given: the log has chat; nothing of say" in refused(good, "--route", "say")
    assert "given: the log has no decision" in refused('{"data": []}')


def test_one_source_is_asked_for(
    refused: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "name a scenario or decision logs, or a gateway's --url" in refused("{}", "--url", "http://127.0.0.1:9")
    assert main(["simulate", "--config", str(tmp_path / "routes.yaml")]) == 2
    assert main(["simulate", str(tmp_path / "none"), "--config", str(tmp_path / "routes.yaml")]) == 2
    assert "none: " in capsys.readouterr().err


@pytest.mark.wire
async def test_the_log_of_a_gateway_that_runs_is_fetched_with_a_key_where_it_asks_for_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES)
    assert main(["keys", "create", "ada", "--config", str(config)]) == 0
    key = capsys.readouterr().out.strip()
    body = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    monkeypatch.delenv("TRUNKLINE_KEY", raising=False)
    async with gateway_process(config) as gateway, plain_http(headers={"Authorization": f"Bearer {key}"}) as http:
        for _ in range(5):
            (await http.post(f"{gateway.url}/v1/chat/completions", json=body)).raise_for_status()
        given = ["simulate", "--url", gateway.url, "--config", str(config)]
        assert await asyncio.to_thread(main, given) == 2
        assert "asks for a key that it knows: put one into TRUNKLINE_KEY" in capsys.readouterr().err
        monkeypatch.setenv("TRUNKLINE_KEY", key)
        assert await asyncio.to_thread(main, [*given, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["routes"][0]["recorded"]["requests"] == 5
    assert await asyncio.to_thread(main, given) == 2
    assert "no decision log there (ConnectError)" in capsys.readouterr().err
