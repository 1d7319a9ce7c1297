"""Which tests prove which promise (`G…`) and which show what becomes of a fault (`F…`): node ids without parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_CHAOS = "tests/chaos"
_MATRIX = f"{_CHAOS}/test_crash_matrix.py::test_nothing_is_lost_or_doubled"
_SEEDS = f"{_CHAOS}/test_seeds.py::test_whatever_befalls_it_every_promise_holds"
_ONE = f"{_CHAOS}/test_seeds.py::test_one_fault_again_and_again"
_FAULTS = f"{_CHAOS}/test_faults.py"
_FORGETTING = f"{_CHAOS}/test_forgetting.py"
_FOLLOWING = "tests/engine/following/test_following.py"
_PG = "tests/connectors/postgres"
_MYSQL = "tests/connectors/mysql/log"
_KAFKA = "tests/connectors/kafka"
_ONCE = "tests/kit/remote/test_once_only.py"
_WEBHOOKS = "tests/gateway/webhooks/test_dispatching.py"
_SCHEDULES = "tests/app/test_schedules.py"
_JOBS = "tests/store/jobs/test_jobs.py"
_QUEUE = "tests/kit/queue/test_queue.py"
_INCREMENTAL = f"{_CHAOS}/test_incremental.py"
_KILLED_CDC = (
    f"{_FOLLOWING}::test_a_killed_process_loses_and_doubles_nothing",
    f"{_PG}/log/test_sync.py::test_killed_anywhere_it_goes_on",
    f"{_MYSQL}/test_binlog_sync.py::test_a_database_is_followed_through_kills_and_other_columns",
)
_LOST_POSITION = (
    f"{_PG}/log/test_sync.py::test_a_lost_slot_ends_the_sync_with_its_repair_and_the_repair_works",
    f"{_MYSQL}/test_binlog_places.py::test_a_purged_log_is_never_skipped",
    f"{_KAFKA}/test_log.py::test_messages_that_were_deleted_stop_the_log",
)
_LATE = f"{_INCREMENTAL}::test_a_transaction_that_commits_late_is_found_by_the_next_run"

PROOFS: Mapping[str, Sequence[str]] = {
    "G-transactional": (_MATRIX, _SEEDS, f"{_INCREMENTAL}::test_increments_lose_nothing_when_killed", *_KILLED_CDC),
    "G-files": (_MATRIX, f"{_CHAOS}/test_full_disk.py::test_a_full_disk_ends_the_run_and_room_lets_it_go_on"),
    "G-kafka": (
        f"{_KAFKA}/test_sink.py::test_a_killed_run_is_completed_by_the_next",
        f"{_KAFKA}/test_sink.py::test_without_transactions_messages_come_at_least_once",
    ),
    "G-calls": (
        f"{_ONCE}::test_a_killed_process_goes_on_without_repeating_a_call",
        f"{_ONCE}::test_random_deaths_and_failures_leave_every_effect_once",
        f"{_ONCE}::test_a_call_that_nobody_can_ask_about_is_set_aside",
    ),
    "G-push": (
        "tests/gateway/intake/test_intake.py::test_a_kill_loses_nothing_that_was_accepted_and_doubles_nothing",
        "tests/gateway/hooks/test_hooks.py::test_many_at_once_share_the_disk_and_lose_nothing",
        f"{_QUEUE}::test_what_was_confirmed_is_there_after_a_kill",
        f"{_FORGETTING}::test_what_serve_has_accepted_is_there_after_power_was_lost",
    ),
    "G-replace": (_MATRIX, "tests/app/test_undo.py::test_a_crash_leaves_the_one_generation_or_the_other"),
    "G-lost": _LOST_POSITION,
    "G-late": (_LATE,),
    "F1": (_MATRIX, _SEEDS, *_KILLED_CDC),
    "F2": (_MATRIX, _SEEDS, f"{_ONCE}::test_a_killed_process_goes_on_without_repeating_a_call"),
    "F3": (
        f"{_PG}/log/test_changes.py::test_only_what_is_acknowledged_is_confirmed",
        f"{_PG}/log/test_again.py::test_it_goes_on_after_a_restart_where_it_was_durable",
    ),
    "F4": (
        f"{_PG}/log/test_changes.py::test_a_large_transaction_comes_in_blocks_and_is_cut_only_behind_its_end",
        f"{_MYSQL}/test_binlog_changes.py::test_a_position_is_only_at_the_end_of_a_transaction_of_all_its_tables",
        _SEEDS,
    ),
    "F5": (
        f"{_FAULTS}::test_the_target_server_is_killed_and_comes_back",
        f"{_PG}/log/test_positions.py::test_a_server_that_comes_back_goes_on",
        _ONE,
    ),
    "F6": (
        f"{_FAULTS}::test_a_lost_commit_reply_doubles_nothing",
        f"{_FAULTS}::test_the_lost_reply_to_the_last_commit_is_understood",
        _ONE,
    ),
    "F7": (
        f"{_FAULTS}::test_a_cut_line_is_mended_by_itself",
        f"{_CHAOS}/test_processes.py::test_a_source_that_hangs_does_not_keep_us_from_stopping",
        _ONE,
    ),
    "F8": (_ONE, _SEEDS),
    "F9": (
        f"{_FAULTS}::test_a_poison_row_is_quarantined_once_and_the_rest_lands",
        f"{_KAFKA}/test_log.py::test_a_poison_message_is_quarantined_with_its_place",
        _SEEDS,
    ),
    "F10": (
        f"{_FAULTS}::test_a_full_disk_stops_cleanly_and_goes_on_later",
        f"{_CHAOS}/test_full_disk.py::test_a_full_disk_ends_the_run_and_room_lets_it_go_on",
        f"{_QUEUE}::test_a_disk_that_really_fills_up_costs_nothing_that_was_confirmed",
        "tests/gateway/audit/test_watch.py::test_calls_wait_while_the_disk_fails_and_new_ones_are_refused",
    ),
    "F11": (
        f"{_FORGETTING}::test_what_was_told_is_there_after_power_was_lost",
        f"{_FORGETTING}::test_the_next_run_goes_on_after_power_was_lost",
        f"{_FORGETTING}::test_what_serve_has_accepted_is_there_after_power_was_lost",
        f"{_FORGETTING}::test_a_sync_that_fails_is_never_told_as_done",
    ),
    "F12": (
        f"{_QUEUE}::test_a_damaged_tail_is_cut_and_told",
        f"{_QUEUE}::test_a_flipped_bit_in_the_middle_is_told_and_never_passed_over",
        f"{_CHAOS}/test_torn_state.py::test_the_next_run_goes_on_where_the_last_one_ended",
    ),
    "F13": (
        f"{_SCHEDULES}::test_a_clock_that_is_set_makes_no_tick_twice",
        f"{_SCHEDULES}::test_what_falls_into_the_hour_that_is_left_out_comes_right_after_it_and_once",
        f"{_SCHEDULES}::test_a_fixed_time_comes_once_in_the_hour_that_comes_twice_and_an_interval_goes_on",
        f"{_JOBS}::test_leases_of_a_machine_that_was_started_anew_are_over",
    ),
    "F14": (
        "tests/gateway/hooks/test_hooks.py::test_a_sender_that_heard_nothing_comes_again_and_is_kept_once",
        "tests/gateway/intake/test_intake.py::test_a_key_is_taken_once",
    ),
    "F15": (
        f"{_WEBHOOKS}::test_changes_of_one_row_keep_their_order_and_do_not_hold_up_others",
        f"{_FOLLOWING}::test_changes_of_one_key_come_to_one",
        "tests/engine/test_replay.py::test_a_row_that_is_older_than_the_target_stays_out",
    ),
    "F16": (
        "tests/connectors/test_schema_changes.py::test_a_source_altered_between_attempts",
        f"{_PG}/log/test_changes.py::test_columns_come_and_go_while_the_log_is_read",
        f"{_FOLLOWING}::test_a_frozen_schema_stops_the_stream_and_nothing_is_lost",
        _SEEDS,
    ),
    "F17": (_LATE,),
    "F18": (f"{_PG}/test_incremental.py::test_a_thousand_equal_cursors_at_a_chunk_border_all_arrive",),
    "F19": (f"{_PG}/test_incremental.py::test_microseconds_of_the_cursor_are_kept",),
    "F20": (
        f"{_PG}/log/test_changes.py::test_acknowledged_while_it_is_read",
        f"{_PG}/log/test_changes.py::test_transactions_of_several_tables_come_whole",
    ),
    "F21": (
        f"{_CHAOS}/test_processes.py::test_a_process_that_slept_is_fenced_off",
        "tests/app/test_working.py::test_a_worker_that_slept_past_its_lease_writes_nothing_and_gives_up",
        f"{_JOBS}::test_of_two_schedulers_one_makes_the_jobs_of_a_tick",
        _SEEDS,
    ),
    "F22": (f"{_CHAOS}/test_transient.py::test_what_fails_for_a_moment_is_tried_again", _SEEDS),
    "F23": (
        f"{_WEBHOOKS}::test_a_failing_receiver_is_tried_ten_times_by_the_schedule_under_one_id",
        f"{_WEBHOOKS}::test_a_receiver_that_hangs_costs_its_time_limit_and_is_tried_again",
        f"{_WEBHOOKS}::test_a_redirect_is_a_failure_and_never_followed",
        f"{_WEBHOOKS}::test_gone_switches_the_webhook_off_until_it_is_switched_on",
        f"{_WEBHOOKS}::test_a_receiver_whose_certificate_is_wrong_gets_nothing",
    ),
    "F24": (
        "tests/app/test_serve.py::test_no_request_sees_two_configurations",
        "tests/gateway/auth/test_tokens.py::test_what_is_revoked_ends_in_every_process_within_a_second",
    ),
    "F25": (
        "tests/store/test_migrations.py::test_processes_that_come_at_the_same_moment_take_each_step_once",
        "tests/store/test_migrations.py::test_a_store_of_a_newer_version_is_refused",
        "tests/app/test_attempts.py::test_counts_of_an_older_version_have_no_steps",
    ),
    "F26": (f"{_CHAOS}/test_soak.py::test_a_short_soak",),
}
