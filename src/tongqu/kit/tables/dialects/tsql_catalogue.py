"""The queries that ask SQL Server's catalogue."""

from __future__ import annotations

from tongqu.kit.tables.queried import Words

_SIZED = (
    "TYPE_NAME(c.system_type_id) + CASE "
    "WHEN TYPE_NAME(c.system_type_id) IN ('char', 'varchar', 'binary', 'varbinary') THEN '(' + CASE c.max_length "
    "WHEN -1 THEN 'max' ELSE CAST(c.max_length AS varchar(10)) END + ')' "
    "WHEN TYPE_NAME(c.system_type_id) IN ('nchar', 'nvarchar') THEN '(' + CASE c.max_length "
    "WHEN -1 THEN 'max' ELSE CAST(c.max_length / 2 AS varchar(10)) END + ')' "
    "WHEN TYPE_NAME(c.system_type_id) IN ('decimal', 'numeric') THEN '(' + CAST(c.precision AS varchar(10)) + ',' "
    "+ CAST(c.scale AS varchar(10)) + ')' "
    "WHEN TYPE_NAME(c.system_type_id) IN ('datetime2', 'datetimeoffset', 'time') "
    "THEN '(' + CAST(c.scale AS varchar(10)) + ')' "
    "WHEN TYPE_NAME(c.system_type_id) = 'float' THEN '(' + CAST(c.precision AS varchar(10)) + ')' ELSE '' END "
    "+ CASE WHEN c.collation_name IS NULL THEN '' ELSE ' COLLATE ' + c.collation_name END"
)
_OF = "o JOIN sys.schemas s ON s.schema_id = o.schema_id"
WHERE = "WHERE s.name = ? AND o.name = ?"
"""Schema and table, in queries over sys.objects o and sys.schemas s."""
WORDS = Words(
    schema="SELECT SCHEMA_NAME()",
    names=(
        f"SELECT o.name, CASE WHEN o.type = 'V' THEN 1 ELSE 0 END FROM sys.objects {_OF} WHERE s.name = ? "
        "AND o.type IN ('U', 'V') AND o.is_ms_shipped = 0{one} ORDER BY o.name"
    ),
    one=" AND o.name = ?",
    columns=(
        f"SELECT c.name, COALESCE({_SIZED}, TYPE_NAME(c.user_type_id)), CAST(c.is_nullable AS int), d.definition, "
        "CASE WHEN k.is_persisted = 1 OR TYPE_NAME(c.system_type_id) = 'timestamp' OR c.generated_always_type <> 0 "
        "THEN 'stored' WHEN k.is_persisted = 0 THEN 'virtual' END, CAST(c.is_identity AS int), "
        f"CAST(e.value AS nvarchar(4000)) FROM sys.objects {_OF} JOIN sys.columns c ON c.object_id = o.object_id "
        "LEFT JOIN sys.default_constraints d ON d.object_id = c.default_object_id "
        "LEFT JOIN sys.computed_columns k ON k.object_id = c.object_id AND k.column_id = c.column_id "
        "LEFT JOIN sys.extended_properties e ON e.class = 1 AND e.major_id = c.object_id AND e.minor_id = c.column_id "
        f"AND e.name = 'MS_Description' {WHERE} ORDER BY c.column_id"
    ),
    primary=(
        f"SELECT c.name FROM sys.objects {_OF} JOIN sys.indexes i ON i.object_id = o.object_id "
        "AND i.is_primary_key = 1 JOIN sys.index_columns x ON x.object_id = i.object_id AND x.index_id = i.index_id "
        f"JOIN sys.columns c ON c.object_id = x.object_id AND c.column_id = x.column_id {WHERE} ORDER BY x.key_ordinal"
    ),
    indexes=(
        f"SELECT i.name, CAST(i.is_unique AS int), c.name FROM sys.objects {_OF} JOIN sys.indexes i "
        "ON i.object_id = o.object_id AND i.is_primary_key = 0 AND i.has_filter = 0 AND i.type IN (1, 2) "
        "AND i.is_disabled = 0 "
        "JOIN sys.index_columns x ON x.object_id = i.object_id AND x.index_id = i.index_id AND x.key_ordinal > 0 "
        f"JOIN sys.columns c ON c.object_id = x.object_id AND c.column_id = x.column_id {WHERE} "
        "ORDER BY i.name, x.key_ordinal"
    ),
    foreign=(
        f"SELECT f.name, a.name, t.name, r.name, b.name FROM sys.objects {_OF} JOIN sys.foreign_keys f "
        "ON f.parent_object_id = o.object_id JOIN sys.foreign_key_columns x ON x.constraint_object_id = f.object_id "
        "JOIN sys.columns a ON a.object_id = x.parent_object_id AND a.column_id = x.parent_column_id "
        "JOIN sys.objects r ON r.object_id = x.referenced_object_id JOIN sys.schemas t ON t.schema_id = r.schema_id "
        "JOIN sys.columns b ON b.object_id = x.referenced_object_id AND b.column_id = x.referenced_column_id "
        f"{WHERE} ORDER BY f.name, x.constraint_column_id"
    ),
    about=(
        "SELECT CAST(e.value AS nvarchar(4000)), (SELECT SUM(p.rows) FROM sys.partitions p "
        f"WHERE p.object_id = o.object_id AND p.index_id IN (0, 1)) FROM sys.objects {_OF} "
        "LEFT JOIN sys.extended_properties e ON e.class = 1 AND e.major_id = o.object_id AND e.minor_id = 0 "
        f"AND e.name = 'MS_Description' {WHERE}"
    ),
)
