"""`tongqu schema`: the JSON Schema of project files, for editors."""

from __future__ import annotations

from tongqu.app.cli.call import Call, command, group, print_document

app = group()


@command(app, "schema", "command.schema")
def schema(call: Call) -> int:
    """Print the JSON Schema; it is JSON with and without `--json`."""
    del call
    from tongqu.app.docs import project_schema

    print_document(project_schema())
    return 0
