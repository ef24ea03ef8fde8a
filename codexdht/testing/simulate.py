"""`python -m codexdht.testing.simulate`: run a scenario, print its figures, and keep them with a picture."""

from __future__ import annotations

import gc
import importlib.util
import resource
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from codexdht.testing.outcome import Options, Outcome
from codexdht.testing.plot import write_png
from codexdht.testing.report import markdown, write_json
from codexdht.testing.scenarios import SCENARIOS

_DEFAULTS = Options()
app = typer.Typer(add_completion=False)


@app.command()
def simulate(  # noqa: PLR0917
    scenario: Annotated[str, typer.Option(help=f"One of: {', '.join(SCENARIOS)}.")] = "steady",
    nodes: Annotated[int, typer.Option(min=20, max=100_000)] = _DEFAULTS.nodes,
    hours: Annotated[float, typer.Option(min=0.0, help="Simulated time to observe.")] = _DEFAULTS.hours,
    seed: Annotated[int, typer.Option()] = _DEFAULTS.seed,
    level: Annotated[str, typer.Option(help="Wire: real, plain (no cryptography), fast.")] = _DEFAULTS.level,
    keys: Annotated[int, typer.Option(min=1, help="Keys that are provided.")] = _DEFAULTS.keys,
    searches: Annotated[int, typer.Option(min=1, help="Searches for providers.")] = _DEFAULTS.searches,
    churn: Annotated[float, typer.Option(help="Share of nodes replaced an hour.")] = _DEFAULTS.churn,
    loss: Annotated[float, typer.Option(help="Share of packets lost.")] = _DEFAULTS.loss,
    sessions: Annotated[
        bool, typer.Option(help="Begin with sessions between nodes that know each other.")
    ] = True,
    out: Annotated[Path | None, typer.Option(help="Directory for JSON, Markdown and PNG.")] = None,
) -> None:
    """Simulate a network of the machines that a real node runs."""
    if scenario not in SCENARIOS or level not in ("real", "plain", "fast"):
        raise typer.BadParameter("no such scenario or level; see --help")
    options = Options(
        nodes=nodes,
        hours=hours,
        seed=seed,
        level=level,  # type: ignore[arg-type]
        keys=keys,
        searches=searches,
        churn=churn,
        loss=loss,
        sessions=sessions,
    )
    gc.set_threshold(50_000, 20, 100)  # millions of objects live as long as the simulation does
    began = time.perf_counter()
    outcome = SCENARIOS[scenario](options)
    seconds = time.perf_counter() - began
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    _show(outcome, seconds, megabytes)
    if out is not None:
        _keep(outcome, out, markdown(outcome, seconds, megabytes))


def _show(outcome: Outcome, seconds: float, megabytes: float) -> None:
    table = Table("figure", "value", title=f"{outcome.scenario}, {outcome.options.nodes:,} nodes")
    for name, value in outcome.figures.items():
        table.add_row(name, f"{value:,.4g}")
    console = Console()
    console.print(table)
    console.print(f"{seconds:.1f} s of real time, {megabytes:,.0f} MB")


def _keep(outcome: Outcome, directory: Path, text: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    name = f"{outcome.scenario}-{outcome.options.nodes}"
    if outcome.scenario == "churn":
        name += f"-{outcome.options.churn * 100:.0f}"
    if not outcome.options.sessions:
        name += "-strangers"
    write_json(outcome, directory / f"{name}.json")
    (directory / f"{name}.md").write_text(text)
    if importlib.util.find_spec("matplotlib") is not None:
        write_png(outcome, directory / f"{name}.png")


if __name__ == "__main__":
    app()
