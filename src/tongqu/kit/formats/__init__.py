"""File formats: bytes to Arrow and back, in blocks, with the rows that cannot be read set aside.

What brings a type back without being told (`types:` tells the rest):

=====================  ======================  ======================  ==================
type                   CSV                     JSON Lines              Parquet, Arrow
=====================  ======================  ======================  ==================
null, empty text       empty, `""`             null, ""                exact
int64, bool            inferred                inferred                exact
smaller integers       types                   types                   exact
double                 inferred; nan inf       inferred; "NaN" types   exact
decimal                inferred by its digits  types, or beyond 15     exact
                                               digits
date, time             inferred, ISO 8601      inferred, ISO 8601      exact
timestamp, zoned       inferred, zone to UTC   inferred, zone to UTC   exact
binary                 types, base64           types, base64           exact
nested                 JSON text               inferred                exact
json (logical)         text                    embedded                exact, with metadata
=====================  ======================  ======================  ==================

JSON documents are as JSON Lines. XML is as CSV, and an empty text comes back as null. A workbook gives int64, double,
bool, date, time and timestamp (milliseconds); decimals come back as double; numbers of more than 15 digits, dates
before 1900-03-01, instants with a zone, binary and nested values as text. Fixed width is as CSV, less its white space.
"""
