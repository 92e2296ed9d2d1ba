"""Starts what a run compares, and gives the cases that are to be measured."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.asking import Case
from tests.benchmarks.goals import MEMORY, REDIS
from tests.benchmarks.peers import Unavailable, peer
from tests.benchmarks.systems import Estimators, Footprint, ModelwardSystem, bare_flask, hello, usual_stack
from tests.servers.modelward import Modelward
from tests.servers.postgresql import StoppablePostgresql
from tests.servers.redis import StoppableRedis

USUAL_MODELS = ("logistic", "forest")
METRICS_TOKEN = "a-metrics-token-for-benchmarks"


@dataclass
class Field:
    """What runs: the cases, what they are compared with by the number of workers, and Modelward in each form."""

    cases: list[Case] = field(default_factory=list)
    references: dict[int, Case] = field(default_factory=dict)
    modelward: list[ModelwardSystem] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def footprints(self) -> dict[str, Footprint]:
        """What each form of Modelward took when it had just started."""
        return {system.name: system.footprint for system in self.modelward if system.footprint is not None}


@dataclass(frozen=True)
class Wanted:
    """What a run compares.

    :param models: their slugs.
    :param modes: of asking Modelward.
    :param redis: measure PostgreSQL and Redis with two workers too.
    :param peers: names of other servers.
    :param peers_directory: where their environments lie, or are made.
    """

    models: Sequence[str]
    modes: Sequence[str]
    redis: bool
    peers: Sequence[str]
    peers_directory: Path


@contextmanager
def started(wanted: Wanted, directory: Path, say: Callable[[str], None]) -> Iterator[Field]:
    """Start everything, all of it at once: what waits for requests costs next to nothing."""
    found = Field()
    estimators = Estimators.fit(wanted.models, directory)
    usual = estimators.only(USUAL_MODELS)
    with ExitStack() as stack:
        say("Starting the Flask applications")
        found.references[1] = stack.enter_context(hello(directory, 1))
        found.cases += stack.enter_context(bare_flask(directory, estimators, 1))
        found.cases += stack.enter_context(usual_stack(directory, usual, 1))
        for name in wanted.peers:
            say(f"Starting {name}")
            try:
                cases = stack.enter_context(peer(name, wanted.peers_directory, directory, estimators))
                for case in cases:
                    case.check()
                found.cases += cases
            except (Unavailable, RuntimeError) as error:
                found.missing[name] = str(error)
        say(f"Starting {MEMORY}")
        server = server_of(stack, directory / "embedded", metrics_token=METRICS_TOKEN)
        embedded = ModelwardSystem(MEMORY, server, 1)
        embedded.start_up()
        _enter(found, embedded, estimators, wanted.modes)
        if wanted.redis:
            say(f"Starting {REDIS}")
            _start_production(stack, found, estimators, usual, wanted, directory)
        yield found


def _start_production(
    stack: ExitStack, found: Field, estimators: Estimators, usual: Estimators, wanted: Wanted, directory: Path
) -> None:
    postgresql = StoppablePostgresql()
    stack.callback(postgresql.close)
    redis = StoppableRedis()
    stack.callback(redis.close)
    found.references[2] = stack.enter_context(hello(directory, 2))
    found.cases += stack.enter_context(bare_flask(directory, estimators, 2))
    found.cases += stack.enter_context(usual_stack(directory, usual, 2, redis.url.removesuffix("/0") + "/1"))
    url = stack.enter_context(postgresql.database())
    settings = {"database_url": url, "redis_url": redis.url, "workers": 2, "metrics_token": METRICS_TOKEN}
    production = ModelwardSystem(REDIS, server_of(stack, directory / "production", **settings), 2)
    production.start_serve()
    _enter(found, production, estimators, wanted.modes)


def server_of(stack: ExitStack, directory: Path, **settings: object) -> Modelward:
    """Return a Modelward that is stopped with the stack."""
    directory.mkdir()
    server = Modelward(directory, **settings)
    stack.callback(server.stop)
    return server


def _enter(found: Field, system: ModelwardSystem, estimators: Estimators, modes: Sequence[str]) -> None:
    found.modelward.append(system)
    system.upload(estimators)
    found.cases += system.cases(estimators, modes)
