"""Planning a project of many pipelines: reading the files, both catalogues, every step's types and every statement."""

from __future__ import annotations

import json

from bench.measure import Method, Row
from bench.scenarios.scenario import Scenario
from bench.world import World

PIPELINES = 200
_DATABASES = {"a": "planned", "b": "planned_to"}
_MAKE = """
DO $$ BEGIN FOR n IN 1..{count} LOOP
  EXECUTE format('CREATE TABLE p%s (id bigint PRIMARY KEY, name text NOT NULL, qty integer)', n);
END LOOP; END $$
"""


def _project(world: World) -> str:
    folder = world.folder / "plan"
    folder.mkdir(exist_ok=True)
    entries = {
        f"p{n}": {"key": ["id"], "fields": {"id": {"type": "int64"}, "name": {"type": "string", "required": True},
                                            "qty": {"type": "int32", "min": 0}}}
        for n in range(1, PIPELINES + 1)
    }  # fmt: skip
    pipelines = {
        name: {"source": {"connection": "a", "dataset": name},
               "steps": [{"derive": {"total": "qty * 2"}}, {"filter": "qty > 0"}, {"check": name}],
               "sink": {"connection": "b", "write": "upsert"}}
        for name in entries
    }  # fmt: skip
    ends = {name: {"type": "postgres", "url": world.url(database)} for name, database in _DATABASES.items()}
    tree = {"project": "many", "connections": ends, "datasets": entries, "pipelines": pipelines}
    lines = [f"{section}: {json.dumps(told)}" for section, told in tree.items() if isinstance(told, str)]
    for section, told in tree.items():
        if isinstance(told, dict):
            lines += [f"{section}:", *(f"  {name}: {json.dumps(entry)}" for name, entry in told.items())]
    (folder / "tongqu.yaml").write_text("\n".join(lines) + "\n")
    return str(folder)


def _plan(world: World) -> list[Row]:
    for database in _DATABASES.values():
        world.postgres.database(database)
    world.sql("planned", _MAKE.format(count=PIPELINES))
    folder, out = _project(world), world.folder / "plan.json"
    command = f"{world.tongqu} plan --project {folder} --json > {out}"

    def targets() -> str:
        found = json.loads(out.read_text())["targets"]
        return f"{len(found)} {sum(bool(target['statements']) for target in found)}"

    return world.compare(
        Method("nothing", "true"), Method("tongqu plan", command, None, targets, f"{PIPELINES} {PIPELINES}")
    )


SCENARIOS = [
    Scenario("plan", f"Planning {PIPELINES} pipelines between two databases", "doing nothing", 2, 4, _plan, "extra")
]
