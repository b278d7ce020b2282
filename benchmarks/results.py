"""Numbers of all rounds become rows: medians, ratios round by round, a table and a file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers import OURS, versions
from benchmarks.scenarios import Measurement

Key = tuple[str, str]
"""Scenario and metric."""
Row = dict[str, Any]

ERROR = "error"
NOT_MEASURED = "not measured"


class Results:
    """What was measured so far, round by round."""

    def __init__(self) -> None:
        self._rounds: dict[Key, dict[str, dict[int, Measurement]]] = {}
        self._errors: dict[tuple[str, str], str] = {}
        self._obstacles: dict[str, str] = {}

    def add(self, number: int, scenario: str, peer: str, numbers: Iterable[Measurement]) -> None:
        for one in numbers:
            peers = self._rounds.setdefault((scenario, one.metric), {})
            peers.setdefault(peer, {})[number] = one

    def fail(self, scenario: str, peer: str, reason: str) -> None:
        self._errors[scenario, peer] = reason

    def leave(self, scenario: str, reason: str) -> None:
        """This machine cannot measure it, whoever the peer is."""
        self._obstacles[scenario] = reason

    def given_up(self, scenario: str, peer: str) -> bool:
        return scenario in self._obstacles or (scenario, peer) in self._errors

    def rows(self) -> list[Row]:
        """One row for each scenario, metric and peer; the failures at the end."""
        rows: list[Row] = [
            {
                "scenario": scenario,
                "peer": peer,
                "metric": metric,
                "value": median(one.value for one in rounds.values()),
                "unit": next(iter(rounds.values())).unit,
                "ratio_to_ours": _ratio(rounds, peers.get(OURS, {})),
                "rounds": len(rounds),
            }
            for (scenario, metric), peers in self._rounds.items()
            for peer, rounds in peers.items()
        ]
        rows += [_without(name, "all", NOT_MEASURED, why) for name, why in self._obstacles.items()]
        return rows + [failure(*where, reason) for where, reason in self._errors.items()]


def failure(scenario: str, peer: str, reason: str) -> Row:
    """The row of what went wrong."""
    return _without(scenario, peer, ERROR, reason)


def _without(scenario: str, peer: str, metric: str, reason: str) -> Row:
    row: Row = {"scenario": scenario, "peer": peer, "metric": metric, "value": None}
    return row | {"unit": reason, "ratio_to_ours": None, "rounds": 0}


def _ratio(rounds: dict[int, Measurement], ours: dict[int, Measurement]) -> float | None:
    """The median of the ratios within a round: what disturbs a round disturbs both."""
    ratios = [
        rounds[number].value / ours[number].value
        for number in rounds.keys() & ours.keys()
        if ours[number].value
    ]
    return median(ratios) if ratios else None


def machine() -> dict[str, str | int]:
    """Where it ran, without naming it."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
    }


def table(rows: list[Row]) -> str:
    """The rows as Markdown, one table for each scenario and metric."""
    lines: list[str] = []
    heading = None
    for row in rows:
        if row["value"] is None:
            lines += ["", f"**{row['scenario']}, {row['peer']}: {row['metric']}.** {row['unit']}"]
            continue
        if heading != (heading := (row["scenario"], row["metric"], row["unit"])):
            scenario, metric, unit = heading
            lines += ["", f"### {scenario}: {metric}", ""]
            lines += [f"| peer | {unit} | ratio to ours |", "|---|---:|---:|"]
        ratio = row.get("ratio_to_ours")
        shown = "" if ratio is None else f"{ratio:.2f}"
        lines.append(f"| {row['peer']} | {_number(row['value'])} | {shown} |")
    return "\n".join(lines).strip() + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def write(directory: Path, rows: list[Row], command: str) -> str:
    """Writes results.json and RESULTS.md; the text of the latter."""
    where, what = machine(), versions()
    objects = [row | {"machine": where, "versions": what} for row in rows]
    text = json.dumps(objects, indent=1, ensure_ascii=False) + "\n"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(text, encoding="utf-8")
    described = [
        "# Results",
        "",
        f"Made by `{command}` on {where['cpu']}, {where['cores']} cores, Linux {where['kernel']},",
        f"Python {where['python']}; "
        + ", ".join(f"{name} {number}" for name, number in what.items())
        + ".",
        "",
        f'Medians of the rounds. "Ratio to ours" is the median of each round\'s ratio to "{OURS}".',
        "What each scenario does: `benchmarks/scenarios.py`.",
        "",
        table(rows),
    ]
    page = "\n".join(described)
    (directory / "RESULTS.md").write_text(page, encoding="utf-8")
    return page
