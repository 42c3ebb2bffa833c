"""routes.yaml: what is right is read as meant, and every mistake is named with its path and line."""

from __future__ import annotations

import re
import textwrap

import pytest
from pydantic import BaseModel

from gateway.config import BadConfig, MediaRow, PolicyRow, ProbeRow, ProviderRow, RouteRow, TargetRow, parse
from gateway.contract.errors import ConfigError
from tests.needs import ROOT

SKETCH = """
providers:
  openai: {key: $OPENAI_API_KEY}
  groq: {module: openai_compatible, base_url: "https://api.example.test/openai/v1", key: $GROQ_API_KEY}
policies:
  quick: {order: ttft, ttft_deadline: 1.5s, idle: 10s, hedge: {budget: 5%}, eject: {consecutive: 3, base: 5s, max: 60s},
          retries: 1, mid_stream: continue}
routes:
  chat:   {kind: llm, policy: quick, targets: [groq/llama-3.3-70b, openai/gpt-4o-mini, local_llm/smollm2]}
  listen: {kind: stt, policy: quick, targets: [deepgram/nova-3, local_stt/moonshine]}
  say:    {kind: tts, policy: quick, targets: [cartesia/sonic-3, local_tts/joe]}
  talk:   {kind: s2s, policy: quick, targets: [openai/gpt-realtime, gemini/live]}
  agent:  {kind: call, start: cascaded, cascaded: {stt: listen, llm: chat, tts: say}, omni: {s2s: talk},
           switch: {on_failure: true, back_after: 30s}}
"""


def test_the_design_s_own_sketch_is_read_as_meant() -> None:
    config = parse(SKETCH)
    quick = config.policies["quick"]
    assert (quick.ttft_deadline, quick.idle, quick.hedge.budget, quick.eject.max) == (1.5, 10.0, 0.05, 60.0)
    assert [row.target for row in config.routes["chat"].targets] == [
        "groq/llama-3.3-70b",
        "openai/gpt-4o-mini",
        "local_llm/smollm2",
    ]
    agent = config.calls["agent"]
    assert agent.cascaded is not None
    assert (agent.cascaded.stt, agent.switch.back_after) == ("listen", 30.0)


def documented(name: str) -> tuple[list[str], list[str]]:
    """A key's row in docs/routes.md: its defaults, and its own keys where it is a mapping."""
    text = (ROOT / "docs" / "routes.md").read_text()
    found = re.search(rf"^\| `{name}(?:: {{([^}}]*)}})?` \|([^|]*)\|.*\w.*\|$", text, re.MULTILINE)
    assert found, f"{name} has no row in docs/routes.md"
    return re.findall("`([^`{}]+)`", found[2]), (found[1] or "").replace(",", " ").split()


@pytest.mark.parametrize("row", [ProviderRow, PolicyRow, RouteRow, TargetRow, MediaRow])
def test_every_key_is_documented(row: type[BaseModel]) -> None:
    for name, field in row.model_fields.items():
        inner = type(field.default).model_fields if isinstance(field.default, BaseModel) else {}
        assert set(inner) <= set(documented(name)[1])


def test_a_policy_of_all_the_documented_defaults_is_the_default() -> None:
    written = []
    for name in PolicyRow.model_fields:
        defaults, keys = documented(name)
        if keys:
            written.append(
                f"{name}: {{{', '.join(f'{key}: {each}' for key, each in zip(keys, defaults, strict=True))}}}"
            )
        elif defaults:
            written.append(f"{name}: {defaults[0]}")
    assert parse(f"{GOOD}policies: {{p: {{{', '.join(written)}}}}}").policies["p"] == PolicyRow(probe=ProbeRow())


def test_nothing_is_probed_unless_it_is_said() -> None:
    config = parse(GOOD + "policies: {q: {probe: {}}, p: {probe: {every: 1h, daily: 5}}, off: {order: cost}}\n")
    probes = {name: policy.probe for name, policy in config.policies.items()}
    assert probes["off"] is None
    assert probes["q"] is not None
    assert (probes["q"].every, probes["q"].daily) == (600.0, 50)
    assert probes["p"] is not None
    assert (probes["p"].every, probes["p"].daily) == (3600.0, 5)


GOOD = """\
providers:
  up: {module: fake}
routes:
  chat: {kind: llm, targets: [up/ok]}
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("routes: [", "routes.yaml:1: "),
        ("a: 1\na: 2\n", "routes.yaml:2: a stands here twice"),
        ("- 1\n", "routes.yaml: the file must be a mapping"),
        ("{}", "routes: there is no route"),
        ("router: {}\n" + GOOD, "routes.yaml:1: router: unknown section"),
        (GOOD.replace("module", "modul"), "routes.yaml:2: providers.up.modul: unknown key"),
        (
            GOOD.replace("llm", "lmm"),
            "routes.yaml:4: routes.chat.kind: must be 'llm', 'stt', 'tts', 's2s' or 'embed' or 'call'",
        ),
        (GOOD.replace("kind: llm, ", ""), "routes.yaml:4: routes.chat.kind: missing"),
        (GOOD.replace("[up/ok]", "[]"), "routes.yaml:4: routes.chat.targets: "),
        (
            GOOD.replace("[up/ok]", "[up]"),
            "routes.yaml:4: routes.chat.targets[0]: 'up' is no target; write provider/model",
        ),
        (GOOD.replace("[up/ok]", "[up/ok, up/ok]"), "routes.chat.targets[1]: 'up/ok' stands here twice"),
        (
            GOOD.replace("kind: llm", "kind: llm, policy: q"),
            "routes.chat.policy: no policy is named 'q'; known: (none)",
        ),
        ("policies:\n  q:\n    idle: 3\n" + GOOD, "routes.yaml:3: policies.q.idle: not a duration"),
        ("policies:\n  q:\n    idle: 3parsecs\n" + GOOD, "routes.yaml:3: policies.q.idle: not a duration"),
        ("policies:\n  q: {hedge: {budget: 0.05}}\n" + GOOD, "routes.yaml:2: policies.q.hedge.budget: not a share"),
        ("policies:\n  q: {eject: {consecutive: 0}}\n" + GOOD, "policies.q.eject.consecutive: "),
        (GOOD + "  c: {kind: call}\n", "routes.yaml:5: routes.c: a call needs cascaded"),
        (
            GOOD + "  c:\n    kind: call\n    cascaded: {stt: chat, llm: chatt, tts: chat}\n",
            "routes.yaml:7: routes.c.cascaded.llm: no route is named 'chatt'; routes of kind llm: chat",
        ),
        (
            GOOD + "  c:\n    kind: call\n    cascaded: {stt: chat, llm: chat, tts: chat}\n",
            "routes.c.cascaded.stt: route 'chat' is of kind llm, not stt",
        ),
        (
            GOOD.replace("[up/ok]", "[{target: up/ok, contxt: 8k}]"),
            "routes.yaml:4: routes.chat.targets[0].contxt: unknown key",
        ),
        (
            GOOD.replace("[up/ok]", "[{target: up/ok, context: big}]"),
            "routes.chat.targets[0].context: not a number of tokens",
        ),
        (
            GOOD.replace("[up/ok]", "[up/ok, {target: up/b, shadow: 5}]"),
            "routes.chat.targets[1].shadow: not a share; write a percentage: 5%",
        ),
        (
            GOOD.replace("llm", "tts").replace("[up/ok]", "[up/ok, {target: up/b, shadow: 5%}]"),
            "routes.yaml:4: routes.chat.targets[1].shadow: only llm routes send copies, and this is one of kind tts",
        ),
        (
            GOOD.replace("[up/ok]", "[up/ok, {target: up/b, shadow: 5%, canary: 5%}]"),
            "routes.chat.targets[1]: a shadow serves nobody, a canary does",
        ),
        (
            GOOD.replace("[up/ok]", "[{target: up/ok, shadow: 5%}]"),
            "routes.chat.targets: all of them are shadows, which serve nobody",
        ),
        ("policies:\n  q: {probe: {every: 0.5s}}\n" + GOOD, "routes.yaml:2: policies.q.probe.every: "),
        ("policies:\n  q: {probe: {every: 10m, daily: 0}}\n" + GOOD, "routes.yaml:2: policies.q.probe.daily: "),
        (
            "policies:\n  q: {probe: {}}\n" + GOOD.replace("kind: llm", "kind: s2s, policy: q"),
            "routes.yaml:6: routes.chat.policy: s2s targets are not probed; give it one without `probe`",
        ),
        ("media: {ports: 5-1}\n" + GOOD, "routes.yaml:1: media.ports: not a range of ports"),
        (GOOD.replace("chat:", '"ch at":'), "a name has letters, digits"),
        ("x: !!python/object/apply:os.system [ls]\n", "routes.yaml:1: the tag tag:yaml.org,2002:python"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(8)),
            "too many values",
        ),
        ("x: " + "[" * 100 + "]" * 100, "too deeply nested"),
    ],
)
def test_a_mistake_is_named_with_its_path_and_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert said in str(error.value)


def test_all_mistakes_are_named_at_once_in_the_order_of_the_file() -> None:
    text = textwrap.dedent(
        """\
        providers: {up: {modul: fake}}
        routes:
          chat: {kind: llm, targets: []}
          say: {kind: tts}
        """
    )
    with pytest.raises(BadConfig) as error:
        parse(text)
    assert [problem.line for problem in error.value.problems] == [1, 3, 4]
