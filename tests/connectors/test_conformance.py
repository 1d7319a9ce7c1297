"""Every connector, held to the same promises: one line each."""

from __future__ import annotations

import os

from tongqu.testing import graphql_place, odata_place, rest_place, soap_place
from tongqu.testing.conformance import conformance
from tongqu.testing.drops import drop
from tongqu.testing.emptied import emptied
from tongqu.testing.foreign import DLT, SOURCE, TAP, TARGET, furnished
from tongqu.testing.services.elasticsearch import without_indices
from tongqu.testing.services.mongodb import without_collections

_PLACES = {
    "test_check_passes", "test_wrong_credentials_are_refused", "test_a_place_that_does_not_answer_is_told",
    "test_replace_leaves_only_the_new_rows", "test_replace_by_nothing_leaves_nothing",
    "test_finishing_twice_changes_nothing",
    "test_append_adds_to_what_is_there", "test_cut_before_every_commit_nothing_is_lost_or_doubled",
    "test_nothing_is_left_behind_by_close", "test_odd_names_are_names",
    "test_a_missing_dataset_is_not_found", "test_cut_after_every_position_nothing_is_lost_or_doubled",
}  # fmt: skip
"""What depends on where files are; formats and settings are held to the rest of the promises by `TestFileSftp`."""


def _of_places(checks: type) -> type:
    for name in [name for name in vars(checks) if name.startswith("test_") and name not in _PLACES]:
        delattr(checks, name)
    return checks


_DOCUMENTS = {
    "test_a_type_comes_back[json]": "never: in a document the JSON value null and no value are one",
    "test_a_type_is_merged[json]": "never: in a document the JSON value null and no value are one",
    "test_odd_names_are_names": "never: a replace needs a key, and names of indices are in lower case",
    "test_aborted_rows_are_gone": "never: a call that went through is not taken back by an abort",
    "test_soft_deletes_are_marked_and_cleared": "never: refused, as by all systems that are written call by call",
}
"""What no Elasticsearch or OpenSearch can promise."""

TestPostgres = conformance("postgres", lambda request: request.getfixturevalue("pg_url"))
TestPostgres18 = conformance("postgres", lambda request: request.getfixturevalue("pg18_url"))
TestSqlite = conformance(
    "sqlite",
    lambda request: f"sqlite:{request.getfixturevalue('tmp_path')}/place.db",
    waivers={
        "test_a_type_comes_back[negative_zero]": "never: the file format stores whole REALs as integers",
        "test_a_type_is_merged[negative_zero]": "never: the file format stores whole REALs as integers",
    },
)
TestDuckdb = conformance("duckdb", lambda request: f"duckdb:{request.getfixturevalue('tmp_path')}/place.duckdb")
TestMysql = conformance(
    "mysql",
    lambda request: request.getfixturevalue("mysql_url"),
    waivers={
        "test_a_type_comes_back[instant]": "never: DATETIME has no zone, TIMESTAMP ends in 2038; the instant is UTC",
        "test_a_type_is_merged[instant]": "never: DATETIME has no zone, TIMESTAMP ends in 2038; the instant is UTC",
        "test_a_type_comes_back[negative_zero]": "never: the server stores minus zero as zero",
        "test_a_type_is_merged[negative_zero]": "never: the server stores minus zero as zero",
    },
)
TestFile = conformance(
    "file",
    lambda request: f"file:{request.getfixturevalue('tmp_path')}/",
    waivers={"test_wrong_credentials_are_refused": "never: files on this machine have no login"},
)
TestFileSftp = conformance(
    "file",
    lambda request: drop(request.getfixturevalue("sshd")).url("in/"),
    waivers={"test_wrong_credentials_are_refused": "never: the key logs in; passwords are not asked for"},
)
TestFileFtps = _of_places(
    conformance("file", lambda request: drop(request.getfixturevalue("vsftpd"), "ftps").url("in/"))
)
TestFileSmb = _of_places(conformance("file", lambda request: drop(request.getfixturevalue("samba")).url("in/")))
TestFileWebdav = _of_places(conformance("file", lambda request: drop(request.getfixturevalue("webdav")).url("in/")))
TestFileS3 = _of_places(
    conformance(
        "file",
        lambda request: drop(request.getfixturevalue("s3")).url("in/"),
        waivers={"test_wrong_credentials_are_refused": "never: the mock takes any key"},
    )
)
TestRest = conformance(
    "rest",
    lambda request: request.getfixturevalue("vendor_api").url,
    fitted=rest_place.fitted,
    waivers={
        "test_a_type_comes_back[json]": "never: in a JSON body the JSON value null and no value are one",
        "test_a_type_is_merged[json]": "never: in a JSON body the JSON value null and no value are one",
        "test_a_type_comes_back[negative_zero]": "never: rows are written as JSON without minus zero",
        "test_a_type_is_merged[negative_zero]": "never: rows are written as JSON without minus zero",
        "test_a_composite_text_key_is_cut_exactly": "never: an empty text cannot be part of a path; it is quarantined",
        "test_keys_are_told_apart_exactly": "never: an empty text cannot be part of a path; it is quarantined",
        "test_odd_names_are_names": "never: a replace needs a key",
        "test_append_keeps_rows_that_are_equal": "never: the mock API refuses a second record of a key",
        "test_a_new_column_is_left_out_and_counted": "never: the place reads the fields that were to be written",
        "test_replace_leaves_only_the_new_rows": "never: a replace counts what it updated and deleted as that",
        "test_aborted_rows_are_gone": "never: a call that went through is not taken back by an abort",
        "test_replace_shows_the_old_rows_until_it_finishes": "never: calls are seen one after the other",
        "test_soft_deletes_are_marked_and_cleared": "never: refused, the API has no column of ours",
    },
)
TestGraphql = conformance(
    "graphql",
    lambda request: request.getfixturevalue("graphql_tables").url,
    fitted=graphql_place.fitted,
    waivers={
        "test_a_type_comes_back[json]": "never: in a JSON body the JSON value null and no value are one",
        "test_a_type_is_merged[json]": "never: in a JSON body the JSON value null and no value are one",
        "test_a_type_comes_back[negative_zero]": "never: rows are written as JSON without minus zero",
        "test_a_type_is_merged[negative_zero]": "never: rows are written as JSON without minus zero",
        "test_odd_names_are_names": "never: names in GraphQL are letters, digits and _",
        "test_a_new_column_is_left_out_and_counted": "never: the place reads the fields that were to be written",
        "test_replace_leaves_only_the_new_rows": "never: a replace counts what it updated and deleted as that",
        "test_aborted_rows_are_gone": "never: a call that went through is not taken back by an abort",
        "test_replace_shows_the_old_rows_until_it_finishes": "never: calls are seen one after the other",
        "test_soft_deletes_are_marked_and_cleared": "never: refused, the API has no column of ours",
    },
)
TestOdata = conformance(
    "odata",
    lambda request: request.getfixturevalue("odata_tables").root,
    fitted=odata_place.fitted,
    waivers={
        "test_a_type_comes_back[json]": "never: in a JSON body the JSON value null and no value are one",
        "test_a_type_is_merged[json]": "never: in a JSON body the JSON value null and no value are one",
        "test_a_type_comes_back[negative_zero]": "never: rows are written as JSON without minus zero",
        "test_a_type_is_merged[negative_zero]": "never: rows are written as JSON without minus zero",
        "test_odd_names_are_names": "never: a replace needs a key",
        "test_a_new_column_is_left_out_and_counted": "never: the place reads the properties that were to be written",
        "test_replace_leaves_only_the_new_rows": "never: a replace counts what it updated and deleted as that",
        "test_aborted_rows_are_gone": "never: a call that went through is not taken back by an abort",
        "test_replace_shows_the_old_rows_until_it_finishes": "never: calls are seen one after the other",
        "test_soft_deletes_are_marked_and_cleared": "never: refused, the service has no column of ours",
    },
)
TestSoap = conformance(
    "soap",
    lambda request: f"{request.getfixturevalue('soap_tables').url}/t",
    fitted=soap_place.fitted,
    waivers={
        "test_a_type_comes_back[text]": "never: an empty element is no value",
        "test_a_type_is_merged[text]": "never: an empty element is no value",
        "test_a_type_comes_back[large_text]": "never: an empty element is no value",
        "test_a_type_is_merged[large_text]": "never: an empty element is no value",
        "test_a_type_comes_back[binary]": "never: an empty element is no value",
        "test_a_type_is_merged[binary]": "never: an empty element is no value",
        "test_a_type_comes_back[negative_zero]": "never: rows are written as JSON without minus zero",
        "test_a_type_comes_back[json]": "never: in a JSON body the JSON value null and no value are one",
        "test_a_type_is_merged[negative_zero]": "never: rows are written as JSON without minus zero",
        "test_a_type_is_merged[json]": "never: in a JSON body the JSON value null and no value are one",
        "test_a_small_change_is_a_change[None '']": "never: an empty element is no value",
        "test_keys_are_told_apart_exactly": "never: an empty element is no value",
        "test_a_composite_text_key_is_cut_exactly": "never: an empty element is no value",
        "test_odd_names_are_names": "never: a replace needs a key",
        "test_a_new_column_is_left_out_and_counted": "never: the place reads the fields that were to be written",
        "test_replace_leaves_only_the_new_rows": "never: a replace counts what it updated and deleted as that",
        "test_aborted_rows_are_gone": "never: a call that went through is not taken back by an abort",
        "test_replace_shows_the_old_rows_until_it_finishes": "never: calls are seen one after the other",
        "test_soft_deletes_are_marked_and_cleared": "never: refused, the service has no column of ours",
    },
)
TestOdbc = conformance(
    "odbc",
    lambda request: request.getfixturevalue("odbc_mysql_url"),
    waivers={
        "test_a_type_comes_back[instant]": "never: DATETIME has no zone, TIMESTAMP ends in 2038; the instant is UTC",
        "test_a_type_is_merged[instant]": "never: DATETIME has no zone, TIMESTAMP ends in 2038; the instant is UTC",
        "test_a_type_comes_back[negative_zero]": "never: the server stores minus zero as zero",
        "test_a_type_is_merged[negative_zero]": "never: the server stores minus zero as zero",
    },
)
TestJdbc = conformance("jdbc", lambda request: request.getfixturevalue("jdbc_pg_url"))
TestClickhouse = conformance(
    "clickhouse",
    lambda request: request.getfixturevalue("clickhouse_url"),
    waivers={
        "test_a_type_comes_back[binary]": "never: String holds texts and bytes alike, and is read as text",
        "test_a_type_comes_back[date]": "of 18.16: Date ends in 2149 and begins in 1970, so dates are kept as text",
        "test_a_type_comes_back[time]": "never: there is no time of day, it is kept as text",
        "test_aborted_rows_are_gone": "never: rows are there as soon as they are inserted",
    },
)
TestMongodb = conformance("mongodb", lambda request: request.getfixturevalue("mongodb_url"))
TestElasticsearch = conformance(
    "elasticsearch", lambda request: request.getfixturevalue("elasticsearch").url, waivers=_DOCUMENTS
)
TestQueue = conformance("queue", lambda request: f"queue:{request.getfixturevalue('tmp_path')}/place.queue")
TestKafka = conformance(
    "kafka",
    lambda request: request.getfixturevalue("kafka_url"),
    waivers={
        "test_wrong_credentials_are_refused": "of noida-db: it asks for no login",
        "test_replace_shows_the_old_rows_until_it_finishes": "never: messages are there as soon as they are committed",
    },
)
TestNats = conformance(
    "nats",
    lambda request: request.getfixturevalue("nats_url"),
    waivers={"test_aborted_rows_are_gone": "never: a message that the stream has taken is not taken back by an abort"},
)
TestRabbitmq = conformance(
    "rabbitmq",
    lambda request: f"{request.getfixturevalue('rabbitmq_url')}&kind=stream",
    waivers={"test_aborted_rows_are_gone": "never: a message that was confirmed is not taken back by an abort"},
)
TestRedis = conformance(
    "redis",
    lambda request: request.getfixturevalue("redis_url"),
    waivers={"test_aborted_rows_are_gone": "never: an entry that was appended is not taken back by an abort"},
)
TestStomp = conformance("stomp", lambda request: request.getfixturevalue("activemq_url"))
TestAmqp1 = conformance(
    "amqp1",
    lambda request: request.getfixturevalue("rabbitmq_url").replace("amqp://", "amqp1://").partition("?")[0],
)
TestMqtt = conformance("mqtt", lambda request: request.getfixturevalue("mqtt_url"))
TestSse = conformance("sse", lambda request: f"sse://{request.getfixturevalue('event_server').url}/orders")
TestWebsocket = conformance(
    "websocket", lambda request: f"ws://{request.getfixturevalue('websocket_server').url}/orders"
)
TestImap = conformance("imap", lambda request: request.getfixturevalue("imap_url"))
TestSmtp = conformance("smtp", lambda _: "smtps://me:secret@127.0.0.1:1?sender=me@example.com&to=you@example.com")
TestSinger = conformance(
    "singer", lambda request: f"singer:{TAP}?installed={furnished(request.getfixturevalue('tmp_path') / 'foreign')}"
)
TestSingerTarget = conformance(
    "singer_target",
    lambda request: f"singer-target:{TARGET}?installed={furnished(request.getfixturevalue('tmp_path') / 'foreign')}",
)
TestAirbyte = conformance(
    "airbyte",
    lambda request: f"airbyte:{SOURCE}?installed={furnished(request.getfixturevalue('tmp_path') / 'foreign')}",
)
TestDlt = conformance(
    "dlt",
    lambda request: (
        f"dlt:mock:source?package={DLT}&installed={furnished(request.getfixturevalue('tmp_path') / 'foreign')}"
    ),
)

# Systems of which no server can be had: the kit runs the day a URL of an empty schema is given.
if "TONGQU_TEST_MSSQL_URL" in os.environ:
    TestMssql = conformance("mssql", lambda _: emptied("mssql", os.environ["TONGQU_TEST_MSSQL_URL"]))
if "TONGQU_TEST_ORACLE_URL" in os.environ:
    TestOracle = conformance(
        "oracle",
        lambda _: emptied("oracle", os.environ["TONGQU_TEST_ORACLE_URL"]),
        waivers={
            "test_odd_names_are_names": "never: no name has a double quote in it",
            "test_a_type_comes_back[text]": "never: an empty text is null",
            "test_a_type_comes_back[date]": "never: DATE has a time",
            "test_a_type_comes_back[time]": "never: there is no time of day, it is kept as text",
        },
    )
if "TONGQU_TEST_MONGODB_URL" in os.environ:
    TestMongodbOther = conformance("mongodb", lambda _: without_collections(os.environ["TONGQU_TEST_MONGODB_URL"]))
if "TONGQU_TEST_ELASTICSEARCH_URL" in os.environ:
    TestElasticsearchOther = conformance(
        "elasticsearch", lambda _: without_indices(os.environ["TONGQU_TEST_ELASTICSEARCH_URL"]), waivers=_DOCUMENTS
    )
if "TONGQU_TEST_ODBC_URL" in os.environ:
    TestOdbcOther = conformance("odbc", lambda _: emptied("odbc", os.environ["TONGQU_TEST_ODBC_URL"]))
if "TONGQU_TEST_CLICKHOUSE_URL" in os.environ:
    TestClickhouseOther = conformance(
        "clickhouse", lambda _: emptied("clickhouse", os.environ["TONGQU_TEST_CLICKHOUSE_URL"])
    )
