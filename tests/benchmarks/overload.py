"""Far more callers than a server can answer, beside an honest one."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
import httpx2
import numpy as np
import orjson

from service.cli.bench.load import Request
from tests.benchmarks.asking import bodies, inputs
from tests.benchmarks.goals import MEMORY
from tests.benchmarks.load import CONNECTIONS, Generator, generator, request
from tests.benchmarks.pacing import Caller, Heard, Paced
from tests.benchmarks.running import server_of
from tests.benchmarks.systems import PLAN, Estimators, ModelwardSystem
from tests.servers.subprocesses import wait_until

FACTOR = 5
"""Callers who never rest, to one of those who take all that the server can give."""

SHARE = 0.2
VICTIM, PROBE = "victim", "probe"
PROBES_PER_SECOND = 20.0

LEAST_GOODPUT, MOST_P99, MOST_REFUSAL = 0.8, 2.0, 10.0


@dataclass(frozen=True)
class Flood:
    """What the many ask for, what is different about their plan, and whether what they are answered is goodput."""

    model: str
    plan: dict[str, Any]
    counts: bool = True


FLOODS = {
    "waiting": Flood("logistic", {}),
    "refused": Flood("neighbours", {"max_concurrency": 8}),
    "limited": Flood("logistic", {"key_requests_per_minute": 60}, counts=False),
}


@dataclass
class Round:
    """One measurement: answers a second at the peak and in the flood, and what the victim and the probe heard."""

    peak: float
    flood: float
    alone: Heard
    beside: Heard
    probe: Heard
    seconds: float

    @property
    def goodput(self) -> float:
        """Answers in the flood to those at the peak."""
        return (self.flood + len(self.beside.answered) / self.seconds) / self.peak

    @property
    def p99(self) -> float:
        """The victim's 99th percentile beside the flood, to that alone."""
        return quantile(self.beside.answered, 0.99) / quantile(self.alone.answered, 0.99)


def quantile(milliseconds: Sequence[float], share: float) -> float:
    """Return a quantile of some latencies, NaN of none."""
    return float(np.quantile(milliseconds, share)) if milliseconds else float("nan")


@dataclass
class Found:
    """The rounds of a flood."""

    name: str
    rounds: Sequence[Round]

    def document(self) -> dict[str, object]:
        """Return it for programs; latencies are milliseconds, those of all rounds together."""
        alone, beside, refused = (
            [each for one in self.rounds for each in of(one)]
            for of in (lambda r: r.alone.answered, lambda r: r.beside.answered, lambda r: r.probe.refused)
        )
        return {
            "flood": self.name,
            "peak": median(each.peak for each in self.rounds),
            "goodput_ratio": median(each.goodput for each in self.rounds) if FLOODS[self.name].counts else None,
            "victim_p99_ratio": median(each.p99 for each in self.rounds),
            "victim_alone": [quantile(alone, share) for share in (0.5, 0.99)],
            "victim_beside": [quantile(beside, share) for share in (0.5, 0.99)],
            "victim_failures": sum(len(each.beside.refused) + each.beside.lost for each in self.rounds),
            "refusals_probed": len(refused),
            "refusals": [quantile(refused, share) for share in (0.5, 0.99)] if refused else None,
            "refusals_without_retry_after": sum(each.probe.silent for each in self.rounds),
        }


def table(found: Sequence[Found]) -> str:
    """Return it as a table of Markdown."""
    goals = f"at least {LEAST_GOODPUT}", f"at most {MOST_P99}", "", "", f"at most {MOST_REFUSAL:.0f} ms"
    lines = [
        "| flood | goodput | victim's p99 | alone, p50 / p99 ms | beside the flood | refusals | no Retry-After |",
        f"| {' | '.join(('---',) * 7)} |",
        f"| goal | {' | '.join(goals)} | 0 |",
    ]
    for each in found:
        of: dict[str, Any] = each.document()
        goodput = "" if of["goodput_ratio"] is None else f"{of['goodput_ratio']:.2f}"
        alone, beside = (" / ".join(f"{ms:.2f}" for ms in of[side]) for side in ("victim_alone", "victim_beside"))
        refused = " / ".join(f"{ms:.2f}" for ms in of["refusals"]) if of["refusals"] else "none"
        lines.append(
            f"| {each.name} | {goodput} | {of['victim_p99_ratio']:.2f} | {alone} | {beside} | {refused} "
            f"| {of['refusals_without_retry_after']} of {of['refusals_probed']} |"
        )
    return "\n".join(lines)


class Tenants:
    """A server's tenant that floods, and its honest one, each with the models.

    :param system: started, with its own tenant on a plan that is never reached.
    """

    def __init__(self, system: ModelwardSystem, directory: Path) -> None:
        self.url = system.server.url
        self.flooding = system.key
        self._admin = {"X-API-Key": system.admin_key}
        estimators = Estimators.fit(sorted({flood.model for flood in FLOODS.values()}), directory)
        system.upload(estimators)
        sent = {"slug": VICTIM, "name": VICTIM, "plan": PLAN["slug"]}
        self.honest = self._admin_call("POST", "tenants", sent)["api_key"]
        system.upload(estimators, key=self.honest)

    def make_plan(self, name: str, changes: dict[str, Any]) -> None:
        """Make a plan that differs from the one that is never reached."""
        self._admin_call("POST", "plans", {**PLAN, "slug": name, "name": name, **changes})

    def change_to(self, plan: str, *plans: str) -> None:
        """Put the tenant that floods on a plan, and wait until the server finds it on that, or on one of others."""
        self._admin_call("PATCH", "tenants/demo", {"plan": plan})
        wait_until(lambda: self._plan() in plans, "the server has heard of it")

    def _plan(self) -> str:
        """Return the plan that the server knows of, nothing where it is used up."""
        return str(httpx2.get(f"{self.url}/v1/whoami", headers={"X-API-Key": self.flooding}).json().get("plan", ""))

    def requests(self, key: str, model: str) -> list[Request]:
        """Return requests of one row each, none of which may be answered from the cache."""
        headers = {"X-API-Key": key, "Cache-Control": "no-store"}
        return [request(self.url, f"/v1/models/{model}/predict", *body, headers=headers) for body in bodies(inputs)]

    def _admin_call(self, method: str, path: str, body: dict[str, Any]) -> Any:
        url = f"{self.url}/v1/admin/{path}"
        return httpx2.request(method, url, json=body, headers=self._admin, timeout=60).raise_for_status().json()


def measure(
    tenants: Tenants, name: str, load: Generator, rounds: int, seconds: float, say: Callable[[str], None]
) -> Found:
    """Measure a flood: the peak, the victim alone, and both together, in each round."""
    flood = FLOODS[name]
    sent = tenants.requests(tenants.flooding, flood.model)
    for warm in (sent, tenants.requests(tenants.honest, flood.model)):
        load.measure(tenants.url, warm, seconds)
    plan = f"{name}-plan"
    tenants.make_plan(plan, flood.plan)
    done: list[Round] = []
    for number in range(1, rounds + 1):
        peak = load.measure(tenants.url, sent, seconds).requests_per_second
        victim = _paced(VICTIM, tenants.requests(tenants.honest, flood.model)[0], SHARE * peak, 8)
        probe = _paced(PROBE, sent[0], PROBES_PER_SECOND, 2)
        alone = Paced(tenants.url, [victim], seconds).heard()
        tenants.change_to(plan, plan, "")
        both = Paced(tenants.url, [victim, probe], seconds)
        flooded = load.measure(tenants.url, sent, seconds, CONNECTIONS * FACTOR).requests_per_second
        beside = both.heard()
        tenants.change_to(PLAN["slug"], PLAN["slug"])
        done.append(Round(peak, flooded, alone[VICTIM], beside[VICTIM], beside[PROBE], seconds))
        say(f"{name}, round {number}: goodput {done[-1].goodput:.2f}, p99 of the victim {done[-1].p99:.2f} times")
    return Found(name, done)


def _paced(name: str, one: Request, rate: float, connections: int) -> Caller:
    return Caller(name, b"00000001".join(one).decode("latin-1"), rate, connections)


@click.command()
@click.option("--floods", multiple=True, type=click.Choice(list(FLOODS)), default=list(FLOODS), help="[default: all]")
@click.option("--rounds", default=3, show_default=True, help="Measurements of each flood.")
@click.option("--seconds", default=5.0, show_default=True, help="Of each measurement; wrk takes whole ones.")
@click.option("--generator", "load", type=click.Choice(["auto", "wrk", "own"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def overload(floods: Sequence[str], rounds: int, seconds: float, load: str, as_json: bool) -> None:
    """Have one tenant send five times what the server can answer, beside an honest one at a fifth of it.

    The floods: callers who wait for their turns; callers of a model in a process of its
    own, of whom more than the plan allows are refused; and callers over the rate of their plan.

    \b
    python -m tests.benchmarks overload
    python -m tests.benchmarks overload --floods waiting --rounds 1 --seconds 60
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelward-overload-")))
        system = ModelwardSystem(MEMORY, server_of(stack, directory / "server"), 1)
        system.start_up()
        tenants = Tenants(system, directory)
        found = [measure(tenants, name, generator(load), rounds, seconds, _say) for name in dict.fromkeys(floods)]
    documents = [each.document() for each in found]
    click.echo(orjson.dumps(documents, option=orjson.OPT_INDENT_2).decode() if as_json else table(found))


def _say(text: str) -> None:
    click.echo(text, err=True)
