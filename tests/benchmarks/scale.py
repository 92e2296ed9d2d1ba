"""Many tenants and models beside one: what ten thousand models cost the fifty that are asked."""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
import httpx2
import orjson
import sqlalchemy as sa

from service.artifacts.tables import Artifact
from service.bootstrap import Services, build
from service.cli.bench.load import Request
from service.config import Settings
from service.registry.tables import Alias, AliasMove, Model, Version
from service.tenants.principal import Principal
from tests.benchmarks.asking import bodies, inputs
from tests.benchmarks.goals import MEMORY, REDIS
from tests.benchmarks.load import Figures, Generator, generator, request
from tests.benchmarks.running import METRICS_TOKEN, server_of
from tests.benchmarks.systems import Estimators, ModelwardSystem
from tests.servers.postgresql import StoppablePostgresql
from tests.servers.redis import StoppableRedis

MODEL = "logistic"
WITHIN = 0.10


@dataclass(frozen=True)
class Size:
    """How many tenants, models of each, and models that are asked, no two of one tenant."""

    tenants: int
    models: int
    hot: int


@dataclass
class Found:
    """What came of it: rounds of one model alone and of the many, and bytes of loaded models."""

    size: Size
    one: Sequence[Figures]
    many: Sequence[Figures]
    loaded_bytes: int
    budget_bytes: int
    versions_loaded: int

    @property
    def throughput(self) -> float:
        """The median of the rounds' ratios of requests a second, many to one."""
        return median(m.requests_per_second / o.requests_per_second for o, m in zip(self.one, self.many, strict=True))

    @property
    def p99(self) -> float:
        """The median of the rounds' ratios of the 99th percentile, many to one."""
        return median(m.p99_milliseconds / o.p99_milliseconds for o, m in zip(self.one, self.many, strict=True))

    def document(self) -> dict[str, object]:
        """Return it for programs."""
        return {
            "tenants": self.size.tenants,
            "models": self.size.tenants * self.size.models,
            "hot": self.size.hot,
            "throughput_ratio": self.throughput,
            "p99_ratio": self.p99,
            "errors": sum(each.errors for each in (*self.one, *self.many)),
            "versions_loaded": self.versions_loaded,
            "loaded_bytes": self.loaded_bytes,
            "budget_bytes": self.budget_bytes,
        }

    def table(self) -> str:
        """Return it as a table of Markdown."""
        one, many = (median(each.requests_per_second for each in rounds) for rounds in (self.one, self.many))
        slow, slower = (median(each.p99_milliseconds for each in rounds) for rounds in (self.one, self.many))
        total = self.size.tenants * self.size.models
        lines = [
            f"| | one model | {self.size.hot} of {total:,} models of {self.size.tenants:,} tenants | ratio | within |",
            "| --- | --- | --- | --- | --- |",
            f"| requests a second | {one:,.0f} | {many:,.0f} | {self.throughput:.2f} | {1 - WITHIN:.2f} |",
            f"| p99, milliseconds | {slow:.2f} | {slower:.2f} | {self.p99:.2f} | {1 + WITHIN:.2f} |",
        ]
        held = f"{self.versions_loaded:,} versions were loaded; {self.loaded_bytes:,} bytes of them are held"
        return "\n".join([*lines, "", f"{held}, of {self.budget_bytes:,} that may be."])


@click.command()
@click.option("--tenants", default=1000, show_default=True, help="How many there are.")
@click.option("--models", default=10, show_default=True, help="Of each tenant.")
@click.option("--hot", default=50, show_default=True, help="Models that are asked, each of another tenant.")
@click.option("--budget", default=16 << 20, show_default=True, help="Bytes of loaded models that a worker keeps.")
@click.option("--rounds", default=7, show_default=True, help="Measurements of each side, in turn.")
@click.option("--seconds", default=2.0, show_default=True, help="Of each measurement; wrk takes whole ones.")
@click.option("--redis", is_flag=True, help="On PostgreSQL and Redis with two workers.  [default: embedded]")
@click.option("--generator", "load", type=click.Choice(["auto", "wrk", "own"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def scale(
    tenants: int,
    models: int,
    hot: int,
    budget: int,
    rounds: int,
    seconds: float,
    redis: bool,
    load: str,
    as_json: bool,
) -> None:
    """Compare many tenants and models with one tenant and one model, each on a server of its own.

    \b
    python -m tests.benchmarks scale
    python -m tests.benchmarks scale --redis --hot 200
    """
    size = Size(tenants, models, hot)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelward-scale-")))
        one, many = (start(stack, directory / name, budget, redis=redis) for name in ("one", "many"))
        found = measure(
            one, many, size, budget, generator(load), rounds, seconds, lambda text: click.echo(text, err=True)
        )
    click.echo(orjson.dumps(found.document(), option=orjson.OPT_INDENT_2).decode() if as_json else found.table())


def _say(text: str) -> None:
    click.echo(text, err=True)


def start(stack: ExitStack, directory: Path, budget: int, *, redis: bool) -> ModelwardSystem:
    """Start a Modelward with one tenant, which has one model."""
    settings: dict[str, object] = {"loaded_models_bytes": budget, "metrics_token": METRICS_TOKEN}
    if redis:
        postgresql, cache = StoppablePostgresql(), StoppableRedis()
        stack.callback(postgresql.close)
        stack.callback(cache.close)
        url = stack.enter_context(postgresql.database())
        settings |= {"database_url": url, "redis_url": cache.url, "workers": 2}
    system = ModelwardSystem(REDIS if redis else MEMORY, server_of(stack, directory, **settings), 2 if redis else 1)
    if redis:
        system.start_serve()
    else:
        system.start_up()
    system.upload(Estimators.fit([MODEL], directory))
    return system


def measure(
    one: ModelwardSystem,
    many: ModelwardSystem,
    size: Size,
    budget: int,
    load: Generator,
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> Found:
    """Fill one of two servers, load a version of each tenant, and measure both in turn."""
    say(f"Registering {size.tenants * size.models:,} models of {size.tenants:,} tenants")
    keys = populate(many, size)
    say("Asking every tenant's first model once")
    first = [(key, _name(0)) for key in keys]
    held = [_asked_once(many, some) for some in _batches(first, 100)]
    _asked_once(one, [(one.key, MODEL)])
    alone = one.server.url, _requests(one, [(one.key, MODEL)])
    hot = many.server.url, _requests(many, first[: size.hot])
    for side in (alone, hot):
        load.measure(*side, seconds)
    figures: list[tuple[Figures, Figures]] = []
    for number in range(1, rounds + 1):
        figures.append((load.measure(*alone, seconds), load.measure(*hot, seconds)))
        rates = [f"{each.requests_per_second:,.0f}/s" for each in figures[-1]]
        say(f"round {number}: {' and '.join(rates)}")
    bytes_now, loads = _loaded(many)
    ones, manies = zip(*figures, strict=True)
    return Found(size, ones, manies, max(*held, bytes_now), budget * many.workers, loads)


def populate(system: ModelwardSystem, size: Size) -> list[str]:
    """Register the tenants and their models, and return the tenants' keys.

    Tenants are made as operators make them. Versions are rows like the one that was
    uploaded; as with uploads of equal bytes, all of a tenant's versions share its artifact.
    """
    services = build(Settings.model_validate(system.server.settings))
    try:
        with services.database.read("*") as session:
            version = session.scalars(sa.select(Version).where(Version.model == MODEL)).one()
            assert version.digest is not None
            data = services.store.get(version.tenant_id, version.digest)
        return [_tenant(services, f"tenant-{number}", version, data, size.models) for number in range(size.tenants)]
    finally:
        services.close()


def _tenant(services: Services, slug: str, version: Version, data: bytes, models: int) -> str:
    view, issued = services.tenants.create(Principal.operator(), slug, slug, "unlimited")
    services.store.put(view.id, data)
    columns = {column.name: getattr(version, column.name) for column in sa.inspect(Version).columns}
    with services.database.write(view.id) as session:
        session.add(Artifact(tenant_id=view.id, digest=version.digest, size_bytes=version.size_bytes))
        session.flush()
        for name in map(_name, range(models)):
            session.add(Model(tenant_id=view.id, name=name, next_version=2, created_by=issued.view.id))
            session.flush()
            session.add(Version(**columns | {"tenant_id": view.id, "model": name}))
            session.flush()
            session.add(Alias(tenant_id=view.id, model=name, name="production", version=1, updated_by=issued.view.id))
            move = {"sequence": 1, "to_version": 1, "action": "set", "actor": issued.view.id}
            session.add(AliasMove(tenant_id=view.id, model=name, alias="production", **move))
    return issued.secret


def _name(number: int) -> str:
    return f"model-{number}"


def _requests(system: ModelwardSystem, asked: Sequence[tuple[str, str]]) -> list[Request]:
    """Return requests that ask each key's model in turn."""
    url, no_store = system.server.url, {"Cache-Control": "no-store"}
    return [
        request(url, f"/v1/models/{model}/predict", *body, headers={"X-API-Key": key, **no_store})
        for body in bodies(inputs)
        for key, model in asked
    ]


def _asked_once(system: ModelwardSystem, asked: Sequence[tuple[str, str]]) -> int:
    """Ask each key's model once, and return the bytes of loaded models then."""
    with httpx2.Client(base_url=system.server.url, timeout=60) as client:
        for key, model in asked:
            path, headers = f"/v1/models/{model}/predict", {"X-API-Key": key}
            client.post(path, json={"inputs": [[5.1, 3.5, 1.4, 0.2]]}, headers=headers).raise_for_status()
    return _loaded(system)[0]


def _loaded(system: ModelwardSystem) -> tuple[int, int]:
    """Return the bytes of loaded models, and how many versions were ever loaded, in all workers."""
    headers = {"Authorization": f"Bearer {METRICS_TOKEN}"}
    text = httpx2.get(f"{system.server.url}/metrics", headers=headers, timeout=60).raise_for_status().text
    found = [
        re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        for name in ("modelward_loaded_model_bytes", "modelward_model_load_duration_seconds_count")
    ]
    held, loads = (int(float(match[1])) for match in found if match)
    return held, loads


def _batches(asked: Sequence[tuple[str, str]], count: int) -> Iterator[Sequence[tuple[str, str]]]:
    for first in range(0, len(asked), count):
        yield asked[first : first + count]
