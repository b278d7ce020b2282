"""Measures this project beside its peers: `python -m benchmarks.run [--quick]`.

Rounds are interleaved: in each round every scenario runs once with every peer, one right after the
other. A peer that fails gets a row that says so and is left out of that scenario from then on, and
so does a scenario that this machine does not allow.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import results
from benchmarks.http_scenarios import HTTP_SCENARIOS, HttpScenario
from benchmarks.network import ObstacleError
from benchmarks.peers import OURS, PAGE_OURS, Peer, available
from benchmarks.process import ProgramError
from benchmarks.scenarios import SCENARIOS, Effort, Measurement, Scenario
from benchmarks.web_scenarios import WEB_SCENARIOS

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Group:
    """Scenarios that are measured together, and how long that may take, quick and else."""

    scenarios: tuple[Scenario | HttpScenario, ...]
    quick_budget: float
    budget: float
    ours: str = OURS


GROUPS = {
    "rpc": Group(SCENARIOS, 220.0, 1500.0),
    "http": Group(HTTP_SCENARIOS, 240.0, 1500.0),
    "web": Group(WEB_SCENARIOS, 150.0, 600.0, ours=PAGE_OURS),
}


def main() -> int:
    """Runs all that the arguments leave and writes the results."""
    arguments = _arguments()
    quick: bool = arguments.quick
    effort = Effort(seconds=0.5, connections=200) if quick else Effort(seconds=1.0, connections=500)
    rounds: int = arguments.rounds or (2 if quick else 5)
    rows: dict[str, list[results.Row]] = {}
    with _certificates(arguments.certificates) as certificates:
        for name, group in GROUPS.items():
            if arguments.only not in (None, name):
                continue
            chosen = [one for one in group.scenarios if arguments.scenario in one.name]
            peers = available(arguments.peer, {scenario.load for scenario in chosen})
            if not peers:
                continue
            budget = group.quick_budget if quick else group.budget
            measured = results.Results(group.ours)
            measuring = _measure(
                measured, peers, chosen, certificates, effort, rounds=rounds, budget=budget
            )
            asyncio.run(measuring)
            rows[name] = measured.rows()
    if arguments.only in (None, "codec") and not arguments.scenario:
        rows["codec"] = _codec_rows()
    if not rows:
        raise SystemExit("no peer that is installed has that in its name, or can do that")
    command = " ".join(["python -m benchmarks.run", *sys.argv[1:]])
    output: Path = arguments.output
    print(results.write(output, rows, command))
    failed = any(row["metric"] == results.ERROR for group in rows.values() for row in group)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", choices=results.GROUPS, help="only these scenarios")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--peer", default="", help="only peers with this in their name")
    parser.add_argument("--scenario", default="", help="only scenarios with this in their name")
    parser.add_argument("--certificates", type=Path, help="a directory with ca, server and client")
    parser.add_argument("--output", type=Path, default=HERE, help="where the results go")
    return parser.parse_args()


@contextlib.contextmanager
def _certificates(given: Path | None) -> Generator[Path]:
    """The directory given, or fresh certificates for as long as the run takes."""
    if given is not None:
        yield given.resolve()
        return
    from jetstream.testing import ThrowawayCA

    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        ThrowawayCA().write(Path(directory))
        yield Path(directory)


async def _measure(
    measured: results.Results,
    peers: list[Peer],
    scenarios: list[Scenario | HttpScenario],
    certificates: Path,
    effort: Effort,
    *,
    rounds: int,
    budget: float,
) -> None:
    deadline = time.monotonic() + budget
    for number in range(rounds):
        for scenario in scenarios:
            for peer in peers:
                if time.monotonic() > deadline:
                    print(f"stopped in round {number + 1}: {budget:g} s are over", file=sys.stderr)
                    return
                if scenario.load not in peer.loads or measured.given_up(scenario.name, peer.name):
                    continue
                print(f"round {number + 1}: {scenario.name}: {peer.name}", file=sys.stderr)
                try:
                    numbers = await _patiently(scenario, peer, certificates, effort)
                except ObstacleError as obstacle:
                    measured.leave(scenario.name, str(obstacle))
                except (ProgramError, OSError) as error:
                    measured.fail(scenario.name, peer.name, str(error))
                else:
                    measured.add(number, scenario.name, peer.name, numbers)


async def _patiently(
    scenario: Scenario | HttpScenario, peer: Peer, certificates: Path, effort: Effort
) -> list[Measurement]:
    """Others may try twice: hypercorn now and then drops a connection."""
    try:
        return await scenario.measure(peer, certificates, effort)
    except ProgramError as error:
        if peer.name in (OURS, PAGE_OURS):
            raise
        print(f"once more: {error}", file=sys.stderr)
        return await scenario.measure(peer, certificates, effort)


def _codec_rows() -> list[results.Row]:
    """Encoding and decoding alone, where what it takes is installed."""
    try:
        rows: list[results.Row] = importlib.import_module("benchmarks.codec").run()
    except Exception as error:  # whatever it is, the other numbers are worth keeping
        return [results.failure("codec", "all", repr(error))]
    return [{"ratio_to_ours": None, "target": None, "rounds": 1} | row for row in rows]


if __name__ == "__main__":
    sys.exit(main())
