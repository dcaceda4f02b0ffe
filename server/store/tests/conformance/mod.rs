//! What every adapter of the port `Store` must do. An adapter's test file calls [`conformance!`] with the name of a function
//! that gives a fresh [`Place`].

mod entries;
mod evidence;
mod fixtures;
mod fold;
mod inventory;
mod journal;
mod nodes;
mod records;

pub(crate) use entries::*;
pub(crate) use evidence::*;
pub(crate) use fixtures::*;
pub(crate) use fold::*;
pub(crate) use inventory::*;
pub(crate) use journal::*;
pub(crate) use nodes::*;
pub(crate) use records::*;

/// Where a store is kept. It is opened again when nobody has it open.
pub(crate) trait Place {
    /// The adapter.
    type Store: hallmark_store::Store + 'static;

    /// Opens the store; it is empty the first time.
    fn open(&self) -> Self::Store;

    /// Looks whether all that the store keeps says the same, while nobody has it open.
    fn examine(&self) {}
}

/// One test per case, each in a place of its own.
#[macro_export]
macro_rules! conformance {
    ($fresh:path: stores: $($case:ident),*; places: $($of_place:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let place = $fresh();
                conformance::$case(&conformance::Place::open(&place)).await;
            }
        )*
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $of_place() {
                conformance::$of_place(&$fresh()).await;
            }
        )*
        #[test]
        fn a_state_that_followed_is_the_one_that_a_start_makes() {
            conformance::a_state_that_followed_is_the_one_that_a_start_makes($fresh);
        }
    };
    ($fresh:path) => {
        $crate::conformance!($fresh:
            stores:
            a_new_store_is_empty,
            entries_read_back_as_they_were_written,
            entries_come_in_the_order_of_creation,
            an_entry_is_updated_and_deleted,
            an_id_is_taken_once,
            what_is_not_there_cannot_be_changed,
            changes_are_made_all_or_none,
            one_callers_failure_is_not_anothers,
            nodes_read_back_as_they_were_written,
            a_node_is_replaced_and_deleted,
            by_what_a_node_was_judged_changes_alone,
            requests_of_administrators_stand_until_they_are_taken_back,
            lines_read_back_are_replaced_and_removed,
            keys_of_machines_read_back_and_stand_where_they_were_put_last,
            authorities_read_back,
            logs_grow_where_they_end_and_go_with_their_boot,
            facts_are_replaced_and_stay_the_ones_of_their_evidence,
            an_ek_has_the_certificate_that_was_kept_last,
            the_bundle_sequence_only_rises,
            events_are_numbered_in_order,
            intents_are_one_event_each,
            svids_with_a_role_are_found_by_their_serial_number,
            events_are_filtered_and_paged,
            events_are_found_by_time_also_where_the_clock_was_set_back,
            events_are_found_by_time_also_where_the_clock_jumped_by_days,
            a_query_gives_what_a_look_at_every_event_gives,
            what_is_committed_later_arrives,
            a_change_of_each_kind_is_taken,
            a_check_succeeds_and_leaves_no_event,
            a_conflict_is_told_where_a_later_record_touched_what_is_expected,
            of_decisions_on_the_same_that_come_at_once_one_is_made,
            rules_and_trust_of_others_are_known_as_such;
            places:
            numbers_have_no_gap_over_failures_groups_and_restarts,
            what_rests_on_more_than_is_remembered_is_decided_again,
            a_transaction_is_committed_once,
            records_are_read_in_pages,
            a_follower_learns_of_every_record_once_before_its_commit_answers,
            an_outcome_settles_open_intents_once,
            intents_of_a_stopped_server_are_interrupted_at_the_next_start,
            totals_count_svids_and_verdicts,
            a_state_that_missed_a_record_differs,
        );
    };
}
