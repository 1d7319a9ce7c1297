"""`tongqu runs`: what ran, how it went, its plan and its log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table
from tongqu.app.messages import t

app = group()
Job = Annotated[str, typer.Argument(metavar="JOB|RUN", help=t("runs.job"), show_default=False)]


@command(app, "list", "runs.list", managed=True)
def list_runs(
    call: Call,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help=t("runs.limit"))] = 50,
    status: Annotated[str, typer.Option("--status", metavar="STATUS", help=t("runs.status"))] = "",
) -> int:
    """List the newest runs."""
    call.answer(call.ask("runs.list", limit=limit, status=status), _show_list)
    return 0


@command(app, "show", "runs.show", managed=True)
def show_run(
    call: Call,
    run: Annotated[str, typer.Argument(metavar="RUN", help=t("runs.run"), show_default=False)],
) -> int:
    """Show one run: its plan and counts."""
    call.answer(call.ask("runs.show", run=run), _show_one)
    return 0


@command(app, "logs", "runs.logs", managed=True)
def show_logs(
    call: Call,
    run: Annotated[str, typer.Argument(metavar="RUN", help=t("runs.run"), show_default=False)],
    *,
    grep: Annotated[str, typer.Option("--grep", metavar="TEXT", help=t("runs.grep"))] = "",
    level: Annotated[str, typer.Option("--level", metavar="LEVEL", help=t("runs.level"))] = "",
    since: Annotated[str, typer.Option("--since", metavar="TIME", help=t("runs.since"))] = "",
) -> int:
    """Show the log of one run."""
    call.answer(call.ask("runs.logs", run=run, grep=grep, level=level, since=since), _show_logs)
    return 0


@command(app, "jobs", "runs.jobs", managed=True)
def list_jobs(
    call: Call,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help=t("runs.limit"))] = 50,
    state: Annotated[str, typer.Option("--state", metavar="STATE", help=t("runs.state"))] = "",
) -> int:
    """List the newest jobs."""
    call.answer(call.ask("jobs.list", limit=limit, state=state), _show_jobs)
    return 0


@command(app, "pause", "runs.pause", audited=True, managed=True)
def pause(call: Call, job: Job) -> int:
    """Stop a job in order, to go on later."""
    call.answer(call.ask("jobs.pause", job=job), _show_asked)
    return 0


@command(app, "resume", "runs.resume", audited=True, managed=True)
def resume(call: Call, job: Job) -> int:
    """Let a paused job go on."""
    call.answer(call.ask("jobs.resume", job=job), _show_asked)
    return 0


@command(app, "cancel", "runs.cancel", audited=True, managed=True)
def cancel(call: Call, job: Job) -> int:
    """End a job; what it committed stays."""
    call.answer(call.ask("jobs.cancel", job=job), _show_asked)
    return 0


@command(app, "backfill", "runs.backfill", audited=True, managed=True)
def backfill(
    call: Call,
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help=t("run.pipelines"), show_default=False)],
    *,
    begin: Annotated[str, typer.Option("--from", metavar="VALUE", help=t("runs.from"), show_default=False)],
    end: Annotated[str, typer.Option("--to", metavar="VALUE", help=t("runs.to"), show_default=False)],
    step: Annotated[str, typer.Option("--step", metavar="STEP", help=t("runs.step"))] = "",
) -> int:
    """Load a stretch of the cursor again, in windows."""
    call.answer(call.ask("jobs.backfill", pipeline=pipeline, begin=begin, end=end, step=step), _show_jobs)
    return 0


def _show_list(document: Mapping[str, Any]) -> None:
    if not document["runs"]:
        say(t("runs.none"))
        return
    names = ("run", "status", "started", "read", "written", "quarantined", "command")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for run in document["runs"]:
        shown = {**run, "status": t(f"status.{run['status']}")}
        rows.append(tuple(f"{shown[n]:,}" if isinstance(shown[n], int) else str(shown[n]) for n in names))
    table(rows)


def _show_jobs(document: Mapping[str, Any]) -> None:
    if not document["jobs"]:
        say(t("runs.no_jobs"))
        return
    names = ("job", "name", "status", "attempts", "due", "finished", "run")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for job in document["jobs"]:
        shown = {**job, "status": t(f"status.{job['state']}")}
        if job["window"]:
            shown["name"] = f"{job['name']} {'…'.join(job['window'])}"
        rows.append(tuple("" if shown[name] is None else str(shown[name]) for name in names))
    table(rows)


def _show_asked(document: Mapping[str, Any]) -> None:
    say(t("runs.queued", job=document["job"], name=document["name"], state=t(f"status.{document['state']}")))


def _show_one(document: Mapping[str, Any]) -> None:
    from tongqu.app.progress import summary

    for name in ("run", "status", "command", "started", "finished", "attempts", "host", "pid"):
        value = t(f"status.{document['status']}") if name == "status" else document.get(name)
        say(f"{t(f'column.{name}')}: {'' if value is None else value}")
    for plan in document["plan"]:
        why = f" — {plan['reason']}" if plan.get("reason") else ""
        say(f"{plan['stream']}: {plan['mode']} → {plan['write']}, {plan['lane']}{why}")
    if document["streams"]:
        table(summary(document))
    for problem in document.get("problems", []):
        say(t("problem.error", message=problem["message"], code=problem["code"]))
        if problem.get("hint"):
            say("  " + t("problem.hint", hint=problem["hint"]))


def _show_logs(document: Mapping[str, Any]) -> None:
    for line in document["lines"]:
        rest = {key: value for key, value in line.items() if key not in ("at", "level", "event")}
        say(f"{line['at']} {line['level']:7} {line['event']} {json.dumps(rest, ensure_ascii=False)}")
