"""Numbers of all rounds become rows: medians, ratios round by round, a table and a file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers import OURS, PAGE_OURS, versions
from benchmarks.scenarios import Measurement

Key = tuple[str, str]
"""Scenario and metric."""
Row = dict[str, Any]

GROUPS = {"rpc": "Calls", "http": "HTTP", "web": "Calls from a page", "codec": "Values"}
"""What is measured together, and its heading."""
ERROR = "error"
NOT_MEASURED = "not measured"


class Results:
    """What was measured so far, round by round.

    Args:
        ours: The peer that ratios refer to.
    """

    def __init__(self, ours: str = OURS) -> None:
        self._ours = ours
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
                "ratio_to_ours": _ratio(rounds, peers.get(self._ours, {})),
                "target": next(iter(rounds.values())).target,
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
    return row | {"unit": reason, "ratio_to_ours": None, "target": None, "rounds": 0}


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
    for (scenario, metric, unit), group in groupby(
        rows, key=lambda row: (row["scenario"], row["metric"], row["unit"])
    ):
        measured = list(group)
        if measured[0]["value"] is None:
            who = ", ".join(row["peer"] for row in measured)
            lines += ["", f"**{scenario}, {who}: {metric}.** {unit}"]
            continue
        lines += ["", f"### {scenario}: {metric}", ""]
        aims = any(row.get("target") for row in measured)
        lines += [f"| peer | {unit} | ratio to ours |" + " ours beside it |" * aims]
        lines += ["|---|---:|---:|" + "---|" * aims]
        for row in measured:
            ratio = row["ratio_to_ours"]
            shown = "" if ratio is None else f"{ratio:.{2 if ratio >= 0.1 else 3}f}"
            aim = f" {_judged(row)} |" * aims
            lines.append(f"| {row['peer']} | {_number(row['value'])} | {shown} |{aim}")
    return "\n".join(lines).strip() + "\n"


def _judged(row: Row) -> str:
    """How many times a peer's value ours is, and how many it is to be."""
    target, ratio = row.get("target"), row["ratio_to_ours"]
    if not target or not ratio:
        return ""
    times = 1 / ratio
    return f"{times:.2f}x, {'' if times >= target else 'NOT '}≥ {target:g}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def write(directory: Path, groups: dict[str, list[Row]], command: str) -> str:
    """Writes results.json and RESULTS.md; the chapters of the groups that were measured.

    Groups that were not stay as they are.
    """
    kept = directory / "results.json"
    before = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    rows: list[Row] = []
    for group in GROUPS:
        if group in groups:
            about = {"machine": machine(), "versions": versions(group), "command": command}
            rows += [{"group": group} | row | about for row in groups[group]]
        else:
            rows += [row for row in before if row["group"] == group]
    directory.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (directory / "RESULTS.md").write_text(page(rows), encoding="utf-8")
    return page([row for row in rows if row["group"] in groups])


def page(rows: list[Row]) -> str:
    """RESULTS.md: a chapter for each group of scenarios."""
    parts = [
        "# Results",
        "",
        f'Medians of the rounds. "Ratio to ours" is the median of each round\'s ratio to "{OURS}",',
        f'for calls from a page to "{PAGE_OURS}". What each scenario does:',
        "`benchmarks/scenarios.py`, `benchmarks/http_scenarios.py`, `benchmarks/web_scenarios.py`.",
    ]
    for group, measured in groupby(rows, key=lambda row: row["group"]):
        chapter = list(measured)
        where, what = chapter[0]["machine"], chapter[0]["versions"]
        parts += [
            "",
            f"## {GROUPS[group]}",
            "",
            f"Made by `{chapter[0]['command']}` on {where['cpu']}, {where['cores']} cores,",
            f"Linux {where['kernel']}, Python {where['python']};",
            ", ".join(f"{name} {number}" for name, number in what.items()) + ".",
            "",
            table(chapter).strip(),
        ]
    return "\n".join(parts) + "\n"
